"""Gives each object its identity and the ledger that is believed: reads the claims, asks the cloud, writes the result.

Apart from `reconciler`, because in a healthy cluster all of it says "the one in status"; apart from
`plan.identity_choice`, which chooses and waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from spotcompute.model.identity import binding, has_binding, new_environment_id
from spotcompute.model.ledger import Ledger, StateRefusalKind
from spotcompute.model.moments import age
from spotcompute.plan.identity_choice import (
    Belief,
    Claims,
    Disbelief,
    Gap,
    IdentityChoice,
    Question,
    choose_identity,
    choose_ledger,
    question_of,
)
from spotcompute.plan.ledger_check import ledger_flaw
from spotcompute.plan.ledger_sync import with_state_refusal
from spotcompute.plan.policy import Policy
from spotcompute.reconcile.reach import Problem, Reach
from spotcompute.report.conclusion import Conclusion, confirming_empty
from spotcompute.report.status import intent_status

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recalled:
    """`Recalled` holds the ledger to go on with, and what history tells of the stored state that was not believed.

    The ledger is None when the identity was given to another object: then nothing may be touched.
    """

    ledger: Ledger | None
    activities: Sequence[Activity] = ()


class Identities:
    """`Identities` gives objects their identity, and finds it again for an object that has lost its memory."""

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
        """Returns the object and its stored state. Writes the identity and our finalizer where they are missing.

        Raises Problem when the cloud must be asked and cannot be, KubeError when a write fails.
        """
        claims = self._read_claims(environment)
        alive = await self._ask_cloud(environment, question_of(claims))
        choice = self._with_id(choose_identity(claims, alive), environment)
        if choice.environment_id is None:
            return raw, Recalled(None)
        now = self._clock()
        belief = choose_ledger(claims, choice, alive, now, self._policy)
        recalled = _with_refusals(belief, claims, choice.environment_id, now)
        return await self._write(raw, environment, claims, recalled), recalled

    def owns_nothing(self, environment: Environment) -> bool:
        """True when status remembers neither an instance nor a launch."""
        return self._read_claims(environment).remembers_nothing

    def conflict(self, environment: Environment) -> Problem:
        """Returns what to report of an object that has the identity of another one."""
        if self.owns_nothing(environment):
            message = (
                f"annotation {ENVIRONMENT_ID} holds the identity of another object or cluster, so nothing is touched."
                " After a restore, take over what runs: set SPOTCOMPUTE_CLUSTER_ID to the former cluster's id, the"
                " value of tag spotcompute-cluster on the instances, and start the operator once all objects are"
                " restored. Or begin anew: end those instances, and remove the annotation and any status.ledger"
            )
        else:
            message = (
                "status.ledger was written under another cluster id, namespace or name, so nothing is touched."
                " If SPOTCOMPUTE_CLUSTER_ID was changed, change it back until everything is released. If status was"
                f" edited, remove status.ledger, and the annotation {ENVIRONMENT_ID}"
            )
        _log.warning("identity_conflict")
        return Problem(Conclusion("Stalled", Reason.IDENTITY_CONFLICT, message, stalled=True), self._policy.resync)

    # --- what is claimed ---------------------------------------------------------------------------------------------

    def _read_claims(self, environment: Environment) -> Claims:
        known = self._store.last_known(environment.uid)
        claims = Claims(
            self._binding(environment),
            annotation=environment.annotations.get(ENVIRONMENT_ID),
            has_finalizer=FINALIZER in environment.finalizers,
            deleting=environment.deleting,
            last_known_id=known.environment_id,
            last_known_sequence=known.sequence,
        )
        try:
            ledger = environment.ledger()
        except UnreadableLedger as error:
            return replace(claims, flaw=str(error))
        if ledger is None or not has_binding(ledger.environment_id, claims.binding):
            return replace(claims, ledger=ledger)
        return replace(claims, ledger=ledger, flaw=ledger_flaw(ledger, self._cluster_id))

    def _binding(self, environment: Environment) -> str:
        return binding(self._cluster_id, environment.namespace, environment.name)

    # --- what the cloud shows ----------------------------------------------------------------------------------------

    async def _ask_cloud(self, environment: Environment, question: Question) -> tuple[str, ...]:
        """Returns the identities of this object that have live instances. Empty when nothing must be asked."""
        if question is Question.ALIVE:
            return await self._alive(environment)
        if question is Question.LEFT_BEHIND and environment.deleted_at is not None:
            return await self._left_behind(environment, environment.deleted_at)
        return ()

    async def _alive(self, environment: Environment) -> tuple[str, ...]:
        """Finds live instances of this object under any of its identities, whatever annotation and status say.

        An object made again under the same name takes over what the last one left.
        """
        access = await self._reach.access(environment, self._reach.spec(environment))
        try:
            return await access.environments_bound_to(self._binding(environment))
        except CloudError as error:
            raise self._reach.unreadable(environment, access, error) from None

    async def _left_behind(self, environment: Environment, deleted_at: datetime) -> tuple[str, ...]:
        """Finds live instances of an object that is being deleted with an empty ledger.

        A restored etcd may have lost that ledger, so the cloud is asked before the finalizer goes. Without a valid spec
        nothing is asked. Without a valid key it is tried for `key_wait_max`, and while the cloud does not answer for
        `launch_uncertain_for`.
        """
        since, ours = age(deleted_at, self._clock()), self._binding(environment)
        try:
            spec = self._reach.spec(environment)
        except Problem:
            return ()
        try:
            access = await self._reach.access(environment, spec)
        except Problem as problem:
            if since > self._policy.key_wait_max:
                return ()
            raise Problem(problem.conclusion, self._policy.poll_interval) from None
        try:
            alive = await access.environments_bound_to(ours)
        except CloudError as error:
            is_key_bad = isinstance(error, InvalidCredentials)
            if since > (self._policy.key_wait_max if is_key_bad else self._policy.launch_uncertain_for):
                return ()
            raise self._reach.unreadable(environment, access, error) from None
        if not alive and not access.inventory.has_shown_none(ours):
            raise Problem(confirming_empty(), self._policy.poll_interval)
        return alive

    # --- what was chosen ---------------------------------------------------------------------------------------------

    def _with_id(self, choice: IdentityChoice, environment: Environment) -> IdentityChoice:
        """Returns the choice with an identity made for it, when it is that of a new environment."""
        if not choice.is_new:
            return choice
        nonce = self._nonce()
        made = new_environment_id(self._cluster_id, environment.namespace, environment.name, nonce)
        return replace(choice, environment_id=made)

    async def _write(self, raw: KubeObject, environment: Environment, claims: Claims, recalled: Recalled) -> KubeObject:
        """Writes the identity and our finalizer, unless they are there or the object is being deleted."""
        ledger = recalled.ledger
        if ledger is None or claims.deleting or (claims.annotation == ledger.environment_id and claims.has_finalizer):
            return raw
        if ledger is not claims.ledger:
            # The ledger first: so an identity without one was lost, and not merely cut off here.
            raw = await self._kube.write_status(raw, intent_status(raw.get("status") or {}, ledger, ()))
            self._store.put(raw)
        raw = await self._kube.add_identity(raw, ledger.environment_id)
        self._store.put(raw)
        return raw


def _with_refusals(belief: Belief, claims: Claims, environment_id: str, now: datetime) -> Recalled:
    """Returns the ledger with the refused parts of the stored state recorded, and the lines of history about them."""
    if belief.gap is not None:
        _log.warning("ledger_went_back" if belief.gap is Gap.WENT_BACK else "ledger_is_behind")
    ledger, activities = belief.ledger, []
    for disbelief in belief.disbelieved:
        kind, message = _refusal(disbelief, claims, environment_id)
        _log.warning("state_refused", reason=str(kind), message=message)
        ledger, activity = with_state_refusal(ledger, kind, message, now)
        activities.append(activity)
    return Recalled(ledger, activities)


def _refusal(disbelief: Disbelief, claims: Claims, environment_id: str) -> tuple[StateRefusalKind, str]:
    """Returns the kind and the message under which users read that a part of the stored state was refused."""
    match disbelief:
        case Disbelief.LEDGER_FLAWED:
            return StateRefusalKind.LEDGER, f"status.ledger is not what this operator writes: {claims.flaw}"
        case Disbelief.LEDGER_OF_ANOTHER:
            return StateRefusalKind.IDENTITY, f"status.ledger is that of another identity than {environment_id}"
        case Disbelief.ANNOTATION_OF_ANOTHER:
            message = f"annotation {ENVIRONMENT_ID} was another one than {environment_id}"
            return StateRefusalKind.IDENTITY, message
