"""A namespace, an account of the cloud and a kubectl that watches: where one test plays, and how it looks at things.

Every object's stream is recorded from birth by `kubectl`, so that a test can wait without asking again and again, and
afterwards every state that any client could have seen is judged, not only those a test happened to look at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from e2e.simulator import IMAGE, REGION, ROOT, Simulator
from localcluster.cluster import Cluster
from localcluster.kubectl import Kubectl, KubectlError
from localcluster.processes import Child
from waiting import PATIENCE_SECONDS, eventually

Object = dict[str, Any]
SECRET = "tencent"
GRANT = ROOT / "deploy" / "samples" / "read-sources.yaml"
PATH = "/apis/spotcompute.dev/v1alpha1/namespaces/{}/spotcomputeenvironments?watch=1"


def manifest(name: str, zone: str, **spec: Any) -> Object:
    """An environment with every required field; fields of `spec` win, and those that are None are left out."""
    whole = {
        "region": REGION,
        "replicas": 2,
        "placements": [{"zone": zone}],
        "instanceTypes": ["S5.MEDIUM4"],
        "template": {"imageId": IMAGE},
        "credentialsSecretRef": {"name": SECRET},
    } | spec
    return {
        "apiVersion": "spotcompute.dev/v1alpha1",
        "kind": "SpotComputeEnvironment",
        "metadata": {"name": name},
        "spec": {key: value for key, value in whole.items() if value is not None},
    }


class Stage:
    """One namespace with the Secret `tencent` of an account nobody else uses. `close` judges what was seen."""

    def __init__(self, cluster: Cluster, cloud: Simulator, namespace: str, directory: Path) -> None:
        self.cloud, self.namespace, self.directory = cloud, namespace, directory
        self.account = cloud.new_account()
        self.kubectl: Kubectl = replace(cluster.kubectl, namespace=namespace)
        key = _secret(SECRET, secretId=self.account.secret_id, secretKey=self.account.secret_key)
        own = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        self.kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [own, key]}))
        self.let_operator_read_sources()
        #: Machines whose end the cloud has announced, at most at a time: their replacements live beside them.
        self.announced = 0
        self._watches = 0
        self._read_bytes = 0
        self._events: list[Object] = []
        self.watch()

    # -- what a user does

    def apply(self, name: str = "web", **spec: Any) -> None:
        """Apply `manifest` with the Secret and a zone of this stage."""
        self.kubectl.apply(json.dumps(manifest(name, self.account.zones[0], **spec)))

    def patch(self, name: str = "web", **spec: Any) -> None:
        self.kubectl.run("patch", "sce", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def scale(self, replicas: int, name: str = "web") -> None:
        self.kubectl.run("scale", "sce", name, f"--replicas={replicas}")

    def delete(self, name: str = "web") -> None:
        self.kubectl.run("delete", "sce", name, "--wait=false")

    def vanish(self, name: str = "web") -> None:
        """Delete it in spite of its finalizer, before anything of it is released: nobody should, and somebody does."""
        fault = {"kind": "error", "code": "OperationDenied.InstanceOperationInProgress", "times": 0}
        self.cloud.post("faults", action="TerminateInstances", account=self.account.uin, **fault)
        self.delete(name)
        finalizers = json.dumps({"metadata": {"finalizers": None}})
        self.kubectl.run("patch", "sce", name, "--type=merge", "-p", finalizers)
        self.until_gone(name)
        self.cloud.clear_faults()

    def write_secret(self, name: str = SECRET, **data: str) -> None:
        self.kubectl.apply(json.dumps(_secret(name, **data)))

    def let_operator_read_sources(self) -> None:
        """Grant the operator this namespace's Secrets and ConfigMaps, with the very file that users are given."""
        self.kubectl.run("apply", "-f", str(GRANT))
        # The API server's authorizer learns of a binding some moments after it was made.
        somebody = "--as=system:serviceaccount:spotcompute-system:spotcompute-operator"
        eventually(lambda: self.kubectl.can("get", "secrets", somebody), "the operator may read the Secret")

    # -- what a user sees

    def watch(self) -> None:
        """Record every state of every object from now on; again after the API server was away."""
        self._watches += 1
        self._log = self.directory / f"{self.namespace}-{self._watches}.watch"
        command = self.kubectl.command("get", "--raw", PATH.format(self.namespace))
        self._watch = Child.start("kubectl", command, log=self._log)
        self._read_bytes = 0

    def history(self, name: str = "web") -> list[Object]:
        """Every watch event of an object so far: `type`, `object`, and `seen_at` (time.time())."""
        self._read()
        return [event for event in self._events if event["object"]["metadata"]["name"] == name]

    def get(self, name: str = "web") -> Object | None:
        """The newest state, None before it exists and after it is gone."""
        events = self.history(name)
        if not events or events[-1]["type"] == "DELETED":
            return None
        newest: Object = events[-1]["object"]
        return newest

    def until(
        self, claim: Callable[[Object], object], what: str, name: str = "web", seconds: float = PATIENCE_SECONDS
    ) -> Object:
        """Wait until the newest state fulfils `claim`, and return it."""
        try:
            eventually(lambda: (found := self.get(name)) and claim(found), what, seconds)
        except AssertionError as failure:
            state = (self.get(name) or {}).get("status", "none")
            raise AssertionError(f"{failure}\nits status: {json.dumps(state)}") from None
        return self.get(name) or {}

    def until_ready(self, replicas: int, name: str = "web", seconds: float = PATIENCE_SECONDS) -> Object:
        """Wait until it says it is as desired, with so many replicas, and hold that against the ledger of the cloud."""
        found = self.until(lambda obj: is_current(obj, replicas), f"{replicas} ready", name, seconds)
        identity = environment_id(found)
        running = [one for one in self.cloud.running(self.account) if identity in one["originalTags"].values()]
        assert len(running) == replicas, f"says {replicas} ready, but {len(running)} run"
        return found

    def until_reason(self, reason: str, name: str = "web", seconds: float = PATIENCE_SECONDS) -> Object:
        """Wait until condition Ready has this reason for the present generation."""

        def has_reason(obj: Object) -> bool:
            return is_observed(obj) and condition(obj, "Ready").get("reason") == reason

        return self.until(has_reason, reason, name, seconds)

    def until_gone(self, name: str = "web", seconds: float = PATIENCE_SECONDS) -> None:
        eventually(lambda: self.history(name)[-1]["type"] == "DELETED", f"{name} is gone", seconds)

    def events(self, name: str = "web") -> list[Object]:
        """The Kubernetes Events about an object."""
        items: list[Object] = self.kubectl.json("get", "events")["items"]
        return [item for item in items if item["involvedObject"]["name"] == name]

    def differs(self, text: str, *options: str, name: str = "web") -> bool:
        """Whether `kubectl diff` finds a drift between a manifest and the object.

        It reads the object first, and applies the manifest in a dry run after that: what somebody writes between the
        two, as a status, shows as a difference too. So its answer counts only when the object has not changed since.
        """
        while True:
            before = self._resource_version(name)
            try:
                self.kubectl.run("diff", "-f", "-", *options, stdin=text)
            except KubectlError as error:
                if error.code != 1:
                    raise
                if self._resource_version(name) == before:
                    return True
            else:
                return False

    def _resource_version(self, name: str) -> str:
        return self.kubectl.run("get", "sce", name, "-o", "jsonpath={.metadata.resourceVersion}")

    # -- judging

    def judge(self) -> None:
        """What holds in every test: never more instances than wanted, and never a word that is not true yet."""
        self._read()
        for name in {event["object"]["metadata"]["name"] for event in self._events}:
            states = [event["object"] for event in self.history(name) if event["type"] != "DELETED"]
            for uid in {state["metadata"]["uid"] for state in states}:
                _judge_truthfulness([state for state in states if state["metadata"]["uid"] == uid])
            wanted = max(state["spec"].get("replicas", 0) for state in states)
            for identity in {environment_id(state) for state in states} - {""}:
                peak = self.cloud.peak(identity)
                most = wanted + self.announced
                assert peak <= most, f"{name} wanted {most} at most, but {peak} instances lived at once"

    def close(self) -> None:
        """End the watch; ask for everything to be deleted, without waiting for it."""
        self._watch.kill9()
        self.kubectl.run("delete", "sce", "--all", "--wait=false")

    def _read(self) -> None:
        with self._log.open("rb") as stream:
            stream.seek(self._read_bytes)
            complete, newline, _ = stream.read().rpartition(b"\n")
        self._read_bytes += len(complete) + len(newline)
        for line in complete.splitlines():
            if line.startswith(b"{"):  # else it is kubectl saying that the API server went away
                self._events.append({**json.loads(line), "seen_at": time.time()})


