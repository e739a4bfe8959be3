"""Says why nobody looks at an environment: its namespace is not watched, or no operator runs. It is pure.

The operator announces which namespaces it watches by an annotation of a ConfigMap in its own namespace. Apart from
`views`, because an environment that nobody has seen says nothing about that itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kubectl_spot.views import Object, label, status_of

#: The ConfigMap, and its annotations: the namespaces, separated by commas, and the operator's version.
CONFIG_MAP, WATCHES, VERSION = "spotcompute-accounts", "spotcompute.dev/watches", "spotcompute.dev/version"

#: Stands for every namespace.
EVERYWHERE = "*"

#: An operator that runs sees a new object within a second or two.
PATIENCE = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Operator:
    """`Operator` is one install: its own namespace, and those it watches. None: it watches all."""

    home: str
    namespaces: tuple[str, ...] | None

    def watches(self, namespace: str) -> bool:
        """True when it looks at environments of that namespace."""
        return self.namespaces is None or namespace in self.namespaces


def operators(config_maps: Sequence[Object]) -> list[Operator]:
    """Returns every install that announces itself. One of an earlier release does not."""
    found = []
    for one in config_maps:
        said = (one["metadata"].get("annotations") or {}).get(WATCHES)
        if said is not None:
            names = None if said == EVERYWHERE else tuple(filter(None, said.split(",")))
            found.append(Operator(one["metadata"]["namespace"], names))
    return found


def is_unseen(obj: Object, now: datetime) -> bool:
    """True when no operator has ever looked at the object, although there was time."""
    created = obj["metadata"].get("creationTimestamp")
    is_new = created is not None and now - datetime.fromisoformat(created) < PATIENCE
    return not status_of(obj).get("phase") and not is_new


def why_unseen(obj: Object, known: Sequence[Operator] | None) -> str:
    """Returns why no operator has looked at the object, and what helps. `known` is None when that may not be read."""
    namespace = obj["metadata"]["namespace"]
    if not known:
        return (
            f"No operator has looked at {label(obj)}: none runs, or none watches namespace {namespace}. `spotcompute"
            " check` says which; SPOTCOMPUTE_NAMESPACES of the operator must name the namespace, or be empty."
        )
    watching = [one for one in known if one.watches(namespace)]
    if watching:
        homes = " and ".join(one.home for one in watching)
        return f"The operator in {homes} has not looked at it: is it running? `kubectl get pods -n {watching[0].home}`."
    others = sorted({name for one in known for name in one.namespaces or ()})
    return (
        f"Namespace {namespace} is not watched: the operator in {known[0].home} watches {', '.join(others) or 'none'}."
        f" Add {namespace} to its SPOTCOMPUTE_NAMESPACES, or create the environment in a namespace that is watched."
    )
