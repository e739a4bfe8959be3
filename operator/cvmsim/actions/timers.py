"""Answers the three actions about timers that end instances.

Apart from `order`, which reads the timer of a purchase.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from cvmsim.actions.call import Answer, Call, Params, instance_ids_of
from cvmsim.actions.change import check_timed, find
from cvmsim.actions.look import utc
from cvmsim.actions.order import end_of
from cvmsim.errors import ApiError
from cvmsim.timers import UNDO, Timer
from cvmsim.world import World


def import_instances_action_timer(world: World, call: Call) -> Answer:
    """Sets a timer for each instance. Source: CVM API 2017-03-12, ImportInstancesActionTimer."""
    ids = instance_ids_of(call.params, world.switches["malformed-id"])
    if not ids:
        raise ApiError("MissingParameter", "The request is missing a required parameter `InstanceIds`.")
    at = end_of(world, call.params)
    if at is None:
        raise ApiError("MissingParameter", "The request is missing a required parameter `ActionTimer`.")
    found = [find(world, call, one) for one in ids]
    for instance in found:
        check_timed(instance)
        if any(timer.status == UNDO for timer in world.timers.of([instance.id])):
            raise ApiError("FailedOperation.MutActionTimerExist", f"`{instance.id}` has a timer already.")
    world.commits += 1
    return {"ActionTimerIds": [world.set_timer(instance, at).id for instance in found]}


def delete_instances_action_timer(world: World, call: Call) -> Answer:
    """Deletes timers that have done nothing yet, all or none. Source: DeleteInstancesActionTimer."""
    timers = [_own(world, call, one) for one in dict.fromkeys(call.params["ActionTimerIds"])]
    if not timers:
        raise ApiError("MissingParameter", "The request is missing a required parameter `ActionTimerIds`.")
    for timer in timers:
        if timer.status != UNDO:
            raise ApiError("UnsupportedOperation", f"The timer `{timer.id}` is {timer.status}.")
    for timer in timers:
        world.timers.delete(timer)
    world.commits += 1
    return {}


def _own(world: World, call: Call, timer_id: str) -> Timer:
    timer = world.timers.find(timer_id)
    if timer is None or not _is_own(world, call, timer):
        raise ApiError("InvalidParameterValue", f"The timer `{timer_id}` does not exist.")
    return timer


def _is_own(world: World, call: Call, timer: Timer) -> bool:
    order = world.instances[timer.instance_id].order
    return (order.account, order.region) == (call.account, call.region)


def describe_instances_action_timer(world: World, call: Call) -> Answer:
    """Answers timers by their ids, by instances, by time and by status. Source: DescribeInstancesActionTimer."""
    params = call.params
    ids, instance_ids = params.get("ActionTimerIds"), params.get("InstanceIds")
    statuses, start, end = params.get("StatusList"), _moment(params, "Start"), _moment(params, "End")
    tests: list[Callable[[Timer], bool]] = [
        lambda timer: _is_own(world, call, timer),
        lambda timer: not ids or timer.id in ids,
        lambda timer: not instance_ids or timer.instance_id in instance_ids,
        lambda timer: not statuses or timer.status in statuses,
        lambda timer: start is None or timer.at >= start,
        lambda timer: end is None or timer.at <= end,
        lambda timer: params.get("TimerAction") in (None, "", "TerminateInstances"),
    ]
    found = [timer for timer in world.timers.all() if all(test(timer) for test in tests)]
    return {"ActionTimers": [_row(world, timer) for timer in found]}


def _moment(params: Params, name: str) -> float | None:
    word = params.get(f"{name}ActionTime")
    if not word:
        return None
    try:
        return datetime.strptime(word, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError as problem:
        raise ApiError("InvalidParameterValue.InvalidTimeFormat", f"`{word}` is not YYYY-MM-DD hh:mm:ss.") from problem


def _row(world: World, timer: Timer) -> Answer:
    asked = world.instances[timer.instance_id].order.template.get("ActionTimer") or {}
    return {
        "TimerAction": "TerminateInstances",
        "ActionTime": utc(timer.at),
        "Externals": asked.get("Externals") or {},
        "ActionTimerId": timer.id,
        "Status": timer.status,
        "InstanceId": timer.instance_id,
    }
