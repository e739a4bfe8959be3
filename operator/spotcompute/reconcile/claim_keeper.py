"""Lets work decide how many instances an environment has, and answers Kueue: the admission check of environments.

Apart from `reconciler`, which keeps a number of instances and does not ask where it comes from. `plan.claims` decides;
here it is only asked, carried out and logged. Nothing is remembered that a restart would lose: work is read again, and
the number of instances stands in the environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from spotcompute.api.conditions import ConditionType
from spotcompute.api.events import Event
from spotcompute.api.status import ClaimStatus
from spotcompute.api.times import to_text
from spotcompute.kube.claim_objects import (
    active_body,
    amounts_of,
    answer_body,
    check_of,
    flavor_of,
    job_of,
    workload_of,
)
from spotcompute.kube.claim_port import ClaimPort, Kind
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.collection import Collection as Followed
from spotcompute.kube.collection import Reading, Source
from spotcompute.kube.port import Conflict, Forbidden, Invalid, KubeError, KubeObject, NotFound
from spotcompute.model.node import Node
from spotcompute.model.workload import AdmissionCheck, CheckState, CheckVerdict, Workload
from spotcompute.plan.claim_match import Key, Named, Work, claims_on, named_by
from spotcompute.plan.claims import Allotment, ClaimState, Needs, Standing, allot, replicas_for
from spotcompute.plan.situation import Situation
from spotcompute.plan.supply import nodes_of, supply_of
from spotcompute.report.claims import sentence

_log = structlog.get_logger(__name__)

#: Time between two looks at what is known. The API server is asked only when something is to be done.
LOOK_SECONDS = 0.5

#: Shortest time between two messages to one Workload while its state stays the same.
MESSAGE_SECONDS = 5.0

#: Time between two looks for machines that work, while they keep others from going.
BUSY_SECONDS = 5.0

#: Pause after the API server has refused or not answered.
RETRY_SECONDS = 5.0

#: Lines of `status.claims`.
CLAIMS_SHOWN = 30


@dataclass(slots=True)
class _Site:
    """`_Site` is one environment that takes claims, with what is known of it."""

    situation: Situation
    needs: Needs = field(default_factory=Needs)
    busy_asked_at: float = float("-inf")
    shown: tuple[Mapping[str, Any], ...] = ()
    seen: tuple[Any, ...] = ()
    allotment: Allotment | None = None  # what was decided from `seen`


class ClaimKeeper:
    """`ClaimKeeper` is Kueue's controller of admission checks, and sets `replicas` of environments with capacity."""

    def __init__(
        self,
        cluster: Cluster,
        port: ClaimPort,
        nodes: Callable[[], Collection[Node] | None],
        clock: Callable[[], datetime],
        *,
        wake: Callable[[str], None] = lambda uid: None,
    ) -> None:
        """`nodes` returns the cluster's nodes, None before they are known. `wake` asks for a run for one uid."""
        self._cluster, self._port = cluster, port
        self._nodes, self._clock, self._wake = nodes, clock, wake
        self._workloads = Followed(_source(port, Kind.WORKLOADS), workload_of)
        self._checks = Followed(_source(port, Kind.CHECKS), check_of)
        self._flavors = Followed(_source(port, Kind.FLAVORS), flavor_of)
        self._jobs = Followed(_source(port, Kind.MARKED_JOBS), job_of)
        self._queued = Followed(_source(port, Kind.QUEUED_JOBS), job_of)
        self._sites: dict[str, _Site] = {}
        self._told: dict[str, float] = {}  # when each Workload was last told something, by uid
        self._warned: set[str] = set()  # environments that know that a right is missing

    # --- what the loop says and asks ---------------------------------------------------------------------------------

    def look(self, uid: str, situation: Situation) -> None:
        """Takes in what a run has seen."""
        if situation.desired.capacity is not None and not situation.desired.deleting:
            self._sites.setdefault(uid, _Site(situation)).situation = situation

    def shown(self, uid: str) -> Sequence[Mapping[str, Any]]:
        """Returns the lines of `status.claims`."""
        site = self._sites.get(uid)
        return site.shown if site else ()

    # --- the part of the process -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keeps claims for ever."""
        async with asyncio.TaskGroup() as group:
            for followed in self._followed:
                group.create_task(followed.follow())
            group.create_task(self._keep())

    @property
    def _followed(self) -> tuple[Followed[Any], ...]:
        return (self._workloads, self._checks, self._flavors, self._jobs, self._queued)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.once()
            except Forbidden as error:
                await self._warn(error)
                await asyncio.sleep(RETRY_SECONDS)
            except KubeError as error:
                _log.info("claims_out_of_reach", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_SECONDS)

    async def once(self) -> None:
        """Does everything that is to be done now. Raises KubeError."""
        objects = {_key(raw): raw for raw in self._cluster.store.all() if "deletionTimestamp" not in raw["metadata"]}
        capacious = {key: raw for key, raw in objects.items() if (raw.get("spec") or {}).get("capacity")}
        uids = {raw["metadata"]["uid"] for raw in capacious.values()}
        self._sites = {uid: site for uid, site in self._sites.items() if uid in uids}
        named = {check.name: named_by(check, objects, capacious) for check in self._checks.all()}
        for check in self._checks.all():
            await self._say_active(check, named[check.name])
        work = self._work()
        for key, raw in capacious.items():
            await self._attend(key, raw, work, named)
        await self._answer_lost(named)
        if refusal := next((one.refusal for one in self._followed if one.refusal is not None), None):
            raise refusal
        self._warned.clear()

    def _work(self) -> Work:
        return Work(
            checks=self._checks.all(),
            workloads=self._workloads.all(),
            flavors=self._flavors.named(),
            jobs=tuple({job.claim.uid: job for job in (*self._queued.all(), *self._jobs.all())}.values()),
            has_kueue=self._workloads.sight is not Reading.ABSENT,
        )

    @property
    def _sees_all(self) -> bool:
        """True when what is held of work is what there is. Otherwise nothing goes."""
        return all(one.sight is not Reading.UNSEEN for one in self._followed)

    # --- one environment ---------------------------------------------------------------------------------------------

    async def _attend(self, key: Key, raw: KubeObject, work: Work, named: Mapping[str, Named]) -> None:
        site, nodes = self._sites.get(raw["metadata"]["uid"]), self._nodes()
        if site is None or nodes is None or not (self._sees_all or site.needs.entries):
            return  # before the first look at the cloud, at the cluster and at all work
        situation, own = site.situation, nodes_of(*key, nodes)
        wishes = situation.desired.capacity
        if wishes is None:
            return
        seen = (work, named, situation, own)
        if site.allotment is None or site.seen != seen:
            allocatable = {node.name: amounts_of(node.allocatable) for node in own}
            site.allotment = allot(claims_on(key, work, named), supply_of(situation, own, allocatable), wishes)
            site.seen = seen
        allotment = site.allotment
        site.needs = self._needs(site.needs, raw, allotment.needed, wishes.idle)
        await self._set_replicas(raw, site, allotment.needed, own)
        self._show(raw, site, allotment)
        for standing in allotment.standings:
            await self._answer(standing, raw)

    def _needs(self, needs: Needs, raw: KubeObject, needed: int, idle: timedelta) -> Needs:
        """Returns what was needed lately. What an earlier process has asked for counts as needed until now."""
        now = self._clock()
        if not needs.entries:
            needs = needs.with_need(now, _replicas(raw), idle)
        return needs.with_need(now, needed, idle) if self._sees_all or needed >= needs.most else needs

    async def _set_replicas(self, raw: KubeObject, site: _Site, needed: int, nodes: Collection[Node]) -> None:
        """Writes how many instances there are to be, when that has changed."""
        current, busy = _replicas(raw), None
        if site.needs.most < current and self._sees_all:
            busy = await self._busy(site, nodes)
        replicas = replicas_for(site.needs, current, busy)
        if replicas == current:
            return
        try:
            await self._port.set_replicas(raw, replicas)
        except (Conflict, NotFound):
            return  # it has changed, or is gone: decided again from what is there
        words = {"environment": "/".join(_key(raw)), "before": current, "replicas": replicas, "needed": needed}
        _log.info("claims_set_replicas", **words)

    async def _busy(self, site: _Site, nodes: Collection[Node]) -> int | None:
        """Returns how many machines work. None when that was asked a moment ago."""
        now = asyncio.get_running_loop().time()
        if now < site.busy_asked_at + BUSY_SECONDS:
            return None
        site.busy_asked_at = now
        busy = 0
        for node in nodes:
            busy += await self._port.has_work(node.name)
        return busy

    def _show(self, raw: KubeObject, site: _Site, allotment: Allotment) -> None:
        lines = tuple(
            ClaimStatus(
                kind=answer.claim.kind,
                namespace=answer.claim.namespace,
                name=answer.claim.name,
                pods=answer.claim.pods,
                state=answer.verdict.value,
                nodes=answer.needed,
                ready_nodes=answer.ready,
            ).to_json()
            for answer in allotment.standings[:CLAIMS_SHOWN]
        )
        if lines != site.shown:
            site.shown = lines
            self._wake(raw["metadata"]["uid"])

    # --- answers to Kueue --------------------------------------------------------------------------------------------

    async def _answer(self, answer: Standing, raw: KubeObject) -> None:
        """Says in the Workload how its claim stands. What has begun needs no answer."""
        if answer.claim.check is None or answer.claim.has_begun:
            return
        verdict = CheckVerdict.READY if answer.verdict is ClaimState.READY else CheckVerdict.PENDING
        text = sentence(answer, _key(raw), _ready_message(raw), (raw.get("spec") or {}).get("capacity") or {})
        await self._tell((answer.claim.namespace, answer.claim.name), answer.claim.check, verdict, text)

    async def _answer_lost(self, named: Mapping[str, Named]) -> None:
        """Says in each Workload whose check names no environment that it waits for one."""
        for workload in self._workloads.all():
            for name in workload.states:
                if name in named and named[name].key is None and workload.has_quota and not workload.claim.has_begun:
                    key = workload.claim.namespace, workload.claim.name
                    await self._tell(key, name, CheckVerdict.PENDING, named[name].problem)

    async def _tell(self, key: Key, check: str, verdict: CheckVerdict, text: str) -> None:
        workload = self._workloads.find(*key)
        stands = workload.states.get(check) if workload else None
        if workload is None or stands is None or not self._is_worth_saying(workload, stands, verdict, text):
            return
        since = stands.since if verdict == stands.verdict and stands.since else to_text(self._clock())
        body = answer_body(workload, check, CheckState(verdict, text, since))
        now, uid = asyncio.get_running_loop().time(), workload.claim.uid
        self._told = {key: at for key, at in self._told.items() if at > now - MESSAGE_SECONDS} | {uid: now}
        try:
            self._workloads.take(await self._port.apply_status(Kind.WORKLOADS, body, check))
        except (Conflict, NotFound):
            self._told.pop(uid)  # it has changed, or is gone: decided again from what is there
            return
        except Invalid as error:
            _log.warning("claim_not_answered", workload="/".join(key), error=str(error))
            return
        if verdict is CheckVerdict.READY:
            _log.info("claim_ready", workload="/".join(key), check=check)

    def _is_worth_saying(self, workload: Workload, stands: CheckState, verdict: CheckVerdict, text: str) -> bool:
        """True when a check that waits has become ready, or waits for another reason and was told long enough ago.

        What others have said, or what has begun, is left as it is.
        """
        if stands.verdict != CheckVerdict.PENDING:
            return False
        told_at = self._told.get(workload.claim.uid, float("-inf"))
        is_soon = asyncio.get_running_loop().time() < told_at + MESSAGE_SECONDS
        return verdict is CheckVerdict.READY or (stands.message != text and not is_soon)

    async def _say_active(self, check: AdmissionCheck, named: Named) -> None:
        """Says whether the check names an environment. Kueue uses only checks that are active."""
        verdict = "False" if named.key is None else "True"
        text = named.problem or f"claims on SpotComputeEnvironment {'/'.join(named.key or ())} are answered"
        if check.active is not None and (check.active.verdict, check.active.message) == (verdict, text):
            return
        is_same = check.active is not None and check.active.verdict == verdict
        since = check.active.since if is_same and check.active else to_text(self._clock())
        body = active_body(check, CheckState(verdict, text, since))
        try:
            self._checks.take(await self._port.apply_status(Kind.CHECKS, body, "checks"))
        except (Conflict, NotFound):
            return
        _log.info("check_active", check=check.name, active=verdict, reason=text)

    async def _warn(self, error: Forbidden) -> None:
        """Tells every environment with capacity, once, that a right is missing."""
        for raw in self._cluster.store.all():
            uid = raw["metadata"]["uid"]
            if (raw.get("spec") or {}).get("capacity") and uid not in self._warned:
                self._warned.add(uid)
                message = f"claims are not followed: {error}. Apply the overlay jobs"
                await self._cluster.kube.record(raw, Event("Warning", "ClaimsNotRead", message))
                _log.warning("claims_not_followed", environment="/".join(_key(raw)), error=str(error))


def _source(port: ClaimPort, kind: Kind) -> Source:
    return Source(kind.value, partial(port.objects, kind), partial(port.watch, kind))


def _key(raw: KubeObject) -> Key:
    return raw["metadata"]["namespace"], raw["metadata"]["name"]


def _replicas(raw: KubeObject) -> int:
    return int((raw.get("spec") or {}).get("replicas", 0))


def _ready_message(raw: KubeObject) -> str:
    """Returns what the environment says of itself."""
    conditions = (raw.get("status") or {}).get("conditions") or ()
    return next((one.get("message", "") for one in conditions if one.get("type") == ConditionType.READY), "")
