"""kopf embedded for real, on a real API server: what it misses or does wrong must not matter to us.

The traps are those known of kopf 1.45. What a setting prevents is tested in `test_settings_of_kopf`. No test for what
cannot concern an operator whose only resource handler is one on.event: batching of events (7), warnings about
inconsistent patches (13), a permanent error that releases an object (17), a daemon's late patch (19), memory of daemons
(20). A namespace deleted together with the operator (15) stays: that is what a finalizer means.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from controlplane import CRDS
from localcluster.controlplane import ControlPlane
from localcluster.processes import free_port
from objects import manifest
from runtime.front import fronted
from runtime.running import running
from spotcompute.kube.audit import Audit
from spotcompute.kube.names import CRD_NAME, FINALIZER, PLURAL
from spotcompute.runtime.supervisor import PartDied
from spotcompute.runtime.workqueue import WorkQueue
from spotcompute.settings import Settings
from waiting import PATIENCE_SECONDS, allowed, eventually_async

pytestmark = pytest.mark.e2e

Create = Callable[..., dict[str, Any]]

UNFINALIZE = '{"metadata": {"finalizers": null}}'


@pytest.fixture
def settings(namespace: str) -> Settings:
    return Settings(namespace=namespace, health_port=free_port(), listen_host="127.0.0.1", audit_seconds=300.0)


def version(control_plane: ControlPlane, namespace: str, name: str = "web") -> str:
    obj = control_plane.kubectl.json("--namespace", namespace, "get", PLURAL, name)
    return str(obj["metadata"]["resourceVersion"])


async def test_an_object_is_claimed_reported_left_alone_and_released(
    control_plane: ControlPlane, settings: Settings, namespace: str, create: Create
) -> None:
    uid = create("web")["metadata"]["uid"]
    async with running(control_plane.kubeconfig, settings) as operator:
        await eventually_async(lambda: operator.reported(uid) == 1)
        looks, before = operator.reconciler.looks[uid], version(control_plane, namespace)
        # On a busy machine the watch may bring the claim before its own answer is read: then there is one more look.
        assert looks <= 2, "our own writes woke us"
        await asyncio.sleep(1.0)
        assert (operator.reconciler.looks[uid], version(control_plane, namespace)) == (looks, before)
        live = control_plane.kubectl.json("--namespace", namespace, "get", PLURAL, "web", "--show-managed-fields")
        assert live["metadata"]["finalizers"] == [FINALIZER]
        assert "kopf" not in json.dumps(live)

        change = '{"spec": {"replicas": 2}}'
        await kubectl(control_plane, "-n", namespace, "patch", PLURAL, "web", "--type=merge", "--patch", change)
        await eventually_async(lambda: operator.reported(uid) == 2)
        await kubectl(control_plane, "-n", namespace, "delete", PLURAL, "web", "--timeout=150s")
        await eventually_async(lambda: operator.store.get(uid) is None)
        await eventually_async(lambda: operator.reconciler.looks_without_object[uid] == 1)


async def test_existing_objects_are_seen_at_the_start_without_a_write(
    control_plane: ControlPlane, settings: Settings, namespace: str, create: Create
) -> None:
    uid = create("web")["metadata"]["uid"]
    async with running(control_plane.kubeconfig, settings) as operator:
        await eventually_async(lambda: operator.reported(uid) == 1)
    before = version(control_plane, namespace)
    async with running(control_plane.kubeconfig, settings) as operator:
        await eventually_async(lambda: operator.reconciler.looks[uid] == 1)
        await asyncio.sleep(0.5)
        assert version(control_plane, namespace) == before


async def test_trap_3_a_refused_finalizer_patch_is_repeated_and_the_object_released_in_seconds(
    control_plane: ControlPlane, settings: Settings, namespace: str, create: Create
) -> None:
    account = f"--serviceaccount={namespace}:operator"
    await kubectl(control_plane, "-n", namespace, "create", "serviceaccount", "operator")
    await kubectl(control_plane, "apply", "-f", "-", stdin=role(namespace, "get", "list", "watch", "patch"))
    await kubectl(control_plane, "-n", namespace, "create", "rolebinding", "operator", "--role=operator", account)
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "operator")
    uid = create("web")["metadata"]["uid"]
    async with running(kubeconfig, settings) as operator:
        await eventually_async(lambda: operator.reported(uid) == 1)
        await kubectl(control_plane, "apply", "-f", "-", stdin=role(namespace, "get", "list", "watch"))
        may_not = control_plane.kubectl_as(namespace, "operator")
        await eventually_async(lambda: not may_not.can("patch", PLURAL, "-n", namespace))
        await kubectl(control_plane, "-n", namespace, "delete", PLURAL, "web", "--wait=false")
        await eventually_async(lambda: len(operator.reconciler.errors) >= 3)
        await kubectl(control_plane, "apply", "-f", "-", stdin=role(namespace, "get", "list", "watch", "patch"))
        await eventually_async(lambda: operator.store.get(uid) is None, seconds=allowed(12.0))


def role(namespace: str, *verbs: str) -> str:
    rules = [{"apiGroups": ["spotcompute.dev"], "resources": [PLURAL, f"{PLURAL}/status"], "verbs": verbs}]
    metadata = {"name": "operator", "namespace": namespace}
    return json.dumps(
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules}
    )


async def test_trap_4_kopf_never_fights_over_our_finalizer(
    control_plane: ControlPlane, settings: Settings, namespace: str, create: Create
) -> None:
    create("web", finalizers=[FINALIZER])
    async with running(control_plane.kubeconfig, settings) as operator:
        await eventually_async(lambda: len(operator.store) == 1)
        await asyncio.sleep(1.0)
        live = control_plane.kubectl.json("--namespace", namespace, "get", PLURAL, "web")
        assert live["metadata"]["finalizers"] == [FINALIZER]


async def test_trap_5_objects_deleted_before_the_finalizer_lands_leave_nothing(
    control_plane: ControlPlane, settings: Settings, namespace: str, create: Create
) -> None:
    create("stays")
    async with running(control_plane.kubeconfig, settings) as operator:
        # What comes and goes before kopf watches is never seen, and need not be.
        await eventually_async(lambda: operator.reports() == [1])
        uids = []
        for number in range(5):
            uids.append(create(f"web-{number}")["metadata"]["uid"])
            names = ("delete", PLURAL, f"web-{number}", "--wait=false")
            await kubectl(control_plane, "-n", namespace, *names)
        await eventually_async(lambda: len(operator.store) == 1)
        await eventually_async(lambda: all(operator.reconciler.looks_without_object[uid] for uid in uids))
        looks = operator.reconciler.looks.total()
        await asyncio.sleep(1.0)
        assert operator.reconciler.looks.total() == looks


async def test_trap_6_an_object_force_deleted_during_a_gap_of_the_watch_is_found_by_the_audit(
    control_plane: ControlPlane, settings: Settings, namespace: str, create: Create
) -> None:
    settings.audit_seconds = 4.0
    uid = create("gone")["metadata"]["uid"]
    create("stays")
    with fronted(control_plane, namespace) as (front, kubeconfig):
        async with running(kubeconfig, settings) as operator:
            await eventually_async(lambda: operator.reports() == [1, 1])
            front.answer_watches_with = {"kind": "Status", "code": 410}  # "too old": kopf lists again, and compares not
            front.cut_watches()
            await kubectl(control_plane, "-n", namespace, "patch", PLURAL, "gone", "--type=merge", "-p", UNFINALIZE)
            await kubectl(control_plane, "-n", namespace, "delete", PLURAL, "gone")
            await eventually_async(lambda: front.refusals >= 1)
            front.answer_watches_with = None
            assert operator.store.get(uid) is not None, "kopf has told us: the audit is not what is tested"
            await eventually_async(lambda: operator.store.get(uid) is None)
            await eventually_async(lambda: operator.reconciler.looks_without_object[uid] == 1)
            assert operator.store.find(namespace, "stays") is not None


async def test_trap_10_a_spell_of_401_is_survived_with_the_same_token(
    control_plane: ControlPlane, settings: Settings, namespace: str, create: Create
) -> None:
    with fronted(control_plane, namespace) as (front, kubeconfig):
        async with running(kubeconfig, settings) as operator:
            first = create("first")["metadata"]["uid"]
            await eventually_async(lambda: operator.reported(first) == 1)
            front.refuse_with = 401
            front.cut_watches()
            second = create("second")["metadata"]["uid"]
            await eventually_async(lambda: front.refusals)
            await asyncio.sleep(5.0)
            assert front.refusals <= 15, "a hot loop of logins"
            front.refuse_with = None
            await eventually_async(lambda: operator.reported(second) == 1)
            assert not operator.task.done()


@pytest.mark.parametrize("answer", [410, {"kind": "Status", "code": 500}], ids=["HTTP 410", "an ERROR in the stream"])
async def test_trap_2_a_watch_that_cannot_go_on_ends_the_process_with_an_error(
    control_plane: ControlPlane, settings: Settings, namespace: str, answer: int | dict[str, Any]
) -> None:
    with fronted(control_plane, namespace) as (front, kubeconfig):
        async with running(kubeconfig, settings) as operator:
            front.answer_watches_with = answer
            front.cut_watches()
            await asyncio.wait([operator.task], timeout=PATIENCE_SECONDS)
            assert operator.task.done()
            assert operator.task.exception() is not None


async def test_a_cut_watch_goes_on_where_it_was(
    control_plane: ControlPlane, settings: Settings, namespace: str, create: Create
) -> None:
    with fronted(control_plane, namespace) as (front, kubeconfig):
        async with running(kubeconfig, settings) as operator:
            first = create("first")["metadata"]["uid"]
            await eventually_async(lambda: operator.reported(first) == 1)
            front.cut_watches()
            await kubectl(control_plane, "-n", namespace, "delete", PLURAL, "first", "--wait=false")
            second = create("second")["metadata"]["uid"]
            await eventually_async(lambda: operator.reported(second) == 1)
            await eventually_async(lambda: operator.store.get(first) is None)


async def test_a_namesake_is_another_object(
    control_plane: ControlPlane, settings: Settings, namespace: str, create: Create
) -> None:
    async with running(control_plane.kubeconfig, settings) as operator:
        old = create("web")["metadata"]["uid"]
        await eventually_async(lambda: operator.reported(old) == 1)
        await kubectl(control_plane, "-n", namespace, "delete", PLURAL, "web")
        new = create("web")["metadata"]["uid"]
        await eventually_async(lambda: operator.reported(new) == 1)
        await eventually_async(lambda: operator.store.get(old) is None)
        found = operator.store.find(namespace, "web")
        assert found is not None
        assert found["metadata"]["uid"] == new


async def test_a_definition_installed_late_is_noticed_and_its_removal_survived() -> None:
    with ControlPlane() as plane:
        async with running(plane.kubeconfig, Settings(health_port=0), is_ready_soon=False) as operator:
            await asyncio.sleep(2.0)
            assert not operator.task.done()
            assert not operator.ready.is_set(), "it says that it is ready, and watches nothing"
            await asyncio.to_thread(plane.install_crds, CRDS)
            await kubectl(plane, "apply", "-f", "-", stdin=json.dumps(manifest("default", "web")))
            await eventually_async(lambda: operator.reports() == [1])
            await kubectl(plane, "delete", "crd", CRD_NAME, "--timeout=150s")
            await eventually_async(lambda: len(operator.store) == 0)
            await asyncio.sleep(1.0)
            assert not operator.task.done()


async def test_a_kind_that_can_be_listed_before_it_is_named_to_others_is_waited_for(
    control_plane: ControlPlane, settings: Settings, namespace: str, create: Create
) -> None:
    uid = create("web")["metadata"]["uid"]
    with fronted(control_plane, namespace) as (front, kubeconfig):
        front.hides_group = True
        async with running(kubeconfig, settings, is_ready_soon=False) as operator:
            await eventually_async(lambda: front.refusals)
            assert not operator.ready.is_set(), "it says that it is ready, and watches nothing"
            front.hides_group = False
            await eventually_async(lambda: operator.reported(uid) == 1)


async def test_trap_14_a_namespace_that_is_deleted_ends(
    control_plane: ControlPlane, settings: Settings, namespace: str, create: Create
) -> None:
    uid = create("web")["metadata"]["uid"]
    async with running(control_plane.kubeconfig, settings) as operator:
        await eventually_async(lambda: operator.reported(uid) == 1)
        await kubectl(control_plane, "delete", "namespace", namespace, "--timeout=150s")
        await eventually_async(lambda: operator.store.get(uid) is None)


async def test_trap_16_many_objects_at_the_start_use_few_connections(
    control_plane: ControlPlane, settings: Settings, namespace: str
) -> None:
    objects = [manifest(namespace, f"web-{number}") for number in range(150)]
    control_plane.kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    settings.workers = 64
    async with running(control_plane.kubeconfig, settings) as operator:
        pool = operator.connection.api.rest_client
        await eventually_async(lambda: len(operator.store) == 150)
        most = 0
        while -1 in operator.reports():
            connector = pool.pool_manager.connector if pool.pool_manager else None
            most = max(most, len(connector._acquired) if connector else 0)
            await asyncio.sleep(0)
        assert 1 < most <= 32


async def test_the_probe_answers_with_what_it_has_checked(
    control_plane: ControlPlane, settings: Settings, create: Create
) -> None:
    create("web")
    async with running(control_plane.kubeconfig, settings) as operator:
        await eventually_async(lambda: len(operator.store) == 1)  # stopped before it watches, kopf takes five seconds
        status, said = await healthz(settings)
    assert status == 200
    assert set(json.loads(said)["operator"]) == {"waiting", "longest_run_seconds", "audit_age_seconds"}


@pytest.mark.parametrize("ill", ["a stuck run", "an audit that hangs"])
async def test_the_probe_fails_at_once_when_only_a_restart_can_help(
    control_plane: ControlPlane, settings: Settings, create: Create, monkeypatch: pytest.MonkeyPatch, ill: str
) -> None:
    create("web")
    if ill == "a stuck run":
        monkeypatch.setattr(WorkQueue, "longest_run_seconds", lambda queue: 601.0)
    else:
        monkeypatch.setattr(Audit, "age_seconds", lambda audit: 901.0)
    async with running(control_plane.kubeconfig, settings) as operator:
        await eventually_async(lambda: len(operator.store) == 1)
        status, _ = await healthz(settings)
    assert status == 500


async def healthz(settings: Settings) -> tuple[int, str]:
    """The probe's answer."""
    url = f"http://127.0.0.1:{settings.health_port}/healthz"
    async with aiohttp.request("GET", url, timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS)) as response:
        return response.status, await response.text()


