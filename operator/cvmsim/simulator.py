"""Defines `Simulator`: one simulated cloud as a value, with world, faults, limits and ledger.

Apart from `app`, which adds HTTP and a clock. This module runs in process, without waiting and without reading time, so
that a deterministic simulation of a customer can use the same judge.
"""

import json
import random
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from cvmsim import schema
from cvmsim.actions import ACTIONS, MAINLAND_ONLY, VERSIONS, no_such_action
from cvmsim.actions.call import Answer, Call, Params
from cvmsim.catalog import Catalog
from cvmsim.credentials import Credited
from cvmsim.errors import ApiError
from cvmsim.faults import KINDS, FaultBox, Rule, Subject
from cvmsim.ledger import Ledger, Request
from cvmsim.limits import Limits
from cvmsim.switches import Switches
from cvmsim.world import World

JSON = "application/json"
BAD_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
LOGIN_PAGE = b"<html><head><title>Sign in</title></head><body>Please sign in to this network.</body></html>"


@dataclass(frozen=True, slots=True)
class Delivery:
    """`Delivery` is what reaches the customer after `delay` seconds.

    With `body` None the connection ends without an answer.
    """

    body: bytes | None
    status: int = 200
    content_type: str = JSON
    delay: float = 0.0
    is_reset: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """`Arrival` is a request that has passed the signature check.

    `account` is a uin, `caller` None for the account's own key.
    """

    account: str
    action: str
    params: Params
    region: str = "ap-guangzhou"
    service: str = "cvm"
    version: str = ""
    caller: Credited | None = None


class Simulator:
    """`Simulator` is a whole cloud. With the same catalog, switches and seed, it answers the same requests alike."""

    def __init__(
        self, catalog: Catalog, *, seed: int, now: float, switches: Mapping[str, object] | None = None
    ) -> None:
        self.catalog, self.seed = catalog, seed
        self.switches = Switches({**catalog.switches, **(switches or {})})
        self.world = World(catalog, self.switches, seed, now)
        self.faults = FaultBox(seed)
        self.limits = Limits(catalog.limits)
        self.ledger = Ledger(self.world, seed)
        self._request_ids = random.Random(f"{seed}:requests")

    def handle(
        self,
        account: str,
        action: str,
        params: Params,
        now: float,
        *,
        region: str = "ap-guangzhou",
    ) -> Answer:
        """Carries out one request at world time `now`, without faults. Returns the content of the `Response` envelope.

        The product is the one that has the action; an action that no product has is refused as one of cvm.

        A refusal is an answer too, with `Error`. It never raises for anything that a customer can send.
        """
        self.world.advance(now)
        service = next((product for product, known in ACTIONS if known == action), "cvm")
        return self._carry_out(Arrival(account, action, params, region, service), "")

    def deliver(self, arrival: Arrival, now: float) -> Delivery:
        """Carries out one request with the faults in force. Returns what a customer receives."""
        self.world.advance(now)
        rule = self.faults.meet(self._subject(arrival)) if self.faults else None
        if rule is None:
            return Delivery(envelope(self._carry_out(arrival, "")))
        return self._trouble(rule, arrival)

    def reject(self, refusal: ApiError, now: float, action: str, service: str, region: str) -> Answer:
        """Answers and records a request that did not pass its signature check."""
        self.world.advance(now)
        request_id = self._new_request_id()
        self._record(Arrival("", action, {}, region, service), request_id, {}, refusal.code, "")
        return {"Error": {"Code": refusal.code, "Message": refusal.message}, "RequestId": request_id}

    # --- one request ------------------------------------------------------------------------------

    def _carry_out(self, arrival: Arrival, fault: str) -> Answer:
        request_id, code = self._new_request_id(), ""
        try:
            answer = self._perform(arrival, request_id)
        except ApiError as refusal:
            code = refusal.code
            answer = {"Error": {"Code": refusal.code, "Message": refusal.message}}
        self._record(arrival, request_id, answer, code, fault)
        answer["RequestId"] = request_id
        return answer

    def _perform(self, arrival: Arrival, request_id: str) -> Answer:
        action = ACTIONS.get((arrival.service, arrival.action))
        if action is None:
            raise no_such_action(arrival.service, arrival.action)
        if arrival.action in MAINLAND_ONLY and self.switches["site"] == "international":
            raise ApiError("InvalidAction", f"The action `{arrival.action}` does not exist on the international site.")
        if arrival.version not in ("", VERSIONS[arrival.service]):
            raise ApiError("NoSuchVersion", f"{arrival.service} has no version {arrival.version}.")
        if action.needs_region and arrival.region not in self.catalog.regions:
            raise ApiError("UnsupportedRegion", f"The region `{arrival.region}` is not supported.")
        scope = arrival.region if self.switches["limit-scope"] == "region" else ""
        self.limits.take(arrival.account, scope, arrival.action, self.world.now)
        schema.check(arrival.action, arrival.params)
        call = Call(arrival.account, arrival.region, arrival.action, arrival.params, request_id, arrival.caller)
        return action.perform(self.world, call)

    def _record(self, arrival: Arrival, request_id: str, answer: Answer, code: str, fault: str) -> None:
        asked = arrival.params.get("InstanceIds")
        ids = answer.get("InstanceIdSet") or (asked if isinstance(asked, list) else ())
        request = Request(
            seq=self.ledger.next_seq(),
            time=self.world.now,
            service=arrival.service,
            action=arrival.action,
            region=arrival.region,
            account=arrival.account or None,
            request_id=request_id,
            params=arrival.params,
            code=code,
            instance_ids=tuple(ids),
            fault=fault,
            commit=self.world.commits,
        )
        self.ledger.record(request)

    def _new_request_id(self) -> str:
        return str(uuid.UUID(int=self._request_ids.getrandbits(128), version=4))

    # --- faults -----------------------------------------------------------------------------------

    def _subject(self, arrival: Arrival) -> Subject:
        """Returns what the request is about. Nothing is checked yet, so every part may have any shape."""
        words = set(_strings(arrival.params.get("TagSpecification"))) | set(_strings(arrival.params.get("Filters")))
        names = set(_strings(arrival.params.get("InstanceName")))
        for instance_id in _strings(arrival.params.get("InstanceIds")):
            instance = self.world.instances.get(instance_id)
            if instance is not None:
                words |= set(instance.order.tags.values())
                names.add(instance.name)
        return Subject(arrival.action, arrival.account, frozenset(words), tuple(names))

    def _trouble(self, rule: Rule, arrival: Arrival) -> Delivery:
        if rule.kind == "late":
            self.world.schedule(rule.seconds, partial(self._arrive_late, arrival))
            return Delivery(None)
        if not KINDS[rule.kind].commits:
            return self._refused(rule, arrival)
        if rule.kind == "duplicate":
            self._carry_out(arrival, "duplicate")
        return distorted(rule, self._carry_out(arrival, rule.kind))

    def _arrive_late(self, arrival: Arrival) -> None:
        self._carry_out(arrival, "late")

    def _refused(self, rule: Rule, arrival: Arrival) -> Delivery:
        request_id, code, message = self._new_request_id(), "", ""
        if rule.kind == "throttle":
            code, message = "RequestLimitExceeded", "Your current request times exceed the limit."
        elif rule.kind == "error":
            code, message = rule.code, rule.message
        self._record(arrival, request_id, {}, code, rule.kind)
        if code:
            return Delivery(envelope({"Error": {"Code": code, "Message": message}, "RequestId": request_id}))
        if rule.kind == "5xx":
            return Delivery(BAD_GATEWAY, status=502, content_type="text/html")
        if rule.kind == "html":
            return Delivery(LOGIN_PAGE, content_type="text/html")
        return Delivery(None, delay=rule.seconds, is_reset=rule.kind == "reset")


