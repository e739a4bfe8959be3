"""Answers TerminateInstances, StopInstances, StartInstances and ModifyInstancesAttribute.

Apart from `buy` because all four first judge a list of ids, with the same rules about states.
"""

from collections.abc import Callable, Mapping

from cvmsim.actions.call import Answer, Call, instance_ids_of
from cvmsim.actions.order import check_host_name, check_user_data, security_groups_of
from cvmsim.errors import ApiError
from cvmsim.instance import (
    LAUNCH_FAILED,
    PENDING,
    RUNNING,
    SHUTDOWN,
    STARTING,
    STOPPED,
    STOPPING,
    TERMINATING,
    Instance,
    Operation,
)
from cvmsim.world import World

REFUSAL_BY_STATE: Mapping[str, str] = {
    PENDING: "UnsupportedOperation.InstanceStatePending",
    LAUNCH_FAILED: "UnsupportedOperation.InstanceStateLaunchFailed",
    STARTING: "UnsupportedOperation.InstanceStateStarting",
    STOPPING: "UnsupportedOperation.InstanceStateStopping",
    STOPPED: "UnsupportedOperation.InstanceStateStopped",
    RUNNING: "UnsupportedOperation.InstanceStateRunning",
    SHUTDOWN: "UnsupportedOperation.InstanceStateShutdown",
    TERMINATING: "UnsupportedOperation.InstanceStateTerminating",
}
NAME_MAX_BYTES = 60
ATTRIBUTES = ("InstanceName", "UserData", "SecurityGroups", "CamRoleName", "HostName", "DisableApiTermination",
              "EnableJumboFrame")  # fmt: skip


def terminate_instances(world: World, call: Call) -> Answer:
    """Ends instances. There is no result per instance, so one bad id fails the call. Source: TerminateInstances."""
    cause = f"TerminateInstances {call.request_id}"
    operation = Operation("TerminateInstances", call.request_id, "OPERATING")
    releases = bool(call.params.get("ReleaseAddress"))

    def end(instance: Instance) -> None:
        instance.releases_address = releases
        world.terminate(instance, cause, operation)

    each(world, call, check_terminable, end)
    return {}


def stop_instances(world: World, call: Call) -> Answer:
    """Moves instances RUNNING → STOPPING → STOPPED. They are still billed. Source: StopInstances."""
    if call.params.get("StoppedMode") == "STOP_CHARGING":
        raise ApiError("UnsupportedOperation.StoppedModeStopCharging", "Spot instances are charged when stopped.")
    cause, operation = f"StopInstances {call.request_id}", Operation("StopInstances", call.request_id, "OPERATING")
    each(world, call, _needs(RUNNING), lambda instance: world.stop(instance, cause, operation))
    return {}


def start_instances(world: World, call: Call) -> Answer:
    """Moves instances STOPPED → STARTING → RUNNING. Source: StartInstances."""
    cause, operation = f"StartInstances {call.request_id}", Operation("StartInstances", call.request_id, "OPERATING")
    each(world, call, _needs(STOPPED), lambda instance: world.start(instance, cause, operation))
    return {}


def modify_instances_attribute(world: World, call: Call) -> Answer:
    """Changes one attribute of up to 100 instances. Source: ModifyInstancesAttribute."""
    given = [name for name in ATTRIBUTES if call.params.get(name) is not None]
    if not given:
        raise ApiError("MissingParameter.AtLeastOne", f"At least one of {', '.join(ATTRIBUTES)} is needed.")
    if len(given) > 1:
        raise ApiError("InvalidParameterCombination", f"One attribute at a time, not {' and '.join(given)}.")
    _check_attribute(world, call)
    each(world, call, lambda world, instance: None, lambda instance: _modify(world, instance, call))
    return {}


def _check_attribute(world: World, call: Call) -> None:
    if len((call.params.get("InstanceName") or "").encode()) > NAME_MAX_BYTES:
        raise ApiError("InvalidInstanceName.TooLong", f"`InstanceName` has more than {NAME_MAX_BYTES} bytes.")
    check_host_name(call.params.get("HostName"))
    check_user_data(call.params.get("UserData"))
    security_groups_of(world, call.account, call.region, call.params.get("SecurityGroups"))


def _modify(world: World, instance: Instance, call: Call) -> None:
    params = call.params
    instance.name = params.get("InstanceName") or instance.name
    instance.host_name = params.get("HostName") or instance.host_name
    instance.user_data = params.get("UserData") or instance.user_data
    instance.security_groups = tuple(params.get("SecurityGroups") or instance.security_groups)
    if params.get("DisableApiTermination") is not None:
        instance.is_protected = params["DisableApiTermination"]
    instance.operation = Operation("ModifyInstancesAttribute", call.request_id, "SUCCESS")


def each(
    world: World,
    call: Call,
    check: Callable[[World, Instance], None],
    act: Callable[[Instance], None],
) -> None:
    """Judges and changes a batch: first judges all and then changes all.

    With the switch terminate-batch it goes one by one, up to the bad id.
    """
    ids = instance_ids_of(call.params, world.switches["malformed-id"])
    if not ids:
        raise ApiError("MissingParameter", "The request is missing a required parameter `InstanceIds`.")
    is_partial = call.action == "TerminateInstances" and world.switches["terminate-batch"] == "partial"
    judged = []
    for instance_id in ids:
        instance = find(world, call, instance_id)
        check(world, instance)
        if is_partial:
            act(instance)
        else:
            judged.append(instance)
    if len({instance.order.charge_type for instance in judged}) > 1 and call.action == "TerminateInstances":
        raise ApiError("UnsupportedOperation.InstanceMixedPricingModel", "The instances have several charge types.")
    for instance in judged:
        act(instance)


def find(world: World, call: Call, instance_id: str) -> Instance:
    """Returns the instance. Raises the refusal for one that does not exist, or no longer exists."""
    try:
        return world.find(call.account, call.region, instance_id)
    except ApiError as absent:
        known, code = world.instances.get(instance_id), world.switches["terminate-gone"]
        is_own = known is not None and (known.order.account, known.order.region) == (call.account, call.region)
        if is_own and call.action == "TerminateInstances" and code != absent.code:
            raise ApiError(code, f"The instance `{instance_id}` is terminated.") from absent
        raise


def check_terminable(world: World, instance: Instance) -> None:
    """Raises the vendor's refusal when the instance's state or protection forbids TerminateInstances."""
    state = instance.state
    may_end = {RUNNING, STOPPED, SHUTDOWN} | ({PENDING} if world.switches["terminate-pending"] == "accepted" else set())
    if state not in may_end:
        raise ApiError(REFUSAL_BY_STATE[state], f"The instance `{instance.id}` is {state}.")
    if instance.is_protected:
        raise ApiError("UnsupportedOperation.InstancesProtected", f"The instance `{instance.id}` is protected.")


def check_timed(instance: Instance) -> None:
    """Raises the vendor's refusal when a timer cannot be set any more."""
    if not instance.is_live:
        raise ApiError(REFUSAL_BY_STATE[instance.state], f"The instance `{instance.id}` is {instance.state}.")


def _needs(wanted: str) -> Callable[[World, Instance], None]:
    def check(world: World, instance: Instance) -> None:
        if instance.state != wanted:
            raise ApiError(REFUSAL_BY_STATE[instance.state], f"The instance `{instance.id}` is {instance.state}.")

    return check
