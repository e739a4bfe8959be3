"""Dry runs find every fault of a launch, one wrong field or many, in few calls, and buy nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest

from cloud.buying import ENV, OWNERSHIP
from cloud.grounds import IMAGE, KEY_PAIR, OTHER_POOL, POOL, ROLE, SECURITY_GROUP, SUBNET, VPC, Ground, SimulatedGround
from plan.given import NOW
from spotcompute.cloud.errors import (
    CloudError,
    InsufficientCapacity,
    InvalidConfiguration,
    InvalidCredentials,
    NoRoom,
    NotSent,
    Throttled,
)
from spotcompute.model.desired import Desired, Placement
from spotcompute.model.launch import Disk, LaunchRequest, Part, Template, parts_of
from spotcompute.model.ledger import Ledger
from spotcompute.model.observation import Observation
from spotcompute.model.offering import Market, Offering, Pool
from spotcompute.plan.field_errors import Findings
from spotcompute.plan.policy import Policy
from spotcompute.plan.quote import make_quote
from spotcompute.plan.situation import Situation
from spotcompute.reconcile.dry_run import CALLS_MAX, find_field_errors

PLACEMENT = Placement(POOL.zone, VPC, SUBNET)
TEMPLATE = Template(
    IMAGE,
    system_disk=Disk("CLOUD_PREMIUM", 50),
    data_disks=(Disk("CLOUD_PREMIUM", 50),),
    security_group_ids=(SECURITY_GROUP,),
    key_ids=(KEY_PAIR,),
    cam_role_name=ROLE,
    host_name="worker",
    public_ip=False,
    tags=(("team", "blue"),),
)


def desired_of(template: Template = TEMPLATE, **other: Any) -> Desired:
    defaults: dict[str, Any] = {
        "ownership": OWNERSHIP,
        "owner": "default@web",
        "generation": 1,
        "replicas": 3,
        "pools": ((POOL, PLACEMENT),),
        "placements": (PLACEMENT,),
        "name_prefix": "web",
    }
    return Desired(template=template, **(defaults | other))


async def found(ground: Ground, desired: Desired, user_data: str | None = None) -> Findings:
    now = ground.now()
    market = Market({one.pool: one for one in await ground.provider.list_offerings()}, now)
    situation = Situation(desired, Ledger(ENV), Observation(now, market=market), now, Policy())
    findings = await find_field_errors(situation, make_quote(situation), ground.provider, user_data, ENV)
    assert ground.live(ENV) == set()
    return findings


def fields(findings: Findings) -> list[str | None]:
    return sorted(str(field_error.field) for field_error in findings.field_errors)


async def test_a_launch_without_fault_has_none(ground: Ground) -> None:
    assert await found(ground, desired_of()) == Findings()


WRONG: Mapping[str, dict[str, Any]] = {
    "spec.template.imageId": {"image_id": "img-00000000"},
    "spec.template.securityGroupIds": {"security_group_ids": ("sg-00000000",)},
    "spec.template.loginSettings": {"key_ids": ("skey-00000000",)},
    "spec.template.camRoleName": {"cam_role_name": "nobody"},
}
WRONG_IN_CVMSIM = WRONG | {
    "spec.template.systemDisk": {"system_disk": Disk("CLOUD_PREMIUM", 10)},
    "spec.template.dataDisks": {"data_disks": (Disk("CLOUD_MAGIC", 100),)},
    "spec.template.hostName": {"host_name": "-"},
    "spec.template.tags": {"tags": (("qcloud-x", "y"),)},
}


@pytest.mark.parametrize("field", WRONG)
async def test_one_wrong_field_is_named_on_either_ground(ground: Ground, field: str) -> None:
    findings = await found(ground, desired_of(replace(TEMPLATE, **WRONG[field])))
    assert (fields(findings), findings.may_be_more, findings.unchecked) == ([field], False, None)


async def test_all_wrong_fields_are_named_on_either_ground(ground: Ground) -> None:
    template = replace(TEMPLATE, **{name: value for change in WRONG.values() for name, value in change.items()})
    assert fields(await found(ground, desired_of(template))) == sorted(WRONG)


@pytest.mark.parametrize("field", WRONG_IN_CVMSIM)
async def test_each_wrong_field_is_named(simulated: SimulatedGround, field: str) -> None:
    findings = await found(simulated, desired_of(replace(TEMPLATE, **WRONG_IN_CVMSIM[field])))
    assert (fields(findings), findings.may_be_more) == ([field], False)


@pytest.mark.parametrize(
    "pair", list(combinations(WRONG_IN_CVMSIM, 2)), ids=lambda pair: "+".join(x.split(".")[-1] for x in pair)
)
async def test_any_two_wrong_fields_are_named(simulated: SimulatedGround, pair: tuple[str, str]) -> None:
    template = replace(TEMPLATE, **WRONG_IN_CVMSIM[pair[0]], **WRONG_IN_CVMSIM[pair[1]])
    before = calls(simulated)
    assert fields(await found(simulated, desired_of(template))) == sorted(pair)
    assert calls(simulated) - before <= CALLS_MAX


def calls(ground: SimulatedGround) -> int:
    return sum(row["action"] == "RunInstances" for row in ground.sim("ledger", "GET")["requests"])


@pytest.mark.parametrize("answer", ["empty", "code"])
@pytest.mark.parametrize("checks_price", ["yes", "no"])
async def test_six_wrong_fields_a_type_and_a_network_are_named_at_once(
    simulated: SimulatedGround, answer: str, checks_price: str
) -> None:
    simulated.set_dry_run(answer, checks_price)
    names = list(WRONG_IN_CVMSIM)[:6]
    template = replace(TEMPLATE, **{key: value for name in names for key, value in WRONG_IN_CVMSIM[name].items()})
    elsewhere = Placement(OTHER_POOL.zone, VPC, SUBNET)
    missing = Pool(POOL.zone, "S99.HUGE1")
    pools = ((POOL, PLACEMENT), (missing, PLACEMENT), (OTHER_POOL, elsewhere))
    findings = await found(simulated, desired_of(template, pools=pools, placements=(PLACEMENT, elsewhere)))
    assert fields(findings) == sorted([*names, "spec.instanceTypes[1]", "spec.placements[1].subnetId"])
    assert not findings.refusals


async def test_user_data_the_cloud_does_not_take_is_named(simulated: SimulatedGround) -> None:
    findings = await found(simulated, desired_of(user_data_digest="0123456789ab"), user_data="IyE=" * 5000)
    assert fields(findings) == ["spec.template.userData"]


async def test_a_zone_that_does_not_exist_is_named_and_the_others_are_checked(simulated: SimulatedGround) -> None:
    nowhere = Placement("ap-guangzhou-99")
    pools = ((Pool(nowhere.zone, POOL.instance_type), nowhere), (POOL, PLACEMENT))
    findings = await found(simulated, desired_of(pools=pools, placements=(nowhere, PLACEMENT)))
    assert fields(findings) == ["spec.placements[0].zone"]


async def test_no_stock_is_no_fault_and_hides_none_where_another_zone_has_some(simulated: SimulatedGround) -> None:
    simulated.switch("quote-lag", 300)  # quoted, and sold out since
    simulated.set_stock(POOL, 0)
    elsewhere = Placement(OTHER_POOL.zone)
    template = replace(TEMPLATE, cam_role_name="nobody")
    pools = ((POOL, PLACEMENT), (OTHER_POOL, elsewhere))
    findings = await found(simulated, desired_of(template, pools=pools, placements=(PLACEMENT, elsewhere)))
    assert fields(findings) == ["spec.template.camRoleName"]
    assert [(one.pool, one.count, str(one.trouble)) for one in findings.refusals] == [(POOL, 3, "InsufficientCapacity")]


# --- clouds of few words ---------------------------------------------------------------------------------------------


class Oracle:
    """A cloud that refuses whatever has a part of `wrong`, in the same words for all, and hints at nothing."""

    def __init__(self, wrong: set[Part], hint: Part | None = None) -> None:
        self.wrong, self.hint, self.asked = wrong, hint, 0

    async def check(self, request: LaunchRequest, user_data: str | None, on_behalf_of: str) -> None:
        self.asked += 1
        if self.wrong & set(parts_of(request)):
            error = InvalidConfiguration("InvalidParameter", "something is wrong")
            error.about = self.hint
            raise error


async def tried(oracle: Any) -> Findings:
    situation = Situation(desired_of(), Ledger(ENV), Observation(NOW), NOW, Policy())
    return await find_field_errors(situation, make_quote(situation), oracle, None, ENV)


EVERY_PART = parts_of(LaunchRequest(POOL, 1, "web", OWNERSHIP, "default@web", TEMPLATE, None, VPC, SUBNET))


@pytest.mark.parametrize("part", EVERY_PART)
@pytest.mark.parametrize("is_misled", [False, True])
async def test_a_fault_in_no_words_or_misleading_ones_is_found_by_leaving_out(part: Part, is_misled: bool) -> None:
    oracle = Oracle({part}, next(one for one in EVERY_PART if one is not part) if is_misled else None)
    (field_error,) = (await tried(oracle)).field_errors
    assert field_error.field == FIELDS[part]
    assert oracle.asked <= CALLS_MAX


FIELDS = {
    Part.NETWORK: "spec.placements[0].subnetId",
    Part.SECURITY_GROUPS: "spec.template.securityGroupIds",
    Part.LOGIN: "spec.template.loginSettings",
    Part.ROLE: "spec.template.camRoleName",
    Part.SYSTEM_DISK: "spec.template.systemDisk",
    Part.DATA_DISKS: "spec.template.dataDisks",
    Part.HOST_NAME: "spec.template.hostName",
    Part.INTERNET: "spec.template.internetAccessible",
    Part.TAGS: "spec.template.tags",
}


async def test_two_faults_in_the_same_words_are_told_apart_or_said_to_be_more() -> None:
    findings = await tried(Oracle({Part.ROLE, Part.TAGS}))
    assert findings.field_errors
    assert len(findings.field_errors) == 2 or findings.may_be_more


async def test_without_a_pool_to_ask_about_it_is_unchecked() -> None:
    nowhere, oracle = replace(desired_of(pools=()), unmet="the quotes are not known yet"), Oracle(set())
    situation = Situation(nowhere, Ledger(ENV), Observation(NOW), NOW, Policy())
    findings = await find_field_errors(situation, make_quote(situation), oracle, None, ENV)  # type: ignore[arg-type]  # never asked
    assert (findings.unchecked, oracle.asked) == ("the quotes are not known yet", 0)


async def test_a_key_that_may_not_ask_ends_it_at_once() -> None:
    class Forbidding(Oracle):
        async def check(self, request: LaunchRequest, user_data: str | None, on_behalf_of: str) -> None:
            self.asked += 1
            raise InvalidCredentials("UnauthorizedOperation", "not permitted")

    oracle = Forbidding(set())
    findings = await tried(oracle)
    assert [(one.field, one.code) for one in findings.field_errors] == [(None, "UnauthorizedOperation")]
    assert oracle.asked <= 2


async def test_a_refusal_that_no_part_explains_does_not_end_it() -> None:
    class Refusing(Oracle):
        async def check(self, request: LaunchRequest, user_data: str | None, on_behalf_of: str) -> None:
            raise InvalidConfiguration("InvalidParameter", "something is wrong")

    findings = await tried(Refusing(set()))
    assert [(one.field, one.code) for one in findings.field_errors] == [(None, "InvalidParameter")]
    assert findings.unchecked is None


async def test_a_part_that_the_key_may_not_use_is_named_and_the_rest_is_checked() -> None:
    class Forbidding(Oracle):
        async def check(self, request: LaunchRequest, user_data: str | None, on_behalf_of: str) -> None:
            if Part.ROLE in parts_of(request):
                raise InvalidCredentials("UnauthorizedOperation.CamRole", "may not pass the role")

    findings = await tried(Forbidding(set()))
    assert (fields(findings), findings.unchecked) == (["spec.template.camRoleName"], None)


@pytest.mark.parametrize(
    ("error", "asked"), [(NotSent("ClientNetworkError", "no route"), 1), (Throttled("RequestLimitExceeded", "slow"), 3)]
)
async def test_a_cloud_that_does_not_answer_leaves_it_unchecked(error: CloudError, asked: int) -> None:
    class Silent(Oracle):
        async def check(self, request: LaunchRequest, user_data: str | None, on_behalf_of: str) -> None:
            self.asked += 1
            raise error

    oracle = Silent(set())
    findings = await tried(oracle)
    assert (findings.field_errors, findings.unchecked) == ((), f"{error.code}: {error.message}")
    assert oracle.asked == asked


class First:
    """A cloud that refuses the first requests, and lets all others pass."""

    def __init__(self, count: int, error: CloudError) -> None:
        self.left, self.error = count, error

    async def check(self, request: LaunchRequest, user_data: str | None, on_behalf_of: str) -> None:
        if self.left:
            self.left -= 1
            raise self.error


FULL = NoRoom("ResourceInsufficient.SubnetFull", "no address left")
SOLD_OUT = InsufficientCapacity("ResourceInsufficient", "none left")


@pytest.mark.parametrize(
    ("cloud", "troubles"),
    [
        pytest.param(First(1, SOLD_OUT), ["InsufficientCapacity"], id="no-stock-is-a-refusal-whatever-the-subnet"),
        pytest.param(First(1, FULL), [], id="one-full-subnet-is-none-while-another-has-room"),
        pytest.param(First(99, FULL), ["SubnetFull"], id="all-are-full"),
    ],
)
async def test_of_two_subnets_one_may_be_full(cloud: Any, troubles: list[str]) -> None:
    other = replace(PLACEMENT, subnet_id="subnet-other")
    pools, placements = ((POOL, PLACEMENT), (POOL, other)), (PLACEMENT, other)
    market = Market({POOL: Offering(POOL, Decimal("0.02"), None, 2, 4)}, NOW)
    situation = Situation(
        desired_of(pools=pools, placements=placements), Ledger(ENV), Observation(NOW, market=market), NOW, Policy()
    )
    findings = await find_field_errors(situation, make_quote(situation), cloud, None, ENV)
    assert [str(one.trouble) for one in findings.refusals] == troubles
    assert findings.field_errors == ()
