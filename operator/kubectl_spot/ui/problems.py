"""Says in one sentence what is the case and in another what helps, when kubectl cannot do what was asked. It is pure.

Apart from `cluster`, which runs kubectl. kubectl's own words are many, so they are recognised by what never changes in
them; words that are not known are shown as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

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

#: Characters of kubectl's words that are shown.
WORDS_MAX = 400


@dataclass(frozen=True, slots=True)
class Problem:
    """`Problem` is what is the case, and what a person can do about it."""

    said: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.said} {self.remedy}"


NO_KUBECTL = Problem("kubectl is not on the PATH.", "Install it, or add its folder to PATH.")

_KNOWN = (
    (
        r"getting credentials|exec plugin|exec: executable",
        "The program that the kubeconfig names for credentials failed: {words}",
        "Run `kubectl get sce` in a terminal to see all that it says, log in as it asks, and this page goes on.",
    ),
    (
        r"Unauthorized|must be logged in|asked for the client to provide credentials",
        "The cluster does not accept the kubeconfig's credentials.",
        "Log in again, or choose another context with --context.",
    ),
    (
        r"Forbidden|forbidden",
        "You lack the right to do this: {words}",
        "Ask an administrator for the ClusterRole spotcompute-view to look, or spotcompute-edit to change"
        " (the roles view, edit and admin contain them).",
    ),
    (
        r"is invalid|BadRequest|strict decoding error|AlreadyExists|Conflict",
        "The API server refuses it: {words}",
        "Correct what it names.",
    ),
    (
        r"x509|certificate",
        "The certificate of the API server is not accepted: {words}",
        "Check certificate-authority-data of the kubeconfig's cluster.",
    ),
    (
        r"no configuration has been provided|invalid configuration|does not exist|error loading config|kubeconfig"
        r"|no such file",
        "The kubeconfig cannot be used: {words}",
        "Give another with --kubeconfig, or another context with --context.",
    ),
    (
        r"could not find the requested resource|doesn't have a resource type|no matches for kind|page not found",
        "The cluster does not know SpotComputeEnvironments: the operator's CRD is not installed.",
        "Install it: `kubectl apply -f crds/spotcompute.dev_spotcomputeenvironments.yaml`.",
    ),
    (
        r"refused|no such host|timeout|timed out|unreachable|Unable to connect|deadline exceeded|EOF|reset by peer"
        r"|connection|etcdserver",
        "No cluster answers: {words}",
        "Check with `kubectl cluster-info`, the network and --context; this page goes on trying.",
    ),
)


def problem_of(words: str) -> Problem:
    """Returns what kubectl's error means."""
    shown = _shown(words)
    for pattern, said, remedy in _KNOWN:
        if re.search(pattern, words):
            return Problem(said.format(words=shown), remedy)
    return Problem(f"kubectl could not do this: {shown}", "Try the same with kubectl in a terminal.")


def _shown(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip() and not re.match(r"[EWI]\d{4} ", line)]
    # The last line is kubectl's own conclusion; those before it are warnings and what a plugin printed.
    found = (lines or [words.strip() or "it said nothing"])[-1]
    refused = next((at for at, line in enumerate(lines) if "is invalid:" in line), None)
    if refused is not None:  # one line for each field that is wrong
        found = " ".join(lines[refused:]).replace(" * ", " ")
    found = re.sub(r"^(error: |Error from server \(\w+\): |Unable to connect to the server: )", "", found)
    found = found if len(found) <= WORDS_MAX else found[:WORDS_MAX] + "…"
    return found if found.endswith((".", "!", "?")) else f"{found}."


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
        "Update it together with the operator: `kubectl apply -f crds/spotcompute.dev_spotcomputeenvironments.yaml`.",
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
