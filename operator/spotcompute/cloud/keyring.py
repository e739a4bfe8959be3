"""Keeps the keys of one account: they take turns in sweeps, and a key that the cloud refuses or does not answer rests.

Apart from `inventory` because several Secrets may hold keys of one account. A key in trouble must not stop the
environments of the other Secrets, and the other keys must not hide that it is revoked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.provider import CloudProvider

#: Refusals in a row after which a key counts as refused. A single refusal may be an accident.
BELIEVED_AFTER = 2

#: Keys that are tried while all of them rest.
TRIED_ALTHOUGH_RESTING = 2


@dataclass(slots=True)
class _Held:
    """`_Held` is one key, with when it was last in use, and how often in a row it was refused or not answered.

    Times are the loop's.
    """

    provider: CloudProvider
    named_at: float
    refusal: CloudError | None = None
    refusals: int = 0
    silences: int = 0
    rests_until: float = 0.0


class Keyring:
    """`Keyring` holds the keys that are in use for one account in one region.

    `current` is the one that the cloud has accepted last.
    """

    def __init__(
        self,
        first: CloudProvider,
        rest_after: Callable[[int], timedelta],
        kept: timedelta,
        clock: Callable[[], float],
    ) -> None:
        """Takes the `first` key, `rest_after`, which gives the rest after so many refusals in a row, and `clock`, in
        seconds.

        A key that no environment has used for as long as `kept` has been rotated, and is dropped.
        """
        self._rest_after, self._kept, self._clock = rest_after, kept, clock
        self._held: dict[str, _Held] = {}
        self.current = first
        self.add(first)

    def add(self, provider: CloudProvider) -> bool:
        """Takes in a key that an environment uses now. True when it is new. Keys not used for long are dropped."""
        now = self._clock()
        known = self._held.get(provider.key)
        if known is None:
            self._held[provider.key] = _Held(provider, now)
        else:
            known.named_at = now
        oldest = now - self._kept.total_seconds()
        self._held = {key: held for key, held in self._held.items() if held.named_at >= oldest}
        return known is None

    def in_turn(self) -> Sequence[CloudProvider]:
        """Returns the keys in the order in which to try them, without those that rest. When all rest, it returns two.

        A key that was refused and has rested comes first, then the key whose last sweep is longest ago. After the first
        comes the current key, so that one key in trouble is followed by one that works.
        """
        now = self._clock()
        by_rest = sorted(self._held.values(), key=lambda held: held.rests_until)
        awake = [held for held in self._held.values() if held.rests_until <= now] or by_rest[:TRIED_ALTHOUGH_RESTING]
        line = [held.provider for held in sorted(awake, key=lambda held: held.refusal is None)]
        return line[:1] + sorted(line[1:], key=lambda provider: provider.key != self.current.key)

    def accepted(self, provider: CloudProvider) -> None:
        """Takes note that the cloud has answered this key, which goes to the end of the line."""
        self.current = provider
        held = self._held.pop(provider.key, None)
        if held is not None:
            self._held[provider.key] = _Held(held.provider, held.named_at)

    def refused(self, provider: CloudProvider, error: CloudError) -> None:
        """Takes note that the cloud has refused this key, which rests, longer each time."""
        held = self._held.get(provider.key)
        if held is not None:
            held.refusal, held.refusals = error, held.refusals + 1
            held.rests_until = self._clock() + self._rest_after(held.refusals).total_seconds()

    def unanswered(self, provider: CloudProvider) -> None:
        """Takes note that this key had no answer. It goes to the end of the line and rests.

        It does not count as refused.
        """
        held = self._held.pop(provider.key, None)
        if held is not None:
            self._held[provider.key] = held
            held.silences += 1
            held.rests_until = self._clock() + self._rest_after(held.silences).total_seconds()

    def rests(self, provider: CloudProvider) -> bool:
        """True when this key is not to be tried again yet."""
        held = self._held.get(provider.key)
        return held is not None and held.rests_until > self._clock()

    def refusal_of(self, provider: CloudProvider) -> CloudError | None:
        """Returns why this key counts as refused. None when it does not."""
        held = self._held.get(provider.key)
        return held.refusal if held is not None and held.refusals >= BELIEVED_AFTER else None

    @property
    def refused_keys(self) -> frozenset[str]:
        """Returns the names of the keys that count as refused."""
        return frozenset(key for key, held in self._held.items() if held.refusals >= BELIEVED_AFTER)

    @property
    def is_in_doubt(self) -> bool:
        """True when a key was refused, and not often enough to be believed."""
        return any(0 < held.refusals < BELIEVED_AFTER for held in self._held.values())