@pytest.mark.parametrize("end", ["raises", "returns", "exits"])
async def test_a_background_part_that_ends_ends_the_process_with_an_error(
    control_plane: ControlPlane, settings: Settings, end: str
) -> None:
    async def part() -> None:
        await asyncio.sleep(0.3)
        if end == "raises":
            raise RuntimeError("broken")
        if end == "exits":
            raise SystemExit(0)

    with capture_logs() as lines:
        async with running(control_plane.kubeconfig, settings, background=[part]) as operator:
            await asyncio.wait([operator.task], timeout=PATIENCE_SECONDS)
    assert isinstance(operator.task.exception(), PartDied)
    assert "part_died" in [line["event"] for line in lines]


async def test_runs_under_way_are_let_finish_when_the_process_stops(
    control_plane: ControlPlane, settings: Settings, create: Create
) -> None:
    create("web")
    began, ended = asyncio.Event(), asyncio.Event()
    async with running(control_plane.kubeconfig, settings) as operator:
        await eventually_async(lambda: operator.reconciler.looks.total() >= 1)

        async def slow(uid: str) -> float | None:
            began.set()
            await asyncio.sleep(1.0)
            ended.set()
            return None

        operator.reconciler.reconcile = slow  # type: ignore[method-assign]  # slowed down
        operator.queue.add("any")
        await asyncio.wait_for(began.wait(), PATIENCE_SECONDS)
    assert ended.is_set()


async def test_an_api_server_that_restarts_is_waited_for(
    control_plane: ControlPlane, settings: Settings, namespace: str, create: Create
) -> None:
    async with running(control_plane.kubeconfig, settings) as operator:
        first = create("first")["metadata"]["uid"]
        await eventually_async(lambda: operator.reported(first) == 1)
        await asyncio.to_thread(control_plane.kill_apiserver)
        await asyncio.sleep(2.0)
        await asyncio.to_thread(control_plane.start_apiserver)
        second = create("second")["metadata"]["uid"]
        await eventually_async(lambda: operator.reported(second) == 1)
        assert not operator.task.done()


async def kubectl(plane: ControlPlane, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as the admin, without stopping the loop that an operator under test runs in."""
    return await asyncio.to_thread(plane.kubectl.run, *arguments, stdin=stdin)
