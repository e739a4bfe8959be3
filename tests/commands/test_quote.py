"""`spotcompute quote`, from a file to its exit code, against a simulated cloud of its own process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from cloud.grounds import IMAGE, KEY, OTHER_POOL, POOL, SimulatedGround
from spotcompute.__main__ import main

SAMPLES = Path(__file__).parents[2] / "deploy" / "samples"
Run = Callable[..., Result]


def manifest(name: str = "web", **spec: Any) -> dict[str, Any]:
    """A valid one; fields of `spec` win, and those that are None are left out."""
    whole = {
        "region": "ap-guangzhou",
        "replicas": 3,
        "placements": [{"zone": POOL.zone}],
        "instanceTypes": [POOL.instance_type],
        "template": {"imageId": IMAGE},
    } | spec
    return {
        "apiVersion": "spotcompute.dev/v1alpha1",
        "kind": "SpotComputeEnvironment",
        "metadata": {"name": name},
        "spec": {key: value for key, value in whole.items() if value is not None},
    }


@pytest.fixture
def run(simulated: SimulatedGround, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command on documents or a text; nothing may be bought by it, and the key is never shown."""
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", KEY.secret_id)
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", KEY.secret_key)
    monkeypatch.setenv("SPOTCOMPUTE_ENDPOINT", simulated.sim.api)
    monkeypatch.setenv("SPOTCOMPUTE_PROTOCOL", "http")

    def quote(*documents: Any, text: str | None = None, file: Path | None = None, output: str = "table") -> Result:
        path = file or tmp_path / "env.yaml"
        if file is None:
            path.write_text(yaml.safe_dump_all(documents) if text is None else text)
        result = CliRunner().invoke(main, ["quote", "-f", str(path), "-o", output])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert KEY.secret_key not in result.output
        assert simulated.sim("ledger", "GET")["instances"] == []
        return result

    return quote


def answers(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.stdout)["environments"]
    return found


def test_what_could_be_launched_is_shown_with_its_cost(run: Run) -> None:
    result = run(manifest())
    assert result.exit_code == 0, result.output
    for words in (
        "S2.MEDIUM4@ap-guangzhou-3",
        "Would be had now: 3 of 3 instances. The cloud would accept it.",
        "3      S2.MEDIUM4@ap-guangzhou-3  0.0214  0.0642",
        "3      disks and bandwidth        0.0035  0.0105",
        "together, in CNY                   0.0747",
        "77% less",
        "54.53 CNY",
    ):
        assert words in result.output


def test_programs_get_the_same(run: Run) -> None:
    result = run(manifest(market={"maxPrice": "0.05"}), output="json")
    (answer,) = answers(result)
    assert (result.exit_code, answer["verdict"], answer["launchable"], answer["errors"]) == (0, "Had", True, [])
    assert answer["choice"] == [
        {
            "zone": POOL.zone,
            "instanceType": POOL.instance_type,
            "count": 3,
            "pricePerHour": "0.0214",
            "bid": "0.05",
        }
    ]
    assert (answer["perHour"], answer["onDemandPerHour"], answer["perMonth"]) == ("0.0747", "0.3318", "54.531")
    (pool,) = answer["pools"]
    assert pool.items() >= {"stock": "Enough", "pricePerHour": "0.0214", "asked": True}.items()


def test_what_is_sold_out_is_shown_as_stock_and_is_no_success(run: Run, simulated: SimulatedGround) -> None:
    simulated.set_stock(POOL, 0)
    result = run(manifest(), output="json")
    (answer,) = answers(result)
    assert (result.exit_code, answer["verdict"], answer["chosen"], answer["errors"]) == (3, "NotNow", 0, [])
    assert (answer["pools"][0]["stock"], answer["pools"][0]["why"]) == ("None", "sold out, by the quotes")


def test_a_bid_below_the_price_is_no_success(run: Run) -> None:
    result = run(manifest(market={"maxPrice": "0.01"}))
    assert result.exit_code == 3
    assert "the price is above the bid" in result.output
    assert "Not now: 0 of 3 instances, the market has too little now." in result.output


