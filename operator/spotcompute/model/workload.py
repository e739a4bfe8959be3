"""Defines the objects of Kueue, and the Jobs, from which claims are made: what each says, and no more.

Apart from `claim`, which is what decisions need of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from spotcompute.model.claim import Claim


class CheckVerdict(StrEnum):
    """`CheckVerdict` lists the states of an admission check that we write, or read, as Kueue spells them."""

    PENDING = "Pending"
    READY = "Ready"
    RETRY = "Retry"
    REJECTED = "Rejected"


@dataclass(frozen=True, slots=True)
class CheckState:
    """`CheckState` is what stands in a Workload about one admission check. `since` is when its state last changed."""

    verdict: str
    message: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """`Workload` is one Workload of Kueue, at `version`.

    `claim` has all of its pods and no check. `flavors` gives the resource flavors of each pod group, `states` what
    stands about each admission check. With `has_quota` its turn has come, as far as Kueue is concerned.
    """

    claim: Claim
    version: str
    has_quota: bool = False
    flavors: Mapping[str, frozenset[str]] = field(default_factory=dict)
    states: Mapping[str, CheckState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AdmissionCheck:
    """`AdmissionCheck` is one admission check whose controller we are.

    `environment` is the name in its parameters, None when they name another kind. `namespace` is from its annotation.
    `active` is its condition Active as it stands: status, message, and since when.
    """

    name: str
    uid: str
    version: str
    generation: int
    environment: str | None
    namespace: str | None = None
    active: CheckState | None = None


@dataclass(frozen=True, slots=True)
class Flavor:
    """`Flavor` is one resource flavor of Kueue: the environment that its node labels name, if any."""

    environment: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class MarkedJob:
    """`MarkedJob` is a Job as a claim on the environment that it names.

    A label names one of the Job's own namespace. With `is_queued` Kueue has the Job in hand, where Kueue is; then the
    selector that Kueue has put into its pods may name the environment, and `namespace` may be None.
    """

    claim: Claim
    environment: str
    namespace: str | None = None
    is_queued: bool = False
