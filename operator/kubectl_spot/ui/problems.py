"""Says what is wrong with the install itself: a definition that is too old, an operator that is silent. It is pure.

Apart from `kubectl_spot.problems`, which says what kubectl's own errors mean, because this knows what the pages read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from kubectl_spot.problems import Problem
from kubectl_spot.ui.reading import Summary

#: Fields that the pages read, and that a definition of an older release lacks.
FIELDS = (
    "spec.paused",
    "spec.market.maxPrice",
    "spec.instanceRequirements",
    "status.activities",
    "status.cost.savedPercent",
    "status.nextAttemptTime",
    "status.pools.stock",
    "status.quote",
    "status.reclaimed",
)

#: How late an operator may be before the pages say that it seems to be down.
LATE = timedelta(seconds=60)


def old_definition(schemas: dict[str, object]) -> Problem | None:
    """Returns what the definition in the cluster lacks, given its OpenAPI schemas. None when it lacks nothing.

    None too when there is no schema of the kind, because not every cluster publishes it.
    """
    kinds = [schema for name, schema in schemas.items() if name.endswith(".SpotComputeEnvironment")]
    if not kinds:
        return None
    lacking = [path for path in FIELDS if not _has(kinds[0], path.split("."))]
    if not lacking:
        return None
    return Problem(
        f"The CRD in the cluster is older than this program: it lacks {', '.join(lacking)}, so that is not shown.",
        "Update it together with the operator:"
        " `kubectl apply --server-side -f crds/spotcompute.dev_spotcomputeenvironments.yaml`.",
    )


def _has(schema: object, path: Sequence[str]) -> bool:
    for name in path:
        if isinstance(schema, dict) and isinstance(schema.get("items"), dict):
            schema = schema["items"]
        properties = schema.get("properties") if isinstance(schema, dict) else None
        if not isinstance(properties, dict) or name not in properties:
            return False
        schema = properties[name]
    return True


def silent_operator(summaries: Sequence[Summary], behind_since: dict[str, float], now: datetime) -> Problem | None:
    """Returns that the operator seems to be down: a change that it has not seen, or an attempt that is overdue.

    None when everything was seen in time. `behind_since` says since when the page has seen each unseen change.
    """
    at = now.timestamp()
    unseen = [key for key, since in behind_since.items() if at - since > LATE.total_seconds()]
    overdue = [
        one.key
        for one in summaries
        if one.next_attempt and now - one.next_attempt > LATE and not one.is_paused and not one.is_deleting
    ]
    if not unseen and not overdue:
        return None
    first = min(unseen or overdue)
    what = "has not seen a change of" if unseen else "has not tried again, as it had said, for"
    others = f" and {len(unseen or overdue) - 1} more" if len(unseen or overdue) > 1 else ""
    return Problem(
        f"The operator seems to be down: it {what} {first}{others} for more than {int(LATE.total_seconds())} seconds.",
        "Look at its pods: `kubectl get pods --namespace spotcompute-system`; instances go on running meanwhile.",
    )
