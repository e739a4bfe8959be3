"""Nodes are bound, closed, drained, given up and approved, with an API server in memory and virtual time.

What each step is made from is a matter of `tests/plan/test_nodes.py`; here its requests are looked at, in their order.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

import objects
from clock import clock
from localcluster.certificates import new_request
from plan.given import OURS, accepted, instance, ledger_of, member, observed_of
from spotcompute.api.events import Event
from spotcompute.api.ledger import encode
from spotcompute.cloud.errors import Unavailable
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.port import ApiUnavailable, Conflict, Forbidden, KubeError, KubeObject, NotFound
from spotcompute.kube.store import Store
from spotcompute.kube.transport import Expired
from spotcompute.model.instance import InstanceState
from spotcompute.model.node import Pod
from spotcompute.model.observation import Absence
from spotcompute.plan.nodes import (
    ENVIRONMENT_LABEL,
    INSTANCE_LABEL,
    NAMESPACE_LABEL,
    RELEASE_TAINT,
    STARTUP_TAINT,
    ZONE_LABEL,
)
from spotcompute.plan.policy import Policy
from spotcompute.reconcile.node_keeper import ASK_SECONDS, LOOK_SECONDS, RENEWING_SECONDS, RETRY_SECONDS, NodeKeeper
from spotcompute.reconcile.node_states import REMEDY, NodeStates

pytestmark = pytest.mark.looptime

#: Some looks, and the first lists.
SOON = 6 * LOOK_SECONDS
GONE = Absence(sweeps=9, looked_up=True, was_listed=True, looks=9)
OF_WEB = {NAMESPACE_LABEL: "ns", ENVIRONMENT_LABEL: "web"}


def node(name: str = "ins-1", **more: Any) -> dict[str, Any]:
    """A node that has just joined: it bears the start-up taint, and none of our labels."""
    spec = {"providerID": f"qcloud:///100003/{name}", "taints": [{"key": STARTUP_TAINT, "effect": "NoSchedule"}]}
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": name, "uid": f"uid-{name}", "labels": {}}, "spec": spec, "status": status} | more


def bound(name: str = "ins-1", taints: Sequence[Mapping[str, str]] = (), **spec: Any) -> dict[str, Any]:
    """A node as it is after its binding, with the labels that its environment's rows ask for."""
    made = node(name)
    made["metadata"]["labels"] = {
        **OF_WEB,
        INSTANCE_LABEL: name,
        "topology.kubernetes.io/region": "ap-guangzhou",
        ZONE_LABEL: "ap-guangzhou-3",
        "node.kubernetes.io/instance-type": "S5.MEDIUM4",
        "spotcompute.dev/charge-type": "spot",
    }
    made["spec"] |= {"taints": [*taints], **spec}
    return made


def pod(name: str, on: str, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "jobs", "name": name, "uid": f"uid-{name}"} | metadata,
        "spec": {"nodeName": on},
        "status": {"phase": "Running", "startTime": "2026-11-23T03:00:00Z"},
    }


def request(name: str, node_name: str, user: str = "system:bootstrap:abc123") -> dict[str, Any]:
    """What a kubelet sends for its first certificate."""
    _, pem = new_request(f"system:node:{node_name}", "system:nodes")
    spec = {
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "username": user,
        "usages": ["client auth", "digital signature"],
        "request": base64.b64encode(pem).decode(),
    }
    return {"metadata": {"name": name, "resourceVersion": "1"}, "spec": spec, "status": {}}


