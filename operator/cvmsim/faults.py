"""Decides which request meets which fault, from a seed, and whether the request is carried out all the same.

Apart from the world, which has no faults: a fault happens between customer and cloud. Each kind says whether the
request commits. That is the whole difference between a failed request and a lost answer.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from cvmsim.errors import WorldFileError


class Kind(NamedTuple):
    """`Kind` is one kind of fault. `commits` is True when the request is carried out all the same."""

    commits: bool
    meaning: str


KINDS: Mapping[str, Kind] = {
    "throttle": Kind(False, "the code RequestLimitExceeded"),
    "error": Kind(False, "the code and message of the rule"),
    "5xx": Kind(False, "HTTP 502 with an HTML body"),
    "reset": Kind(False, "the connection is reset, nothing is done"),
    "refuse_before_commit": Kind(False, "the connection is closed, nothing is done"),
    "hang": Kind(False, "no answer for `seconds`, then the connection is closed, nothing is done"),
    "html": Kind(False, "HTTP 200 with an HTML page, nothing is done"),
    "lost_after_commit": Kind(True, "done, but the connection is closed instead of an answer"),
    "5xx_after_commit": Kind(True, "done, but answered with HTTP 502"),
    "hang_after_commit": Kind(True, "done, but no answer for `seconds`, then the connection is closed"),
    "malformed": Kind(True, "done, but the JSON is cut in the middle"),
    "no_response": Kind(True, "done, but the body is {} without the envelope"),
    "wrong_content_type": Kind(
        True, "done, but Content-Type has a charset, so the official SDK sees every field empty"
    ),
    "latency": Kind(True, "done, and answered after `seconds`"),
    "late": Kind(False, "the connection is closed now, and the request is carried out `seconds` later"),
    "duplicate": Kind(True, "carried out twice; the second answer is given"),
    "empty_page": Kind(True, "a list answers that there is nothing"),
    "partial_page": Kind(True, "a list leaves out every second instance, TotalCount included"),
    "extra_ids": Kind(True, "InstanceIdSet holds one id more than there are instances"),
    "duplicate_ids": Kind(True, "InstanceIdSet names the first id twice"),
}
SECONDS_DEFAULT = {"hang": 3600.0, "hang_after_commit": 3600.0, "latency": 1.0, "late": 60.0}


@dataclass(slots=True)
class Rule:
    """`Rule` gives a fault to requests that match: the first `skip` of them pass, the next `times` meet it (0 or None:
    all).

    `env` must be a tag value, `name` a part of InstanceName. Both are looked for in the request and, when a request
    names instances, in the original tags and the names of those instances.
    """

    id: int
    kind: str
    action: str = "*"
    times: int | None = 1
    skip: int = 0
    probability: float = 1.0
    code: str = "InternalError"
    message: str = "An internal error has occurred."
    seconds: float = 0.0
    account: str | None = None
    env: str | None = None
    name: str | None = None
    met: int = 0  # number of requests that met this fault

    @property
    def is_spent(self) -> bool:
        """True when the rule has been met as often as `times` says."""
        return self.times is not None and self.met >= self.times


@dataclass(frozen=True, slots=True)
class Subject:
    """`Subject` is what rules compare: the request, and the tag values and names it is about."""

    action: str
    account: str
    tag_values: frozenset[str]
    names: tuple[str, ...]


class FaultBox:
    """`FaultBox` holds all rules in force, in the order in which they were added. The first that matches decides."""

    def __init__(self, seed: int) -> None:
        self._rules: list[Rule] = []
        self._random = random.Random(f"{seed}:faults")
        self._added = 0

    def add(self, fields: Mapping[str, Any]) -> Rule:
        """Adds a rule from its fields (see Rule). Raises WorldFileError that names the mistake."""
        known = set(Rule.__dataclass_fields__) - {"id", "met"}
        unknown = sorted(set(fields) - known)
        if unknown:
            raise WorldFileError(f"fault: unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}")
        kind = str(fields.get("kind"))
        if kind not in KINDS:
            raise WorldFileError(f"fault: {kind!r} is no kind; the kinds are {', '.join(KINDS)}")
        self._added += 1
        rule = Rule(id=self._added, **{"seconds": SECONDS_DEFAULT.get(kind, 0.0), **fields})
        rule.times = rule.times or None
        self._rules.append(rule)
        return rule

    def clear(self, rule_id: int | None = None) -> int:
        """Drops one rule, or all. Returns how many were dropped."""
        kept = [] if rule_id is None else [rule for rule in self._rules if rule.id != rule_id]
        dropped = len(self._rules) - len(kept)
        self._rules = kept
        return dropped

    def meet(self, subject: Subject) -> Rule | None:
        """Returns the rule that this request meets, and counts it. None when there is none."""
        for rule in self._rules:
            if not rule.is_spent and _fits(rule, subject) and self._strikes(rule):
                return rule
        return None

    def _strikes(self, rule: Rule) -> bool:
        if rule.skip > 0:
            rule.skip -= 1
            return False
        if rule.probability < 1 and self._random.random() >= rule.probability:
            return False
        rule.met += 1
        return True

    def __bool__(self) -> bool:
        return bool(self._rules)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields the rules as mappings."""
        return (asdict(rule) for rule in self._rules)


def _fits(rule: Rule, subject: Subject) -> bool:
    return (
        rule.action in ("*", subject.action)
        and rule.account in (None, subject.account)
        and (rule.env is None or rule.env in subject.tag_values)
        and (rule.name is None or any(rule.name in name for name in subject.names))
    )
