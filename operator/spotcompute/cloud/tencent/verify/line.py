"""Sends the requests of a verification, and says what came back: repeated when that is safe, never hidden.

Apart from `cloud.tencent.client`, which sends one request and judges nothing. Here a refusal is an answer, because most
questions are answered by a refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from datetime import datetime
from typing import Protocol

from spotcompute.cloud.credentials import AnyKey, Credentials
from spotcompute.cloud.errors import CloudError, InvalidCredentials, NotSent, OutcomeUnknown, Throttled, Unavailable
from spotcompute.cloud.pacer import Pacer, Rate
from spotcompute.cloud.tencent.client import Client
from spotcompute.cloud.tencent.keys import holder_of
from spotcompute.cloud.tencent.verify.record import Answer, Json
from spotcompute.settings import Settings
from spotcompute.telemetry import redaction

#: Requests per second of each action: below every published limit (10 for what changes or inquires, 40 for reads).
RATES = {
    "RunInstances": Rate.even(4.0),
    "TerminateInstances": Rate.even(4.0),
    "StopInstances": Rate.even(4.0),
    "StartInstances": Rate.even(4.0),
    "InquiryPriceRunInstances": Rate.even(4.0),
    "DescribeInstances": Rate.even(15.0),
    "DescribeZoneInstanceConfigInfos": Rate.even(4.0),
    "GetCallerIdentity": Rate.even(4.0),
}

#: Requests per second of the one burst that looks for the limit of an action.
BURST_RATE = Rate.even(10_000.0)

#: Seconds before a request is repeated that was not carried out, or that is repeated under its token.
PAUSES = (1.0, 2.0, 4.0, 8.0)

#: Errors after which the same request is sent again.
REPEATED = (Throttled, NotSent, OutcomeUnknown, Unavailable)

#: The vendor's words for "this key may not".
NOT_ALLOWED = ("AuthFailure.UnauthorizedOperation", "UnauthorizedOperation")

NO_ANSWER = "NoAnswer"


class CannotVerify(Exception):
    """`CannotVerify` means that a verification cannot begin or go on. `str()` says why, and what to change."""


class RequestLine(Protocol):
    """`RequestLine` sends one request to one region of the account. Tests put the simulator behind it."""

    @property
    def region(self) -> str:
        """Returns the region to which requests go when they name none."""
        ...

    def now(self) -> datetime:
        """Returns the time of day, in UTC."""
        ...

    async def send(self, action: str, parameters: Json, region: str, *, at_once: bool) -> Json:
        """Sends one request. `at_once` ignores the pace. Raises CloudError as the client does."""
        ...


class ClientLine:
    """`ClientLine` is the `RequestLine` to the real cloud: clients of one key, one for each region."""

    def __init__(
        self, settings: Settings, key: AnyKey, region: str, threads: Executor, now: Callable[[], datetime]
    ) -> None:
        """Takes the key, which is cut out of everything that is written from now on."""
        if isinstance(key, Credentials):
            redaction.register(key.secret_id, key.secret_key, key.token)
        self._settings, self._key, self._threads = settings, holder_of(key, settings), threads
        self._region, self._now = region, now
        self._paced, self._hurried = Pacer(RATES), Pacer(dict.fromkeys(RATES, BURST_RATE))
        self._clients: dict[tuple[str, bool], Client] = {}

    @property
    def region(self) -> str:
        """Returns the region to which requests go when they name none."""
        return self._region

    def now(self) -> datetime:
        """Returns the time of day, in UTC."""
        return self._now()

    async def send(self, action: str, parameters: Json, region: str, *, at_once: bool) -> Json:
        """Sends one request. `at_once` ignores the pace. Raises CloudError as the client does."""
        client = self._clients.get((region, at_once))
        if client is None:
            pacer = self._hurried if at_once else self._paced
            client = Client(self._key, region, self._settings, self._threads, pacer)
            self._clients[region, at_once] = client
        return await client.call(action, parameters, "")


def seconds() -> float:
    """Returns the clock of the event loop."""
    return asyncio.get_running_loop().time()


async def call(line: RequestLine, action: str, parameters: Json, region: str | None = None) -> Answer:
    """Sends a request until it has an answer, at most five times. Returns the answer, a refusal too.

    A launch without an answer is repeated with the same token and body. The code NoAnswer says that none came.
    Raises CannotVerify when the key itself is wrong.
    """
    for tries, pause in enumerate((*PAUSES, None), start=1):
        try:
            body = await line.send(action, parameters, region or line.region, at_once=False)
            return Answer(seconds(), "", body, tries)
        except REPEATED as trouble:
            if pause is None:
                return Answer(seconds(), NO_ANSWER, {}, tries)
            await asyncio.sleep(pause + (pause if isinstance(trouble, Throttled) else 0.0))
        except CloudError as refusal:
            if isinstance(refusal, InvalidCredentials) and refusal.code not in NOT_ALLOWED:
                _refuse_key(refusal)
            return Answer(seconds(), refusal.code, {}, tries)
    raise AssertionError("unreachable")


def _refuse_key(refusal: CloudError) -> None:
    """Raises CannotVerify for a key that the cloud does not accept at all."""
    if refusal.code.startswith("AuthFailure.") and "CamRole" not in refusal.code:
        raise CannotVerify(
            f"the cloud does not accept this key ({refusal.code}): check TENCENTCLOUD_SECRET_ID,"
            " TENCENTCLOUD_SECRET_KEY and TENCENTCLOUD_TOKEN, and the clock of this machine"
        )


async def hurry(line: RequestLine, action: str, parameters: Json, region: str) -> bool | None:
    """Sends one request without pause. True when the rate let it pass, False when not, None when that is not known."""
    try:
        await line.send(action, parameters, region, at_once=True)
    except Throttled:
        return False
    except (NotSent, OutcomeUnknown):
        return None
    except CloudError:
        return True
    return True


def items(answer: Answer, key: str) -> Iterator[Json]:
    """Yields the objects of a list in an answer. Anything else in it is left out."""
    listed = answer.body.get(key)
    yield from (one for one in (listed if isinstance(listed, list) else []) if isinstance(one, dict))
