"""Runs THE LOOP: desire · observe · plan · act · report, one environment at a time, whatever woke it.

Create, change, resume and delete are the same run; deletion is "desired capacity 0, and keep the finalizer until
nothing is left". Each launch has an idempotency token, and each write of status fails if the object has changed since
it was read. So nothing is bought twice, even while two operator pods run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from spotcompute.api.conditions import ConditionType, seconds_until_true
from spotcompute.api.environment import Environment
from spotcompute.api.events import Event
from spotcompute.api.spec import Spec
from spotcompute.cloud.accounts import Accounts
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.kube.account_registry import AccountRef
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.names import FINALIZER
from spotcompute.kube.port import Conflict, Forbidden, Invalid, KubeError, KubeObject, NotFound
from spotcompute.kube.sources import UserData
from spotcompute.model.activity import Activity
from spotcompute.model.instance import Ownership
from spotcompute.model.ledger import Ledger
from spotcompute.plan.actions import Launched, Learned, Marked, Outcome, Plan, Postponed, Terminated
from spotcompute.plan.backoff import waits_for_stock
from spotcompute.plan.ledger_sync import sync_ledger
from spotcompute.plan.outcomes import apply_outcomes
from spotcompute.plan.planner import make_plan
from spotcompute.plan.policy import Policy
from spotcompute.plan.situation import Situation
from spotcompute.reconcile.act import perform
from spotcompute.reconcile.claims import ClaimViews, NoClaimViews
from spotcompute.reconcile.identity import Identities
from spotcompute.reconcile.node_states import NodeStates
from spotcompute.reconcile.objects import Objects, holders_of, stored_ledger
from spotcompute.reconcile.observe import Observer
from spotcompute.reconcile.quoting import quote_while_paused
from spotcompute.reconcile.reach import Problem, Reach
from spotcompute.reconcile.recorder import Recorder, RunRecord
from spotcompute.reconcile.target import Target
from spotcompute.reconcile.views import NoViews, Views
from spotcompute.report.conclusion import held_by_others, write_refused
from spotcompute.report.status import StatusExtras, full_status, intent_status, is_concluded, problem_status
from spotcompute.report.wake import next_wake
from spotcompute.telemetry import metrics

_log = structlog.get_logger(__name__)

#: Times a run starts over because the object changed under it, before the queue takes over with its backoff.
CONFLICTS_AT_ONCE = 5

#: A clock that was set back by more than this makes what was seen before useless; smaller steps are normal corrections.
CLOCK_STEP = timedelta(minutes=1)

#: Time until the next look at an environment whose views are being removed. Without the operator they would stay.
VIEWS_SECONDS = 1.0

#: Rounds of plan and act in one run; what is left then goes on at once in the next run, after others had their turn.
ROUNDS_AT_ONCE = 40

#: Seconds after which a run begins no further round. A launch that is never answered takes ten seconds, and each pool
#: may be asked in turn. Forty answers in time take less than this.
ROUNDS_SECONDS = 120.0


class Reconciler:
    """Brings one environment at a time closer to its spec. Holds no state of its own between runs."""

    def __init__(
        self,
        cluster: Cluster,
        accounts: Accounts,
        policy: Policy,
        clock: Callable[[], datetime],
        nonce: Callable[[], str],
        currency: str,
    ) -> None:
        """`nonce` makes six characters of [0-9a-z] that tell environments of the same name apart."""
        self._cluster, self._policy, self._clock, self._currency = cluster, policy, clock, currency
        self._objects, self._recorder = Objects(cluster), Recorder(cluster.kube)
        self._reach = Reach(cluster.sources, accounts, policy, clock)
        self._observer = Observer(self._reach, policy)
        self._identities = Identities(cluster, self._reach, policy, clock, nonce)
        #: Shows what each run has seen, and knows what is asked for single instances.
        self.views: Views = NoViews()
        #: Knows the nodes of instances that have joined the cluster.
        self.nodes = NodeStates(lambda _: None, is_kept=False)
        #: Is told what each run has seen, and says who wants room on the machines.
        self.claims: ClaimViews = NoClaimViews()

    async def reconcile(self, uid: str) -> float | None:
        """Runs once. Returns the seconds until the next look, None when there is nothing to come back for.

        Raises KubeError when the API server is away or refuses (the queue tries again).
        """
        raw = self._cluster.store.get(uid)
        if raw is None:
            self.views.gone(uid)
            return None
        with self._recorder.run(raw) as record:
            unsaved: list[Outcome] = []
            for _ in range(CONFLICTS_AT_ONCE):
                try:
                    return await self._attempt(raw, unsaved, record)
                except (Forbidden, Invalid) as error:
                    await self._report_refusal(self._cluster.store.get(uid) or raw, error, record)
                    raise
                except (Conflict, NotFound):  # changed or gone since it was read
                    raw = await self._objects.read_again(raw)
                    if raw is None:
                        return None
                    self._recorder.start_over(raw)
        raise Conflict(f"{uid} keeps changing while it is worked on")

    async def _converge(self, run: _Run, ledger: Ledger) -> float | None:
        """Works in rounds of plan and act until a plan is empty. Returns the seconds until the next look."""
        await self._desire(run, ledger)
        await self._observe(run, ledger)
        if self._was_clock_ahead(run):
            return self._policy.poll_interval.total_seconds()
        for _ in _rounds():
            plan = self._plan(run)
            if not plan.actions and run.problem is not None:
                problem = run.problem
                raise Problem(problem.conclusion, problem.retry_after, run.situation.ledger)
            if not plan.actions:
                return await self._report(run)
            await self._commit(run)
            await self._act(run, plan)
            if any(isinstance(one, Terminated | Marked) and isinstance(one.result, Postponed) for one in run.unsaved):
                break  # it has had its time; the others have their turn first
        self._enter_outcomes(run)
        await self._report(run)
        return 0.0

    # --- before the loop: whose object it is, and whether there is anything to do ------------------------------------

    async def _attempt(self, raw: KubeObject, unsaved: list[Outcome], record: RunRecord) -> float | None:
        """Works on one version of the object. `unsaved` are outcomes that an earlier attempt could not write."""
        environment = Environment.of(raw)
        if environment.deleting and FINALIZER not in environment.finalizers:
            await self._report_holders(raw, environment, stored_ledger(environment), record)
            return None
        ledger: Ledger | None = None
        try:
            raw, recalled = await self._identities.identify(raw, environment)
            ledger = recalled.ledger
            is_nobody = ledger is None and self._identities.owns_nothing(environment)
            if environment.deleting and (is_nobody or (ledger is not None and ledger.is_blank)):
                await self._release(raw, environment, ledger, record)
                return None
            if ledger is None:
                raise self._identities.conflict(environment)
            return await self._converge(_Run(raw, unsaved, record, list(recalled.activities)), ledger)
        except Problem as problem:
            await self._report_problem(raw, problem, problem.ledger or ledger, record)
            return problem.retry_after.total_seconds()

    # --- desire · observe --------------------------------------------------------------------------------------------

    async def _desire(self, run: _Run, ledger: Ledger) -> None:
        """Reads what the spec asks for and names. Raises `Problem` when a part of it is missing."""
        environment = Environment.of(run.raw)
        spec = self._reach.spec(environment)
        access = await self._reach.access(environment, spec)
        self._reach.refuse_early(environment, access, ledger.environment_id)
        if not environment.deleting:
            await self._cluster.sources.protect(environment.namespace, environment.secret)
            if kept := self._cluster.sources.kept_from_deletion(environment.namespace, environment.secret):
                await self._recorder.warn(run.raw, Event("Warning", "SecretKept", kept))
            account = AccountRef(environment.namespace, environment.secret, spec.region, environment.role)
            await self._cluster.account_registry.add(account)
        user_data = await self._user_data(run, environment, spec)
        if user_data is not None and user_data.hint and not environment.deleting:
            await self._recorder.warn(run.raw, Event("Warning", "UserDataLooksEncoded", user_data.hint))
        ownership = Ownership(self._cluster.id, ledger.environment_id)
        desired = environment.desired(spec, ownership, user_data.digest if user_data else None)
        desired = desired if run.problem is None else replace(desired, paused=True)
        run.target = Target(environment, desired, user_data, access)

    async def _user_data(self, run: _Run, environment: Environment, spec: Spec) -> UserData | None:
        """Returns what instances run at their first start. Raises `Problem` when it cannot be had.

        With timers the problem is kept for the end of the run: until then they are renewed, as while paused. Otherwise
        a lost Secret, of which running instances need nothing, would end them.
        """
        try:
            return await self._reach.user_data(environment, spec)
        except Problem as problem:
            if spec.orphan_protection is None:
                raise
            run.problem = problem
            return None

    async def _observe(self, run: _Run, ledger: Ledger) -> None:
        """Looks at the cloud. Raises `Problem` when it does not show everything."""
        situation, left_behind = await self._observer.situation(run.target, ledger, self._clock())
        run.activities += left_behind
        environment = run.target.environment
        wishes = await self.views.wishes(environment.namespace, environment.uid)
        nodes, problem = await self.nodes.of(environment.uid) if situation.desired.has_nodes else ({}, None)
        run.situation = replace(
            situation,
            wishes=wishes if situation.desired.instance_objects else {},
            nodes=nodes,
            nodes_problem=problem,
        )

    def _was_clock_ahead(self, run: _Run) -> bool:
        """True when the clock was ahead during the sweep and has been set right since: then another sweep is needed.

        Judged by that wrong time, a new instance would look old enough to have its tags. Without them it would be
        disowned.
        """
        return run.situation.observed.observed_at > self._clock() + CLOCK_STEP and not run.unsaved

    # --- plan · act --------------------------------------------------------------------------------------------------

    def _plan(self, run: _Run) -> Plan:
        """Enters the answers of the round before, then decides the next steps."""
        self._enter_outcomes(run)
        synced = sync_ledger(run.situation)
        plan = make_plan(run.situation.with_ledger(synced.ledger), run.learned)
        run.activities += (*synced.activities, *plan.activities)
        run.situation = run.situation.with_ledger(plan.ledger)
        return plan

    def _enter_outcomes(self, run: _Run) -> None:
        """Enters what came back into the ledger; a OneTime environment that has begun may go on in this run."""
        observed = run.target.access.named(run.situation.observed)
        situation = run.situation = replace(run.situation, now=self._now(run), observed=observed)
        applied = apply_outcomes(situation, run.unsaved, run.learned)
        has_launched = any(isinstance(outcome, Launched) for outcome in run.unsaved)
        run.situation = situation.with_ledger(applied.ledger)
        run.learned = replace(applied.learned, one_time_started=has_launched)
        run.activities += applied.activities

    def _now(self, run: _Run) -> datetime:
        """Returns the time, never before what the run has seen. Otherwise a clock that is set back would give new
        launches an old date, and another replica would think that their answers are overdue.
        """
        return max(self._clock(), run.situation.observed.observed_at)

    async def _commit(self, run: _Run) -> None:
        """Writes the intents. No committed intent, no call: a conflict or an absent API server ends the run here."""
        await self._save(run, intent_status(run.raw.get("status") or {}, run.situation.ledger, run.activities))

    async def _act(self, run: _Run, plan: Plan) -> None:
        """Carries out the plan. What comes back is unsaved until the next commit or report."""
        target = run.target
        claims, environment_id = target.access.inventory.claims, run.situation.ledger.environment_id
        run.unsaved.clear()
        run.unsaved.extend(
            await perform(
                plan,
                target.access.provider,
                target.encoded_user_data,
                target.label,
                lambda instance_id: claims.claim(instance_id, environment_id),
            )
        )
        for outcome in run.unsaved:
            if isinstance(outcome, Launched) and isinstance(outcome.result, LaunchReceipt):
                intent, environment_id = outcome.launch.intent, run.situation.ledger.environment_id
                target.access.inventory.arrivals.expect(environment_id, outcome.result.instance_ids)
                if not intent.on_demand:
                    target.access.inventory.waiting.sold(intent.pool, environment_id)

    # --- report ------------------------------------------------------------------------------------------------------

    async def _report(self, run: _Run) -> float | None:
        """Writes the whole status. Returns the seconds until the next look, None when the environment is gone."""
        desired, ledger, target = run.situation.desired, run.situation.ledger, run.target
        if desired.deleting and ledger.is_empty:
            self.views.show(run.raw, run.situation)
            if self.views.holds(run.raw):
                return VIEWS_SECONDS
            await self._release(run.raw, Environment.of(run.raw), ledger, run.record)
            await self._record(run)
            return None
        target.access.inventory.waiting.note(ledger.environment_id, waits_for_stock(ledger, run.situation.missing))
        run.situation = await self._observer.with_equipment_prices(target, run.situation)
        previous = run.raw.get("status") or {}
        quote = await quote_while_paused(target, run.situation, previous.get("quote") or {}, self._currency)
        selector = f"spotcompute.dev/environment={ledger.environment_id}"
        self.claims.look(target.environment.uid, run.situation)
        extras = StatusExtras(selector, self._currency, quote, self.claims.shown(target.environment.uid))
        status = full_status(previous, run.situation, run.activities, extras)
        await self._save(run, status)
        self.views.show(run.raw, run.situation)
        before, after = previous.get("conditions") or (), status.get("conditions") or ()
        waited = seconds_until_true(ConditionType.READY, before, after, run.situation.now)
        if waited is not None:
            metrics.fill_seconds.observe(waited)
        wake = next_wake(run.situation)
        seconds = (wake.at - run.situation.now).total_seconds()
        _log.debug("next_wake", reason=wake.reason, seconds=seconds)
        return seconds

    async def _report_problem(
        self, raw: KubeObject, problem: Problem, ledger: Ledger | None, record: RunRecord
    ) -> None:
        """Writes why nothing could be decided, unless that may be over in a moment and the spec was answered before."""
        previous, generation = raw.get("status") or {}, Environment.of(raw).generation
        if problem.is_passing and is_concluded(previous, generation):
            return
        self.views.hide(raw["metadata"]["uid"])
        status = problem_status(previous, problem.conclusion, ledger, generation, self._clock(), problem.seen_at)
        await self._recorder.record(await self._objects.write_status(raw, status), (), record)

    async def _report_holders(
        self, raw: KubeObject, environment: Environment, ledger: Ledger | None, record: RunRecord
    ) -> KubeObject:
        """Writes who else holds a deleted object that nothing of ours holds. Writes nothing when it goes at once."""
        holders = holders_of(environment)
        if not holders:
            return raw
        conclusion = held_by_others(holders, ledger)
        status = problem_status(environment.status, conclusion, ledger, environment.generation, self._clock())
        raw = await self._objects.write_status(raw, status)
        await self._recorder.record(raw, (), record)
        return raw

    async def _report_refusal(self, raw: KubeObject, error: KubeError, record: RunRecord) -> None:
        """Says that the API server refuses our writes: in status, or in an Event when it refuses that, too."""
        environment = Environment.of(raw)
        conclusion, ledger = write_refused(error, deleting=environment.deleting), stored_ledger(environment)
        status = problem_status(environment.status, conclusion, ledger, environment.generation, self._clock())
        try:
            await self._recorder.record(await self._objects.write_status(raw, status), (), record)
        except (Forbidden, Invalid):
            await self._cluster.kube.record(raw, Event("Warning", conclusion.reason, conclusion.message))
        except KubeError:  # the next attempt says it
            return

    async def _release(
        self, raw: KubeObject, environment: Environment, ledger: Ledger | None, record: RunRecord
    ) -> None:
        """Lets an environment go that owns nothing any more, and the Secret that only it has used."""
        raw = await self._report_holders(raw, environment, ledger, record)
        await self._objects.remove_finalizer(raw, environment)
        record.is_released = True
        await self._objects.unprotect_secret(environment)

    async def _save(self, run: _Run, status: Mapping[str, Any]) -> None:
        run.raw = await self._objects.write_status(run.raw, status)
        await self._record(run)

    async def _record(self, run: _Run) -> None:
        """Records what status has promised; each activity once."""
        activities, run.activities = run.activities, []
        await self._recorder.record(run.raw, activities, run.record)


def _rounds() -> Iterator[int]:
    """Yields the number of each round, until the share of one run in the time of the worker is used up."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(ROUNDS_AT_ONCE):
        if loop.time() - began > ROUNDS_SECONDS:
            return
        yield number


@dataclass(slots=True)
class _Run:
    """`_Run` holds what one run knows: the object at its latest version, and what is not yet written to it."""

    raw: KubeObject
    unsaved: list[Outcome]
    record: RunRecord
    activities: list[Activity]
    learned: Learned = field(default_factory=Learned)
    problem: Problem | None = None  # with which the run ends, once what can be done in spite of it is done
    target: Target = field(init=False)  # once it is desired
    situation: Situation = field(init=False)  # once it is observed
