"""Which instances have lost their environment, and may be ended: the decision of the orphan sweep.

An environment can vanish without our leave: its finalizer stripped by hand, its CRD deleted, a DELETE that races with
the finalizer's own patch (kubernetes#77988). Then nobody asks for its machines any more, and they cost money.
The other mistake is worse: to take an empty answer for an empty cluster. So every doubt means: not yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from spotcompute.model.identity import is_bound_to, is_named_by_us, owner_of
from spotcompute.model.instance import Instance
from spotcompute.plan.policy import Policy

#: Sightings by different sweeps, each with a complete list of environments, before an orphan is believed.
SIGHTINGS = 2


@dataclass(frozen=True, slots=True)
class Owner:
    """A living environment, as a complete list shows it; `environment_id` is None before it has claimed one."""

    namespace: str
    name: str
    environment_id: str | None

    def may_adopt(self, cluster_id: str) -> bool:
        """True while its identity is not settled: it has none yet, or somebody has written another one there."""
        identity = self.environment_id
        return identity is None or not is_bound_to(identity, cluster_id, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Sighting:
    """An instance without an owner: since when, how often, and in which sweep last."""

    since: datetime
    count: int
    seen_at: datetime


def ownerless(
    instances: Iterable[Instance], owners: Iterable[Owner], cluster_id: str, namespace: str | None
) -> tuple[Instance, ...]:
    """The instances of this cluster that carry our marks and our name, and whose environment is not among `owners`.

    `namespace` limits the view when only one is watched: other namespaces' instances are not ours to judge.
    An owner of the same namespace and name whose identity is not settled may still adopt them. Sorted by id.
    """
    living = list(owners)
    claimed = {owner.environment_id for owner in living}
    unclaimed = {(owner.namespace, owner.name) for owner in living if owner.may_adopt(cluster_id)}
    return tuple(
        sorted(
            (
                instance
                for instance in instances
                if _is_judgeable(instance, cluster_id, namespace)
                and instance.ownership is not None
                and instance.ownership.environment_id not in claimed
                and owner_of(instance.owner) not in unclaimed
            ),
            key=lambda instance: instance.id,
        )
    )


def _is_judgeable(instance: Instance, cluster_id: str, namespace: str | None) -> bool:
    """True when tags and name agree that one of this cluster's environments made it, and say which one."""
    owner = owner_of(instance.owner)
    if instance.has_ended or instance.ownership is None or owner is None:
        return False
    return (
        instance.ownership.cluster_id == cluster_id
        and is_bound_to(instance.ownership.environment_id, cluster_id, *owner)
        and is_named_by_us(instance, instance.ownership)
        and namespace in (None, owner[0])
    )


def sighted(
    before: Mapping[str, Sighting], instances: Iterable[Instance], swept_at: datetime, now: datetime
) -> dict[str, Sighting]:
    """The sightings after one more sweep; an instance that was not ownerless this time starts anew next time."""
    result = {}
    for instance in instances:
        old = before.get(instance.id)
        if old is None:
            result[instance.id] = Sighting(since=now, count=1, seen_at=swept_at)
        elif swept_at > old.seen_at:
            # Should the clock have stepped back since, it begins anew and does not wait for the old time to come.
            result[instance.id] = Sighting(since=min(old.since, now), count=old.count + 1, seen_at=swept_at)
        else:
            result[instance.id] = old
    return result


def to_end(
    sightings: Mapping[str, Sighting], instances: Iterable[Instance], swept_at: datetime, now: datetime, policy: Policy
) -> tuple[Instance, ...]:
    """Those seen often enough, for long enough, and old enough by the cloud's clock."""
    return tuple(
        instance
        for instance in instances
        if sightings[instance.id].count >= SIGHTINGS
        and now - sightings[instance.id].since >= policy.orphan_confirmed_after
        and swept_at - instance.created_at >= policy.orphan_age_min
    )
