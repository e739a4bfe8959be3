"""The provider under every answer the vendor's documents leave open, and under trouble on the way: on `cvmsim`."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cloud.buying import ENV, FIRST, ONE, launch, listed, running, several
from cloud.grounds import KEY, POOL, SETTLED, SimulatedGround, Simulator, provider_of
from spotcompute.cloud.credentials import Credentials
from spotcompute.cloud.errors import (
    CloudError,
    InstanceGone,
    InsufficientCapacity,
    InvalidCredentials,
    OutcomeUnknown,
    Unavailable,
)
from spotcompute.cloud.tencent.translate import launch_parameters
from spotcompute.model.instance import InstanceState
from spotcompute.model.launch import Disk, Template


@pytest.mark.parametrize("order", ["creation", "newest-first"])
async def test_a_long_list_is_complete_whichever_end_it_begins_at(simulated: SimulatedGround, order: str) -> None:
    simulated.switch("order", order)
    ids = {*await launch(simulated, several(100, 2), "token-2"), *await launch(simulated, several(40, 3), "token-3")}
    assert set(await listed(simulated)) == ids


async def test_a_long_list_in_no_order_at_all_is_complete_or_says_that_it_is_not(simulated: SimulatedGround) -> None:
    simulated.switch("order", "shuffled")
    ids = {*await launch(simulated, several(100, 2), "token-2"), *await launch(simulated, several(40, 3), "token-3")}
    for _ in range(5):
        (result,) = await asyncio.gather(listed(simulated), return_exceptions=True)
        assert isinstance(result, Unavailable) or set(result) == ids  # type: ignore[arg-type]  # a set by now


@pytest.mark.parametrize(
    "code",
    [
        "ResourceInsufficient.SpecifiedInstanceType",
        "ResourcesSoldOut.SpecifiedInstanceType",
        "InvalidParameterValue.InsufficientOffering",
        "LimitExceeded.SpotQuota",
        "ResourceInsufficient.AvailabilityZoneSoldOut",
        "ResourceUnavailable.InstanceType",
    ],
)
async def test_sold_out_is_understood_in_all_its_words(simulated: SimulatedGround, code: str) -> None:
    simulated.switch("sold-out-code", code)
    simulated.set_stock(POOL, 0)
    with pytest.raises(InsufficientCapacity) as caught:
        await launch(simulated)
    assert caught.value.code == code


@pytest.mark.parametrize("answer", ["absent", "error"])
async def test_unknown_ids_are_absent_however_the_cloud_says_so(simulated: SimulatedGround, answer: str) -> None:
    simulated.switch("unknown-id", answer)
    ids = await running(simulated, 5)
    asked = ["ins-aaaaaaaa", *ids[:3], "ins-bbbbbbbb", *ids[3:], "ins-cccccccc"]
    assert {instance.id for instance in await simulated.provider.get_instances(asked, ENV)} == set(ids)
    assert await simulated.provider.get_instances(["ins-aaaaaaaa"], ENV) == ()


async def test_the_recycle_bin_shows_as_shutdown_and_a_second_release_ends_it(simulated: SimulatedGround) -> None:
    simulated.switch("recycle-bin", "yes")
    (instance_id,) = await running(simulated)
    await simulated.provider.terminate([instance_id], ENV)
    simulated.wait(SETTLED)
    instance = (await listed(simulated))[instance_id]
    assert instance.state is InstanceState.SHUTDOWN
    assert instance.is_in_recycle_bin
    await simulated.provider.terminate([instance_id], ENV)
    simulated.wait(SETTLED)
    assert await listed(simulated) == {}


@pytest.mark.parametrize("visible", ["terminating", "shutdown", "absent"])
async def test_a_reclaim_is_no_release_however_it_shows(simulated: SimulatedGround, visible: str) -> None:
    simulated.switch("reclaim-visible", visible)
    (instance_id,) = await running(simulated)
    simulated.reclaim(instance_id)
    seen = (await listed(simulated)).get(instance_id)
    assert (seen is None) is (visible == "absent")
    assert seen is None or (seen.has_ended and not seen.was_released)


@pytest.mark.parametrize(
    "kind",
    [
        "5xx",
        "reset",
        "refuse_before_commit",
        "html",
        "lost_after_commit",
        "5xx_after_commit",
        "malformed",
        "no_response",
    ],
)
async def test_whatever_happens_to_an_answer_the_token_brings_three_and_no_more(
    simulated: SimulatedGround, kind: str
) -> None:
    simulated.fault(kind, action="RunInstances")
    with pytest.raises(OutcomeUnknown):
        await launch(simulated, several(3))
    ids = await launch(simulated, several(3))
    assert simulated.live(ENV) == set(ids)
    assert simulated.peak(ENV) == 3


async def test_an_answer_with_another_content_type_is_still_an_answer(simulated: SimulatedGround) -> None:
    simulated.fault("wrong_content_type", action="RunInstances")
    ids = await launch(simulated, several(3))
    assert simulated.live(ENV) == set(ids)


async def test_an_id_named_twice_is_one_instance(simulated: SimulatedGround) -> None:
    simulated.fault("duplicate_ids", action="RunInstances")
    ids = await launch(simulated, several(3))
    assert len(ids) == len(set(ids))
    assert simulated.live(ENV) >= set(ids)


async def test_each_attempt_is_one_request_in_the_simulators_books(simulated: SimulatedGround) -> None:
    simulated.throttle_next_launch()
    with pytest.raises(CloudError):
        await launch(simulated)
    await launch(simulated)
    requests = simulated.sim("ledger", "GET")["requests"]
    assert [(row["action"], row["code"]) for row in requests] == [
        ("RunInstances", "RequestLimitExceeded"),
        ("RunInstances", ""),
    ]


async def test_what_was_terminated_in_part_shows_when_asked_again(simulated: SimulatedGround) -> None:
    simulated.switch("terminate-batch", "partial")
    ids = await running(simulated, 3)
    with pytest.raises(InstanceGone):
        await simulated.provider.terminate([ids[0], "ins-00000000", ids[1], ids[2]], ENV)
    ended = {instance.id for instance in (await listed(simulated)).values() if instance.has_ended}
    assert ended == {ids[0]}


@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        (Credentials("AKIDnobodyknowsthis000000000000000000", "secretKey0000"), "AuthFailure.SecretIdNotFound"),
        (Credentials(KEY.secret_id, "aWrongSecretKey00"), "AuthFailure.SignatureFailure"),
    ],
    ids=["unknown id", "wrong key"],
)
async def test_a_wrong_key_is_named_and_not_shown(
    sim: Simulator, threads: ThreadPoolExecutor, credentials: Credentials, code: str
) -> None:
    ground = SimulatedGround(sim, threads, credentials)
    for call in (launch(ground), listed(ground), ground.provider.list_offerings()):
        with pytest.raises(InvalidCredentials) as caught:
            await call
        assert caught.value.code == code
        assert credentials.secret_key not in str(caught.value)


async def test_a_key_that_is_rotated_away_stops_working_and_the_new_one_works(
    sim: Simulator, threads: ThreadPoolExecutor
) -> None:
    old = SimulatedGround(sim, threads)
    ids = await launch(old)
    sim("credentials", op="rotate", secretId=KEY.secret_id, secretKey="theNewKeyOfTheTests")
    with pytest.raises(InvalidCredentials):
        await listed(old)
    new = provider_of(sim, threads, Credentials(KEY.secret_id, "theNewKeyOfTheTests"))
    assert {instance.id for instance in await new.list_instances("cluster-1")} == set(ids)
    assert new.key != old.provider.key
    assert await new.identify() == "100000000001"


def temporary(sim: Simulator, token: str) -> Credentials:
    """A key with a token, as STS hands out for an hour; each is another."""
    key = Credentials(f"AKIDtemporary{token}", "secretOfAnHour", token)
    sim("credentials", op="add", account="100000000001", secretId=key.secret_id, secretKey=key.secret_key, token=token)
    return key


async def test_keys_and_tokens_of_one_account_are_told_the_same_number(
    sim: Simulator, threads: ThreadPoolExecutor
) -> None:
    SimulatedGround(sim, threads)
    keys = [KEY, temporary(sim, "one"), temporary(sim, "two")]
    found = [provider_of(sim, threads, key) for key in keys]
    assert {await one.identify() for one in found} == {"100000000001"}
    assert len({one.key for one in found}) == len(keys)
    stranger = Credentials("AKIDsimulatedsecretid0000000000000002", "simulatedSecretKey000000000000002")
    assert await provider_of(sim, threads, stranger).identify() == "100000000002"


async def test_everything_a_template_can_say_is_accepted(simulated: SimulatedGround) -> None:
    template = Template(
        "img-487zeit5",
        system_disk=Disk("CLOUD_PREMIUM", 60),
        data_disks=(Disk("CLOUD_SSD", 100),),
        security_group_ids=("sg-gz000001",),
        key_ids=("skey-gz000001",),
        host_name="worker",
        internet_charge_type="TRAFFIC_POSTPAID_BY_HOUR",
        internet_max_bandwidth_out=5,
        public_ip=True,
        project_id=0,
        cam_role_name="spot-worker",
        security_service=False,
        monitor_service=True,
        tags=(("team", "blue"),),
    )
    request = replace(ONE, template=template, vpc_id="vpc-gz000001", subnet_id="subnet-gz000003")
    receipt = await simulated.provider.launch(request, "IyEvYmluL3NoCg==", FIRST, ENV)
    simulated.wait(SETTLED)
    (instance,) = await simulated.provider.get_instances(receipt.instance_ids, ENV)
    assert instance.state is InstanceState.RUNNING
    assert simulated.sim("ledger", "GET")["requests"][0]["params"] == launch_parameters(
        request, "IyEvYmluL3NoCg==", FIRST
    )
