"""Judges what looks at instances show: lists and their order, lags, and how long each state lasts.

Apart from `endings`, which judges what requests about instances answer.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from spotcompute.cloud.tencent.translate import SPOT
from spotcompute.cloud.tencent.verify.finding import Finding, at_least, missing, number, open_because, spans_of
from spotcompute.cloud.tencent.verify.record import (
    ABSENT,
    LAUNCH_FAILED,
    PENDING,
    RUNNING,
    SHUTDOWN,
    STARTING,
    STOPPING,
    TERMINATING,
    Bounds,
    Life,
    Record,
)


def order(record: Record) -> Finding:
    """Judges the order of lists by our own instances, which were bought one after the other."""
    numbers = {life.id: life.number for life in record.lives}
    looks = [[numbers[one] for one in found if one in numbers] for found in record.lists]
    looks = [look for look in looks if len(look) >= 2]
    if not looks:
        return open_because("no list held two instances of ours")
    rising, falling = (sum(look == sorted(look, reverse=back) for look in looks) for back in (False, True))
    text = f"of {len(looks)} lists {rising} were in order of creation and {falling} in the reverse order"
    if rising == len(looks):
        return Finding("creation", text)
    return Finding("newest-first" if falling == len(looks) else "shuffled", text)


def spot_filter(record: Record) -> Finding:
    """Judges the filter instance-charge-type=SPOTPAID."""
    key = "spot-filter"
    if reason := missing(record, key):
        return open_because(reason)
    answer = record.answers[key]
    if answer.code:
        return Finding("refused" if answer.code.startswith("InvalidFilter") else None, f"answered {answer.code}")
    if not answer.body.get("InstanceSet"):
        return Finding("empty", "a list of SPOTPAID left out a spot instance that was there")
    if record.shows_others_as_spot is None:
        return open_because(
            f"it shows spot instances; whether it also shows others (`works` or `ignored`) needs an instance of another"
            f" charge type in this region than {SPOT}, and the account has none"
        )
    setting = "ignored" if record.shows_others_as_spot else "works"
    return Finding(setting, "compared with an instance of another charge type, which the account had")


def pending_seconds(record: Record) -> Finding:
    """Judges how long a launch stays PENDING. Launches differ by a third."""
    spans = [pending_span(life) for life in record.lives]
    known = [span for span in spans if span is not None]
    if not known:
        return at_least(record, PENDING, "PENDING")
    return number(known, (0, 3, 120), "PENDING", slack=1.34)


def pending_span(life: Life) -> Bounds | None:
    """Returns how long one launch was PENDING: 0 to the first look, when it was never seen so. None while it is."""
    states = [one.state for one in life.sightings[:2]]
    if states[:1] == [PENDING]:
        return next(life.spans(PENDING), None) if states[-1] in (RUNNING, LAUNCH_FAILED) else None
    if states[:1] not in ([RUNNING], [LAUNCH_FAILED]):
        return None
    lag = life.by_id.lag or Bounds(0.0, 0.0)
    return Bounds(0.0, lag.upper - lag.lower)


def lag_of(record: Record, view: Callable[[Life], Bounds | None], tried: tuple[float, ...], what: str) -> Finding:
    """Judges the lag of one view of new instances."""
    return number((span for life in record.lives if (span := view(life))), tried, what)


def id_lag(record: Record) -> Finding:
    """Judges how old the state is that a query by id shows."""
    return lag_of(record, lambda life: life.by_id.lag, (0, 5, 60), "until a query by id showed a new instance")


def list_lag(record: Record) -> Finding:
    """Judges how old the state is that a list shows."""
    return lag_of(record, lambda life: life.in_list.lag, (0, 5, 60, 180), "until a list showed a new instance")


#: Tags that came with an instance which was visible this late were not late themselves, or less so.
UNSEEN_SECONDS = 2.0


def tag_lag(record: Record) -> Finding:
    """Judges how long after a launch its tags can be read. They cannot be seen before the instance itself."""
    found = lag_of(record, tag_span, (0, 5, 60, 180), "until a query by id showed the tags")
    bound = found.bound
    if bound is not None and bound.lower == 0 and bound.upper > UNSEEN_SECONDS:
        return Finding(None, f"at most {bound.upper:.0f} s: the tags came with the instance itself", bound)
    return found


def tag_span(life: Life) -> Bounds | None:
    """Returns the lag of the tags. Its lower bound is 0 when they came with the instance itself."""
    lag, own = life.tags.lag, life.by_id.lag
    if lag is None or own is None:
        return None
    return Bounds(0.0, lag.upper) if life.tags.seen_at == life.by_id.seen_at else lag


#: Share of worlds with a lower rate than the bound in which as many launches would have failed: the usual doubt.
DOUBT = 0.05


def launch_failure_rate(record: Record) -> Finding:
    """Judges the rate by the launches that failed. When none did, it says below which rate it surely lies.

    So few launches settle no rate, but they tell one in ten from none.
    """
    over = [life for life in record.lives if any(one.state in (RUNNING, LAUNCH_FAILED) for one in life.sightings)]
    failed = sum(any(one.state == LAUNCH_FAILED for one in life.sightings) for life in over)
    text = f"{failed} of {len(over)} launches ended in LAUNCH_FAILED"
    if not over:
        return open_because("no launch was seen to its end")
    if not failed:
        return open_because(f"{text}: the rate is below {1 - DOUBT ** (1 / len(over)):.0%}, with 95 % certainty")
    rate = failed / len(over)
    fits = abs(rate - 0.1) <= 3 * (0.1 * 0.9 / len(over)) ** 0.5
    return Finding("0.1" if fits else f"{rate:.2g}", f"{text}; so few do not settle a rate")


def launch_failed_lifetime(record: Record) -> Finding:
    """Judges how long a failed launch stays listed."""
    spans = spans_of(record, LAUNCH_FAILED)
    return number(spans, (0, 60, 3600), LAUNCH_FAILED) if spans else at_least(record, LAUNCH_FAILED, LAUNCH_FAILED)


def terminating_seconds(record: Record) -> Finding:
    """Judges how long an instance stays TERMINATING: 0 to the next look, when it was never seen so."""
    spans = spans_of(record, TERMINATING)
    for life in record.lives:
        for this, after in pairwise(life.sightings):
            was_ended = this.state not in (TERMINATING, SHUTDOWN, LAUNCH_FAILED)
            if was_ended and after.state in (ABSENT, SHUTDOWN) and life.ended_at:
                spans.append(Bounds(0.0, after.first - after.before))
    return number(spans, (0, 5, 1200), TERMINATING) if spans else at_least(record, TERMINATING, TERMINATING)


def recycle_bin(record: Record) -> Finding:
    """Judges whether an instance that we have ended by a call was in the recycle bin afterwards."""
    ended = [life for life in record.lives if life.ended_at]
    if any(one.state == SHUTDOWN for life in ended for one in life.sightings):
        return Finding("yes", "an instance that was ended by a call was SHUTDOWN afterwards")
    if any(life.is_gone for life in ended):
        return Finding("no", "an instance that was ended by a call was gone afterwards, and never SHUTDOWN")
    return open_because("no instance that was ended by a call was over with TERMINATING in time")


def recycle_bin_seconds(record: Record) -> Finding:
    """Judges how long the recycle bin keeps an instance, by those that were not ended a second time."""
    spans, open_ages = [], []
    for life in record.lives:
        for this, after in pairwise(life.sightings):
            if this.state == SHUTDOWN and after.state == ABSENT and len(life.ended_at) == 1:
                spans.append(Bounds(max(0.0, after.before - this.first), after.first - this.before))
            elif this.state == SHUTDOWN and life.ended_at:
                open_ages.append(max(0.0, life.ended_at[-1] - this.first))
        if (age := life.since(SHUTDOWN, life.looked_at)) is not None:
            open_ages.append(age)
    if spans:
        return number(spans, (60, 7200), "in the recycle bin")
    if not open_ages:
        return open_because("nothing was in the recycle bin")
    bound = Bounds(max(open_ages), float("inf"))
    return Finding(None, f"in the recycle bin: {bound}, and then ended a second time", bound)


def stop_seconds(record: Record) -> Finding:
    """Judges how long STOPPING and STARTING last."""
    if reason := missing(record, "stop"):
        return open_because(reason)
    if record.answers["stop"].code:
        return open_because(f"StopInstances answered {record.answers['stop'].code}")
    spans = spans_of(record, STOPPING) + spans_of(record, STARTING)
    gaps = [one.first - one.before for life in record.lives for one in life.sightings if one.state == "STOPPED"]
    if not spans and gaps and min(gaps) < UNSEEN_SECONDS:
        return Finding("0", "STOPPED at the first look after StopInstances")
    return number(spans, (0, 2, 60), "STOPPING and STARTING")


def quote_lag(record: Record) -> Finding:
    """Judges how much later than an inquiry the market quotes a changed price."""
    looks = record.prices
    if not looks:
        return open_because(record.skipped.get("inquiry", "no price was compared"))
    changes = [(a, b) for a, b in pairwise(looks) if abs(b.inquired - a.inquired) > 1e-9]
    if not changes:
        return open_because(f"the price did not change in {looks[-1].at - looks[0].at:.0f} s")
    before, changed = changes[0]
    quoted = [(a, b) for a, b in pairwise(looks) if abs(b.quoted - a.quoted) > 1e-9]
    if not quoted:
        bound = Bounds(looks[-1].at - changed.at, float("inf"))
        return Finding(None, f"after a change of price the quote stayed the same for {bound}", bound)
    last, first = quoted[0]
    span = Bounds(max(0.0, last.at - changed.at), max(0.0, first.at - before.at))
    return number([span], (0, 30, 300), "from a change of price to its quote")