def test_every_wrong_field_is_listed_by_its_name(run: Run) -> None:
    wrong = {
        "imageId": "img-00000000",
        "securityGroupIds": ["sg-00000000"],
        "loginSettings": {"keyIds": ["skey-00000000"]},
        "camRoleName": "nobody",
        "userData": "x" * 17000,
    }
    elsewhere = {"zone": OTHER_POOL.zone, "vpcId": "vpc-gz000001", "subnetId": "subnet-gz000003"}
    types = [POOL.instance_type, OTHER_POOL.instance_type, "S99.HUGE1"]
    result = run(manifest(template=wrong, placements=[{"zone": POOL.zone}, elsewhere], instanceTypes=types))
    assert result.exit_code == 2
    for field in (*(f"spec.template.{name}" for name in wrong), "spec.placements[1].subnetId", "spec.instanceTypes[2]"):
        assert f"  {field}: " in result.output


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param({"template": {}}, "spec.template.imageId: InvalidSpec: Field required", id="missing"),
        pytest.param({"replicas": 2001}, "spec.replicas: InvalidSpec: Input should be less than", id="too-many"),
        pytest.param(
            {"market": {"maxPrice": "cheap"}}, "spec.market.maxPrice: InvalidSpec: must be a positive", id="price"
        ),
        pytest.param({"placements": [{}]}, "spec.placements[0].zone: InvalidSpec: Field required", id="in-a-list"),
        pytest.param({"instanceTypes": None}, "give either instanceTypes or instanceRequirements", id="no-types"),
        pytest.param(
            {"replica": 3}, "spec.replica: InvalidSpec: there is no such field; is replicas meant?", id="typo"
        ),
        pytest.param({"region": "a.evil.example"}, "spec.region: InvalidSpec: must be a region name", id="region"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused_by_its_field(run: Run, spec: dict[str, Any], words: str) -> None:
    result = run(manifest(**spec))
    assert result.exit_code == 2
    assert words in result.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a: [", "this is not YAML, line 1", id="not-yaml"),
        pytest.param("", "there is no SpotComputeEnvironment", id="empty"),
        pytest.param("- 1\n", "no Kubernetes object", id="a-list"),
        pytest.param("kind: Deployment\n", "this is a Deployment, and only SpotComputeEnvironment", id="another-kind"),
        pytest.param(
            "kind: SpotComputeEnvironment\napiVersion: v1\n", "must be spotcompute.dev/v1alpha1", id="version"
        ),
        pytest.param(
            "kind: SpotComputeEnvironment\napiVersion: spotcompute.dev/v1alpha1\n", "no metadata.name", id="no-name"
        ),
        pytest.param("kind: Secret\nmetadata: {name: x}\n", "there is no SpotComputeEnvironment", id="sources-alone"),
    ],
)
def test_what_cannot_be_quoted_is_a_mistake_of_usage(run: Run, text: str, words: str) -> None:
    result = run(text=text)
    assert (result.exit_code, words in result.output) == (2, True), result.output


def test_a_file_that_does_not_exist_is_named(run: Run, tmp_path: Path) -> None:
    result = run(file=tmp_path / "nothing.yaml")
    assert result.exit_code == 2
    assert "nothing.yaml" in result.output


