"""THE LOOP: desire · observe · plan · act · report, one environment at a time, whatever woke it.

Create, change, resume and delete are the same run; deletion is "desired capacity 0, and keep the finalizer until
nothing is left". Safety comes from tokens and compare-and-swap, not from being the only replica.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from spotcompute.api.conditions import ConditionType, Reason, seconds_until_true
from spotcompute.api.environment import Environment, InvalidSpec, Memory
from spotcompute.api.ledger import UnreadableLedger
from spotcompute.api.spec import Spec
from spotcompute.cloud.accounts import Accounts
from spotcompute.cloud.errors import CloudError, InvalidCredentials
from spotcompute.cloud.inventory import Inventory
from spotcompute.kube.names import ENVIRONMENT_ID, FINALIZER
from spotcompute.kube.port import Conflict, KubeObject, KubePort
from spotcompute.kube.register import AccountNote, AccountRegister
from spotcompute.kube.sources import Sources, SourceUnavailable, UserData
from spotcompute.model.activity import Activity
from spotcompute.model.desired import Desired
from spotcompute.model.identity import binding, is_bound_to, new_environment_id
from spotcompute.model.instance import Ownership
from spotcompute.model.ledger import Doubt, Ledger
from spotcompute.model.observation import Observation
from spotcompute.plan.actions import Launched, Outcome, Pass
from spotcompute.plan.capacity import shortfall
from spotcompute.plan.ledger_check import doubt
from spotcompute.plan.ledger_sync import in_quarantine, is_another_account, keep_books, refusing
from spotcompute.plan.outcomes import fold
from spotcompute.plan.planner import make_plan
from spotcompute.plan.policy import Policy
from spotcompute.plan.quote import make_quote
from spotcompute.plan.selection import with_pools
from spotcompute.reconcile.act import perform
from spotcompute.reconcile.dry_run import find_faults
from spotcompute.reconcile.recorder import Entry, Journal
from spotcompute.report.conclusion import Conclusion, blind, looking_twice
from spotcompute.report.quote import quoted, requoted
from spotcompute.report.status import committed, report, troubled
from spotcompute.report.wake import next_wake
from spotcompute.telemetry import metrics

_log = structlog.get_logger(__name__)

#: Times a run starts over because the object changed under it, before the queue takes over with its backoff.
CONFLICTS_AT_ONCE = 5

#: A clock that was set back by more than this makes what was seen before useless; less than this is what clocks do.
CLOCK_STEP = timedelta(minutes=1)

#: Rounds of plan and act in one run; what is left then goes on at once in the next run, after others had their turn.
ROUNDS_AT_ONCE = 40


class Store(Protocol):
    """The objects as last seen, by uid."""

    def get(self, uid: str) -> KubeObject | None:
        """The object as last seen, or None when it is gone."""
        ...

    def remember(self, obj: KubeObject, instead_of: str | None = None) -> None:
        """Take note of a newer version, as returned by our own write, or of any instead of one that was refused."""
        ...

    def forget(self, uid: str) -> None:
        """A live read said that it is gone."""
        ...

    def all(self) -> Sequence[KubeObject]:
        """Every object known."""
        ...

    def memory(self, uid: str) -> Memory:
        """The most that any version of the object has remembered."""
        ...


class Problem(Exception):
    """A run cannot go on: the conclusion to report, and how soon to try again."""

    def __init__(self, conclusion: Conclusion, retry_after: timedelta) -> None:
        self.conclusion = conclusion
        self.retry_after = retry_after
        super().__init__(conclusion.message)


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
    learned: Pass
    not_before: datetime
    entry: Entry


@dataclass(frozen=True, slots=True)
class _Recalled:
    """What status remembers: the ledger, why it is not believed if so, and what there is to tell about that."""

    ledger: Ledger | None
    doubt: str | None = None
    activities: Sequence[Activity] = ()

    def is_settled(self, claimed: str | None, deleting: bool) -> bool:
        """True when the cloud need not be asked: one identity, and something remembered, or nothing to be let go."""
        if self.ledger is None or self.doubt is not None or claimed not in (None, self.ledger.environment_id):
            return False
        return bool(self.ledger.members or self.ledger.intents) or (deleting and self.ledger.is_blank)


class Reconciler:
    """Brings one environment at a time closer to its spec. Holds no state of its own between runs."""

    def __init__(
        self,
        kube: KubePort,
        store: Store,
        sources: Sources,
        register: AccountRegister,
        accounts: Accounts,
        cluster_id: str,
        policy: Policy,
        clock: Callable[[], datetime],
        nonce: Callable[[], str],
        resync: timedelta,
        currency: str,
    ) -> None:
        """`nonce` makes six characters of [0-9a-z] that tell environments of the same name apart."""
        self._kube, self._store, self._sources, self._accounts = kube, store, sources, accounts
        self._register = register
        self._cluster_id, self._policy, self._clock, self._nonce = cluster_id, policy, clock, nonce
        self._resync, self._currency = resync, currency
        self._journal = Journal(kube)

    async def reconcile(self, uid: str) -> float | None:
        """Run once; return the seconds until the next look, None when there is nothing to come back for.

        Raises KubeError when the API server is away or refuses: the queue tries again.
        """
        raw = self._store.get(uid)
        if raw is None:
            return None
        with self._journal.entry(raw) as entry:
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
            self._store.forget(metadata["uid"])
            return None
        self._store.remember(fresh, instead_of=metadata["resourceVersion"])
        return fresh

    async def _run(self, raw: KubeObject, unsaved: list[Outcome], entry: Entry) -> float | None:
        environment = Environment.of(raw)
        if environment.deleting and FINALIZER not in environment.finalizers:
            return None
        ledger: Ledger | None = None
        try:
            raw, recalled = await self._identify(raw, environment)
            ledger = recalled.ledger
            is_nobody = ledger is None and self._owns_nothing(environment)
            if environment.deleting and (is_nobody or (ledger is not None and ledger.is_blank)):
                await self._let_go(raw, environment, entry)
                return None
            if ledger is None:
                raise self._identity_conflict(environment)
            run = await self._desire(raw, ledger, recalled.activities, entry)
            return await self._converge(run, unsaved)
        except Problem as problem:
            previous, now = raw.get("status") or {}, self._clock()
            raw = await self._write(raw, troubled(previous, problem.conclusion, ledger, environment.generation, now))
            await self._journal.tell(raw, (), entry)
            return problem.retry_after.total_seconds()

    # --- desire ------------------------------------------------------------------------------------------------------

    async def _identify(self, raw: KubeObject, environment: Environment) -> tuple[KubeObject, _Recalled]:
        """Who this is, and what is remembered of it; gives a new environment its identity and our finalizer.

        Annotation and ledger are claims: where they disagree, or remember nothing, the cloud's tags decide. The ledger
        is None when the identity was given to another object: then nothing may be touched.
        """
        recalled = self._recall(environment)
        claimed = environment.annotations.get(ENVIRONMENT_ID)
        known = self._store.memory(environment.uid)
        given = [one for one in (recalled.ledger and recalled.ledger.environment_id, claimed) if one]
        own = [one for one in given or filter(None, [known.environment_id]) if self._is_its_own(one, environment)]
        environment_id, is_new = own[0] if own else None, False
        alive: tuple[str, ...] = ()
        if not recalled.is_settled(claimed, environment.deleting):
            alive = await self._alive(environment)
        elif environment.deleted_at is not None and recalled.ledger is not None and recalled.ledger.is_blank:
            alive = await self._left_behind(environment, environment.deleted_at)
        environment_id = next((one for one in own if one in alive), alive[0] if alive else environment_id)
        if environment_id is None and not given:
            nonce = self._nonce()
            environment_id = new_environment_id(self._cluster_id, environment.namespace, environment.name, nonce)
            is_new = FINALIZER not in environment.finalizers
        if environment_id is None:
            return raw, _Recalled(None)
        believed = self._believed(environment, recalled, environment_id, is_new, alive)
        if not environment.deleting and (claimed != environment_id or FINALIZER not in environment.finalizers):
            if believed.ledger is not None and believed.ledger is not recalled.ledger:
                # The ledger first: so an identity without one was lost, and not merely cut off here.
                raw = await self._write(raw, committed(raw.get("status") or {}, believed.ledger, ()))
            raw = await self._kube.claim(raw, environment_id)
            self._store.remember(raw)
        return raw, believed

    def _binding(self, environment: Environment) -> str:
        return binding(self._cluster_id, environment.namespace, environment.name)

    def _is_its_own(self, environment_id: str, environment: Environment) -> bool:
        return is_bound_to(environment_id, self._cluster_id, environment.namespace, environment.name)

    def _recall(self, environment: Environment) -> _Recalled:
        """What status remembers, and why it is not believed, if so."""
        try:
            ledger = environment.ledger()
        except UnreadableLedger as error:
            return _Recalled(None, str(error))
        why = (
            doubt(ledger, self._cluster_id) if ledger and self._is_its_own(ledger.environment_id, environment) else None
        )
        return _Recalled(ledger, why)

    async def _alive(self, environment: Environment) -> tuple[str, ...]:
        """Identities that were given to this object and under which instances live, whatever annotation and status say.

        An object made again under the same name takes over what the last one left.
        """
        inventory = await self._inventory(environment, self._spec(environment))
        try:
            return await inventory.environments_bound_to(self._binding(environment))
        except CloudError as error:
            raise self._blind(environment, inventory, error) from None

    async def _left_behind(self, environment: Environment, deleted_at: datetime) -> tuple[str, ...]:
        """The same of an object that is to go and remembers no launch: etcd restored from a backup has forgotten some.

        A person without a valid spec need not wait for the cloud, one without a valid key not for long, and nobody for
        a cloud that is away for long.
        """
        since, ours = abs(self._clock() - deleted_at), self._binding(environment)
        try:
            spec = self._spec(environment)
        except Problem:
            return ()
        try:
            inventory = await self._inventory(environment, spec)
        except Problem as problem:
            if since > self._policy.key_patience:
                return ()
            raise Problem(problem.conclusion, self._policy.look_again) from None
        try:
            alive = await inventory.environments_bound_to(ours)
        except CloudError as error:
            patience = self._policy.key_patience if isinstance(error, InvalidCredentials) else self._policy.horizon
            if since > patience:
                return ()
            raise self._blind(environment, inventory, error) from None
        if not alive and not inventory.has_shown_none(ours):
            raise Problem(looking_twice(), self._policy.look_again)
        return alive

    def _believed(
        self,
        environment: Environment,
        recalled: _Recalled,
        environment_id: str,
        is_new: bool,
        alive: Collection[str],
    ) -> _Recalled:
        """The ledger to go on with. What was refused is told in it, and what may be missing in it is waited for."""
        now, known = self._clock(), self._store.memory(environment.uid)
        claimed, ledger = environment.annotations.get(ENVIRONMENT_ID), recalled.ledger
        refused: list[tuple[Doubt, str]] = []
        if recalled.doubt is not None:
            refused.append((Doubt.LEDGER, f"status.ledger is not what this operator writes: {recalled.doubt}"))
        elif ledger is not None and ledger.environment_id != environment_id:
            refused.append((Doubt.IDENTITY, f"status.ledger is that of another identity than {environment_id}"))
        if claimed not in (None, environment_id):
            refused.append((Doubt.IDENTITY, f"annotation {ENVIRONMENT_ID} was another one than {environment_id}"))
        if ledger is None or recalled.doubt is not None or ledger.environment_id != environment_id:
            ledger = self._blank_ledger(environment_id, is_new)
        if ledger.sequence < known.sequence:
            _log.warning("ledger_went_back")
            ledger = in_quarantine(replace(ledger, sequence=known.sequence), now, self._policy)
        elif ledger.is_blank and environment_id in alive:
            _log.warning("ledger_is_behind")
            ledger = in_quarantine(ledger, now, self._policy)
        activities: list[Activity] = []
        for kind, message in refused:
            _log.warning("state_refused", reason=str(kind), message=message)
            ledger, activity = refusing(ledger, kind, message, now)
            activities.append(activity)
        return _Recalled(ledger, None, activities)

    def _blank_ledger(self, environment_id: str, is_new: bool) -> Ledger:
        """A new environment may launch at once; one whose memory was lost first waits for whatever it has launched."""
        blank = Ledger(environment_id)
        return blank if is_new else in_quarantine(blank, self._clock(), self._policy)

    def _owns_nothing(self, environment: Environment) -> bool:
        remembered = self._recall(environment).ledger
        return remembered is None or remembered.is_blank

    def _identity_conflict(self, environment: Environment) -> Problem:
        if self._owns_nothing(environment):
            message = (
                f"annotation {ENVIRONMENT_ID} holds the identity of another object, so nothing is touched."
                " Remove the annotation, and status.ledger if there is one, to make this a new environment"
            )
        else:
            message = (
                "status.ledger was written under another cluster id, namespace or name, so nothing is touched."
                " If SPOTCOMPUTE_CLUSTER_ID was changed, change it back until everything is released. If status was"
                f" edited, remove status.ledger, and the annotation {ENVIRONMENT_ID}"
            )
        _log.warning("identity_conflict")
        return Problem(Conclusion("Stalled", Reason.IDENTITY_CONFLICT, message, stalled=True), self._resync)

    async def _desire(self, raw: KubeObject, ledger: Ledger, activities: Sequence[Activity], entry: Entry) -> _Run:
        environment = Environment.of(raw)
        spec = self._spec(environment)
        inventory = await self._inventory(environment, spec)
        if not environment.deleting:
            await self._sources.guard(environment.namespace, environment.secret)
            await self._register.note(AccountNote(environment.namespace, environment.secret, spec.region))
        user_data = await self._user_data(environment, spec)
        ownership = Ownership(self._cluster_id, ledger.environment_id)
        desired = environment.desired(spec, ownership, user_data.digest if user_data else None)
        return _Run(
            raw, environment, ledger, desired, user_data, inventory, list(activities), Pass(), self._clock(), entry
        )

    def _spec(self, environment: Environment) -> Spec:
        try:
            return environment.spec_to_release() if environment.deleting else environment.spec()
        except InvalidSpec as error:
            raise Problem(Conclusion("Stalled", Reason.INVALID_SPEC, str(error), stalled=True), self._resync) from None

    async def _inventory(self, environment: Environment, spec: Spec) -> Inventory:
        try:
            credentials = await self._sources.credentials(
                environment.namespace, environment.secret, is_deleting=environment.deleting
            )
        except SourceUnavailable as error:
            conclusion = Conclusion("Stalled", Reason.CREDENTIALS_UNAVAILABLE, str(error), stalled=True)
            raise Problem(conclusion, self._policy.rest_limit) from None
        return self._accounts.inventory(credentials, spec.region)

    async def _user_data(self, environment: Environment, spec: Spec) -> UserData | None:
        try:
            return await self._sources.user_data(environment.namespace, spec.template)
        except SourceUnavailable as error:
            if environment.deleting:
                return None
            conclusion = Conclusion("Stalled", Reason.USER_DATA_UNAVAILABLE, str(error), stalled=True)
            raise Problem(conclusion, self._policy.rest_limit) from None

    # --- observe · plan · act ----------------------------------------------------------------------------------------

    async def _converge(self, run: _Run, unsaved: list[Outcome]) -> float | None:
        observed = await self._observe(run)
        if observed.observed_at > self._clock() + CLOCK_STEP and not unsaved:
            # The clock was ahead when this was seen and has been set right since. By that time every wait for tags and
            # lists would be over: whoever has none yet would be nobody's.
            return self._policy.look_again.total_seconds()
        run.not_before = observed.observed_at
        run.desired = with_pools(run.desired, observed.market)
        if run.desired.limits_costs:
            observed = await self._priced(run, observed)
        self._enter(run, unsaved)
        for _ in range(ROUNDS_AT_ONCE):
            now = self._now(run)
            books = keep_books(run.ledger, run.desired, observed, now, self._policy)
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
            intent.name for intent in run.ledger.intents if self._clock() - intent.created_at > self._policy.replay
        }
        try:
            observed = await run.inventory.observe(
                run.ledger.environment_id, run.ledger.members.keys(), names, self._reckons_with_quotes(run)
            )
        except CloudError as error:
            raise self._blind(run.environment, run.inventory, error) from None
        if is_another_account(run.ledger, observed):
            message = (
                "the key in use now shows none of the environment's instances: it seems to be of another account, so"
                " nothing is decided. Put back a key of the former one until they are released"
            )
            conclusion = Conclusion("Stalled", Reason.ANOTHER_ACCOUNT, message, stalled=True)
            raise Problem(conclusion, self._policy.rest_limit)
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
        extras = await run.inventory.tariff.extras(run.desired.template, sorted(pools), market, label)
        return replace(observed, market=replace(market, extras=extras))

    def _reckons_with_quotes(self, run: _Run) -> bool:
        """True for a limit that only the market's prices can tell the room of: a loss may be found in this very run."""
        return run.desired.caps.in_total is not None and not run.desired.deleting

    def _blind(self, environment: Environment, inventory: Inventory, error: CloudError) -> Problem:
        """The cloud does not show what there is: nothing is decided on half a view."""
        _log.debug("blind", error=str(error))
        if isinstance(error, InvalidCredentials):
            # Another key would have another inventory: only the Secret can tell when it is there.
            self._sources.distrust(environment.namespace, environment.secret)
            return Problem(blind(error), self._policy.rest_base)
        return Problem(blind(error), max(self._policy.rest_base, inventory.next_view_in))

    def _now(self, run: _Run) -> datetime:
        """The time, never before what the run has seen: a clock that steps back meanwhile would date launches back.

        Another replica, whose clock is right, would then give up waiting for them at once.
        """
        return max(self._clock(), run.not_before)

    def _enter(self, run: _Run, outcomes: list[Outcome]) -> None:
        """Enter what came back into the ledger; a OneTime environment that has begun may go on in this run."""
        folded = fold(run.ledger, outcomes, run.desired, self._now(run), self._policy, run.learned)
        has_launched = any(isinstance(outcome, Launched) for outcome in outcomes)
        run.ledger, run.learned = folded.ledger, replace(folded.learned, one_time_started=has_launched)
        run.activities = [*run.activities, *folded.activities]

    async def _commit(self, run: _Run) -> None:
        """Write the intent. No committed intent, no call: a conflict or an absent API server ends the run here."""
        await self._save(run, committed(run.raw.get("status") or {}, run.ledger, run.activities))

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
        status = report(
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
        return next_wake(run.desired, run.ledger, observed, now, self._policy, self._resync).total_seconds()

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
        findings = await find_faults(
            desired, quote, observed.market, run.inventory.provider, user_data, run.environment.label, now
        )
        return quoted(quote, findings, desired.generation, self._currency)

    async def _save(self, run: _Run, status: Mapping[str, Any]) -> None:
        run.raw = await self._write(run.raw, status)
        await self._tell(run)

    async def _tell(self, run: _Run) -> None:
        """Tell of what has been promised in status by now; each activity once."""
        activities, run.activities = run.activities, []
        await self._journal.tell(run.raw, activities, run.entry)

    async def _write(self, raw: KubeObject, status: Mapping[str, Any]) -> KubeObject:
        written = await self._kube.write_status(raw, status)
        self._store.remember(written)
        return written

    async def _let_go(self, raw: KubeObject, environment: Environment, entry: Entry) -> None:
        """Remove our finalizer; the last environment that used a Secret lets that go too."""
        await self._kube.release(raw)
        self._store.forget(environment.uid)
        entry.is_released = True
        secret = environment.secret
        others = (Environment.of(other) for other in self._store.all())
        if not any(other.namespace == environment.namespace and other.secret == secret for other in others):
            await self._sources.unguard(environment.namespace, secret)
