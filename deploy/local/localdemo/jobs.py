"""Plays the story of a job on spot machines: it waits for stock, loses two machines, ends, and leaves nothing.

Apart from `story`, whose machines are plain: here they join the cluster, which has a scheduler, and Kueue where that is
built.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from localcluster.controlplane import ControlPlane
from localcluster.kueue import Kueue, KueueFinder
from localcluster.processes import Child
from localdemo import installation
from localdemo.simulator import SECRET_ID, SECRET_KEY
from localdemo.stage import Say, Stage
from localdemo.story import StoryBroken
from localdemo.surroundings import REPOSITORY, surroundings
from localdemo.terminal import Terminal

SAMPLES = Path("deploy/samples")  # of the repository, where the commands run
TASKS, MACHINES = 20, 5
NOTICE_SECONDS = 8
CHAPTER_SECONDS = 90.0
POLL_SECONDS = 0.3
GUESTS = REPOSITORY / "deploy" / "local"
#: The pools of the sample.
POOLS = [(zone, kind) for zone in ("ap-guangzhou-3", "ap-guangzhou-4") for kind in ("S5.MEDIUM4", "SA2.MEDIUM4")]
TOKEN = ("abcdef", "0123456789abcdef")
#: A bootstrap token as `kubeadm token create` makes it, and the right to ask for a certificate with it.
JOINING = [
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"bootstrap-token-{TOKEN[0]}", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": TOKEN[0],
            "token-secret": TOKEN[1],
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:spot",
        },
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "spot-bootstrappers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-bootstrapper"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:bootstrappers:spot"}],
    },
]


class JobStage(Stage):
    """`JobStage` is a stage whose machines join the cluster. With `has_queue` Kueue runs."""

    has_queue = False


@contextlib.contextmanager
def open_jobs_stage(say: Say) -> Iterator[JobStage]:
    """Opens a stage in a new control plane, and removes it at the end. `say` gets a line before each step.

    Raises AssetsMissing, KubectlError, ProcessError.
    """
    say("[1/4] etcd, API server, controllers and scheduler")
    with ControlPlane(nodes=True) as cluster, contextlib.ExitStack() as children:
        say("[2/4] the operator's kinds, its rights, and a namespace")
        with installation.installed(cluster, "overlays/jobs"):
            cluster.kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": JOINING}))
            stage = JobStage(cluster, children, say, SPOTCOMPUTE_NODES="true", SPOTCOMPUTE_CLAIMS="true")
            guests = ("--kubeconfig", str(cluster.kubeconfig), "--ready-file", str(stage.simulator.ready_file))
            command = [sys.executable, "-m", "localguests", *guests, "--boot-seconds=1", "--task-seconds=12"]
            log = cluster.directory / "guests.log"
            played = Child.start("guests", command, log=log, env=surroundings(GUESTS), cwd=REPOSITORY)
            children.callback(played.stop)
            if KueueFinder().find("kueue") is not None:
                children.callback(Kueue.start(cluster, cluster.directory / "kueue").stop)
                stage.has_queue = True
            yield stage


class JobStory:
    """`JobStory` holds all chapters. `tell` plays them, and raises StoryBroken at the first that does not come true."""

    def __init__(self, stage: JobStage, terminal: Terminal) -> None:
        self.stage, self.terminal = stage, terminal
        self.environment_id, self.most_wanted = "", 0
        self.job = SAMPLES / "jobs" / ("render.yaml" if stage.has_queue else "render-without-queue.yaml")

    def tell(self) -> None:
        """Plays all chapters."""
        self.an_empty_farm()
        self.waiting()
        self.machines_join()
        self.two_are_taken()
        self.nothing_is_left()

    # --- chapters ----------------------------------------------------------------------------------------------------

    def an_empty_farm(self) -> None:
        """Plays: an environment without instances, and a queue before it."""
        self.terminal.heading("A farm without machines")
        self.kubectl("apply", "-f", str(SAMPLES / "read-sources.yaml"))
        key = (f"--from-literal=secretId={SECRET_ID}", f"--from-literal=secretKey={SECRET_KEY}")
        self.kubectl("create", "secret", "generic", "tencent-credentials", *key)
        user_data = f"--from-literal=user-data=kubeadm join 10.0.0.1:6443 --token {'.'.join(TOKEN)}"
        self.kubectl("create", "secret", "generic", "join", user_data)
        self.kubectl("apply", "-f", str(SAMPLES / "jobs" / "farm.yaml"))
        if self.stage.has_queue:
            self.patiently("apply", "-f", str(SAMPLES / "jobs" / "queue.yaml"))
        self.until("the environment is seen", lambda: self.environment().get("phase") == "Ready")
        self.kubectl("get", "sce")

    def waiting(self) -> None:
        """Plays: a job waits while the market has nothing."""
        self.terminal.heading("The market is dry, and a job waits")
        for pool in POOLS:
            self.market("stock", *pool, "0", is_shown=False)
        self.kubectl("apply", "-f", str(self.job))
        self.until("the job knows why it waits", lambda: "ResourceInsufficient" in self.reason())
        if self.stage.has_queue:
            self.kubectl("get", "workloads")
        self.terminal.output(self.reason())
        self.terminal.proved(f"ledger: {self.account().launched} launched; no pod of the job runs")

    def machines_join(self) -> None:
        """Plays: stock returns, and machines join."""
        self.terminal.heading("Stock returns")
        for pool in POOLS:
            self.market("stock", *pool, "100", is_shown=False)
        begun = time.monotonic()
        self.until(f"{MACHINES} machines join", lambda: len(self.ready_nodes()) == MACHINES)
        self.terminal.say(f"{MACHINES} nodes are ready after {time.monotonic() - begun:.0f} s.")
        self.kubectl("get", "nodes", "-L", "topology.kubernetes.io/zone")
        self.until("the tasks run", lambda: sum(map(len, self.running().values())) >= TASKS - 4)

    def two_are_taken(self) -> None:
        """Plays: one machine gets notice, one is taken at once."""
        self.terminal.heading("The cloud takes two machines in the middle of the work")
        begun, (noticed, taken) = time.monotonic(), sorted(self.running())[:2]
        self.market("interrupt", noticed, f"--notice-seconds={NOTICE_SECONDS}")
        self.market("interrupt", taken, "--notice-seconds=0")
        self.until("the node without a machine goes", lambda: taken not in self.nodes())
        self.terminal.say(
            f"{taken} is given up after {time.monotonic() - begun:.0f} s; its tasks begin anew elsewhere."
        )
        self.until(f"{TASKS} of {TASKS}", lambda: self.status_of_job().get("succeeded") == TASKS)
        self.kubectl("get", "job", "render")
        status = self.status_of_job()
        self.demand(not status.get("failedIndexes"), f"tasks failed: {status}")
        self.terminal.proved(f"{TASKS} of {TASKS} tasks, none failed; backoffLimitPerIndex is 0")

    def nothing_is_left(self) -> None:
        """Plays: nobody needs the machines any more."""
        self.terminal.heading("Nobody needs the machines any more")
        begun = time.monotonic()
        self.until("nothing is left", lambda: self.account().live == 0 and not self.nodes())
        self.kubectl("get", "sce")
        account, seconds = self.account(), time.monotonic() - begun
        self.terminal.proved(
            f"ledger: {account.live} live {seconds:.0f} s after the last task; {account.launched} launched,"
            f" {account.ended.get('cloud', 0)} of them taken by the cloud"
        )

    # --- how ---------------------------------------------------------------------------------------------------------

    def kubectl(self, *words: str) -> None:
        """Runs kubectl as a person would, and shows command and output."""
        self.terminal.command("kubectl", *words)
        self.terminal.output(self.stage.kubectl.run(*words))

    def patiently(self, *words: str) -> None:
        """Does the same, until it is accepted: Kueue's webhooks answer a moment after Kueue is ready."""
        self.terminal.command("kubectl", *words)
        self.until("it is accepted", lambda: self._accepted(words))

    def _accepted(self, words: tuple[str, ...]) -> bool:
        with contextlib.suppress(Exception):
            self.terminal.output(self.stage.kubectl.run(*words))
            return True
        return False

    def market(self, *words: str, is_shown: bool = True) -> None:
        """Runs cvmsim as a person would, and shows the command, and its output if `is_shown`."""
        self.terminal.command("cvmsim", *words)
        output = self.stage.simulator.command(*words)
        if is_shown:
            self.terminal.output(output)

    def environment(self) -> dict[str, Any]:
        """Returns the environment's status."""
        found = self.stage.kubectl.json("get", "sce", "farm")
        status: dict[str, Any] = found.get("status", {})
        self.environment_id = status.get("environmentID", self.environment_id)
        self.most_wanted = max(self.most_wanted, found["spec"].get("replicas", 0))
        return status

    def reason(self) -> str:
        """Returns why the job waits: in the words of its Workload's check, or of the environment."""
        if self.stage.has_queue:
            items = self.stage.kubectl.json("get", "workloads")["items"]
            checks = [one for item in items for one in item.get("status", {}).get("admissionChecks", ())]
            return "".join(one.get("message", "") for one in checks)
        conditions = self.environment().get("conditions", ())
        return "".join(one["message"] for one in conditions if one["type"] == "Ready")

    def account(self) -> Any:
        """Returns what the ledger says of the environment."""
        self.environment()
        return self.stage.simulator.account(self.environment_id)

    def nodes(self) -> list[str]:
        """Returns the names of all nodes."""
        return [node["metadata"]["name"] for node in self.stage.kubectl.json("get", "nodes")["items"]]

    def ready_nodes(self) -> list[str]:
        """Returns the names of nodes that take pods."""
        return [
            node["metadata"]["name"]
            for node in self.stage.kubectl.json("get", "nodes")["items"]
            if any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"].get("conditions", ()))
            and all(taint["key"] != "spotcompute.dev/uninitialized" for taint in node["spec"].get("taints", ()))
        ]

    def running(self) -> dict[str, list[str]]:
        """Returns the pods that run, by node."""
        found: dict[str, list[str]] = {}
        for pod in self.stage.kubectl.json("get", "pods")["items"]:
            if pod["status"].get("phase") == "Running":
                found.setdefault(pod["spec"]["nodeName"], []).append(pod["metadata"]["name"])
        return found

    def status_of_job(self) -> dict[str, Any]:
        """Returns the job's status."""
        status: dict[str, Any] = self.stage.kubectl.json("get", "job", "render").get("status", {})
        return status

    def until(self, what: str, claim: Callable[[], bool]) -> None:
        """Waits until `claim` is true. Raises StoryBroken when that takes too long."""
        deadline = time.monotonic() + CHAPTER_SECONDS
        while not claim():
            self.demand(
                time.monotonic() < deadline, f"{CHAPTER_SECONDS:g} s passed before {what}: {self.environment()}"
            )
            time.sleep(POLL_SECONDS)

    def demand(self, is_so: bool, otherwise: str) -> None:
        """Raises StoryBroken with `otherwise` unless `is_so`."""
        if not is_so:
            raise StoryBroken(otherwise)