class NodeServer:
    """The API server's part for nodes, in memory: `asked` holds what was written, and each list of requests."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, dict[str, Any]]] = {"nodes": {}, "pods": {}, "requests": {}}
        self.asked: list[tuple[Any, ...]] = []
        self.lists: list[str] = []
        self.trouble: dict[str, KubeError] = {}
        self._queues: dict[str, list[asyncio.Queue[tuple[str, KubeObject] | KubeError | None]]] = {
            "nodes": [],
            "pods": [],
        }
        self._version = 100

    # --- what others do

    def put(self, kind: str, obj: Mapping[str, Any]) -> dict[str, Any]:
        self._version += 1
        whole = deepcopy(dict(obj))
        whole["metadata"]["resourceVersion"] = str(self._version)
        self.of[kind][whole["metadata"]["name"]] = whole
        self.tell(kind, ("MODIFIED", whole))
        return whole

    def remove(self, kind: str, name: str) -> None:
        gone = self.of[kind].pop(name)
        self.tell(kind, ("DELETED", gone))

    def tell(self, kind: str, event: tuple[str, KubeObject] | KubeError) -> None:
        for queue in self._queues.get(kind, ()):
            queue.put_nowait(event)

    def end_watches(self, kind: str) -> None:
        """The API server ends a watch after a while, and without an error."""
        for queue in self._queues[kind]:
            queue.put_nowait(None)

    def wrote(self, verb: str) -> list[Any]:
        return [what[1] for what in self.asked if what[0] == verb]

    # --- what is asked

    async def nodes(self) -> tuple[Sequence[KubeObject], str]:
        return self._list("nodes")

    def watch_nodes(self, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        return self._watch("nodes")

    async def pods(self) -> tuple[Sequence[KubeObject], str]:
        return self._list("pods")

    def watch_pods(self, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        return self._watch("pods")

    async def patch_node(self, name: str, change: Mapping[str, Any]) -> KubeObject:
        self._refuse("patch")
        known, about = self.of["nodes"].get(name), change["metadata"]
        if known is None:
            raise NotFound(name)
        if (about["uid"], about["resourceVersion"]) != (known["metadata"]["uid"], known["metadata"]["resourceVersion"]):
            raise Conflict(name)
        self.asked.append(("patch", name))
        labels = {**known["metadata"]["labels"], **about.get("labels", {})}
        return self.put("nodes", {
            **known,
            "metadata": {**known["metadata"], "labels": labels},
            "spec": {**known["spec"], **change["spec"]},
        })  # fmt: skip

    async def delete_node(self, name: str, uid: str) -> None:
        known = self.of["nodes"].get(name)
        if known is not None and known["metadata"]["uid"] == uid:
            self.asked.append(("delete", name, bool(known["spec"].get("unschedulable"))))
            self.remove("nodes", name)

    async def pods_on(self, name: str) -> Sequence[KubeObject]:
        return [one for one in self.of["pods"].values() if one["spec"]["nodeName"] == name]

    async def fail_pod(self, one: Pod, status: Mapping[str, Any]) -> None:
        self.asked.append(("fail", one.name, status["status"]["message"]))

    async def evict_pod(self, one: Pod) -> None:
        self.asked.append(("evict", one.name))
        self._refuse("evict")

    async def certificate_requests(self) -> Sequence[KubeObject]:
        self.lists.append("requests")
        return list(self.of["requests"].values())

    async def approve(self, obj: KubeObject) -> None:
        self._refuse("approve")
        self.asked.append(("approve", obj["metadata"]["name"], obj["status"]["conditions"][0]["message"]))
        self.of["requests"][obj["metadata"]["name"]] = dict(obj)

    def _list(self, kind: str) -> tuple[Sequence[KubeObject], str]:
        self.lists.append(kind)
        self._refuse(kind)
        return [deepcopy(one) for one in self.of[kind].values()], str(self._version)

    async def _watch(self, kind: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        queue: asyncio.Queue[tuple[str, KubeObject] | KubeError | None] = asyncio.Queue()
        self._queues[kind].append(queue)
        try:
            while True:
                event = await queue.get()
                if event is None:
                    return
                if isinstance(event, KubeError):
                    raise event
                yield event[0], deepcopy(event[1])
        finally:
            self._queues[kind].remove(queue)

    def _refuse(self, what: str) -> None:
        if what in self.trouble:
            raise self.trouble[what]


@dataclass
class Farm:
    """One environment whose machines become nodes, its cloud, and the keeper."""

    server: NodeServer = field(default_factory=NodeServer)
    events: list[Event] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)
    shown: dict[str, Any] = field(default_factory=dict)  # what the sweeps show
    looked_up: list[list[str]] = field(default_factory=list)
    absent: dict[str, Absence] = field(default_factory=dict)
    cloud_error: Unavailable | None = None
    version: int = 1

    def __post_init__(self) -> None:
        self.store = Store(lambda uid: None)
        self.has("ins-1")
        accounts = SimpleNamespace(in_use=[SimpleNamespace(of_environment=self._of_environment)], open=self._open)
        sources = SimpleNamespace(credentials=self._credentials)
        cluster = Cluster("cluster-1", cast(Any, self), self.store, cast(Any, sources), cast(Any, None))
        self.states = NodeStates(self.woken.append)
        self.keeper = NodeKeeper(cluster, self.server, cast(Any, accounts), self.states, Policy(), clock)

    def has(self, *ids: str, nodes: Mapping[str, Any] | None = None, **of_member: Any) -> None:
        """The ledger holds these machines, and the sweeps show them."""
        self.version += 1
        manifest = objects.manifest("ns", "web")
        raw = objects.environment(self.version) | {"spec": manifest["spec"] | {"nodes": dict(nodes or {})}}
        raw["status"] = {"ledger": encode(ledger_of(*(member(one, **of_member) for one in ids)))}
        self.shown = {one: instance(one, private_ip=f"10.0.0.{one[-1]}") for one in ids}
        self.store.put(raw)

    def _of_environment(self, environment_id: str) -> Mapping[str, Any]:
        assert environment_id == OURS.environment_id
        return self.shown

    async def _credentials(self, *about: object, is_deleting: bool) -> str:
        assert about[:2] == ("ns", "tencent")
        return "key"

    async def _open(self, credentials: str, region: str) -> Any:
        assert (credentials, region) == ("key", "ap-guangzhou")
        return SimpleNamespace(observe=self._observe)

    async def _observe(self, environment_id: str, ids: list[str], names: list[str]) -> Any:
        assert environment_id == OURS.environment_id
        self.looked_up.append(ids)
        if self.cloud_error is not None:
            raise self.cloud_error
        return observed_of(*self.shown.values(), absent=self.absent)

    async def record(self, obj: KubeObject, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
def farm() -> Iterator[Farm]:
    made = Farm()
    yield made
    for task in tasks:
        task.cancel()
    tasks.clear()


tasks: list[asyncio.Task[None]] = []


async def kept(farm: Farm, seconds: float = SOON) -> None:
    """Some time passes for the keeper, which begins at the first call and goes on."""
    if not tasks:
        tasks.append(asyncio.ensure_future(farm.keeper.run()))
    await asyncio.sleep(seconds)
    assert not tasks[0].done()


async def test_a_node_is_bound_once_to_its_machine_and_shown_to_the_run(farm: Farm) -> None:
    farm.has("ins-1", "ins-2", nodes={"labels": {"team": "render"}})
    farm.server.put("nodes", node())
    farm.server.put("nodes", node("worker-1"))
    farm.server.put("pods", pod("task", "ins-1"))
    await kept(farm)
    assert farm.server.asked == [("patch", "ins-1")]
    labels = farm.server.of["nodes"]["ins-1"]["metadata"]["labels"]
    assert labels.items() >= {**OF_WEB, INSTANCE_LABEL: "ins-1", "team": "render"}.items()
    assert labels[ZONE_LABEL] == "ap-guangzhou-3"
    assert farm.server.of["nodes"]["ins-1"]["spec"]["taints"] == []
    states, problem = await farm.states.of("u1")
    assert (list(states), problem) == (["ins-1"], None)
    assert (states["ins-1"].is_ready, states["ins-1"].pods) == (True, 1)
    assert {one.name for one in farm.keeper.known() or ()} == {"ins-1", "worker-1"}
    assert farm.events == []


async def test_a_node_is_named_by_its_address_when_the_environment_says_so(farm: Farm) -> None:
    farm.has("ins-1", nodes={"nameFrom": "PrivateIP"})
    farm.server.put("nodes", node("10.0.0.1") | {"spec": node()["spec"]})
    await kept(farm)
    assert farm.server.of["nodes"]["10.0.0.1"]["metadata"]["labels"][INSTANCE_LABEL] == "ins-1"


async def test_nothing_is_known_and_nothing_done_before_both_lists(farm: Farm) -> None:
    farm.server.put("nodes", node())
    farm.server.trouble["pods"] = KubeError("no answer")
    assert farm.keeper.known() is None
    await kept(farm)
    assert farm.server.asked == []
    del farm.server.trouble["pods"]
    await kept(farm, RETRY_SECONDS)
    assert farm.server.asked == [("patch", "ins-1")]


async def test_a_node_that_joins_later_changes_or_leaves_is_known_at_once(farm: Farm) -> None:
    await kept(farm)
    farm.server.put("nodes", node())
    farm.server.tell("nodes", ("BOOKMARK", {"metadata": {"resourceVersion": "999"}}))
    farm.server.put("pods", pod("task", "ins-1"))
    farm.server.put("pods", pod("other", "ins-1"))
    await kept(farm, 3 * LOOK_SECONDS)
    assert farm.server.asked == [("patch", "ins-1")]
    assert (await farm.states.of("u1"))[0]["ins-1"].pods == 2
    farm.server.remove("pods", "task")
    await kept(farm, 2 * LOOK_SECONDS)
    assert (await farm.states.of("u1"))[0]["ins-1"].pods == 1
    farm.server.remove("nodes", "ins-1")
    await kept(farm, 2 * LOOK_SECONDS)
    assert farm.keeper.known() is not None
    assert not farm.keeper.known()
    assert await farm.states.of("u1") == ({}, None)


async def test_what_a_watch_has_missed_comes_with_the_next_list(farm: Farm) -> None:
    farm.server.put("nodes", node("worker-1"))
    await kept(farm)
    del farm.server.of["nodes"]["worker-1"]
    farm.server.of["nodes"]["ins-1"] = farm.server.put("nodes", node())
    for kind in ("nodes", "pods"):
        farm.server.tell(kind, Expired("too old"))
    await kept(farm, 2 * LOOK_SECONDS)
    assert {one.name for one in farm.keeper.known() or ()} == {"ins-1"}
    assert farm.server.lists.count("nodes") == 2


async def test_a_watch_that_ends_goes_on_without_a_list_of_the_whole_cluster(farm: Farm) -> None:
    await kept(farm)
    for kind in ("nodes", "pods"):
        farm.server.end_watches(kind)
    await kept(farm, 2 * LOOK_SECONDS)
    farm.server.put("nodes", node())
    await kept(farm)
    assert farm.server.asked == [("patch", "ins-1")]
    assert farm.server.lists.count("nodes") == farm.server.lists.count("pods") == 1


async def test_a_node_that_has_changed_meanwhile_is_decided_about_anew(farm: Farm) -> None:
    await kept(farm)
    stale = farm.server.put("nodes", node())
    farm.server.of["nodes"]["ins-1"] = {**stale, "metadata": {**stale["metadata"], "resourceVersion": "9999"}}
    await kept(farm, 2 * LOOK_SECONDS)
    assert farm.server.asked == []
    farm.server.put("nodes", farm.server.of["nodes"]["ins-1"])
    await kept(farm, 2 * LOOK_SECONDS)
    assert farm.server.asked == [("patch", "ins-1")]


async def test_a_node_whose_machine_leaves_is_closed_drained_and_opened_when_it_stays_after_all(farm: Farm) -> None:
    farm.server.put("nodes", bound())
    farm.server.put("pods", pod("task", "ins-1"))
    farm.server.put("pods", pod("agent", "ins-1", ownerReferences=[{"kind": "DaemonSet"}]))
    farm.server.put("pods", pod("elsewhere", "ins-2"))
    farm.server.trouble["evict"] = ApiUnavailable("a budget forbids it")
    with capture_logs() as logs:
        farm.has("ins-1", termination=replace(accepted(), sent_at=None, accepted_at=None))
        await kept(farm)
        spec = farm.server.of["nodes"]["ins-1"]["spec"]
        assert spec["unschedulable"]
        assert spec["taints"] == [{"key": RELEASE_TAINT.key, "effect": "NoSchedule"}]
        assert farm.server.wrote("patch") == ["ins-1"]
        assert set(farm.server.wrote("evict")) == {"task"}
        assert len(farm.server.wrote("evict")) > 1, "a budget forbids it: it is asked again"
        farm.has("ins-1")
        await kept(farm)
    spec = farm.server.of["nodes"]["ins-1"]["spec"]
    assert (spec["unschedulable"], spec["taints"]) == (None, [])
    named = [(row["event"], row["node"], row["environment"]) for row in logs if row["event"].startswith("node_")]
    assert named == [("node_cordoned", "ins-1", "ns/web"), ("node_opened_again", "ins-1", "ns/web")]


@pytest.mark.parametrize(
    ("wishes", "failed"),
    [
        pytest.param({}, ["task"], id="its-pods-fail"),
        pytest.param({"podsOfLostNodes": "Leave"}, [], id="unless-the-spec-keeps-them"),
    ],
)
async def test_a_node_whose_machine_is_gone_is_closed_deleted_and_its_pods_failed(
    farm: Farm, wishes: dict[str, Any], failed: list[str]
) -> None:
    farm.server.put("nodes", bound())
    farm.server.put("pods", pod("task", "ins-1"))
    farm.has("ins-1", nodes=wishes)
    await kept(farm)
    assert farm.server.asked == []
    farm.has("ins-2", nodes=wishes)
    farm.absent = {"ins-1": GONE}
    await kept(farm)
    assert [what[0] for what in farm.server.asked] == ["patch", "delete"] + ["fail"] * len(failed)
    assert farm.server.asked[1] == ("delete", "ins-1", True), "no pod can come to a node that is closed"
    assert farm.server.wrote("fail") == failed
    assert all("ins-1 is gone" in what[2] for what in farm.server.asked if what[0] == "fail")
    assert not farm.keeper.known()


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param({"cloud_error": Unavailable("InternalError", "later")}, id="the-cloud-does-not-answer"),
        pytest.param({"absent": {"ins-1": Absence(sweeps=0, looked_up=False)}}, id="it-is-not-proven"),
        pytest.param({"shown": {"ins-1": instance("ins-1")}}, id="it-only-lost-its-tags"),
    ],
)
async def test_a_node_stays_while_its_machine_may_live(farm: Farm, seen: dict[str, Any]) -> None:
    farm.server.put("nodes", bound())
    farm.has("ins-2")
    for name, value in seen.items():
        setattr(farm, name, value)
    await kept(farm, 10 * ASK_SECONDS)
    assert farm.server.asked == []
    assert set(map(tuple, farm.looked_up)) == {("ins-1",)}
    assert 8 <= len(farm.looked_up) <= 11, "the cloud is asked every two seconds"


async def test_a_node_of_a_machine_that_the_cloud_shows_as_ended_is_given_up(farm: Farm) -> None:
    farm.server.put("nodes", bound())
    farm.has("ins-2")
    farm.shown = {"ins-1": instance("ins-1", InstanceState.SHUTDOWN)}
    await kept(farm)
    assert farm.server.wrote("delete") == ["ins-1"]


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({INSTANCE_LABEL: "ins-9"}, id="of-nobody"),
        pytest.param({INSTANCE_LABEL: "ins-9", NAMESPACE_LABEL: "ns", ENVIRONMENT_LABEL: "other"}, id="of-another"),
        pytest.param({NAMESPACE_LABEL: "ns", ENVIRONMENT_LABEL: "web"}, id="of-no-instance"),
    ],
)
async def test_nodes_of_others_are_left_alone(farm: Farm, labels: dict[str, str]) -> None:
    stranger = node("worker-9")
    stranger["metadata"]["labels"] = labels
    farm.server.put("nodes", stranger)
    farm.absent = {"ins-9": GONE}
    await kept(farm)
    assert (farm.server.asked, farm.looked_up) == ([], [])


async def test_a_machine_gets_its_certificate_within_seconds_and_a_stranger_none(farm: Farm) -> None:
    farm.server.of["requests"] = {
        name: request(name, who) for name, who in {"csr-1": "ins-1", "csr-2": "ins-7"}.items()
    }
    with capture_logs() as logs:
        await kept(farm)
    assert farm.server.asked == [("approve", "csr-1", "system:node:ins-1 is an instance of an environment")]
    assert [(row["request"], row["subject"]) for row in logs if row["event"] == "node_certificate_approved"] == [
        ("csr-1", "system:node:ins-1")
    ]
    before = len(farm.server.lists)
    await kept(farm, 20.0)
    assert 17 <= farm.server.lists.count("requests") - before + 2 <= 24, "once a second while a machine has no node"


async def test_requests_are_read_rarely_when_every_machine_has_its_node(farm: Farm) -> None:
    farm.server.put("nodes", bound())
    await kept(farm, 10 * RENEWING_SECONDS)
    assert 10 <= farm.server.lists.count("requests") <= 11


async def test_a_request_that_somebody_else_has_answered_meanwhile_is_no_trouble(farm: Farm) -> None:
    farm.server.of["requests"] = {"csr-1": request("csr-1", "ins-1")}
    farm.server.trouble["approve"] = Conflict("csr-1")
    await kept(farm)
    del farm.server.trouble["approve"]
    await kept(farm)
    assert farm.server.wrote("approve") == ["csr-1"]
    assert farm.events == []


@pytest.mark.parametrize("what", ["patch", "nodes"])
async def test_a_missing_right_is_told_once_and_kept_up_when_it_is_given(farm: Farm, what: str) -> None:
    farm.server.put("nodes", node())
    farm.server.trouble[what] = Forbidden("nodes is forbidden")
    await kept(farm, 10 * RETRY_SECONDS)
    (event,) = farm.events
    assert (event.type, event.reason) == ("Warning", "NodesNotKept")
    assert event.note.startswith("nodes are not bound and not given up: ")
    assert event.note.endswith(REMEDY)
    states, problem = await farm.states.of("u1")
    assert not states
    assert problem is not None
    assert problem.endswith(REMEDY)
    assert "u1" in farm.woken
    del farm.server.trouble[what]
    await kept(farm, 2 * RETRY_SECONDS)
    assert farm.server.asked == [("patch", "ins-1")]
    assert (await farm.states.of("u1"))[1] is None


async def test_an_api_server_that_does_not_answer_is_asked_again_and_nobody_is_blamed(farm: Farm) -> None:
    farm.server.put("nodes", node())
    farm.server.trouble["patch"] = KubeError("connection refused")
    with capture_logs() as logs:
        await kept(farm, 4 * RETRY_SECONDS)
    assert farm.events == []
    out_of_reach = [row for row in logs if row["event"] == "nodes_out_of_reach"]
    assert 3 <= len(out_of_reach) <= 5
    assert out_of_reach[0]["error"] == "KubeError: connection refused"


async def test_environments_without_nodes_or_with_an_unreadable_spec_are_left_out(farm: Farm) -> None:
    farm.store.put(objects.environment(9, uid="u2", name="plain"))
    broken = objects.environment(9, uid="u3", name="broken") | {"spec": {"nodes": {}, "replicas": "many"}}
    farm.store.put(broken)
    farm.server.put("nodes", node())
    await kept(farm)
    assert farm.server.asked == [("patch", "ins-1")]
    farm.server.trouble["patch"] = Forbidden("no")
    farm.server.put("nodes", node())
    await kept(farm)
    assert len(farm.events) == 1
