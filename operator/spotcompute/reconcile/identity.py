"""Which identity an object has, and which ledger is believed: after a restore, a wipe, a rename or a forgery too.

Apart from `reconciler`, because in a healthy cluster all of it says "the one in status". Annotation and ledger are
claims; where they disagree, or remember nothing, the cloud's tags decide.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from spotcompute.api.conditions import Reason
from spotcompute.api.environment import Environment
from spotcompute.api.ledger import UnreadableLedger
from spotcompute.cloud.errors import CloudError, InvalidCredentials
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.names import ENVIRONMENT_ID, FINALIZER
from spotcompute.kube.port import KubeObject
from spotcompute.model.activity import Activity
from spotcompute.model.identity import binding, is_bound_to, new_environment_id
from spotcompute.model.ledger import Ledger, StateRefusalKind
from spotcompute.plan.ledger_check import ledger_flaw
from spotcompute.plan.ledger_sync import in_quarantine, with_state_refusal
from spotcompute.plan.policy import Policy
from spotcompute.reconcile.reach import Problem, Reach
from spotcompute.report.conclusion import Conclusion, confirming_empty
from spotcompute.report.status import intent_status

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recalled:
    """What status remembers: the ledger, why it is not believed if so, and what there is to tell about that."""

    ledger: Ledger | None
    doubt: str | None = None
    activities: Sequence[Activity] = ()

    def is_settled(self, claimed: str | None, deleting: bool) -> bool:
        """True when the cloud need not be asked: one identity, and something remembered, or nothing to be let go."""
        if self.ledger is None or self.doubt is not None or claimed not in (None, self.ledger.environment_id):
            return False
        return bool(self.ledger.members or self.ledger.intents) or (deleting and self.ledger.is_blank)


class Identities:
    """Gives objects their identity, and finds out whom an object without a memory is."""

    def __init__(
        self,
        cluster: Cluster,
        reach: Reach,
        policy: Policy,
        clock: Callable[[], datetime],
        nonce: Callable[[], str],
    ) -> None:
        """`nonce` makes six characters of [0-9a-z] that tell environments of the same name apart."""
        self._kube, self._store, self._cluster_id = cluster.kube, cluster.store, cluster.id
        self._reach, self._policy, self._clock, self._nonce = reach, policy, clock, nonce

    async def identify(self, raw: KubeObject, environment: Environment) -> tuple[KubeObject, Recalled]:
        """Who this is, and what is remembered of it; gives a new environment its identity and our finalizer.

        Annotation and ledger are claims: where they disagree, or remember nothing, the cloud's tags decide. The ledger
        is None when the identity was given to another object: then nothing may be touched.
        """
        recalled = self._recall(environment)
        claimed = environment.annotations.get(ENVIRONMENT_ID)
        known = self._store.last_known(environment.uid)
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
            return raw, Recalled(None)
        believed = self._believed(environment, recalled, environment_id, is_new, alive)
        if not environment.deleting and (claimed != environment_id or FINALIZER not in environment.finalizers):
            if believed.ledger is not None and believed.ledger is not recalled.ledger:
                # The ledger first: so an identity without one was lost, and not merely cut off here.
                raw = await self._kube.write_status(raw, intent_status(raw.get("status") or {}, believed.ledger, ()))
                self._store.put(raw)
            raw = await self._kube.add_identity(raw, environment_id)
            self._store.put(raw)
        return raw, believed

    def _binding(self, environment: Environment) -> str:
        return binding(self._cluster_id, environment.namespace, environment.name)

    def _is_its_own(self, environment_id: str, environment: Environment) -> bool:
        return is_bound_to(environment_id, self._cluster_id, environment.namespace, environment.name)

    def _recall(self, environment: Environment) -> Recalled:
        """What status remembers, and why it is not believed, if so."""
        try:
            ledger = environment.ledger()
        except UnreadableLedger as error:
            return Recalled(None, str(error))
        why = (
            ledger_flaw(ledger, self._cluster_id)
            if ledger and self._is_its_own(ledger.environment_id, environment)
            else None
        )
        return Recalled(ledger, why)

    async def _alive(self, environment: Environment) -> tuple[str, ...]:
        """Identities that were given to this object and under which instances live, whatever annotation and status say.

        An object made again under the same name takes over what the last one left.
        """
        inventory = await self._reach.inventory(environment, self._reach.spec(environment))
        try:
            return await inventory.environments_bound_to(self._binding(environment))
        except CloudError as error:
            raise self._reach.unreadable(environment, inventory, error) from None

    async def _left_behind(self, environment: Environment, deleted_at: datetime) -> tuple[str, ...]:
        """The same of an object that is to go and remembers no launch: etcd restored from a backup has forgotten some.

        A person without a valid spec need not wait for the cloud, one without a valid key not for long, and nobody for
        a cloud that is away for long.
        """
        since, ours = abs(self._clock() - deleted_at), self._binding(environment)
        try:
            spec = self._reach.spec(environment)
        except Problem:
            return ()
        try:
            inventory = await self._reach.inventory(environment, spec)
        except Problem as problem:
            if since > self._policy.key_wait_max:
                return ()
            raise Problem(problem.conclusion, self._policy.poll_interval) from None
        try:
            alive = await inventory.environments_bound_to(ours)
        except CloudError as error:
            patience = (
                self._policy.key_wait_max
                if isinstance(error, InvalidCredentials)
                else self._policy.launch_uncertain_for
            )
            if since > patience:
                return ()
            raise self._reach.unreadable(environment, inventory, error) from None
        if not alive and not inventory.has_shown_none(ours):
            raise Problem(confirming_empty(), self._policy.poll_interval)
        return alive

    def _believed(
        self,
        environment: Environment,
        recalled: Recalled,
        environment_id: str,
        is_new: bool,
        alive: Collection[str],
    ) -> Recalled:
        """The ledger to go on with. What was refused is told in it, and what may be missing in it is waited for."""
        now, known = self._clock(), self._store.last_known(environment.uid)
        claimed, ledger = environment.annotations.get(ENVIRONMENT_ID), recalled.ledger
        refused: list[tuple[StateRefusalKind, str]] = []
        if recalled.doubt is not None:
            refused.append(
                (StateRefusalKind.LEDGER, f"status.ledger is not what this operator writes: {recalled.doubt}")
            )
        elif ledger is not None and ledger.environment_id != environment_id:
            refused.append(
                (StateRefusalKind.IDENTITY, f"status.ledger is that of another identity than {environment_id}")
            )
        if claimed not in (None, environment_id):
            refused.append(
                (StateRefusalKind.IDENTITY, f"annotation {ENVIRONMENT_ID} was another one than {environment_id}")
            )
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
            ledger, activity = with_state_refusal(ledger, kind, message, now)
            activities.append(activity)
        return Recalled(ledger, None, activities)

    def _blank_ledger(self, environment_id: str, is_new: bool) -> Ledger:
        """A new environment may launch at once; one whose memory was lost first waits for whatever it has launched."""
        blank = Ledger(environment_id)
        return blank if is_new else in_quarantine(blank, self._clock(), self._policy)

    def owns_nothing(self, environment: Environment) -> bool:
        """True when status remembers neither an instance nor a launch."""
        remembered = self._recall(environment).ledger
        return remembered is None or remembered.is_blank

    def conflict(self, environment: Environment) -> Problem:
        """What to report of an object that bears the identity of another one."""
        if self.owns_nothing(environment):
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
        return Problem(Conclusion("Stalled", Reason.IDENTITY_CONFLICT, message, stalled=True), self._policy.resync)
