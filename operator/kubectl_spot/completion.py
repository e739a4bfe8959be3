"""Completes `kubectl spot …` at the terminal: kubectl runs `kubectl_complete-spot` with the words so far.

Apart from `__main__`, which defines what there is to complete. What is printed is kubectl's own protocol: a candidate
a line, a tab before its help, and at the end a colon and a number that says whether file names may be suggested.
Source: https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/ and cobra's `__complete`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence

import click
from click.shell_completion import CompletionItem, ShellComplete

from kubectl_spot.flags import scope

#: Asks kubectl for names. Longer, and whoever has pressed the key has gone on typing.
SECONDS = 3

#: cobra's directives.
FILES, NO_FILES = 0, 4

#: The file that kubectl looks for on the PATH.
SCRIPT = """#!/bin/sh
# kubectl runs this to complete `kubectl spot`. Put it on the PATH as kubectl_complete-spot, and make it executable.
exec kubectl-spot __complete "$@"
"""


def candidates(command: click.Command, words: Sequence[str]) -> Iterator[str]:
    """Yields what kubectl reads. The last of `words` is the one that is being typed."""
    *before, typed = words or [""]
    found = ShellComplete(command, {}, "kubectl spot", "_KUBECTL_SPOT_COMPLETE").get_completions(before, typed)
    are_files = any(item.type in ("file", "dir") for item in found)
    for item in found:
        if item.type == "plain":
            yield f"{item.value}\t{item.help}" if item.help else str(item.value)
    yield f":{FILES if are_files else NO_FILES}"


def environments(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Suggests names of environments, with their phase."""
    listed = _kubectl("get", "spotcomputeenvironments.spotcompute.dev", "--output=json", *_flags(context))
    return [
        CompletionItem(obj["metadata"]["name"], help=(obj.get("status") or {}).get("phase"))
        for obj in (json.loads(listed)["items"] if listed else ())
        if obj["metadata"]["name"].startswith(typed)
    ]


def namespaces(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Suggests namespaces."""
    listed = _kubectl("get", "namespaces", "--output=name", *_flags(context, selecting=False))
    return _starting(typed, (line.partition("/")[2] for line in listed.splitlines()))


def contexts(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Suggests contexts of the kubeconfig."""
    return _starting(
        typed, _kubectl("config", "get-contexts", "--output=name", *_flags(context, selecting=False)).splitlines()
    )


def files(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Leaves it to the shell, which knows files."""
    return [CompletionItem(typed, type="file")]


def _starting(typed: str, names: Iterator[str] | Sequence[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(typed)]


def _flags(context: click.Context, *, selecting: bool = True) -> list[str]:
    try:
        return scope(context).arguments(selecting=selecting)
    except click.UsageError:
        return []


def _kubectl(*arguments: str) -> str:
    """Returns what kubectl prints; nothing when it cannot, because a completion has no place for an error."""
    try:
        done = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
