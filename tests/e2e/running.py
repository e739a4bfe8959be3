"""The operator as a process of its own, under the rights of its ServiceAccount.

Apart from `stage`, because tests kill it, start it twice, and start it again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import aiohttp
import yaml

from e2e.simulator import ROOT
from localcluster.cluster import Cluster
from localcluster.processes import Child

#: Seconds, unless the name says otherwise; what each is for stands in `spotcompute settings`.
QUICK = {
    "SWEEP_SECONDS": "0.6",
    "SUSPECT_SWEEP_SECONDS": "0.3",
    "MARKET_SECONDS": "1",
    "REST_BASE_SECONDS": "1",
    "REST_LIMIT_SECONDS": "2",
    "RECHECK_SECONDS": "2",
    "EARLY_HALF_LIFE_SECONDS": "0.5",
    "LAUNCH_TIMEOUT_SECONDS": "4",
    "ORPHAN_SECONDS": "1",
    "VISIBILITY_SECONDS": "3",
    "REQUEST_TIMEOUT_SECONDS": "5",
    "HEALTH_PORT": "0",
    "METRICS_PORT": "0",
    "LOG_LEVEL": "DEBUG",  # the most it can say, so that a secret would show
    "LOG_FORMAT": "json",
}

#: Told to the log whenever the API server refuses a right.
REFUSALS = ("is forbidden", "HTTP 403")

#: The one right that an installation need not give, to guard the Secret in use; and what nobody may do any more.
EXPECTED_REFUSALS = ("secret_not_guarded", "secret_not_unguarded", "because it is being terminated")


#: Kinds of `deploy/base` that give the operator its rights, in the order they are applied in.
OF_ITS_RIGHTS = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


def grant_shipped_rights(cluster: Cluster) -> Path:
    """Make the operator's ServiceAccount with the rights of `deploy/base` and no other; return its kubeconfig."""
    rendered = cluster.kubectl.run("kustomize", str(ROOT / "deploy" / "base"))
    documents = [item for item in yaml.safe_load_all(rendered) if item and item["kind"] in OF_ITS_RIGHTS]
    documents.sort(key=lambda item: OF_ITS_RIGHTS.index(item["kind"]))
    cluster.kubectl.apply(yaml.safe_dump_all(documents))
    (account,) = [item["metadata"] for item in documents if item["kind"] == "ServiceAccount"]
    return cluster.service_account_kubeconfig(account["namespace"], account["name"])


async def answer(port: str, path: str) -> int:
    """The status that a probe of an operator on this machine gets."""
    async with aiohttp.request("GET", f"http://127.0.0.1:{port}{path}") as response:
        return response.status


class Operator:
    """One replica. `start` may be called again after `kill9`: the log goes on."""

    def __init__(self, kubeconfig: Path, endpoint: str, log: Path, **settings: str) -> None:
        """`settings` on top of QUICK: without their prefix, but `TENCENTCLOUD_…` as they are."""
        self.log = log
        self.may_be_refused = False  # set by a test that takes rights away, or the memory of them
        self._environment = _environment(kubeconfig, endpoint, settings)
        self._command = [sys.executable, "-m", "spotcompute", "run"]
        self._child: Child | None = None

    @classmethod
    def within(cls, environment: Mapping[str, str], log: Path, command: Sequence[str]) -> Self:
        """One that is started so, and whose process has these variables and no other."""
        operator = cls(Path(), "", log)
        operator._environment, operator._command = dict(environment), list(command)
        return operator

    def start(self) -> None:
        self._child = Child.start("operator", self._command, log=self.log, env=self._environment, cwd=ROOT)

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.returncode is None

    def kill9(self) -> None:
        """End it as a crash would: nothing is finished, nothing is said."""
        child, self._child = self._child, None
        if child:
            child.kill9()

    def end(self) -> None:
        """Ask it to end (SIGTERM), as the kubelet does, and do not wait."""
        self._signal(signal.SIGTERM)

    @property
    def returncode(self) -> int | None:
        return self._child.returncode if self._child else None

    def freeze(self) -> None:
        """Stop it where it is (SIGSTOP): its connections stay open, its clock goes on."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after `freeze`, as if nothing had been."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._child is not None, "it is not running"
        os.kill(self._child.pid, number)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def judge(self) -> None:
        """What holds in every test: no run ends in an error that was not foreseen, and no right is missing."""
        refused = [line for line in self.log_text().splitlines() if _is_refusal(line)]
        assert self.may_be_refused or not refused, f"a right is missing: {refused[0][:1000]}"
        crashes = [line for line in self.log_text().splitlines() if "Traceback" in line and not _is_foreseen(line)]
        assert not crashes, f"a run crashed: {crashes[0][:3000]}"


def _is_refusal(line: str) -> bool:
    return any(word in line for word in REFUSALS) and not any(word in line for word in EXPECTED_REFUSALS)


def _is_foreseen(line: str) -> bool:
    """A run that met an API server that is away, another writer, or a refusal (judged apart); it is repeated."""
    try:
        error = str(json.loads(line).get("error", ""))
    except ValueError:
        return False
    return error.startswith(("ApiUnavailable", "Conflict", "Forbidden"))


def _environment(kubeconfig: Path, endpoint: str, settings: Mapping[str, str]) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("SPOTCOMPUTE_", "TENCENTCLOUD_"))
    }
    chosen = {**QUICK, "ENDPOINT": endpoint, "PROTOCOL": "http", **settings}
    prefixed = {
        name if name.startswith("TENCENTCLOUD_") else f"SPOTCOMPUTE_{name}": value for name, value in chosen.items()
    }
    return {**inherited, "PYTHONPATH": "operator", "KUBECONFIG": str(kubeconfig), **prefixed}
