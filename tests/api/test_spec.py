"""The spec as the API server hands it over, read into the operator's nouns; and nothing secret in a complaint."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from spotcompute.api.environment import Environment, InvalidSpec
from spotcompute.api.spec import Spec
from spotcompute.api.template import TemplateSpec
from spotcompute.api.times import from_text, to_text
from spotcompute.model.desired import AllocationStrategy, Placement
from spotcompute.model.launch import Disk, Template
from spotcompute.model.offering import Pool

MINIMAL: dict[str, Any] = {
    "region": "ap-guangzhou",
    "placements": [{"zone": "ap-guangzhou-3"}],
    "instanceTypes": ["S5.MEDIUM4"],
    "template": {"imageId": "img-1"},
}

RAW: dict[str, Any] = {
    "metadata": {
        "namespace": "team",
        "name": "web",
        "uid": "u-1",
        "generation": 4,
        "creationTimestamp": "2026-11-23T04:00:00Z",
    },
    "spec": MINIMAL,
}


def spec(**changes: Any) -> dict[str, Any]:
    return {**deepcopy(MINIMAL), **changes}


def environment(**changes: Any) -> Environment:
    return Environment.of({**deepcopy(RAW), **changes})


def test_the_least_one_can_say() -> None:
    least = environment().spec()
    assert (least.replicas, least.paused, least.request_policy, least.caps.per_instance) == (
        0,
        False,
        "Persistent",
        None,
    )
    assert least.market.allocation_strategy is AllocationStrategy.PRIORITIZED
    assert least.pools == ((Pool("ap-guangzhou-3", "S5.MEDIUM4"), Placement("ap-guangzhou-3")),)
    assert least.template.resolved() == Template(image_id="img-1")
    assert least.credentials_secret_ref is None


def test_all_types_of_the_first_placement_come_before_the_second() -> None:
    two = spec(
        placements=[{"zone": "z-1", "vpcId": "vpc-1", "subnetId": "subnet-1"}, {"zone": "z-2"}],
        instanceTypes=["S5.A", "S5.B"],
    )
    assert Spec.model_validate(two).pools == (
        (Pool("z-1", "S5.A"), Placement("z-1", "vpc-1", "subnet-1")),
        (Pool("z-1", "S5.B"), Placement("z-1", "vpc-1", "subnet-1")),
        (Pool("z-2", "S5.A"), Placement("z-2")),
        (Pool("z-2", "S5.B"), Placement("z-2")),
    )


def test_a_price_is_a_decimal_to_the_last_digit() -> None:
    assert Spec.model_validate(spec(market={"maxPrice": "0.10000001"})).caps.per_instance == Decimal("0.10000001")


def test_every_field_of_the_template_reaches_the_launch() -> None:
    raw = {
        "imageId": "img-1",
        "instanceName": "web",
        "hostName": "host",
        "systemDisk": {"diskType": "CLOUD_BSSD", "diskSize": 50},
        "dataDisks": [{"diskType": "CLOUD_PREMIUM", "diskSize": 100, "snapshotId": "snap-1"}],
        "securityGroupIds": ["sg-1"],
        "loginSettings": {"keyIds": ["skey-1"], "keepImageLogin": False},
        "internetAccessible": {
            "internetChargeType": "TRAFFIC_POSTPAID_BY_HOUR",
            "internetMaxBandwidthOut": 10,
            "publicIpAssigned": True,
        },
        "enhancedService": {"securityService": True, "monitorService": False, "automationService": True},
        "projectId": 7,
        "camRoleName": "role",
        "hpcClusterId": "hpc-1",
        "disasterRecoverGroupIds": ["ps-1"],
        "tags": {"b": "2", "a": "1"},
    }
    assert TemplateSpec.model_validate(raw).resolved() == Template(
        image_id="img-1",
        system_disk=Disk("CLOUD_BSSD", 50),
        data_disks=(Disk("CLOUD_PREMIUM", 100, "snap-1"),),
        security_group_ids=("sg-1",),
        key_ids=("skey-1",),
        host_name="host",
        internet_charge_type="TRAFFIC_POSTPAID_BY_HOUR",
        internet_max_bandwidth_out=10,
        public_ip=True,
        project_id=7,
        cam_role_name="role",
        hpc_cluster_id="hpc-1",
        placement_group_ids=("ps-1",),
        security_service=True,
        monitor_service=False,
        automation_service=True,
        tags=(("a", "1"), ("b", "2")),
    )


def test_the_order_of_tags_makes_no_other_template() -> None:
    one = TemplateSpec.model_validate({"imageId": "img-1", "tags": {"a": "1", "b": "2"}})
    two = TemplateSpec.model_validate({"imageId": "img-1", "tags": {"b": "2", "a": "1"}})
    assert one.resolved() == two.resolved()


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        pytest.param({}, "spec.region", id="nothing"),
        pytest.param(spec(replicas=-1), "spec.replicas", id="negative"),
        pytest.param(spec(replicas=2001), "spec.replicas", id="more-than-the-limit"),
        pytest.param(spec(replicas="many"), "spec.replicas", id="no-number"),
        pytest.param(spec(placements=[]), "spec.placements", id="nowhere"),
        pytest.param(spec(instanceTypes=[]), "instanceTypes", id="of-no-type"),
        pytest.param(spec(requestPolicy="Sometimes"), "spec.requestPolicy", id="unknown-policy"),
        pytest.param(spec(market={"allocationStrategy": "Random"}), "spec.market.allocationStrategy", id="strategy"),
        pytest.param(spec(template={}), "spec.template.imageId", id="no-image"),
        pytest.param(spec(template={"imageId": "img-1", "systemDisk": {"diskSize": 5}}), "diskSize", id="small-disk"),
        pytest.param(spec(template=["not", "an", "object"]), "spec.template", id="a-list"),
        pytest.param(spec(market={"maxPrice": "a lot"}), "spec.market.maxPrice", id="a-price-that-is-no-number"),
        pytest.param(spec(market={"maxPrice": "NaN"}), "spec.market.maxPrice", id="a-price-that-is-not-a-number"),
        pytest.param(spec(market={"maxPrice": "0.00"}), "spec.market.maxPrice", id="no-price"),
    ],
)
def test_what_an_older_schema_let_through_is_refused_with_its_place(raw: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidSpec, match=where):
        environment(spec=raw).spec()


CANARY = "s3cret-canary"


@pytest.mark.parametrize(
    "raw",
    [
        spec(region=[CANARY]),
        spec(replicas=CANARY),
        spec(paused=CANARY),
        spec(requestPolicy=CANARY),
        spec(placements=CANARY),
        spec(instanceTypes=[{CANARY: CANARY}]),
        spec(market={"maxPrice": [CANARY]}),
        spec(market={"maxPrice": CANARY}),
        spec(template=CANARY),
        spec(template={"imageId": "img-1", "userData": [CANARY]}),
        spec(template={"imageId": "img-1", "userData": CANARY + "x" * 65536}),
        spec(template={"imageId": "img-1", "systemDisk": {"diskType": CANARY}}),
        spec(credentialsSecretRef=CANARY),
    ],
    ids=lambda raw: "-".join(key for key in raw if raw[key] != MINIMAL.get(key)),
)
def test_a_complaint_never_repeats_a_value(raw: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec) as caught:
        environment(spec=raw).spec()
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# --- the object around it --------------------------------------------------------------------------------------------


def test_an_object_just_born() -> None:
    born = environment()
    assert (born.label, born.uid, born.generation, born.deleting) == ("team/web", "u-1", 4, False)
    assert (born.finalizers, born.annotations, born.status) == ((), {}, {})
    assert born.created_at == datetime(2026, 11, 23, 4, tzinfo=UTC)
    assert born.ledger() is None


def test_an_object_on_its_way_out() -> None:
    metadata = {**RAW["metadata"], "deletionTimestamp": "2026-11-23T05:00:00Z", "finalizers": ["a/b"]}
    going = environment(metadata=metadata, status=None)
    assert going.deleting
    assert going.finalizers == ("a/b",)


@pytest.mark.parametrize("status", [{}, {"ledger": None}, {"ledger": {}}])
def test_no_ledger_is_no_ledger(status: dict[str, Any]) -> None:
    assert environment(status=status).ledger() is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T04:05:06Z", datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)),
        ("2026-11-23T12:05:06+08:00", datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)),
        ("2026-11-23T04:05:06.789Z", datetime(2026, 11, 23, 4, 5, 6, 789000, tzinfo=UTC)),
    ],
)
def test_times_of_kubernetes(text: str, moment: datetime) -> None:
    assert from_text(text) == moment
    assert to_text(moment) == "2026-11-23T04:05:06Z"
