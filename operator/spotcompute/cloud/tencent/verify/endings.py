"""Judges tokens and ends: what a repeated launch answers, and what becomes of an instance that is asked to end.

Apart from `measured`, because these need requests that may buy.
"""

from __future__ import annotations

from collections.abc import Callable

from spotcompute.cloud.tencent.verify.finding import Finding, missing, number, open_because
from spotcompute.cloud.tencent.verify.line import NO_ANSWER
from spotcompute.cloud.tencent.verify.measured import pending_span, terminating_seconds
from spotcompute.cloud.tencent.verify.record import (
    ABSENT,
    RUNNING,
    SHUTDOWN,
    TERMINATING,
    Answer,
    Bounds,
    Life,
    Record,
)

#: The instance that is bought first, and whose token is asked for when it is gone.
FIRST = "first"
#: The one that takes its place when its launch has failed.
REPLACED = "first-again"


def token_repeated(record: Record) -> Finding:
    """Judges the repetition of a launch as it was, which every retry of ours rests on."""
    if reason := missing(record, "token-repeated"):
        return open_because(reason)
    answer, life = record.answers["token-repeated"], record.life(FIRST)
    if answer.code or life is None:
        return Finding(None, f"a repeated launch answered {answer.shown}")
    is_same = answer.ids == (life.id,)
    return Finding("same-ids" if is_same else "bought again", "a launch was repeated with its token and its body")


def token_mismatch(record: Record) -> Finding:
    """Judges a token that comes with other parameters."""
    if reason := missing(record, "token-mismatch"):
        return open_because(reason)
    answer, life = record.answers["token-mismatch"], record.life("early")
    if answer.code:
        return Finding("error", f"a token with another name answered {answer.code}")
    is_old = life is not None and answer.ids == (life.id,)
    return Finding("old-ids" if is_old else "relaunch", "a token with another name answered ids")


def lifetime_of_token(record: Record) -> Finding:
    """Judges how long a token is remembered, by repeating a launch of an instance that lives on."""
    kept = [ask.age for ask in record.token_asks if ask.is_remembered]
    lost = [ask.age for ask in record.token_asks if not ask.is_remembered]
    if lost:
        return number([Bounds(max(kept, default=0.0), min(lost))], (600,), "a token was remembered for")
    if not kept:
        return open_because(record.skipped.get("token-lifetime", "no token was repeated"))
    bound = Bounds(max(kept), float("inf"))
    return Finding(None, f"a token was remembered for {bound}", bound)


def is_within_memory(record: Record, age: float) -> bool:
    """True when a token of this age is certainly remembered."""
    return any(ask.is_remembered and ask.age >= age for ask in record.token_asks)


def token_of_terminated(record: Record) -> Finding:
    """Judges a token whose instance is gone. A token that may be forgotten proves nothing."""
    key = "token-of-gone"
    if reason := missing(record, key):
        return open_because(reason)
    answer, life = record.answers[key], record.life(REPLACED) or record.life(FIRST)
    if life is None:
        return open_because("no instance was gone in time")
    if not answer.code and answer.ids == (life.id,):
        return Finding("same-ids", "the token of an instance that is gone answered its id")
    age = answer.at - life.born_at
    if answer.code:
        return Finding("error", f"the token of an instance that is gone answered {answer.code}")
    if is_within_memory(record, age):
        return Finding("relaunch", "the token of an instance that is gone bought again")
    return open_because(f"it bought again, but after {age:.0f} s the token may simply be forgotten")


def token_after_failure(record: Record) -> Finding:
    """Judges a token whose first use was refused. Two ways lead there.

    Other parameters under the token are refused when it is used up, unless `token-mismatch` is `relaunch`. Then the
    launch must be repeated as it was after its reason is gone: it had asked for an address that was taken.
    """
    mismatch = token_mismatch(record).setting
    refused, again = record.answers.get("token-refused"), record.answers.get("token-refused-again")
    if mismatch in ("error", "old-ids") and refused is not None and again is not None:
        return judged_by_other_parameters(refused, again)
    first, second = record.answers.get("address-taken"), record.answers.get("address-free")
    if first is None or second is None or NO_ANSWER in (first.code, second.code):
        return open_because(record.skipped.get("address-free", "the time or the budget was over before"))
    if not first.code:
        return open_because("a launch with a taken address was not refused")
    text = f"a launch was refused with {first.code}, and answered {second.shown} when its reason was gone"
    if second.code == first.code:
        return Finding("consumed", text)
    if second.code or not is_within_memory(record, second.at - first.at):
        return open_because(f"{text}; the token may simply be forgotten" if not second.code else text)
    return Finding("free", text)


