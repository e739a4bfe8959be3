"""Starts cluster, simulated cloud and operator together, and ends them together.

Apart from the story so that `make up` and `make demo` use the same stage.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from localcluster.cluster import Cluster, ExistingCluster
from localcluster.controlplane import open_cluster
from localcluster.kubectl import Kubectl
from localcluster.processes import Child, ProcessError, answers, free_port
from localdemo import installation
from localdemo.simulator import Simulator
from localdemo.surroundings import OPERATOR_SOURCES, REPOSITORY, surroundings

READY_SECONDS = 120.0
#: The simulator sells for dollars, as this site does. Otherwise the operator would call the same numbers yuan.
SITE = "international"
TOKEN_SECONDS = 30 * 86400  # `make up` may stay for weeks; a cluster may grant less
REVIVAL_SECONDS = 1.0
#: Short times, so that a story of hours takes a minute. An installation has sweeps of 15 s and backoffs of 5 to 60 s.
PACE = {
    "SPOTCOMPUTE_SWEEP_SECONDS": "1.5",
    "SPOTCOMPUTE_SUSPECT_SWEEP_SECONDS": "0.5",
    "SPOTCOMPUTE_MARKET_SECONDS": "1",
    "SPOTCOMPUTE_REST_BASE_SECONDS": "2",
    "SPOTCOMPUTE_REST_LIMIT_SECONDS": "5",
    "SPOTCOMPUTE_EARLY_HALF_LIFE_SECONDS": "0.5",
}

#: Shows a person a line about what is under way.
Say = Callable[[str], None]


class Stage:
    """`Stage` holds the running parts.

    `kubectl` is admin in the demo's namespace; `operator` has its ServiceAccount's rights.
    """

    def __init__(self, cluster: Cluster, children: contextlib.ExitStack, say: Say, **settings: str) -> None:
        """`settings` are variables of the operator beside those of every demo."""
        self.cluster, self._settings = cluster, settings
        self.kubectl = Kubectl(cluster.kubectl.binary, _kubeconfig(cluster))
        say("[3/4] the simulated cloud")
        self.simulator = Simulator(cluster.directory)
        children.callback(self.simulator.child.stop)
        say("[4/4] the operator")
        self.start_operator()
        children.callback(self.stop_operator)

    def start_operator(self) -> None:
        """Starts the operator, and returns once it is healthy. Raises ProcessError with the end of its log."""
        account = installation.OPERATOR_NAMESPACE, installation.OPERATOR_ACCOUNT
        kubeconfig = self.cluster.service_account_kubeconfig(*account, seconds=TOKEN_SECONDS)
        health_port, self.metrics_port = free_port(), free_port()
        env = surroundings(
            OPERATOR_SOURCES,
            **PACE,
            **self._settings,
            KUBECONFIG=str(kubeconfig),
            SPOTCOMPUTE_ENDPOINT=self.simulator.endpoint,
            SPOTCOMPUTE_PROTOCOL="http",
            SPOTCOMPUTE_SITE=SITE,
            SPOTCOMPUTE_NAMESPACE=watched_namespace(self.cluster),
            SPOTCOMPUTE_ALLOW_DEFAULT_CREDENTIALS="false",
            SPOTCOMPUTE_LISTEN_HOST="127.0.0.1",
            SPOTCOMPUTE_HEALTH_PORT=str(health_port),
            SPOTCOMPUTE_METRICS_PORT=str(self.metrics_port),
            SPOTCOMPUTE_LOG_FORMAT="console",
        )
        command = [sys.executable, "-m", "spotcompute", "run"]
        log = self.cluster.directory / "operator.log"
        self.operator = Child.start("operator", command, log=log, env=env, cwd=REPOSITORY)
        self.operator.wait_until(lambda: answers(f"http://127.0.0.1:{health_port}/healthz"), timeout=READY_SECONDS)

    def stop_operator(self) -> None:
        """Ends the operator that runs now."""
        self.operator.stop()

    def revive(self) -> None:
        """Waits until the operator has ended for any reason, and starts it again, as a kubelet would."""
        while True:
            time.sleep(REVIVAL_SECONDS)
            if self.operator.returncode is not None:
                print(f"the operator ended with {self.operator.kill9()}: starting it again", flush=True)
                with contextlib.suppress(ProcessError):
                    return self.start_operator()


def watched_namespace(cluster: Cluster) -> str:
    """Returns the only namespace that the operator watches in a cluster of somebody else. Empty, which means all of
    them, in our own: there a person may follow any page, whatever its namespace is called.
    """
    return installation.NAMESPACE if isinstance(cluster, ExistingCluster) else ""


@contextlib.contextmanager
def open_stage(say: Say) -> Iterator[Stage]:
    """Opens a stage in a new control plane, or with `USE_CLUSTER=1` in the cluster of `$KUBECONFIG`, and removes it at
    the end. `say` gets a line before each step.

    Raises AssetsMissing, ClusterError, KubectlError, ProcessError.
    """
    say(f"[1/4] {'the cluster of $KUBECONFIG' if uses_existing_cluster() else 'etcd, API server and controllers'}")
    with open_cluster() as cluster, contextlib.ExitStack() as children:
        say("[2/4] the operator's kind, its rights, and a namespace")
        with installation.installed(cluster):
            yield Stage(cluster, children, say)


def uses_existing_cluster() -> bool:
    """True when the user chose an existing cluster (`USE_CLUSTER=1`)."""
    return os.environ.get("USE_CLUSTER") == "1"


def _kubeconfig(cluster: Cluster) -> Path:
    """Returns the admin's kubeconfig with the demo's namespace as its default, so that commands need not name it."""
    view = cluster.kubectl.json("config", "view", "--raw", "--minify", "--flatten")
    view["contexts"][0]["context"]["namespace"] = installation.NAMESPACE
    path = cluster.directory / "demo.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(view, indent=2))
    return path
