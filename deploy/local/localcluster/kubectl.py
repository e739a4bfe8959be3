"""Runs the real kubectl with one kubeconfig: tests and the demo use the API as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 180.0


class KubectlError(RuntimeError):
    """`KubectlError` means that kubectl ended with another code than 0. `stderr` is its output."""

    def __init__(self, command: list[str], code: int, stderr: str) -> None:
        super().__init__(f"kubectl {' '.join(command)} ended with {code}: {stderr.strip()}")
        self.code = code
        self.stderr = stderr


@dataclass(frozen=True)
class Kubectl:
    """`Kubectl` runs `binary` with `kubeconfig`. `namespace` and `context` are added to every call when set."""

    binary: Path
    kubeconfig: Path
    namespace: str | None = None
    context: str | None = None

    def command(self, *arguments: str) -> list[str]:
        """Returns the full command line, for callers that run it themselves (`kubectl get -w` as a Child)."""
        scope = [f"--namespace={self.namespace}"] if self.namespace else []
        scope += [f"--context={self.context}"] if self.context else []
        return [str(self.binary), f"--kubeconfig={self.kubeconfig}", *scope, *arguments]

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = TIMEOUT_SECONDS) -> str:
        """Returns stdout.

        Raises KubectlError with kubectl's own message, subprocess.TimeoutExpired after `timeout` s.
        """
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=_environment(),
            check=False,
        )
        if done.returncode != 0:
            raise KubectlError(list(arguments), done.returncode, done.stderr)
        return done.stdout

    def apply(self, manifest: str, *options: str) -> str:
        """Calls `kubectl apply` with one YAML (or JSON) text. Several documents are allowed."""
        return self.run("apply", "-f", "-", *options, stdin=manifest)

    def json(self, *arguments: str) -> dict[str, Any]:
        """Runs with `-o json` and returns the object, or the list object, as it came."""
        answer: dict[str, Any] = json.loads(self.run(*arguments, "-o", "json"))
        return answer

    def wait_established(self, *definitions: str, seconds: float = 60.0) -> None:
        """Waits until the API server serves these definitions (`crd/name`).

        `kubectl wait` gives up on a definition without conditions, and a new one has none for some moments.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.run("wait", "--for=condition=Established", f"--timeout={seconds:g}s", *definitions)
                return
            except KubectlError as error:
                if "conditions accessor error" not in error.stderr or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def can(self, verb: str, resource: str, *options: str) -> bool:
        """True when the API server allows it to this kubeconfig (`kubectl auth can-i`)."""
        try:
            return self.run("auth", "can-i", verb, resource, *options).strip() == "yes"
        except KubectlError as error:
            if error.code == 1 and not error.stderr.strip().startswith(("error", "Error", "Unable")):
                return False
            raise


def _environment() -> Mapping[str, str]:
    """Returns our environment without KUBECONFIG and without proxies for loopback. `--kubeconfig` alone counts."""
    kept = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
    bypass = ",".join(filter(None, [kept.get("NO_PROXY"), "127.0.0.1,localhost"]))
    return {**kept, "NO_PROXY": bypass, "no_proxy": bypass}
