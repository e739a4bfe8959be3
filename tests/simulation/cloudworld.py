"""The simulated cloud behind the real provider code, and the judge: every instance born is checked at its birth.

Only transport is replaced: what reaches the cloud is what the operator would send, and what comes back is read by the
same code that reads the real thing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cvmsim.catalog import Catalog
from cvmsim.instance import Instance
from cvmsim.simulator import Simulator
from simulation.faultpoint import Cell, FaultPoint, Kind, Phase, strike
from spotcompute.cloud.errors import CloudError, NotSent, OutcomeUnknown, Throttled
from spotcompute.cloud.pacer import Pacer
from spotcompute.cloud.tencent.codes import classify

ENVIRONMENT_TAG = "spotcompute-environment"
CLUSTER_TAG = "spotcompute-cluster"
ORPHAN_SWEEP = "orphan sweep"
RETAINED_TAG = "spotcompute-retained"
MUTATING = (
    "RunInstances",
    "TerminateInstances",
    "ModifyResourceTags",
    "DeleteInstancesActionTimer",
    "ImportInstancesActionTimer",
)

#: How long a request may be on its way before its signature is too old.
SIGNATURE_SECONDS = 300.0

#: World time at the start of every history.
EPOCH = 1_800_000_000.0


@dataclass(slots=True)
class CloudTrouble:
    """How bad the line to the cloud is: probabilities per request; all zero when healed."""

    not_sent: float = 0.0
    throttle: float = 0.0
    fail_before: float = 0.0
    lose_after: float = 0.0
    late: float = 0.0
    garble: float = 0.0
    empty_list: float = 0.0
    partial_list: float = 0.0
    latency: float = 0.2
    slow: float = 0.0
    outage_until: float = 0.0
    revoked: bool = False

    @property
    def is_bad(self) -> bool:
        """True when any single request may fail by chance, lie, or take long."""
        by_chance = self.not_sent + self.throttle + self.fail_before + self.lose_after + self.late + self.garble
        return by_chance + self.empty_list + self.partial_list + self.slow > 0


class Cloud:
    """One simulated cloud, its clock tied to the loop's, and everything that must never happen in it."""

    #: False: nobody may inquire about prices, and is told so without any dice. For seeds older than the question.
    tells_prices = True

    #: False: nobody may ask whose a key is, likewise.
    tells_accounts = True

    #: Until then, in the loop's time, nobody can be asked whose a key is, while everything else answers.
    accounts_away_until = 0.0

    def __init__(self, catalog: Catalog, seed: int, switches: Mapping[str, object]) -> None:
        self.simulator = Simulator(catalog, seed=seed, now=EPOCH, switches=switches)
        self.allowed: Callable[[str, float], int | None] = lambda environment, now: None
        self.owner_of_caller: Callable[[str], str] = lambda caller: ""
        self.is_living: Callable[[str], bool] = lambda environment: False
        self.is_newcomer: Callable[[str], bool] = lambda environment: False
        #: Told of each birth, with the seconds within which it may have been wanted; of each request; of each list.
        self.on_birth: Callable[[Instance, float], None] = lambda instance, window: None
        self.on_request: Callable[[str, str], None] = lambda action, caller: None
        self.on_list: Callable[[], None] = lambda: None
        #: Told of the instances that are ended, just before they are.
        self.on_termination: Callable[[list[Instance]], None] = lambda instances: None
        #: Told of the ids that an operator asks to end, and on whose behalf, when it lets the request go.
        self.on_sending: Callable[[Collection[str], str], None] = lambda ids, caller: None
        #: How much an instance counts towards what is wanted.
        self.units: Callable[[Instance], int] = lambda instance: 1
        #: The code with which each troubled pool, as zone and type, refuses every launch.
        self.pool_troubles: dict[tuple[str, str], str] = {}
        #: Zones in which no launch ever gets an answer.
        self.silent_zones: frozenset[str] = frozenset()
        self.violations: list[str] = []
        self.mutations = 0
        self._judged = 0
        #: Whose an instance is since an operator has changed its tags, by id; None: nobody's.
        self._given: dict[str, str | None] = {}
        #: Every environment that has ever taken an instance over, with that instance.
        self.takeovers: list[tuple[str, Instance]] = []

    @property
    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    def advance(self) -> None:
        """Let the world catch up with the loop's clock, and judge what was born meanwhile."""
        self.simulator.world.advance(self.now)
        self._judge_births()

    def carry_out(self, account: str, action: str, parameters: dict[str, Any], caller: str, was_late: bool) -> Any:
        """One request reaches the cloud now."""
        self.advance()
        if action == "TerminateInstances":
            self._judge_terminations(parameters.get("InstanceIds", []), caller)
            known = self.simulator.world.instances
            self.on_termination([known[key] for key in parameters.get("InstanceIds", []) if key in known])
        answer = self.simulator.handle(account, action, parameters, self.now)
        if action in MUTATING:
            self.mutations += 1
        if action == "ModifyResourceTags" and "Error" not in answer:
            self._note_owner(parameters["Resource"].rpartition("/")[2])
        self._judge_births(60.0 + (330.0 if was_late else 0.0))
        return answer

    def refusal_of(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a troubled pool answers to a launch; None for everything else."""
        if action != "RunInstances" or not self.pool_troubles:
            return None
        code = self.pool_troubles.get((parameters["Placement"]["Zone"], parameters["InstanceType"]))
        return {"Error": {"Code": code, "Message": "not in this pool"}, "RequestId": "r"} if code else None

    def says_nothing(self, action: str, parameters: Mapping[str, Any]) -> bool:
        """True when the request is a launch in a silent zone: it is not carried out, and gets no answer."""
        return action == "RunInstances" and parameters["Placement"]["Zone"] in self.silent_zones

    def doubtful_pools(self, zones: Collection[str], types: Collection[str]) -> int:
        """How many of these pools answer so that nobody knows whether something was launched."""
        return sum(
            zone in zones and kind in types and classify("RunInstances", code) is OutcomeUnknown
            for (zone, kind), code in self.pool_troubles.items()
        )

    def living(self, environment: str | None = None) -> list[Instance]:
        """Live instances by what they were born as, whatever their tags say now."""
        return [
            instance
            for instance in self.simulator.world.instances.values()
            if instance.is_live and environment in (None, self.owner_of(instance))
        ]

    def owner_of(self, instance: Instance) -> str | None:
        """The environment that an instance was born for, or that an operator has given it to; not what tags say now."""
        born: str | None = instance.order.tags.get(ENVIRONMENT_TAG)
        return self._given.get(instance.id, born)

    @property
    def left(self) -> list[Instance]:
        """Every instance that its environment has left, dead or alive."""
        world = self.simulator.world
        return [world.instances[key] for key, owner in self._given.items() if owner is None]

    @property
    def taken_over(self) -> list[Instance]:
        """Every instance that an environment has taken over, dead or alive."""
        world = self.simulator.world
        return [world.instances[key] for key, owner in self._given.items() if owner is not None]

    def _note_owner(self, instance_id: str) -> None:
        tags = self.simulator.world.instances[instance_id].tags
        self._given[instance_id] = tags.get(ENVIRONMENT_TAG)
        if ENVIRONMENT_TAG in tags:
            self.takeovers.append((tags[ENVIRONMENT_TAG], self.simulator.world.instances[instance_id]))
        if (ENVIRONMENT_TAG in tags) == (RETAINED_TAG in tags):
            self.violations.append(f"O14 marks: {instance_id} is both somebody's and nobody's, or neither: {tags}")

    # --- the judge ---------------------------------------------------------------------------------------------------

    def _judge_births(self, window: float = 60.0) -> None:
        instances = list(self.simulator.world.instances.values())
        for instance in instances[self._judged :]:
            environment = instance.order.tags.get(ENVIRONMENT_TAG)
            if environment is None:
                continue
            self.on_birth(instance, window)
            limit = self.allowed(environment, window)
            # A machine cannot be bought in parts: without the last one it must have been too few.
            count = sum(map(self.units, self.living(environment)))
            if limit is not None and count - self.units(instance) >= limit:
                at = f"t={self.now - EPOCH:.1f}"
                self.violations.append(
                    f"O2 over: {environment} has {count} live, {limit} wanted within {window:.0f} s, {at}"
                )
        self._judged = len(instances)

    def judge_sending(self, ids: list[str], caller: str, knows: Callable[[str], bool]) -> None:
        """The orphan sweep lets a request go: now, not when it arrives, nobody may own its instances.

        Who claims them while the request is on its way adopts what has been told to end already. And whom another
        process has claimed for while the answer to the last look was on its way, the sender, who `knows` what it knows,
        cannot see.
        """
        self.on_sending(ids, caller)
        for instance_id in ids:
            if instance_id in self._given and self._given[instance_id] is None:
                self.violations.append(f"O14 not kept: {caller} ends {instance_id}, which its environment has left")
        for instance_id in ids if caller == ORPHAN_SWEEP else ():
            instance = self.simulator.world.instances.get(instance_id)
            owner = (self.owner_of(instance) or "") if instance else ""
            if self.is_living(owner) and (knows(owner) or not self.is_newcomer(owner)):
                self.violations.append(f"O3 wrong orphan: {instance_id} of {owner}, which exists")

    def _judge_terminations(self, ids: list[str], caller: str) -> None:
        for instance_id in ids:
            instance = self.simulator.world.instances.get(instance_id)
            if instance_id in self._given and self._given[instance_id] is None:
                continue  # judged when it was sent: what was sent before it was left cannot be called back
            owner = (self.owner_of(instance) or "") if instance else ""
            if instance is not None and not owner.startswith(self.owner_of_caller(caller)):
                self.violations.append(f"O3 foreign kill: {caller} ends {instance_id} of {owner!r}")
            elif instance is not None and not owner:
                self.violations.append(f"O3 foreign kill: {caller} ends {instance_id}, which nobody of us made")


class CloudLine:
    """One replica's line to the cloud: what `cloud.tencent.client.Client` is to HTTP."""

    def __init__(
        self,
        cloud: Cloud,
        account: str,
        trouble: CloudTrouble,
        rng: random.Random,
        boundary: Callable[[str], None],
        fault: FaultPoint,
        skew: Callable[[], float] = float,
        knows: Callable[[str], bool] = lambda environment: True,
        is_revoked: Callable[[], bool] = bool,
        pacer: Pacer | None = None,
    ) -> None:
        """`skew` is how many seconds the clock that signs is ahead of the cloud's.

        `knows` is whether the process has seen an object with that environment id, `is_revoked` whether the key is.

        `pacer` limits its calls, None when nothing does.
        """
        self._pacer = pacer
        self._knows, self._is_revoked = knows, is_revoked
        self._cloud, self._account, self._trouble, self._rng = cloud, account, trouble, rng
        self._boundary, self._fault, self._skew = boundary, fault, skew

    async def call(self, action: str, parameters: dict[str, Any], on_behalf_of: str) -> dict[str, Any]:
        """Send one request; raise as the real client does."""
        loop = asyncio.get_running_loop()
        trouble, rng = self._trouble, self._rng
        await self._let_through(action, parameters, on_behalf_of)
        self._boundary(f"{action} before")
        self._cloud.on_request(action, on_behalf_of)
        if action == "TerminateInstances":
            self._cloud.judge_sending(parameters.get("InstanceIds", []), on_behalf_of, self._knows)
        cell = self._fault.next(f"cloud {action}")
        if cell is not None:
            return self._read(action, await self._strike(cell, action, parameters, on_behalf_of))
        luck = rng.random()
        await asyncio.sleep(rng.uniform(0, trouble.latency))
        answer: asyncio.Future[Any] = loop.create_future()

        def commit(was_late: bool = False) -> Any:
            return self._cloud.carry_out(self._account, action, parameters, on_behalf_of, was_late)

        def respond(result: Any, after: float | None = None) -> None:
            loop.call_later(rng.uniform(0, trouble.latency) if after is None else after, settle, result)

        def settle(result: Any) -> None:
            if not answer.cancelled():
                answer.set_result(result)

        edge = 0.0

        def strikes(probability: float) -> bool:
            nonlocal edge
            edge += probability
            return edge - probability <= luck < edge

        if loop.time() < trouble.outage_until or strikes(trouble.not_sent):
            raise NotSent("ClientNetworkError", "connection refused")
        skew = self._skew()
        if abs(skew) > SIGNATURE_SECONDS:
            respond({"Error": {"Code": "AuthFailure.SignatureExpire", "Message": "signed when?"}, "RequestId": "r"})
        elif trouble.revoked or self._is_revoked():
            respond({"Error": {"Code": "AuthFailure.SecretIdNotFound", "Message": "no such key"}, "RequestId": "r"})
        elif refusal := self._cloud.refusal_of(action, parameters):
            respond(refusal)
        elif strikes(trouble.throttle):
            respond({"Error": {"Code": "RequestLimitExceeded", "Message": "slow down"}, "RequestId": "r"})
        elif strikes(trouble.fail_before):
            respond(None, after=rng.uniform(0, 15))
        elif strikes(trouble.lose_after):
            loop.call_later(rng.uniform(0, trouble.latency), commit)
            respond(None, after=trouble.latency + rng.uniform(0, 15))
        elif strikes(trouble.late) and action in MUTATING:
            loop.call_later(rng.uniform(5, SIGNATURE_SECONDS - 10 + min(0.0, skew)), commit, True)
            respond(None, after=10.0)
        else:
            delay = rng.uniform(0, 8) if strikes(trouble.slow) else rng.uniform(0, trouble.latency)
            loop.call_later(delay, lambda: respond(commit()))
        try:
            result = await answer
        finally:
            self._boundary(f"{action} after")
        return self._read(action, result)

    async def _let_through(self, action: str, parameters: Mapping[str, Any], caller: str) -> None:
        """Waits for the pacer. Raises what comes of a question that the cloud never answers here, without any dice."""
        if self._pacer is not None:
            await self._pacer.turn(action, caller)
        if self._cloud.says_nothing(action, parameters):
            await asyncio.sleep(10.0)
            raise OutcomeUnknown("ClientNetworkError", "read timed out")
        is_told = {
            "InquiryPriceRunInstances": self._cloud.tells_prices,
            "GetCallerIdentity": self._cloud.tells_accounts,
        }
        if not is_told.get(action, True):
            raise classify(action, "UnauthorizedOperation")("UnauthorizedOperation", "not with this key", "r")
        if action == "GetCallerIdentity" and asyncio.get_running_loop().time() < self._cloud.accounts_away_until:
            raise NotSent("ClientNetworkError", "connection refused")

    async def _strike(self, cell: Cell, action: str, parameters: dict[str, Any], caller: str) -> dict[str, Any]:
        def error(text: str) -> CloudError:
            kind = NotSent if cell[0] is Phase.BEFORE_SEND else OutcomeUnknown
            return kind("ClientNetworkError", text)

        def commit() -> dict[str, Any]:
            was_late = cell[1] is Kind.LATE
            answer: dict[str, Any] = self._cloud.carry_out(self._account, action, parameters, caller, was_late)
            return answer

        def distort(kind: Kind, answer: dict[str, Any]) -> dict[str, Any]:
            return {"InstanceSet": [], "TotalCount": 0, "RequestId": "r"} if kind is Kind.EMPTY else {"RequestId": "r"}

        refusal = Throttled("RequestLimitExceeded", "slow down")
        return await strike(cell, self._fault, commit, error, refusal, distort)

    def _read(self, action: str, result: dict[str, Any] | None) -> dict[str, Any]:
        if result is None:
            raise OutcomeUnknown("ClientNetworkError", "no answer")
        error = result.get("Error")
        if error is not None:
            raise classify(action, error["Code"])(error["Code"], error["Message"], result["RequestId"])
        if action == "DescribeInstances":
            self._cloud.on_list()
        if self._trouble.garble and self._rng.random() < self._trouble.garble:
            return garbled(result, self._rng)
        if action == "DescribeInstances" and result.get("InstanceSet"):
            luck = self._rng.random()
            if luck < self._trouble.empty_list:
                return {**result, "InstanceSet": [], "TotalCount": 0}
            if luck > 1 - self._trouble.partial_list:
                rows = result["InstanceSet"][::2]
                return {**result, "InstanceSet": rows, "TotalCount": len(rows)}
        return result


def garbled(answer: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """An answer of the right status whose body is not what was promised: a key lost, or of another kind."""
    key = rng.choice(sorted(answer))
    rest = {name: value for name, value in answer.items() if name != key}
    nonsense: list[Any] = [None, "<html>", -1, [], [{}], {"Error": None}]
    return rng.choice([rest, {**answer, key: rng.choice(nonsense)}, {}, {"Response": answer}])