def judged_by_other_parameters(refused: Answer, again: Answer) -> Finding:
    """Judges a token after a refusal by a launch with a better bid."""
    text = f"a bid far too low answered {refused.shown}, and a good one with the same token {again.shown}"
    if not refused.code or again.code == NO_ANSWER:
        return open_because(text)
    return Finding("consumed" if again.code else "free", text)


def terminate_pending(record: Record) -> Finding:
    """Judges the end of a PENDING instance. When it was accepted, it must have been PENDING for certain."""
    if reason := missing(record, "terminate-pending"):
        return open_because(reason)
    answer = record.answers["terminate-pending"]
    if answer.code == "UnsupportedOperation.InstanceStatePending":
        return Finding("refused", f"TerminateInstances right after a launch answered {answer.code}")
    life = record.life("early")
    shortest = min((span.lower for one in record.lives if (span := pending_span(one))), default=0.0)
    if answer.code or life is None:
        return open_because(f"TerminateInstances right after a launch answered {answer.shown}")
    if answer.at - life.born_at < shortest * 0.5:
        return Finding("accepted", "TerminateInstances right after a launch succeeded")
    return open_because("it succeeded, but the instance may have been RUNNING already")


def terminate_batch(record: Record) -> Finding:
    """Judges whether a batch with one id that does not exist has ended the one before it."""
    if reason := missing(record, "batch"):
        return open_because(reason)
    batch, state = record.answers["batch"], record.state_after_batch
    text = f"a batch with an unknown id answered {batch.shown}, and later its known id was {state or 'not looked at'}"
    if not batch.code or batch.tries > 1 or not state:
        return open_because(text)
    return Finding("all-or-nothing" if state == RUNNING else "partial", text)


def watched(key: str, why: str) -> Callable[[Record], Finding]:
    """Returns the judge of a question that only a chance or a person can answer."""

    def judged(record: Record) -> Finding:
        return open_because(record.skipped.get(key, why))

    return judged


def reclaim_visible(record: Record) -> Finding:
    """Judges which state an instance shows that the cloud has taken back: one that ended without a request of ours."""
    seen = next((one for life in record.lives if (one := life.taken_back)), None)
    if seen is None:
        return open_because("no instance was reclaimed while we watched; --watch watches longer")
    text = f"an instance ended without a request of ours, and was first seen {seen.state}"
    short = terminating_seconds(record).bound
    if seen.state == ABSENT and (short is None or short.upper < 2 * (seen.first - seen.before)):
        return open_because(f"{text}; the states of an end are too short here to be seen")
    return Finding({TERMINATING: "terminating", SHUTDOWN: "shutdown", ABSENT: "absent"}[seen.state], text)


def console_operation(record: Record) -> Finding:
    """Judges whether LatestOperation shows what a person does: that one of our instances was stopped in the console."""
    seen = next((one for life in record.lives if (one := life.stopped_by_others)), None)
    if seen is None:
        return open_because("no instance of ours was stopped in the console while we watched; --watch watches longer")
    is_recorded = seen.operation == "StopInstances"
    text = f"a person has stopped an instance, and LatestOperation then was {seen.operation or 'empty'}"
    return Finding("recorded" if is_recorded else "absent", text)


#: Seconds after which a price above the bid would have had its effect, and seconds by which quotes may be late.
PRICE_PATIENCE, QUOTES_LATE = 300.0, 330.0


def price_interrupts(record: Record) -> Finding:
    """Judges by an instance whose bid the price has passed: the cloud takes it back soon, or it goes on."""
    found = (_outbid(life, record) for life in record.lives)
    unseen = "the price did not stay above the bid of an instance while we watched; --watch watches longer"
    return next((one for one in found if one is not None), open_because(unseen))


def _outbid(life: Life, record: Record) -> Finding | None:
    """Judges by one instance. Returns None when it tells nothing."""
    end = life.taken_back
    over_bid = [one.at for one in record.prices if life.born_at < one.at and 0 < life.bid < one.quoted]
    above = [at for at in over_bid if (end is None or at <= end.first) and life.state_at(at) == RUNNING]
    if above and above[-1] - above[0] >= PRICE_PATIENCE and not life.ended_at:
        text = f"an instance went on for {above[-1] - above[0]:.0f} s although the price was above its bid"
        return Finding("no", text)
    if over_bid and end is not None and -QUOTES_LATE <= end.first - over_bid[0] <= PRICE_PATIENCE:
        text = f"an instance ended {end.first - over_bid[0]:.0f} s after the price was first seen above its bid"
        return Finding("yes", text)
    return None
