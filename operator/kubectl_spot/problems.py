"""Says in one sentence what is the case and in another what helps, when kubectl cannot do what was asked. It is pure.

kubectl's own words are many, so they are recognised by what never changes in them; words that are not known are shown
as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
        "Run `kubectl get sce` in a terminal to see all that it says, and log in as it asks.",
    ),
    (
        r"Unauthorized|must be logged in|asked for the client to provide credentials",
        "The cluster does not accept the kubeconfig's credentials.",
        "Log in again, or choose another context with --context.",
    ),
    (
        r"\(NotFound\): .*\" not found",
        "There is no such environment: {words}",
        "`kubectl get sce --all-namespaces` lists all, and --namespace chooses another namespace.",
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
        r"server localhost:8080 was refused",  # where kubectl looks when it is told of no cluster
        "There is no kubeconfig, or it names no cluster: {words}",
        "Set KUBECONFIG to one, or give it with --kubeconfig.",
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
        "Install it: `kubectl apply --server-side -f crds/spotcompute.dev_spotcomputeenvironments.yaml`.",
    ),
    (
        r"refused|no such host|timeout|timed out|unreachable|Unable to connect|deadline exceeded|EOF|reset by peer"
        r"|connection|etcdserver",
        "No cluster answers: {words}",
        "Check `kubectl cluster-info`, the network and --context.",
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