def test_without_a_key_it_says_which_variables_to_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENCENTCLOUD_SECRET_KEY")
    result = run(manifest())
    assert result.exit_code == 2
    assert "TENCENTCLOUD_SECRET_KEY" in result.output


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        pytest.param("SPOTCOMPUTE_PROTOCOL", "https", "Set SPOTCOMPUTE_PROTOCOL=http", id="https-to-a-server-of-http"),
        pytest.param("SPOTCOMPUTE_PROTOCOL", "ftp", "SPOTCOMPUTE_PROTOCOL: Input should be", id="no-such-protocol"),
        pytest.param("SPOTCOMPUTE_ENDPOINT", "127.0.0.1:9", "Correct SPOTCOMPUTE_ENDPOINT", id="nothing-answers"),
        pytest.param(
            "SPOTCOMPUTE_ENDPOINT",
            "http://127.0.0.1:9",
            "Set SPOTCOMPUTE_ENDPOINT=127.0.0.1:9 and SPOTCOMPUTE_PROTOCOL=http",
            id="a-scheme",
        ),
        pytest.param("SPOTCOMPUTE_ENDPOINT", "cvm.example.com", "Unset SPOTCOMPUTE_PROTOCOL", id="http-to-elsewhere"),
    ],
)
def test_a_wrong_endpoint_or_protocol_is_a_mistake_and_names_its_variable(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    result = run(manifest())
    assert result.exit_code == 2
    assert words in result.output
    assert "HTTPSConnection" not in result.output


def test_what_the_cloud_refuses_is_not_counted_as_had(run: Run, simulated: SimulatedGround) -> None:
    """The market states enough, and the quota allows fewer: one answer, and nothing that contradicts it."""
    simulated.set_quota(2)
    result = run(manifest(replicas=3))
    assert result.exit_code == 3
    assert "Not now: 0 of 3 instances, the cloud would refuse the rest." in result.output
    assert "LimitExceeded.UserSpotQuota" in result.output
    assert "3 of 3" not in result.output
    assert "What would be bought" not in result.output


def test_the_worst_of_several_decides_the_exit_code(run: Run, simulated: SimulatedGround) -> None:
    simulated.set_stock(POOL, 0)
    elsewhere = {"placements": [{"zone": OTHER_POOL.zone}], "instanceTypes": [OTHER_POOL.instance_type]}
    assert run(manifest("had", **elsewhere)).exit_code == 0
    assert run(manifest("had", **elsewhere), manifest("sold-out")).exit_code == 3
    assert run(manifest("sold-out"), manifest("wrong", template={})).exit_code == 2


def test_a_key_the_cloud_does_not_know_is_an_error_and_not_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", "canaryOfAWrongSecretKey1")
    result = run(manifest())
    assert result.exit_code == 2
    assert "AuthFailure" in result.output
    assert "Correct TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY" in result.output
    assert "canary" not in result.output


def test_several_documents_are_each_quoted_and_one_bad_one_fails(run: Run) -> None:
    result = run(manifest("one"), manifest("two", template={"imageId": "img-00000000"}), output="json")
    assert result.exit_code == 2
    assert [(one["name"], one["launchable"]) for one in answers(result)] == [
        ("default/one", True),
        ("default/two", False),
    ]


def test_the_samples_can_be_quoted_and_say_whose_key_was_used(run: Run) -> None:
    for name in ("first", "seed", "render-farm"):
        result = run(file=SAMPLES / f"{name}.yaml")
        assert result.exit_code == 0, result.output
        assert "not that of Secret tencent-credentials" in result.output


def test_user_data_of_the_same_file_is_checked_and_never_shown(run: Run, simulated: SimulatedGround) -> None:
    boot = {"kind": "Secret", "metadata": {"name": "boot"}, "stringData": {"run": "canary of a script"}}
    template = {"imageId": IMAGE, "userDataFrom": {"secretKeyRef": {"name": "boot", "key": "run"}}}
    result = run(boot, manifest(template=template))
    assert result.exit_code == 0
    assert "canary" not in result.output
    assert "UserData" in simulated.sim("ledger", "GET")["requests"][-1]["params"]


def test_user_data_that_is_not_in_the_file_is_left_out_and_said_so(run: Run) -> None:
    template = {"imageId": IMAGE, "userDataFrom": {"configMapKeyRef": {"name": "boot", "key": "run"}}}
    result = run(manifest(template=template))
    assert result.exit_code == 0
    assert "user data from boot is not in this file" in result.output


def in_subnets(*names: str) -> list[dict[str, str]]:
    """One zone with these subnets of the simulator's default world."""
    return [{"zone": POOL.zone, "vpcId": "vpc-gz000001", "subnetId": name} for name in names]


def test_a_full_subnet_is_no_refusal_while_the_zone_has_another(run: Run) -> None:
    small, large = in_subnets("subnet-gzsmall3"), in_subnets("subnet-gz000003")
    assert run(manifest(replicas=10, placements=small)).exit_code == 0
    assert run(manifest(replicas=20, placements=small)).exit_code != 0
    both = run(manifest(replicas=20, placements=small + large))
    assert both.exit_code == 0, both.output
    assert "would accept it" in both.output


def test_user_data_that_is_base64_already_is_named_and_hinders_nothing(run: Run) -> None:
    template = {"imageId": IMAGE, "userData": "I2Nsb3VkLWNvbmZpZwo="}
    result = run(manifest(template=template))
    assert result.exit_code == 0, result.output
    assert "looks like base64" in result.output
    (answer,) = answers(run(manifest(template=template), output="json"))
    assert any("looks like base64" in note for note in answer["notes"])


def test_binary_data_of_a_config_map_in_the_file_is_read(run: Run) -> None:
    reference = {"imageId": IMAGE, "userDataFrom": {"configMapKeyRef": {"name": "boot", "key": "ud"}}}
    packed = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "boot"}, "binaryData": {"ud": "H4sIAAAA"}}
    assert run(manifest(template=reference), packed).exit_code == 0
    result = run(manifest(template=reference), packed | {"binaryData": {"ud": "no base64!"}})
    assert "binaryData of ConfigMap boot is not base64" in result.output
