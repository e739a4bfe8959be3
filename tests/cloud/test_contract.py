"""What every `CloudProvider` does: one suite, played on the world in memory and on `cvmsim` over HTTP.

The loop is proven against the first and runs on the second, so whatever holds here keeps the two honest.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from cloud.buying import ENV, FIRST, ONE, OWNERSHIP, launch, listed, running, several
from cloud.grounds import (
    IMAGE,
    KEY_PAIR,
    LIST_PRICE,
    OTHER_POOL,
    POOL,
    PRICE,
    ROLE,
    SECURITY_GROUP,
    SETTLED,
    SUBNET,
    SUBNET_ELSEWHERE,
    VPC,
    Ground,
    SimulatedGround,
)
from spotcompute.cloud.errors import (
    CloudError,
    InstanceBusy,
    InstanceGone,
    InsufficientCapacity,
    InvalidConfiguration,
    InvalidCredentials,
    OutcomeUnknown,
    PriceTooLow,
    QuotaExceeded,
    TerminationBlocked,
    Throttled,
)
from spotcompute.model.identity import was_adopted
from spotcompute.model.instance import InstanceState, Ownership
from spotcompute.model.launch import Disk, LaunchRequest, Part, Template
from spotcompute.model.offering import Pool


async def refused(ground: Ground, request: LaunchRequest, error: type[CloudError]) -> CloudError:
    """Launch `request`, which must be refused with exactly `error` and launch nothing."""
    before = ground.live(ENV)
    with pytest.raises(CloudError) as caught:
        await launch(ground, request)
    assert type(caught.value) is error
    assert caught.value.code
    assert caught.value.request_id
    assert ground.live(ENV) == before
    return caught.value


# --- whose the key is ------------------------------------------------------------------------------------------------


async def test_a_key_is_told_the_number_of_its_account(ground: Ground) -> None:
    assert ground.provider.account is None
    assert ground.provider.name == ground.provider.key
    number = await ground.provider.identify()
    assert number.isdigit()
    assert ground.provider.account == number
    assert ground.provider.name == f"{number}/ap-guangzhou"
    assert number not in ground.provider.key


async def test_a_key_that_may_not_ask_works_all_the_same(ground: Ground) -> None:
    ground.hide_account()
    with pytest.raises(InvalidCredentials) as caught:
        await ground.provider.identify()
    assert (caught.value.code, ground.provider.account) == ("UnauthorizedOperation", None)
    assert caught.value.request_id
    assert set(await launch(ground)) == set(await listed(ground))


# --- launch ----------------------------------------------------------------------------------------------------------


async def test_a_launched_instance_is_listed_as_what_was_asked_for(ground: Ground) -> None:
    started = ground.now().replace(microsecond=0)
    (instance_id,) = await launch(ground, replace(ONE, template=Template(IMAGE, tags=(("team", "blue"),))))
    instance = (await listed(ground))[instance_id]
    assert instance.state is InstanceState.PENDING
    assert (instance.name, instance.pool, instance.ownership) == ("web-abc-1", POOL, OWNERSHIP)
    assert instance.created_at == started or abs((instance.created_at - started).total_seconds()) <= 1
    assert instance.tags["team"] == "blue"
    assert not instance.has_ended
    assert not instance.was_released


async def test_it_runs_after_a_while(ground: Ground) -> None:
    (instance_id,) = await launch(ground)
    ground.wait(SETTLED)
    instance = (await listed(ground))[instance_id]
    assert instance.state is InstanceState.RUNNING
    assert instance.private_ip


async def test_several_are_launched_by_one_call_and_numbered(ground: Ground) -> None:
    ids = await launch(ground, several(12))
    assert len(set(ids)) == 12
    instances = await listed(ground)
    assert {instances[instance_id].name for instance_id in ids} == {f"web-abc-2-{number}" for number in range(1, 13)}


async def test_the_same_token_again_brings_the_same_instances(ground: Ground) -> None:
    ids = await launch(ground, several(3))
    assert await launch(ground, several(3)) == ids
    ground.wait(SETTLED)
    assert await launch(ground, several(3)) == ids
    assert ground.live(ENV) == set(ids)
    assert ground.peak(ENV) == 3


async def test_the_same_token_with_another_request_launches_nothing(ground: Ground) -> None:
    ids = await launch(ground, several(3))
    await refused(ground, several(4), InvalidConfiguration)
    assert ground.live(ENV) == set(ids)


async def test_another_token_brings_other_instances(ground: Ground) -> None:
    first, second = await launch(ground, token=FIRST), await launch(ground, token="token-2")
    assert set(first).isdisjoint(second)
    assert ground.peak(ENV) == 2


async def test_more_than_the_stock_is_refused_whole_and_less_is_had(ground: Ground) -> None:
    ground.set_stock(POOL, 2)
    await refused(ground, several(3), InsufficientCapacity)
    assert len(await launch(ground, several(2), "token-2")) == 2
    await refused(ground, replace(ONE, name="web-abc-9"), InsufficientCapacity)


async def test_stock_of_one_pool_is_not_that_of_another(ground: Ground) -> None:
    ground.set_stock(POOL, 0)
    await refused(ground, ONE, InsufficientCapacity)
    (instance_id,) = await launch(ground, replace(ONE, pool=OTHER_POOL), "token-2")
    assert (await listed(ground))[instance_id].pool == OTHER_POOL


async def test_a_bid_below_the_price_is_refused_and_one_at_the_price_is_not(ground: Ground) -> None:
    ground.set_price(POOL, "0.0924")
    await refused(ground, ONE, PriceTooLow)
    ground.set_price(POOL, "0.0923")
    assert await launch(ground, ONE, "token-2")


async def test_without_a_bid_the_market_price_is_paid(ground: Ground) -> None:
    ground.set_price(POOL, "5")
    assert await launch(ground, replace(ONE, max_price=None))


async def test_the_accounts_quota_is_another_reason(ground: Ground) -> None:
    ground.set_quota(2)
    await refused(ground, several(3), QuotaExceeded)
    assert len(await launch(ground, several(2), "token-2")) == 2


async def test_a_type_that_does_not_exist_is_a_wrong_configuration(ground: Ground) -> None:
    await refused(ground, replace(ONE, pool=Pool(POOL.zone, "S99.HUGE1")), InvalidConfiguration)


async def test_a_throttled_launch_launches_nothing_and_can_be_repeated(ground: Ground) -> None:
    ground.throttle_next_launch()
    with pytest.raises(Throttled):
        await launch(ground)
    assert ground.live(ENV) == set()
    assert len(await launch(ground)) == 1
    assert ground.peak(ENV) == 1


async def test_a_lost_answer_is_found_again_under_its_token(ground: Ground) -> None:
    ground.lose_answer_of_next_launch()
    with pytest.raises(OutcomeUnknown):
        await launch(ground, several(3))
    really = ground.live(ENV)
    assert len(really) == 3
    assert {instance.id for instance in await ground.provider.find_by_name("web-abc-2-", ENV)} == really
    assert set(await launch(ground, several(3))) == really
    assert ground.peak(ENV) == 3


async def test_an_accepted_launch_can_still_fail_and_then_disappears(ground: Ground) -> None:
    ground.doom_next(1)
    (instance_id,) = await launch(ground)
    ground.wait(SETTLED)
    instance = (await listed(ground))[instance_id]
    assert instance.state is InstanceState.LAUNCH_FAILED
    assert instance.has_ended
    with pytest.raises(InstanceBusy):
        await ground.provider.terminate([instance_id], ENV)
    ground.wait(3600)
    assert await listed(ground) == {}


# --- checks ----------------------------------------------------------------------------------------------------------

WHOLE = replace(
    ONE,
    template=Template(IMAGE, security_group_ids=(SECURITY_GROUP,), key_ids=(KEY_PAIR,), cam_role_name=ROLE),
    vpc_id=VPC,
    subnet_id=SUBNET,
)


async def checked(ground: Ground, request: LaunchRequest) -> CloudError | None:
    """What a dry run of `request` is refused with, None when it passes; nothing may have been launched."""
    error = None
    try:
        await ground.provider.check(request, None, ENV)
    except CloudError as refusal:
        error = refusal
    assert ground.live(ENV) == set()
    assert await listed(ground) == {}
    assert error is None or error.request_id
    return error


@pytest.mark.parametrize("answer", ["empty", "code"])
async def test_a_check_that_passes_launches_nothing(ground: Ground, answer: str) -> None:
    ground.set_dry_run(answer, "yes")
    assert await checked(ground, WHOLE) is None
    assert await checked(ground, replace(WHOLE, count=100)) is None
    assert await checked(ground, replace(WHOLE, max_price=None)) is None


async def test_a_check_uses_up_no_token_and_no_stock(ground: Ground) -> None:
    ground.set_stock(POOL, 1)
    for _ in range(3):
        assert await checked(ground, ONE) is None
    assert len(await launch(ground, ONE)) == 1


@pytest.mark.parametrize("answer", ["empty", "code"])
async def test_a_check_says_what_is_not_to_be_had(ground: Ground, answer: str) -> None:
    ground.set_dry_run(answer, "yes")
    ground.set_stock(POOL, 2)
    assert isinstance(await checked(ground, several(3)), InsufficientCapacity)
    assert await checked(ground, several(2)) is None
    ground.set_quota(1)
    assert isinstance(await checked(ground, several(2)), QuotaExceeded)


@pytest.mark.parametrize(("checks_price", "expected"), [("yes", PriceTooLow), ("no", type(None))])
async def test_whether_a_check_compares_the_bid_is_the_clouds_choice(
    ground: Ground, checks_price: str, expected: type
) -> None:
    ground.set_dry_run("empty", checks_price)
    ground.set_price(POOL, "5")
    assert type(await checked(ground, ONE)) is expected


WRONG = [
    pytest.param(replace(WHOLE, template=replace(WHOLE.template, image_id="img-00000000")), Part.IMAGE, id="image"),
    pytest.param(replace(WHOLE, subnet_id=SUBNET_ELSEWHERE), Part.NETWORK, id="subnet-of-another-zone"),
    pytest.param(
        replace(WHOLE, template=replace(WHOLE.template, security_group_ids=("sg-00000000",))),
        Part.SECURITY_GROUPS,
        id="security-group",
    ),
    pytest.param(replace(WHOLE, template=replace(WHOLE.template, key_ids=("skey-00000000",))), Part.LOGIN, id="key"),
    pytest.param(replace(WHOLE, template=replace(WHOLE.template, cam_role_name="nobody")), Part.ROLE, id="role"),
]


@pytest.mark.parametrize(("request_", "part"), WRONG)
async def test_a_check_names_what_is_wrong(ground: Ground, request_: LaunchRequest, part: Part) -> None:
    error = await checked(ground, request_)
    assert isinstance(error, InvalidConfiguration)
    assert error.about is part


async def test_a_check_without_an_image_takes_a_public_one(ground: Ground) -> None:
    assert await checked(ground, replace(WHOLE, template=replace(WHOLE.template, image_id=""))) is None


# --- lists -----------------------------------------------------------------------------------------------------------


async def test_a_cluster_sees_its_own_instances_only(ground: Ground) -> None:
    ours = await launch(ground)
    theirs = await launch(ground, replace(ONE, ownership=Ownership("cluster-2", ENV)), "token-2")
    assert set(await listed(ground)) == set(ours)
    assert set(await listed(ground, "cluster-2")) == set(theirs)
    assert await listed(ground, "cluster-3") == {}


async def test_a_long_list_is_complete(ground: Ground) -> None:
    ids = {
        instance_id
        for sequence, count in enumerate((100, 100, 37), start=2)
        for instance_id in await launch(ground, several(count, sequence), f"token-{sequence}")
    }
    assert set(await listed(ground)) == ids
    assert len(ids) == 237


async def test_ids_are_looked_up_and_unknown_ones_are_simply_absent(ground: Ground) -> None:
    ids = await running(ground, 3)
    found = await ground.provider.get_instances([ids[2], "ins-00nosuch", ids[0]], ENV)
    assert {instance.id for instance in found} == {ids[0], ids[2]}
    assert await ground.provider.get_instances([], ENV) == ()


async def test_a_launch_is_found_by_its_name_and_no_other_is(ground: Ground) -> None:
    (one,) = await launch(ground, ONE)
    (other,) = await launch(ground, replace(ONE, name="web-abc-12"), "token-2")
    many = await launch(ground, several(7, 1), "token-3")
    assert [instance.id for instance in await ground.provider.find_by_name("web-abc-1", ENV)] == [one]
    assert [instance.id for instance in await ground.provider.find_by_name("web-abc-12", ENV)] == [other]
    assert {instance.id for instance in await ground.provider.find_by_name("web-abc-1-", ENV)} == set(many)
    assert await ground.provider.find_by_name("web-abc-3", ENV) == ()


async def test_lists_lag_and_look_ups_by_id_do_not(ground: Ground) -> None:
    ground.set_lags(lists=60)
    (instance_id,) = await launch(ground)
    assert await listed(ground) == {}
    assert await ground.provider.find_by_name("web-abc-1", ENV) == ()
    assert [instance.id for instance in await ground.provider.get_instances([instance_id], ENV)] == [instance_id]
    ground.wait(61)
    assert set(await listed(ground)) == {instance_id}


async def test_tags_lag_so_names_find_what_the_cluster_cannot_see_yet(ground: Ground) -> None:
    ground.set_lags(tags=60)
    (instance_id,) = await launch(ground)
    assert await listed(ground) == {}
    (found,) = await ground.provider.find_by_name("web-abc-1", ENV)
    assert (found.id, found.ownership) == (instance_id, None)
    ground.wait(61)
    assert (await listed(ground))[instance_id].ownership == OWNERSHIP


async def test_tags_can_be_stolen_and_the_books_still_know_the_owner(ground: Ground) -> None:
    (instance_id,) = await running(ground)
    ground.steal(instance_id, "env-2")
    assert (await listed(ground))[instance_id].ownership == Ownership("cluster-1", "env-2")
    assert ground.live(ENV) == {instance_id}


async def test_the_market_quotes_prices_and_says_what_is_sold_out(ground: Ground) -> None:
    offerings = await ground.provider.list_offerings()
    offering = {offering.pool: offering for offering in offerings}[POOL]
    assert (offering.price_per_hour, offering.on_demand_price_per_hour) == (Decimal(PRICE), Decimal(LIST_PRICE))
    assert (offering.vcpu, offering.memory_gib, offering.sold_out) == (2, 4, False)
    ground.set_stock(POOL, 0)
    ground.set_price(POOL, "0.03")
    offering = {offering.pool: offering for offering in await ground.provider.list_offerings()}[POOL]
    assert (offering.price_per_hour, offering.sold_out) == (Decimal("0.03"), True)


@pytest.mark.parametrize(
    ("template", "extra"),
    [
        pytest.param(Template(IMAGE), "0.0035", id="the-system-disk-nobody-asked-for"),
        pytest.param(Template(IMAGE, system_disk=Disk("CLOUD_PREMIUM", 100)), "0.007", id="a-larger-one"),
        pytest.param(Template(IMAGE, data_disks=(Disk("CLOUD_PREMIUM", 200),) * 2), "0.0315", id="two-more"),
        pytest.param(
            Template(IMAGE, internet_charge_type="BANDWIDTH_POSTPAID_BY_HOUR", internet_max_bandwidth_out=5),
            "0.0585",
            id="bandwidth-by-the-hour",
        ),
        pytest.param(
            Template(IMAGE, internet_charge_type="TRAFFIC_POSTPAID_BY_HOUR", internet_max_bandwidth_out=5),
            "0.0035",
            id="not-traffic-by-the-gigabyte",
        ),
        pytest.param(Template("img-gone0000"), "0.0035", id="whatever-else-is-wrong-with-the-template"),
    ],
)
async def test_the_list_price_holds_what_comes_with_the_machine(ground: Ground, template: Template, extra: str) -> None:
    price = await ground.provider.list_price(POOL, template, ENV)
    assert price == pytest.approx(Decimal(LIST_PRICE) + Decimal(extra), abs=Decimal("1e-9"))
    assert ground.live(ENV) == set()


async def test_a_pool_that_nobody_sells_has_no_list_price(ground: Ground) -> None:
    with pytest.raises(CloudError):
        await ground.provider.list_price(Pool(POOL.zone, "S9.NONE"), Template(IMAGE), ENV)


# --- endings ---------------------------------------------------------------------------------------------------------


async def test_a_terminated_instance_goes(ground: Ground) -> None:
    (instance_id,) = await running(ground)
    request_id = await ground.provider.terminate([instance_id], ENV)
    instance = (await listed(ground))[instance_id]
    assert instance.state is InstanceState.TERMINATING
    assert (instance.was_released, instance.last_operation_request_id) == (True, request_id)
    ground.wait(SETTLED)
    assert await listed(ground) == {}
    assert await ground.provider.get_instances([instance_id], ENV) == ()


async def test_a_pending_instance_cannot_be_terminated_yet(ground: Ground) -> None:
    (instance_id,) = await launch(ground)
    with pytest.raises(InstanceBusy):
        await ground.provider.terminate([instance_id], ENV)
    ground.wait(SETTLED)
    await ground.provider.terminate([instance_id], ENV)


async def test_terminating_again_says_it_is_gone(ground: Ground) -> None:
    (instance_id,) = await running(ground)
    await ground.provider.terminate([instance_id], ENV)
    with pytest.raises(InstanceGone):
        await ground.provider.terminate([instance_id], ENV)
    ground.wait(SETTLED)
    with pytest.raises(InstanceGone):
        await ground.provider.terminate([instance_id], ENV)


async def test_one_bad_id_refuses_the_whole_batch(ground: Ground) -> None:
    ids = await running(ground, 3)
    for bad, error in ((("ins-00nosuch",), InstanceGone), (await launch(ground, token="token-9"), InstanceBusy)):
        with pytest.raises(error):
            await ground.provider.terminate([*ids, *bad], ENV)
        assert ground.live(ENV) >= set(ids)


async def test_a_protected_instance_is_not_released(ground: Ground) -> None:
    (instance_id,) = await running(ground)
    ground.protect(instance_id)
    with pytest.raises(TerminationBlocked):
        await ground.provider.terminate([instance_id], ENV)
    assert (await listed(ground))[instance_id].protected


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_of_a_size_the_cloud_does_not_take_is_a_mistake(ground: Ground, count: int) -> None:
    with pytest.raises(ValueError):
        await ground.provider.terminate([f"ins-{number:08d}" for number in range(count)], ENV)


async def test_a_reclaimed_instance_goes_without_a_trace_of_a_call(ground: Ground) -> None:
    kept, taken = await running(ground, 2)
    ground.reclaim(taken)
    seen = (await listed(ground)).get(taken)
    assert seen is None or (seen.has_ended and not seen.was_released)
    ground.wait(SETTLED)
    assert set(await listed(ground)) == {kept}
    assert ground.live(ENV) == {kept}


async def test_what_a_person_released_shows_that_somebody_did(ground: Ground) -> None:
    (instance_id,) = await running(ground)
    ground.console_terminate(instance_id)
    instance = (await listed(ground))[instance_id]
    assert (instance.state, instance.was_released) == (InstanceState.TERMINATING, True)


async def test_a_stopped_instance_is_still_there_and_can_be_terminated(ground: Ground) -> None:
    (instance_id,) = await running(ground)
    ground.stop(instance_id)
    ground.wait(SETTLED)
    instance = (await listed(ground))[instance_id]
    assert instance.state is InstanceState.STOPPED
    assert not instance.has_ended
    await ground.provider.terminate([instance_id], ENV)


async def test_a_launch_that_is_called_wrong_says_which_part_is(simulated: SimulatedGround) -> None:
    """The backoff remembers it, so that the condition names the field of the spec."""
    wrong = replace(ONE, template=replace(ONE.template, image_id="img-00000000"))
    with pytest.raises(InvalidConfiguration) as failure:
        await simulated.provider.launch(wrong, None, "a-token", ENV)
    assert failure.value.about is Part.IMAGE


# --- whose an instance is --------------------------------------------------------------------------------------------


async def test_an_instance_that_is_left_belongs_to_nobody_and_keeps_what_its_user_wrote(ground: Ground) -> None:
    (instance_id,) = await launch(ground, replace(ONE, template=Template(IMAGE, tags=(("team", "blue"),))))
    ground.wait(SETTLED)
    before = (await listed(ground))[instance_id]
    for _ in range(2):  # to repeat it is harmless
        assert await ground.provider.mark(before, None, "default@web", ENV)
    assert await listed(ground) == {}
    (instance,) = await ground.provider.get_instances([instance_id], ENV)
    assert (instance.ownership, instance.owner, instance.retained) == (None, None, "default@web")
    assert (instance.state, instance.tags["team"]) == (InstanceState.RUNNING, "blue")


async def test_an_instance_that_is_taken_over_is_listed_as_that_of_its_new_owner(ground: Ground) -> None:
    (instance_id,) = await running(ground)
    await ground.provider.mark((await listed(ground))[instance_id], None, "default@web", ENV)
    (left,) = await ground.provider.get_instances([instance_id], ENV)
    other = Ownership("cluster-2", "env-2")
    for _ in range(2):
        assert await ground.provider.mark(left, other, "jobs@web", "env-2")
    instance = (await listed(ground, "cluster-2"))[instance_id]
    assert (instance.ownership, instance.owner, instance.retained) == (other, "jobs@web", None)
    assert was_adopted(instance, other)
    assert not was_adopted(replace(instance, id="ins-2"), other)
    assert not was_adopted(instance, OWNERSHIP)


async def test_instances_are_found_by_a_tag_whoever_they_belong_to(ground: Ground) -> None:
    tagged = Template(IMAGE, tags=(("team", "blue"),))
    (first,) = await launch(ground, replace(ONE, template=tagged))
    (second,) = await launch(ground, replace(ONE, name="web-abc-3"), "token-2")
    ground.wait(SETTLED)
    (found,) = await ground.provider.find_by_tag("team", "blue", ENV)
    assert (found.id, found.image_id, found.charge_type) == (first, IMAGE, None)
    assert await ground.provider.find_by_tag("team", "red", ENV) == ()
    await ground.provider.mark((await listed(ground))[second], None, "default@web", ENV)
    assert [one.id for one in await ground.provider.find_by_tag("spotcompute-retained", "default@web", ENV)] == [second]


async def test_tags_of_an_instance_that_is_gone_cannot_be_changed(ground: Ground) -> None:
    (instance_id,) = await running(ground)
    before = (await listed(ground))[instance_id]
    ground.reclaim(instance_id)
    ground.wait(SETTLED)
    with pytest.raises(InstanceGone):
        await ground.provider.mark(before, None, "default@web", ENV)


async def test_who_may_not_be_told_whose_the_key_is_changes_no_tags(ground: Ground) -> None:
    (instance_id,) = await running(ground)
    ground.hide_account()
    with pytest.raises(InvalidCredentials):
        await ground.provider.mark((await listed(ground))[instance_id], None, "default@web", ENV)
    assert (await listed(ground))[instance_id].ownership == OWNERSHIP


# --- timers ----------------------------------------------------------------------------------------------------------


def ahead(ground: Ground, minutes: float) -> datetime:
    """So many minutes from now, in whole seconds."""
    return (ground.now() + timedelta(minutes=minutes)).replace(microsecond=0)


async def test_an_instance_ends_by_itself_at_the_moment_that_its_launch_has_named(ground: Ground) -> None:
    (instance_id,) = await launch(ground, replace(ONE, ends_at=ahead(ground, 20)))
    ground.wait(19 * 60)
    assert ground.live(ENV) == {instance_id}
    ground.wait(2 * 60)
    assert ground.live(ENV) == set()


async def test_the_last_timer_counts_and_to_repeat_it_is_harmless(ground: Ground) -> None:
    first, second = await launch(ground, replace(several(2), ends_at=ahead(ground, 20)))
    ground.wait(SETTLED)
    later = ahead(ground, 40)
    for _ in range(2):
        await ground.provider.set_timers([first], later, ENV)
    ground.wait(21 * 60)
    assert ground.live(ENV) == {first}, f"{second} had the former timer"
    ground.wait(20 * 60)
    assert ground.live(ENV) == set()


async def test_a_timer_that_was_taken_off_ends_nothing(ground: Ground) -> None:
    ids = await launch(ground, replace(several(2), ends_at=ahead(ground, 20)))
    ground.wait(SETTLED)
    for _ in range(2):
        await ground.provider.set_timers(ids, None, ENV)
    ground.wait(30 * 60)
    assert ground.live(ENV) == set(ids)


async def test_one_instance_that_is_gone_keeps_the_others_from_getting_a_timer(ground: Ground) -> None:
    first, second = await launch(ground, several(2))
    ground.wait(SETTLED)
    ground.reclaim(first)
    with pytest.raises(InstanceGone):
        await ground.provider.set_timers([first, second], ahead(ground, 20), ENV)
    ground.wait(30 * 60)
    assert ground.live(ENV) == {second}


async def test_a_timer_that_would_end_an_instance_too_soon_is_refused(ground: Ground) -> None:
    (instance_id,) = await running(ground)
    with pytest.raises(InvalidConfiguration):
        await ground.provider.set_timers([instance_id], ahead(ground, 4), ENV)
    with pytest.raises(InvalidConfiguration) as caught:
        await launch(ground, replace(ONE, name="web-abc-9", ends_at=ahead(ground, 4)), "token-9")
    assert caught.value.about is Part.TIMER
