"""Decides which instances have lost their environment and may be released, for the orphan sweep.

An environment can vanish before its instances: its finalizer was removed by hand, its CRD was deleted, or a DELETE
raced with the finalizer's own patch (kubernetes#77988). Then its instances cost money for nothing. The other mistake is
worse: to take an empty answer for an empty cluster. So an instance is released only when nothing speaks against it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from spotcompute.model.identity import is_bound_to, is_named_by_us, owner_of
from spotcompute.model.instance import Instance
from spotcompute.plan.policy import Policy

#: Sightings by different sweeps, each with a complete list of environments, before an instance counts as an orphan.
SIGHTINGS = 2


@dataclass(frozen=True, slots=True)
class Owner:
    """`Owner` is an existing environment, as a complete list shows it; `environment_id` is None before it has one."""

    namespace: str
    name: str
    environment_id: str | None

    def may_adopt(self, cluster_id: str) -> bool:
        """True when its identity is not settled: it has none yet, or another one was written there."""
        identity = self.environment_id
        return identity is None or not is_bound_to(identity, cluster_id, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Sighting:
    """`Sighting` is an instance without an owner: since when, how often, and in which sweep it was last seen."""

    since: datetime
    count: int
    seen_at: datetime


def watches(namespaces: Collection[str], namespace: str) -> bool:
    """True when `namespace` is watched. Empty `namespaces` stand for all of them."""
    return not namespaces or namespace in namespaces


def ownerless(
    instances: Iterable[Instance], owners: Iterable[Owner], cluster_id: str, namespaces: Collection[str]
) -> tuple[Instance, ...]:
    """Returns the instances of this cluster with our marks and our name whose environment is not among `owners`, by id.

    `namespaces` are those that are watched, empty for all: instances of others are not judged. Instances stay out, too,
    while an owner of their namespace and name may still adopt them, as its identity is not settled.
    """
    living = list(owners)
    claimed = {owner.environment_id for owner in living}
    unclaimed = {(owner.namespace, owner.name) for owner in living if owner.may_adopt(cluster_id)}
    return tuple(
        sorted(
            (
                instance
                for instance in instances
                if _is_judgeable(instance, cluster_id, namespaces)
                and instance.ownership is not None
                and instance.ownership.environment_id not in claimed
                and owner_of(instance.owner) not in unclaimed
            ),
            key=lambda instance: instance.id,
        )
    )


def _is_judgeable(instance: Instance, cluster_id: str, namespaces: Collection[str]) -> bool:
    """True when tags and name agree that an environment of this cluster launched it, and say which one."""
    owner = owner_of(instance.owner)
    if instance.has_ended or instance.ownership is None or owner is None:
        return False
    return (
        instance.ownership.cluster_id == cluster_id
        and is_bound_to(instance.ownership.environment_id, cluster_id, *owner)
        and is_named_by_us(instance, instance.ownership)
        and watches(namespaces, owner[0])
    )


def sighted(
    before: Mapping[str, Sighting], instances: Iterable[Instance], swept_at: datetime, now: datetime
) -> dict[str, Sighting]:
    """Returns the sightings after one more sweep. An instance that has an owner this time starts anew next time."""
    result = {}
    for instance in instances:
        old = before.get(instance.id)
        if old is None:
            result[instance.id] = Sighting(since=now, count=1, seen_at=swept_at)
        elif swept_at > old.seen_at:
            # If the clock was set back since, it begins anew and does not wait for the old time to come.
            result[instance.id] = Sighting(since=min(old.since, now), count=old.count + 1, seen_at=swept_at)
        else:
            result[instance.id] = old
    return result


def orphans_to_release(
    sightings: Mapping[str, Sighting],
    instances: Iterable[Instance],
    swept_at: datetime,
    now: datetime,
    policy: Policy,
    first_start: datetime | None = None,
) -> tuple[Instance, ...]:
    """Returns the instances seen often enough, for long enough, and old enough by the cloud's clock.

    `first_start` is when an operator first ran here under a cluster id that was chosen, None when it was not chosen.
    What is older was launched elsewhere, and its object may be on its way from a backup. So it gets a grace.
    """
    return tuple(
        instance
        for instance in instances
        if not _may_be_restored(instance, first_start, now, policy)
        and sightings[instance.id].count >= SIGHTINGS
        and now - sightings[instance.id].since >= policy.orphan_confirmed_after
        and swept_at - instance.created_at >= policy.orphan_age_min
    )


def _may_be_restored(instance: Instance, first_start: datetime | None, now: datetime, policy: Policy) -> bool:
    is_recent = first_start is not None and now < first_start + policy.restore_grace
    return is_recent and first_start is not None and instance.created_at < first_start