def _secret(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def condition(obj: Object, kind: str) -> Object:
    """One condition of an object; empty when it is not there."""
    found = [item for item in obj.get("status", {}).get("conditions", []) if item["type"] == kind]
    return found[0] if found else {}


def is_observed(obj: Object) -> bool:
    return bool(obj["status"].get("observedGeneration") == obj["metadata"]["generation"])


def is_current(obj: Object, replicas: int) -> bool:
    """Ready, for this generation, with so many."""
    has_all = obj["status"].get("readyReplicas") == replicas
    return is_observed(obj) and condition(obj, "Ready").get("status") == "True" and has_all


def environment_id(obj: Object) -> str:
    """The identity in the cloud's tags; empty before it was given."""
    return str(obj.get("status", {}).get("environmentID", ""))


def moment(text: str) -> float:
    """A Kubernetes time as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def kstatus(obj: Object) -> str:
    """What Flux, Argo CD and `kubectl wait` make of it: InProgress, Failed, Terminating or Current.

    Source: https://github.com/kubernetes-sigs/cli-utils, pkg/kstatus/status (generic rules).
    """
    if "deletionTimestamp" in obj["metadata"]:
        return "Terminating"
    status = obj.get("status") or {}
    if "observedGeneration" in status and status["observedGeneration"] != obj["metadata"]["generation"]:
        return "InProgress"
    if condition(obj, "Reconciling").get("status") == "True":
        return "InProgress"
    if condition(obj, "Stalled").get("status") == "True":
        return "Failed"
    if condition(obj, "Ready").get("status") in ("False", "Unknown"):
        return "InProgress"
    return "Current"


def _judge_truthfulness(states: list[Object]) -> None:
    for state in states:
        if kstatus(state) == "Current":
            ready, wanted = state["status"].get("readyReplicas", 0), state["spec"].get("replicas", 0)
            ready += state["status"].get("finished", 0)  # whose work is done need not run
            assert ready == wanted, f"Current with {ready} of {wanted}: {state['status']}"
    observed = [state["status"].get("observedGeneration", -1) for state in states]
    assert observed == sorted(observed), f"observedGeneration went back: {observed}"
