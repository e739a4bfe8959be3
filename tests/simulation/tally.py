"""What many plays came to together: sums, and every violation with the name of the play that showed it."""

from __future__ import annotations

import gc
from collections import Counter
from dataclasses import dataclass, field

from simulation.plays import play_named


@dataclass(slots=True)
class Tally:
    """What a number of plays came to. A violation is the name of its play, and what was seen."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[str, str]] = field(default_factory=list)
    longest_orphan: float = 0.0

    def add(self, other: Tally) -> None:
        """Add the plays of another tally."""
        self.counts += other.counts
        self.violations += other.violations
        self.longest_orphan = max(self.longest_orphan, other.longest_orphan)


def play_all(kind: str, names: list[str]) -> Tally:
    """Play some plays of one kind. A play that raises is a violation too."""
    tally = Tally()
    gc.disable()  # A play makes much and keeps nothing: to collect once at the end saves a fifth of the time.
    for name in names:
        tally.counts[kind] += 1
        try:
            outcome = play_named(name)
        except Exception as error:
            tally.violations.append((name, f"raised {error!r}"))
            continue
        tally.violations += [(name, violation) for violation in outcome.violations[:3]]
        tally.longest_orphan = max(tally.longest_orphan, outcome.longest_orphan)
        tally.counts[f"{kind} both struck"] += outcome.faults_struck > 1
        tally.counts[f"{kind} with replicas"] += outcome.replicas > 1
        tally.counts += Counter(launched=outcome.launched, calls=outcome.calls, records=outcome.records)
    gc.enable()
    gc.collect()
    return tally
