"""Defines what a judgement is, and judges numbers: the value that fits every duration that was seen.

Apart from the judges of single questions, which all end here. Nothing is guessed: a finding without a setting says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from spotcompute.cloud.tencent.verify.line import NO_ANSWER, NOT_ALLOWED
from spotcompute.cloud.tencent.verify.record import Answer, Bounds, Record


@dataclass(frozen=True, slots=True)
class Finding:
    """`Finding` is the answer to one question. `setting` is None when it stays open; `why` holds the evidence or the
    reason. `bound` is what is known of a number that stays open.
    """

    setting: str | None
    why: str
    bound: Bounds | None = None


def open_because(why: str) -> Finding:
    """Returns a finding without a setting."""
    return Finding(None, why)


def missing(record: Record, key: str) -> str | None:
    """Returns why there is no usable answer to an ask. None when there is one."""
    if key in record.skipped:
        return record.skipped[key]
    answer = record.answers.get(key)
    if answer is None:
        return "not asked: the time or the budget was over before"
    if answer.code == NO_ANSWER:
        return "the cloud gave no answer"
    if answer.code in NOT_ALLOWED:
        return "the key may not do this"
    return None


def by_answer(key: str, judge: Callable[[Answer], Finding]) -> Callable[[Record], Finding]:
    """Returns a judge of one answer, for a question that one answer settles."""

    def judged(record: Record) -> Finding:
        reason = missing(record, key)
        return open_because(reason) if reason else judge(record.answers[key])

    return judged


def number(spans: Iterable[Bounds], tried: Iterable[float], what: str, slack: float = 1.0) -> Finding:
    """Returns the number that fits all spans: a tried value when one fits, otherwise the middle of what is possible.

    `slack` is the factor by which a single duration may differ from the setting, up or down.
    """
    found = list(spans)
    if not found:
        return open_because(f"{what}: not seen")
    lower = max(span.lower for span in found) / slack
    upper = min(span.upper for span in found) / (2 - slack)
    if lower > upper:  # they differ more than the setting allows: all of it is possible
        lower, upper = min(span.lower for span in found), max(span.upper for span in found)
    fitting = [value for value in tried if lower - 0.5 <= value <= upper + 0.5]
    text = f"{what}: {', '.join(map(str, found))}"
    if fitting:
        middle = (lower + upper) / 2
        return Finding(f"{min(fitting, key=lambda value: abs(value - middle)):g}", text, Bounds(lower, upper))
    return Finding(f"{(lower + upper) / 2:.0f}", text, Bounds(lower, upper))


def at_least(record: Record, state: str, what: str) -> Finding:
    """Returns the finding about a duration that has not ended."""
    ages = [age for life in record.lives if (age := life.since(state, life.looked_at)) is not None]
    if not ages:
        return open_because(f"{what}: not seen")
    bound = Bounds(max(ages), float("inf"))
    return Finding(None, f"{what}: {bound}, and was not over", bound)


def spans_of(record: Record, state: str) -> list[Bounds]:
    """Returns every duration of a state that was seen from its beginning to its end."""
    return [span for life in record.lives for span in life.spans(state)]
