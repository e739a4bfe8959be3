"""THE LOOP: desire · observe · plan · act · report, one environment at a time, whatever woke it.

Create, change, resume and delete are the same run; deletion is "desired capacity 0, and keep the finalizer until
nothing is left". Safety comes from tokens and compare-and-swap, not from being the only replica.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from spotcompute.api.conditions import ConditionType, Reason, seconds_until_true
from spotcompute.api.environment import Environment
from spotcompute.cloud.accounts import Accounts
from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.inventory import Inventory
from spotcompute.kube.account_registry import AccountRef
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.names import FINALIZER
from spotcompute.kube.port import Conflict, KubeObject
from spotcompute.kube.sources import UserData
from spotcompute.model.activity import Activity
from spotcompute.model.desired import Desired
from spotcompute.model.instance import Ownership
from spotcompute.model.ledger import Ledger
from spotcompute.model.observation import Observation
from spotcompute.plan.actions import Launched, Learned, Outcome
from spotcompute.plan.capacity import shortfall
from spotcompute.plan.ledger_sync import is_another_account, sync_ledger
from spotcompute.plan.outcomes import apply_outcomes
from spotcompute.plan.planner import make_plan
from spotcompute.plan.policy import Policy
from spotcompute.plan.quote import make_quote
from spotcompute.plan.selection import with_pools
from spotcompute.reconcile.act import perform
from spotcompute.reconcile.dry_run import find_field_errors
from spotcompute.reconcile.identity import Identities
from spotcompute.reconcile.reach import Problem, Reach
from spotcompute.reconcile.recorder import Recorder, RunRecord
from spotcompute.report.conclusion import Conclusion
from spotcompute.report.quote import quoted, requoted
from spotcompute.report.status import full_status, intent_status, problem_status
from spotcompute.report.wake import next_wake
from spotcompute.telemetry import metrics

_log = structlog.get_logger(__name__)

#: Times a run starts over because the object changed under it, before the queue takes over with its backoff.
CONFLICTS_AT_ONCE = 5

#: A clock that was set back by more than this makes what was seen before useless; less than this is what clocks do.
CLOCK_STEP = timedelta(minutes=1)

#: Rounds of plan and act in one run; what is left then goes on at once in the next run, after others had their turn.
ROUNDS_AT_ONCE = 40


@dataclass(slots=True)
class _Run:
    """What one run knows: the object at its latest version, and what is not yet written to it."""

    raw: KubeObject
    environment: Environment
    ledger: Ledger
    desired: Desired
    user_data: UserData | None
    inventory: Inventory
    activities: list[Activity]
    learned: Learned
    not_before: datetime
    entry: RunRecord


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
        self._cluster, self._kube, self._store, self._sources = cluster, cluster.kube, cluster.store, cluster.sources
        self._policy, self._clock, self._currency = policy, clock, currency
        self._journal = Recorder(cluster.kube)
        self._reach = Reach(cluster.sources, accounts, policy)
        self._identities = Identities(cluster, self._reach, policy, clock, nonce)

    async def reconcile(self, uid: str) -> float | None:
        """Run once; return the seconds until the next look, None when there is nothing to come back for.

        Raises KubeError when the API server is away or refuses: the queue tries again.
        """
        raw = self._store.get(uid)
        if raw is None:
            return None
        with self._journal.run(raw) as entry:
            unsaved: list[Outcome] = []
            for _ in range(CONFLICTS_AT_ONCE):
                try:
                    return await self._run(raw, unsaved, entry)
                except Conflict:
                    raw = await self._reread(raw)
                    if raw is None:
                        return None
                    self._journal.start_over(raw)
        raise Conflict(f"{uid} keeps changing while it is worked on")

    async def _reread(self, raw: KubeObject) -> KubeObject | None:
        metadata = raw["metadata"]
        fresh = await self._kube.get(metadata["namespace"], metadata["name"])
        if fresh is None or fresh["metadata"]["uid"] != metadata["uid"]:
            self._store.drop(metadata["uid"])
            return None
        self._store.put(fresh, instead_of=metadata["resourceVersion"])
        return fresh

    async def _run(self, raw: KubeObject, unsaved: list[Outcome], entry: RunRecord) -> float | None:
        environment = Environment.of(raw)
        if environment.deleting and FINALIZER not in environment.finalizers:
            return None
        ledger: Ledger | None = None
        try:
            raw, recalled = await self._identities.identify(raw, environment)
            ledger = recalled.ledger
            is_nobody = ledger is None and self._identities.owns_nothing(environment)
            if environment.deleting and (is_nobody or (ledger is not None and ledger.is_blank)):
                await self._let_go(raw, environment, entry)
                return None
            if ledger is None:
                raise self._identities.conflict(environment)
            run = await self._desire(raw, ledger, recalled.activities, entry)
            return await self._converge(run, unsaved)
        except Problem as problem:
            previous, now = raw.get("status") or {}, self._clock()
            raw = await self._write(
                raw, problem_status(previous, problem.conclusion, ledger, environment.generation, now)
            )
            await self._journal.record(raw, (), entry)
            return problem.retry_after.total_seconds()

    # --- desire ------------------------------------------------------------------------------------------------------

    async def _desire(self, raw: KubeObject, ledger: Ledger, activities: Sequence[Activity], entry: RunRecord) -> _Run:
        environment = Environment.of(raw)
        spec = self._reach.spec(environment)
        inventory = await self._reach.inventory(environment, spec)
        if not environment.deleting:
            await self._sources.protect(environment.namespace, environment.secret)
            await self._cluster.account_registry.add(AccountRef(environment.namespace, environment.secret, spec.region))
        user_data = await self._reach.user_data(environment, spec)
        ownership = Ownership(self._cluster.id, ledger.environment_id)
        desired = environment.desired(spec, ownership, user_data.digest if user_data else None)
        return _Run(
            raw, environment, ledger, desired, user_data, inventory, list(activities), Learned(), self._clock(), entry
        )

    # --- observe · plan · act ----------------------------------------------------------------------------------------

    async def _converge(self, run: _Run, unsaved: list[Outcome]) -> float | None:
        observed = await self._observe(run)
        if observed.observed_at > self._clock() + CLOCK_STEP and not unsaved:
            # The clock was ahead when this was seen and has been set right since. By that time every wait for tags and
            # lists would be over: whoever has none yet would be nobody's.
            return self._policy.poll_interval.total_seconds()
        run.not_before = observed.observed_at
        run.desired = with_pools(run.desired, observed.market)
        if run.desired.limits_costs:
            observed = await self._priced(run, observed)
        self._enter(run, unsaved)
        for _ in range(ROUNDS_AT_ONCE):
            now = self._now(run)
            books = sync_ledger(run.ledger, run.desired, observed, now, self._policy)
            run.ledger, run.activities = books.ledger, [*run.activities, *books.activities]
            plan = make_plan(run.desired, run.ledger, observed, now, self._policy, run.learned)
            run.ledger = plan.ledger
            if not plan.actions:
                return await self._report(run, observed)
            await self._commit(run)
            unsaved.clear()
            user_data = run.user_data.encoded if run.user_data else None
            unsaved.extend(await perform(plan, run.inventory.provider, user_data, run.environment.label))
            self._enter(run, unsaved)
        await self._report(run, observed)
        return 0.0

    async def _observe(self, run: _Run) -> Observation:
        names = {
            intent.name
            for intent in run.ledger.intents
            if self._clock() - intent.created_at > self._policy.replay_window
        }
        try:
            observed = await run.inventory.observe(
                run.ledger.environment_id, run.ledger.members.keys(), names, self._reckons_with_quotes(run)
            )
        except CloudError as error:
            raise self._reach.unreadable(run.environment, run.inventory, error) from None
        if is_another_account(run.ledger, observed):
            message = (
                "the key in use now shows none of the environment's instances: it seems to be of another account, so"
                " nothing is decided. Put back a key of the former one until they are released"
            )
            conclusion = Conclusion("Stalled", Reason.ANOTHER_ACCOUNT, message, stalled=True)
            raise Problem(conclusion, self._policy.backoff_max)
        return observed

    async def _priced(self, run: _Run, observed: Observation) -> Observation:
        """The same, with what disks and bandwidth cost wherever there are machines, or may be soon.

        Before anything is bought only where a limit holds them too: otherwise nobody waits for a price.
        """
        if run.desired.deleting:
            return observed
        pools = {pool for pool, _ in run.desired.pools} | {member.pool for member in run.ledger.members.values()}
        pools |= {intent.pool for intent in run.ledger.intents}
        label, market = run.environment.label, observed.market
        extras = await run.inventory.equipment_prices.extras_for(run.desired.template, sorted(pools), market, label)
        return replace(observed, market=replace(market, extras=extras))

    def _reckons_with_quotes(self, run: _Run) -> bool:
        """True for a limit that only the market's prices can tell the room of: a loss may be found in this very run."""
        return run.desired.caps.in_total is not None and not run.desired.deleting

    def _now(self, run: _Run) -> datetime:
        """The time, never before what the run has seen: a clock that steps back meanwhile would date launches back.

        Another replica, whose clock is right, would then give up waiting for them at once.
        """
        return max(self._clock(), run.not_before)

    def _enter(self, run: _Run, outcomes: list[Outcome]) -> None:
        """Enter what came back into the ledger; a OneTime environment that has begun may go on in this run."""
        folded = apply_outcomes(run.ledger, outcomes, run.desired, self._now(run), self._policy, run.learned)
        has_launched = any(isinstance(outcome, Launched) for outcome in outcomes)
        run.ledger, run.learned = folded.ledger, replace(folded.learned, one_time_started=has_launched)
        run.activities = [*run.activities, *folded.activities]

    async def _commit(self, run: _Run) -> None:
        """Write the intent. No committed intent, no call: a conflict or an absent API server ends the run here."""
        await self._save(run, intent_status(run.raw.get("status") or {}, run.ledger, run.activities))

    # --- report ------------------------------------------------------------------------------------------------------

    async def _report(self, run: _Run, observed: Observation) -> float | None:
        now = self._now(run)
        if run.desired.deleting and run.ledger.is_empty:
            await self._let_go(run.raw, run.environment, run.entry)
            await self._tell(run)
            return None
        observed = await self._priced(run, observed)
        previous = run.raw.get("status") or {}
        quote = await self._quote(run, observed, previous.get("quote") or {}, now)
        selector = f"spotcompute.dev/environment={run.ledger.environment_id}"
        status = full_status(
            previous,
            run.desired,
            run.ledger,
            observed,
            run.activities,
            now,
            self._policy,
            selector,
            self._currency,
            quote,
        )
        await self._save(run, status)
        waited = seconds_until_true(
            ConditionType.READY, previous.get("conditions") or (), status.get("conditions") or (), now
        )
        if waited is not None:
            metrics.fill_seconds.observe(waited)
        return next_wake(run.desired, run.ledger, observed, now, self._policy, self._policy.resync).total_seconds()

    async def _quote(
        self, run: _Run, observed: Observation, previous: Mapping[str, Any], now: datetime
    ) -> dict[str, Any] | None:
        """What would be bought once the pause is over; None when nothing would. For people: nothing decides by it.

        The cloud is asked what is wrong with it once for each generation of the spec.
        """
        desired = run.desired
        if not desired.paused or desired.deleting or not shortfall(run.ledger, desired.replicas):
            return None
        quote = make_quote(desired, run.ledger, observed.market, now, self._policy)
        if previous.get("checkedGeneration") == desired.generation:
            return requoted(quote, previous, self._currency)
        user_data = run.user_data.encoded if run.user_data else None
        findings = await find_field_errors(
            desired, quote, observed.market, run.inventory.provider, user_data, run.environment.label, now
        )
        return quoted(quote, findings, desired.generation, self._currency)

    async def _save(self, run: _Run, status: Mapping[str, Any]) -> None:
        run.raw = await self._write(run.raw, status)
        await self._tell(run)

    async def _tell(self, run: _Run) -> None:
        """Tell of what has been promised in status by now; each activity once."""
        activities, run.activities = run.activities, []
        await self._journal.record(run.raw, activities, run.entry)

    async def _write(self, raw: KubeObject, status: Mapping[str, Any]) -> KubeObject:
        written = await self._kube.write_status(raw, status)
        self._store.put(written)
        return written

    async def _let_go(self, raw: KubeObject, environment: Environment, entry: RunRecord) -> None:
        """Remove our finalizer; the last environment that used a Secret lets that go too."""
        await self._kube.remove_finalizer(raw)
        self._store.drop(environment.uid)
        entry.is_released = True
        secret = environment.secret
        others = (Environment.of(other) for other in self._store.all())
        if not any(other.namespace == environment.namespace and other.secret == secret for other in others):
            await self._sources.unprotect(environment.namespace, secret)