def envelope(answer: Answer) -> bytes:
    """Returns the answer in the `Response` envelope, as JSON bytes."""
    return json.dumps({"Response": answer}, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def distorted(rule: Rule, answer: Answer) -> Delivery:
    """Returns what the customer receives of the answer to a request that was carried out."""
    if rule.kind in ("lost_after_commit", "hang_after_commit"):
        return Delivery(None, delay=rule.seconds)
    if rule.kind == "5xx_after_commit":
        return Delivery(BAD_GATEWAY, status=502, content_type="text/html")
    if rule.kind == "no_response":
        return Delivery(b"{}")
    if rule.kind == "wrong_content_type":
        return Delivery(envelope(answer), content_type=f"{JSON}; charset=utf-8")
    body = envelope(_falsified(rule.kind, answer))
    return Delivery(body[: len(body) // 2] if rule.kind == "malformed" else body, delay=rule.seconds)


def _falsified(kind: str, answer: Answer) -> Answer:
    """Returns the answer with a wrong list, when the kind of fault says so."""
    ids = answer.get("InstanceIdSet")
    if ids and kind == "extra_ids":
        return answer | {"InstanceIdSet": [*ids, "ins-" + ids[0][:3:-1]]}
    if ids and kind == "duplicate_ids":
        return answer | {"InstanceIdSet": [ids[0], *ids]}
    for name in ("InstanceSet", "InstanceStatusSet"):
        if name in answer and kind in ("empty_page", "partial_page"):
            rows = answer[name][::2] if kind == "partial_page" else []
            total = answer["TotalCount"] - len(answer[name]) + len(rows) if rows else 0
            return answer | {name: rows, "TotalCount": total}
    return answer


def _strings(value: object) -> Iterable[str]:
    """Yields every text inside a value of any shape."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
