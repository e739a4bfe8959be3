"""Keeps the nodes of environments whose instances join this cluster: binds, cordons, drains and gives them up.

Apart from `reconciler`, because it works for nodes and not for one environment, and launches and releases nothing.
`plan.nodes` decides; here it is only asked, carried out and logged.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from spotcompute.api.environment import Environment, InvalidSpec
from spotcompute.api.events import Event
from spotcompute.api.ledger import UnreadableLedger
from spotcompute.api.node_object import (
    approval_of,
    binding_of_node,
    certificate_request_of,
    cordon_of_node,
    failure_of_pod,
    node_of,
    pod_of,
)
from spotcompute.api.spec import Spec
from spotcompute.api.times import to_text
from spotcompute.cloud.accounts import Accounts
from spotcompute.cloud.errors import CloudError
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.collection import Collection as Followed
from spotcompute.kube.collection import Source
from spotcompute.kube.node_port import NodePort
from spotcompute.kube.port import ApiUnavailable, Conflict, Forbidden, KubeError, KubeObject, NotFound
from spotcompute.model.instance import Instance
from spotcompute.model.ledger import Ledger
from spotcompute.model.node import Node, Pod
from spotcompute.plan.absence import is_proven_gone
from spotcompute.plan.capacity import occupies
from spotcompute.plan.nodes import (
    ENVIRONMENT_LABEL,
    INSTANCE_LABEL,
    NAMESPACE_LABEL,
    Bind,
    GiveUp,
    KeepFree,
    Machine,
    NodeStep,
    OpenAgain,
    next_steps,
    states_of,
    to_approve,
    to_drain,
    to_evict,
)
from spotcompute.plan.policy import Policy
from spotcompute.reconcile.node_states import REMEDY, NodeStates
from spotcompute.reconcile.reach import Problem, Reach

_log = structlog.get_logger(__name__)

#: Time between two looks at what is known. The API server is asked only when something is to be done.
LOOK_SECONDS = 0.5

#: Time between two lists of requests for certificates: while a machine has no node yet, and otherwise.
JOINING_SECONDS, RENEWING_SECONDS = 1.0, 30.0

#: Time between two questions to the cloud about an instance that only its node remembers.
ASK_SECONDS = 2.0

#: Pause after the API server has refused or not answered.
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Farm:
    """`_Farm` is an environment with nodes, at one version of its object."""

    raw: KubeObject
    environment: Environment
    spec: Spec
    ledger: Ledger


class NodeKeeper:
    """`NodeKeeper` keeps the nodes of all environments. It forgets nothing that matters when it is restarted."""

    def __init__(
        self,
        cluster: Cluster,
        port: NodePort,
        accounts: Accounts,
        states: NodeStates,
        policy: Policy,
        clock: Callable[[], datetime],
    ) -> None:
        """`states` is told what the nodes of each environment are like."""
        self._cluster, self._port, self._accounts, self._policy, self._clock = cluster, port, accounts, policy, clock
        self._reach, self._states = Reach(cluster.sources, accounts, policy, clock), states
        self._nodes: Followed[Node] = Followed(Source("nodes", port.nodes, port.watch_nodes), node_of)
        self._pods: Followed[Pod] = Followed(Source("pods", port.pods, port.watch_pods), pod_of)
        self._farms: dict[str, tuple[str, _Farm | None]] = {}  # by uid, with the version
        self._look_at_requests_at = 0.0
        self._ask_again_at: dict[str, float] = {}  # by instance, by the loop's clock
        self._told: set[str] = set()  # environments that know why their nodes are not kept

    async def run(self) -> None:
        """Keeps nodes for ever. What the API server refuses is told to the environments, and tried again."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._nodes.follow())
            group.create_task(self._pods.follow())
            group.create_task(self._keep())

    def known(self) -> Collection[Node] | None:
        """Returns all nodes of the cluster as they are known now. None before the first list."""
        return self._nodes.all() if self._nodes.is_listed else None

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.once()
            except Forbidden as error:
                await self._tell(error)
                await asyncio.sleep(RETRY_SECONDS)
            except KubeError as error:
                _log.info("nodes_out_of_reach", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_SECONDS)

    async def once(self) -> None:
        """Does everything that is to be done now. Raises KubeError."""
        farms = self._current_farms()
        if not farms:
            return
        if self._nodes.is_listed and self._pods.is_listed:
            await self._tend(farms, self._nodes.all())
        if refusal := self._nodes.refusal or self._pods.refusal:
            raise refusal
        self._told.clear()

    async def _tend(self, farms: list[_Farm], nodes: tuple[Node, ...]) -> None:
        by_farm = {farm.raw["metadata"]["uid"]: list(self._machines(farm)) for farm in farms}
        machines = [machine for of_farm in by_farm.values() for machine in of_farm]
        self._tell_states(nodes, by_farm)
        machines += [gone async for gone in self._left_behind(farms, machines, nodes)]
        for step in next_steps(nodes, machines, self._clock()):
            with contextlib.suppress(
                Conflict, NotFound
            ):  # it has changed, or is gone: decided again from what is there
                await self._carry_out(step)
        for node in to_drain(nodes, machines, self._clock()):
            await self._drain(node)
        await self._approve(nodes, machines)

    def _tell_states(self, nodes: Iterable[Node], by_farm: Mapping[str, list[Machine]]) -> None:
        """Tells what the nodes of each environment are like. Those of one that is gone are forgotten."""
        pods, nodes = self._pods.all(), tuple(nodes)
        self._states.keep({uid: states_of(nodes, pods, machines) for uid, machines in by_farm.items()})

    # --- what is known -----------------------------------------------------------------------------------------------

    def _current_farms(self) -> list[_Farm]:
        known, self._farms = self._farms, {}
        for raw in self._cluster.store.all():
            if "nodes" not in (raw.get("spec") or {}):
                continue
            uid, version = raw["metadata"]["uid"], raw["metadata"]["resourceVersion"]
            self._farms[uid] = known[uid] if known.get(uid, ("",))[0] == version else (version, _farm(raw))
        return [farm for _, farm in self._farms.values() if farm is not None]

    def _machines(self, farm: _Farm) -> Iterable[Machine]:
        """Yields every member of the ledger. Its addresses are known once a sweep has shown it."""
        seen = self._seen(farm)
        assert farm.spec.nodes is not None  # noqa: S101 - that makes it a farm
        wishes = farm.spec.nodes.resolved()
        for member in farm.ledger.members.values():
            instance = seen.get(member.id)
            yield Machine(
                id=member.id,
                namespace=farm.environment.namespace,
                environment=farm.environment.name,
                region=farm.spec.region,
                zone=member.pool.zone,
                instance_type=member.pool.instance_type,
                wishes=wishes,
                addresses=tuple(filter(None, (instance.private_ip, instance.public_ip))) if instance else (),
                on_demand=member.on_demand,
                is_alive=occupies(member),
                is_leaving=member.termination is not None,
            )

    def _seen(self, farm: _Farm) -> Mapping[str, Instance]:
        """Returns the environment's instances in the latest sweeps."""
        found: dict[str, Instance] = {}
        for inventory in self._accounts.in_use:
            found |= inventory.of_environment(farm.ledger.environment_id)
        return found

    async def _left_behind(
        self, farms: list[_Farm], machines: list[Machine], nodes: Iterable[Node]
    ) -> AsyncIterator[Machine]:
        """Yields machines that are in no ledger any more, have a node still, and are proven to be gone."""
        known = {machine.id for machine in machines}
        by_name = {(farm.environment.namespace, farm.environment.name): farm for farm in farms}
        for node in nodes:
            instance_id = node.labels.get(INSTANCE_LABEL)
            farm = by_name.get((node.labels.get(NAMESPACE_LABEL, ""), node.labels.get(ENVIRONMENT_LABEL, "")))
            if instance_id is None or instance_id in known or farm is None:
                continue
            if await self._is_gone(farm, instance_id):
                assert farm.spec.nodes is not None  # noqa: S101 - that makes it a farm
                yield Machine(
                    id=instance_id,
                    namespace=farm.environment.namespace,
                    environment=farm.environment.name,
                    region=farm.spec.region,
                    zone="",
                    instance_type="",
                    wishes=farm.spec.nodes.resolved(),
                    is_alive=False,
                )

    async def _is_gone(self, farm: _Farm, instance_id: str) -> bool:
        """Asks the cloud, as for a member. An instance that only lost our tags lives, and keeps its node."""
        now = asyncio.get_running_loop().time()
        if now < self._ask_again_at.get(instance_id, 0.0):
            return False
        self._ask_again_at[instance_id] = now + ASK_SECONDS
        try:
            access = await self._reach.access(farm.environment, farm.spec)
            seen = await access.observe(farm.ledger.environment_id, [instance_id], [])
        except (CloudError, Problem):
            return False
        instance = seen.instances.get(instance_id)
        if instance is not None:
            return instance.has_ended
        return is_proven_gone(seen.absent.get(instance_id), self._policy)

    # --- what is done ------------------------------------------------------------------------------------------------

    async def _carry_out(self, step: NodeStep) -> None:
        node, machine = step.node, step.machine
        words = {"node": node.name, "instance": machine.id, "environment": f"{machine.namespace}/{machine.environment}"}
        if isinstance(step, Bind):
            self._took(await self._port.patch_node(node.name, binding_of_node(node, step.labels, step.taints)))
            _log.info("node_bound", **words)
        elif isinstance(step, KeepFree):
            self._took(await self._port.patch_node(node.name, cordon_of_node(node, step.taints)))
            _log.info("node_cordoned", notice=node.notice, **words)
        elif isinstance(step, OpenAgain):
            change = cordon_of_node(node, step.taints, unschedulable=False)
            self._took(await self._port.patch_node(node.name, change))
            _log.info("node_opened_again", **words)
        elif isinstance(step, GiveUp):
            await self._give_up(node, machine)
            _log.info("node_given_up", **words)

    async def _give_up(self, node: Node, machine: Machine) -> None:
        """Ends a node in this order: otherwise the scheduler might put the pods that replace the lost ones there."""
        if not node.is_unschedulable:
            node = self._took(await self._port.patch_node(node.name, cordon_of_node(node, node.taints)))
        pods = await self._pods_on(node)
        await self._port.delete_node(node.name, node.uid)
        self._nodes.drop("", node.name)
        if machine.wishes.fails_lost_pods:
            failure = failure_of_pod(f"the machine {machine.id} is gone", to_text(self._clock()))
            for pod in pods:
                await self._port.fail_pod(pod, failure)

    async def _drain(self, node: Node) -> None:
        for pod in to_evict(pod for pod in self._pods.all() if pod.node == node.name):
            with contextlib.suppress(ApiUnavailable):  # a budget forbids it: tried again at the next look
                await self._port.evict_pod(pod)

    async def _pods_on(self, node: Node) -> list[Pod]:
        """Asks for the pods that a node has at this moment, and have not ended."""
        return [pod for item in await self._port.pods_on(node.name) if (pod := pod_of(item)) is not None]

    async def _approve(self, nodes: Iterable[Node], machines: list[Machine]) -> None:
        now, nodes = asyncio.get_running_loop().time(), tuple(nodes)
        bound = {node.labels.get(INSTANCE_LABEL) for node in nodes}
        is_joining = any(machine.is_alive and machine.id not in bound for machine in machines)
        if now < self._look_at_requests_at and not is_joining:
            return
        if is_joining and now < self._look_at_requests_at - RENEWING_SECONDS + JOINING_SECONDS:
            return
        self._look_at_requests_at = now + RENEWING_SECONDS
        found = {obj["metadata"]["name"]: obj for obj in await self._port.certificate_requests()}
        read = [request for obj in found.values() if (request := certificate_request_of(obj)) is not None]
        for request in to_approve(read, nodes, machines):
            message = f"{request.common_name} is an instance of an environment"
            with contextlib.suppress(Conflict):
                await self._port.approve(approval_of(found[request.name], message, to_text(self._clock())))
                _log.info("node_certificate_approved", request=request.name, subject=request.common_name)

    def _took(self, obj: KubeObject) -> Node:
        """Takes in a node as a write has left it."""
        self._nodes.take(obj)
        return node_of(obj)

    async def _tell(self, error: Forbidden) -> None:
        """Tells every environment with nodes that a right is missing: in its conditions, and once in an Event."""
        self._states.fail(f"{error}. {REMEDY}", self._farms)
        for uid, (_, farm) in self._farms.items():
            if farm is not None and uid not in self._told:
                self._told.add(uid)
                message = f"nodes are not bound and not given up: {error}. {REMEDY}"
                await self._cluster.kube.record(farm.raw, Event("Warning", "NodesNotKept", message))
        _log.warning("nodes_not_kept", error=str(error))


def _farm(raw: KubeObject) -> _Farm | None:
    """Returns the environment with its ledger. None while one of them cannot be read, which others tell."""
    environment = Environment.of(raw)
    try:
        spec, ledger = environment.spec(), environment.ledger()
    except (InvalidSpec, UnreadableLedger):
        return None
    return None if spec.nodes is None or ledger is None else _Farm(raw, environment, spec, ledger)
