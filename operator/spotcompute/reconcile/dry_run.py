"""Asks the cloud what is wrong with a launch, without launching: dry runs, varied until every wrong field is known.

Of several wrong fields the cloud names one. So that field is left out and the cloud is asked again, a bounded number of
times. Apart from `plan.field_errors`, because it waits; nothing is bought here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from spotcompute.cloud.errors import CloudError, InvalidCredentials, NoRoom, Throttled
from spotcompute.cloud.provider import CloudProvider
from spotcompute.model.desired import Desired
from spotcompute.model.launch import LaunchRequest, Part, parts_of, without
from spotcompute.plan.field_errors import (
    DryRunRefusal,
    FieldError,
    Findings,
    Probe,
    dry_run_refusal_of,
    field_error_of,
    groups,
    hinted,
    is_field_error,
    is_refusal,
    market_errors,
    probes,
)
from spotcompute.plan.quote import Quote
from spotcompute.plan.situation import Situation

#: Most dry runs that look for what is wrong with the template, besides one for the network of each further zone.
CALLS_MAX = 8

#: Times a dry run that was refused for its rate is repeated; the pacer has slowed down meanwhile.
REPEATS = 2


class _Unanswered(Exception):
    """`_Unanswered` means that the cloud does not answer, or nothing that helps; `str()` says what."""


class _OutOfCalls(Exception):
    """`_OutOfCalls` means that the cloud was asked as often as it may be."""


async def find_field_errors(
    situation: Situation, quote: Quote, provider: CloudProvider, user_data: str | None, on_behalf_of: str
) -> Findings:
    """Returns all that would be refused, as far as a bounded number of dry runs can tell. Raises nothing."""
    search = _DryRunSearch(situation.desired, provider, user_data, on_behalf_of)
    route = probes(situation, quote)
    unchecked = None if route else quote.unmet or "there is no pool to ask about"
    try:
        for probe in route:
            await search.probe(probe)
    except _Unanswered as reason:
        unchecked = str(reason)
    # What the cloud itself says about a field is better than what its market suggests.
    named = {field_error.field for field_error in search.field_errors}
    concluded = [
        field_error
        for field_error in market_errors(situation.desired, situation.market)
        if field_error.field not in named
    ]
    field_errors = tuple(dict.fromkeys([*search.field_errors, *concluded]))
    hidden = bool(field_errors) and unchecked is None and not search.is_template_known
    return Findings(field_errors, tuple(search.refusals), unchecked, hidden or search.is_out_of_calls)


class _DryRunSearch:
    """Searches one template in several zones; remembers the answers, and which parts were found to be wrong."""

    def __init__(self, desired: Desired, provider: CloudProvider, user_data: str | None, on_behalf_of: str) -> None:
        self._desired, self._provider, self._user_data, self._caller = desired, provider, user_data, on_behalf_of
        self.field_errors: list[FieldError] = []
        self.refusals: list[DryRunRefusal] = []
        #: True once a request was accepted from which only parts were left out that are known to be wrong.
        self.is_template_known = self.is_out_of_calls = False
        self._wrong: set[Part] = set()
        self._full = Counter[str]()
        self._answers: dict[LaunchRequest, CloudError | None] = {}
        self._calls_left = CALLS_MAX

    async def probe(self, probe: Probe) -> None:
        """Finds what is wrong with one placement, and with the template unless that is known already."""
        if self.is_template_known or self.is_out_of_calls:
            await self._probe_network(probe)
            return
        try:
            await self._search(probe)
        except _OutOfCalls:
            self.is_out_of_calls = True

    async def _probe_network(self, probe: Probe) -> None:
        others = [part for part in parts_of(probe.request) if part is not Part.NETWORK]
        request = without(probe.request, [*others, *self._wrong])
        self._calls_left += 1
        error = await self._ask(request)
        if error is not None and is_field_error(error):
            part = error.about or Part.NETWORK
            if probe.is_own_type or part in (Part.NETWORK, Part.ZONE):
                self.field_errors.append(field_error_of(error, part, probe, self._desired))
        else:
            self._note_refusal(probe, request, error)

    async def _search(self, probe: Probe) -> None:
        """Asks, leaves out what is wrong, and asks again, until nothing is wrong or a part cannot be left out."""
        left_out = set(self._wrong)
        while True:
            request = without(probe.request, left_out)
            error = await self._ask(request)
            if error is None or not is_field_error(error):
                self.is_template_known = error is None
                self._note_refusal(probe, request, error)
                return
            part = await self._blamed(probe, request, error)
            if part in left_out:
                return  # it is left out already, and the error stays: this part is not the cause
            if probe.is_own_type or part is not Part.INSTANCE_TYPE:
                self.field_errors.append(field_error_of(error, part, probe, self._desired))
            if part is None and isinstance(error, InvalidCredentials):
                raise _Unanswered("nothing more can be asked with this key")
            if part is not Part.IMAGE and part not in parts_of(request):
                return
            left_out.add(part)
            if part is not Part.NETWORK:
                self._wrong.add(part)

    async def _blamed(self, probe: Probe, request: LaunchRequest, error: CloudError) -> Part | None:
        """Returns the part at fault. When no call is left to find it, notes the part that the error hints at."""
        try:
            return await self._culprit(request, error)
        except _OutOfCalls:
            self.field_errors.append(field_error_of(error, hinted(request, error), probe, self._desired))
            raise

    def _note_refusal(self, probe: Probe, request: LaunchRequest, error: CloudError | None) -> None:
        """Notes a refusal of what is counted on.

        One full subnet is no refusal while the zone has another that is not full.
        """
        if error is None or not probe.is_chosen:
            return
        zone = probe.request.pool.zone
        subnets = self._desired.subnets(zone)
        if isinstance(error, NoRoom) and subnets:
            self._full[zone] += 1
            if self._full[zone] < len(subnets):
                return
        refusal = dry_run_refusal_of(error, request)
        if not any((one.pool, one.trouble) == (refusal.pool, refusal.trouble) for one in self.refusals):
            self.refusals.append(refusal)

    async def _culprit(self, request: LaunchRequest, error: CloudError) -> Part | None:
        """Returns the part without which `error` is no longer answered. Its words are only a hint.

        When the error stays whatever is left out, it is about the part that the words hint at, unless that was left
        out, too.
        """
        present, hint = parts_of(request), hinted(request, error)
        for suspects in groups(present, hint):
            if not await self._persists(request, suspects, error):
                return await self._narrowed(request, suspects, error)
        return hint if hint not in present else None

    async def _narrowed(self, request: LaunchRequest, suspects: tuple[Part, ...], error: CloudError) -> Part:
        """Returns the wrong part among suspects, by halves: without all of them the error is gone."""
        while len(suspects) > 1:
            half, others = suspects[: len(suspects) // 2], suspects[len(suspects) // 2 :]
            suspects = others if await self._persists(request, half, error) else half
        return suspects[0]

    async def _persists(self, request: LaunchRequest, parts: Collection[Part], error: CloudError) -> bool:
        answer = await self._ask(without(request, parts))
        return answer is not None and (answer.code, answer.message) == (error.code, error.message)

    async def _ask(self, request: LaunchRequest) -> CloudError | None:
        """Returns what the cloud answers, None for yes; no request is asked twice. Raises `_Unanswered` or
        `_OutOfCalls`.
        """
        if request in self._answers:
            return self._answers[request]
        if self._calls_left == 0:
            raise _OutOfCalls
        self._calls_left -= 1
        answer = await self._answer(request)
        for _ in range(REPEATS):
            if not isinstance(answer, Throttled):
                break
            answer = await self._answer(request)
        if answer is not None and not is_field_error(answer) and not is_refusal(answer):
            raise _Unanswered(f"{answer.code}: {answer.message}")
        self._answers[request] = answer
        return answer

    async def _answer(self, request: LaunchRequest) -> CloudError | None:
        try:
            await self._provider.check(request, self._user_data if request.user_data_digest else None, self._caller)
        except CloudError as error:
            return error
        return None
