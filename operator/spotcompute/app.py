"""Builds the operator's parts from Settings, and runs them until the process ends.

Apart from `__main__`, which only reads the command line. No other module knows every part, chooses the vendor of the
cloud, or reads the environment, the clock and the random numbers for the others.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import REGISTRY

from spotcompute import __version__
from spotcompute.cloud.accounts import Accounts
from spotcompute.cloud.credentials import AnyKey, Credentials, Identity, OwnIdentity, ProviderFactory
from spotcompute.cloud.endpoint import Endpoint
from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.pace import IDLE, Pace
from spotcompute.cloud.tencent import reach
from spotcompute.cloud.tencent.client import UnsafeEndpoint, host_of, refuse_unsafe_endpoint, silence_sdk_logger
from spotcompute.cloud.tencent.provider import LISTED_PER_SECOND, TencentProviders
from spotcompute.cloud.tencent.verify import verifying
from spotcompute.cloud.tencent.verify.asks import Preference
from spotcompute.cloud.tencent.verify.course import Allowance
from spotcompute.cloud.tencent.verify.line import CannotVerify, ClientLine
from spotcompute.kube.account_registry import AccountRegistry
from spotcompute.kube.announcement import announce
from spotcompute.kube.claim_client import ClaimClient
from spotcompute.kube.client import KubeClient
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.connection import Connection, NoCluster, connect
from spotcompute.kube.inspection import Inspection
from spotcompute.kube.instance_client import InstanceClient
from spotcompute.kube.instance_objects import InstanceObjects
from spotcompute.kube.lease import LeaseClient
from spotcompute.kube.names import ENVIRONMENT_ID
from spotcompute.kube.node_client import NodeClient
from spotcompute.kube.port import Forbidden, KubeError
from spotcompute.kube.reachable import readable, watch_reach
from spotcompute.kube.sources import Sources
from spotcompute.kube.store import Store
from spotcompute.plan.policy import Policy
from spotcompute.reconcile.claim_keeper import ClaimKeeper
from spotcompute.reconcile.claims import NoClaimViews
from spotcompute.reconcile.mirror import Mirror
from spotcompute.reconcile.node_keeper import NodeKeeper
from spotcompute.reconcile.node_states import NodeStates
from spotcompute.reconcile.orphan_sweep import OrphanSweep
from spotcompute.reconcile.reconciler import Reconciler
from spotcompute.runtime.election import Elector
from spotcompute.runtime.health import Health, serve_probes
from spotcompute.runtime.listening import listen_address
from spotcompute.runtime.shell import Shell, run_shell
from spotcompute.runtime.supervisor import PartDied, Supervisor
from spotcompute.runtime.workqueue import WorkQueue
from spotcompute.settings import Settings
from spotcompute.telemetry import metrics
from spotcompute.telemetry.pools import Pools

_log = structlog.get_logger(__name__)

#: Letters of the nonces that distinguish environments of one name.
_NONCE_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


class CannotRun(Exception):
    """`CannotRun` means that the process cannot do its work. `str()` says why, and what to change."""


@dataclass(frozen=True, slots=True)
class App:
    """`App` holds the parts that are used after `build`. The shell holds all others."""

    cluster: Cluster
    shell: Shell
    accounts: Accounts


@dataclass(frozen=True, slots=True)
class Verification:
    """`Verification` is what a person asks `spotcompute verify` for. Without `spend` it only ends what is left."""

    region: str
    folder: Path
    spend: Decimal | None = None
    minutes: float = 30.0
    watch_hours: float = 0.0
    other_region: str = "ap-singapore"
    zone: str | None = None
    instance_type: str | None = None
    image: str | None = None
    network: tuple[str, str] | None = None


async def build(settings: Settings, connection: Connection, stop: asyncio.Event) -> App:
    """Builds every part and starts none. Each part is given only parts that were built before it.

    `stop` is set when a part ends by itself. Raises CannotRun when nothing names the cluster, KubeError when the API
    server does not answer, and UnsafeEndpoint for an endpoint to which no key may be sent.
    """
    everywhere = KubeClient(connection, settings.watched, home=settings.home_namespace)
    namespaces = await readable(everywhere, settings.watched)
    kube = KubeClient(connection, namespaces, home=settings.home_namespace)
    uid = None if settings.cluster_id else await _uid_of_the_cluster(kube)
    queue = WorkQueue(random.Random(), limit_seconds=settings.rest_limit_seconds, foreseen=(KubeError,))
    store = Store(queue.add)
    cluster = Cluster(
        id=settings.cluster_id or uid or "",
        kube=kube,
        store=store,
        sources=Sources(kube, _default_credentials(settings), now),
        account_registry=AccountRegistry(kube),
        namespaces=namespaces,
        uid=uid,
    )
    threads = ThreadPoolExecutor(settings.cloud_threads, thread_name_prefix="cloud")
    providers = TencentProviders(settings, threads)
    accounts = Accounts(providers, cluster.id, now, pace(settings), partial(_wake, store, queue))
    protocol = policy(settings)
    reconciler = Reconciler(cluster, accounts, protocol, now, _nonce, currency(settings))
    mirror = Mirror(
        InstanceObjects(namespaces, partial(_wake_one, store, queue)),
        InstanceClient(connection),
        kube,
        store,
        writes_per_second=settings.object_writes_per_second,
        is_busy=lambda: queue.is_busy,
    )
    reconciler.views = mirror
    orphans = OrphanSweep(cluster, accounts, protocol, now, timedelta(seconds=settings.orphan_seconds))
    reach = partial(watch_reach, kube, settings.watched, namespaces, stop.set)
    parts: list[Callable[[], Awaitable[None]]] = [accounts.run, kube.events.run, orphans.run, mirror.run, reach]
    states = reconciler.nodes = NodeStates(queue.add, is_kept=settings.nodes)
    nodes = NodeKeeper(cluster, NodeClient(connection), accounts, states, protocol, now)
    claims = ClaimKeeper(cluster, ClaimClient(connection), nodes.known, now, wake=queue.add)
    reconciler.claims = claims if settings.claims else NoClaimViews()
    supervisor = Supervisor([*parts, *_of_nodes(settings, nodes, claims)], stop)
    shell = Shell(
        settings, login=connection.access, cluster=cluster, reconciler=reconciler, queue=queue, supervisor=supervisor
    )
    return App(cluster, shell, accounts)


def _of_nodes(settings: Settings, nodes: NodeKeeper, claims: ClaimKeeper) -> list[Callable[[], Awaitable[None]]]:
    """Returns the parts for machines that join the cluster, as far as they are wanted.

    Raises CannotRun when claims are wanted without nodes.
    """
    if settings.claims and not settings.nodes:
        raise CannotRun("settings are wrong:\n  SPOTCOMPUTE_CLAIMS needs SPOTCOMPUTE_NODES: set both to true")
    return [*([nodes.run] if settings.nodes else []), *([claims.run] if settings.claims else [])]


async def _uid_of_the_cluster(kube: KubeClient) -> str:
    """Returns the cluster's uid.

    An installation for one namespace has no right to read it, so CannotRun is raised there.
    """
    try:
        return await kube.cluster_id()
    except Forbidden as error:
        raise CannotRun(
            f"no name of this cluster: {error}\n  Set SPOTCOMPUTE_CLUSTER_ID to a name that no other cluster with these"
            " cloud accounts has and that stays, or grant get on namespace kube-system."
        ) from None


def _wake_one(store: Store, queue: WorkQueue, namespace: str, uid: str) -> None:
    """Queues the object with this uid, if it is one of this namespace."""
    obj = store.get(uid)
    if obj is not None and obj["metadata"]["namespace"] == namespace:
        queue.add(uid)


def _wake(store: Store, queue: WorkQueue, environment_ids: Collection[str]) -> None:
    """Queues the objects with these ids, because a sweep has seen a change in their instances."""
    for obj in store.all():
        if (obj["metadata"].get("annotations") or {}).get(ENVIRONMENT_ID) in environment_ids:
            queue.add(obj["metadata"]["uid"])


# --- the process -----------------------------------------------------------------------------------------------------


def run_operator(settings: Settings) -> None:
    """Runs the operator until SIGTERM or SIGINT.

    Raises CannotRun when it cannot begin or go on, and SystemExit when one of its parts has ended by itself.
    """
    try:
        asyncio.run(_run(settings))
    except (NoCluster, KubeError) as error:
        raise CannotRun(f"the API server cannot be used: {error}") from None
    except UnsafeEndpoint as error:
        raise CannotRun(f"settings are wrong:\n  {error}") from None
    except PartDied as error:
        _log.error("stopped", error=str(error.__cause__ or error))
        raise SystemExit(1) from None


async def _run(settings: Settings) -> None:
    stop, health = asyncio.Event(), Health()
    for number in (signal.SIGTERM, signal.SIGINT):  # kopf puts its own handlers in their place once it runs
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    connection = await connect(os.environ)
    async with AsyncExitStack() as open_parts:
        open_parts.push_async_callback(connection.close)
        try:
            open_parts.enter_context(metrics.serve_metrics(listen_address(settings.listen_host), settings.metrics_port))
            await open_parts.enter_async_context(serve_probes(health, settings.listen_host, settings.health_port))
        except OSError as error:
            raise CannotRun(
                f"nothing can listen there: {error}. Set SPOTCOMPUTE_METRICS_PORT and SPOTCOMPUTE_HEALTH_PORT to free"
                " ports, and SPOTCOMPUTE_LISTEN_HOST to an address of this machine"
            ) from None
        if settings.lease:
            await _act_when_leading(settings, settings.lease, connection, health, stop)
        else:
            await _act(settings, connection, health, stop)


async def _act_when_leading(
    settings: Settings, lease: str, connection: Connection, health: Health, stop: asyncio.Event
) -> None:
    identity = settings.identity or f"{socket.gethostname()}-{_nonce()}"
    elector = Elector(LeaseClient(connection, settings.home_namespace, lease), identity, now)
    health.check, health.is_ready = elector.check, elector.is_in_touch
    metrics.leader.set(0)
    acquiring, stopping = asyncio.create_task(elector.acquire()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([acquiring, stopping], return_when=asyncio.FIRST_COMPLETED)
        if acquiring.done():
            acquiring.result()
            holding = asyncio.create_task(_hold(elector))
            await _act(settings, connection, health, stop)
            holding.cancel()
    finally:
        acquiring.cancel()
        stopping.cancel()
        await elector.release()


async def _hold(elector: Elector) -> None:
    """Ends the process at once when it may no longer act.

    A clean end would take too long, and another replica acts soon.
    """
    reason = await elector.hold()
    _log.error("leadership_lost", reason=reason)
    os._exit(1)


async def _act(settings: Settings, connection: Connection, health: Health, stop: asyncio.Event) -> None:
    metrics.leader.set(1)
    app, ready = await build(settings, connection, stop), asyncio.Event()
    await announce(connection, settings.home_namespace, app.cluster.namespaces, __version__)
    REGISTRY.register(metrics.Environments(app.cluster.store.all))
    REGISTRY.register(Pools(app.cluster.store.all, app.accounts.markets, currency(settings)))
    _log.info(
        "starting", version=__version__, cluster_id=app.cluster.id, namespace=",".join(app.cluster.namespaces) or "all"
    )
    health.check, health.is_ready = app.shell.check, ready.is_set
    await run_shell(app.shell, stop, ready)


# --- what parts and commands are given -------------------------------------------------------------------------------


@contextmanager
def cloud(settings: Settings) -> Iterator[ProviderFactory]:
    """Makes providers of the cloud for one command, and closes them after it.

    Raises CannotRun for an unsafe endpoint.
    """
    with ThreadPoolExecutor(settings.cloud_threads, thread_name_prefix="cloud") as threads:
        try:
            providers = TencentProviders(settings, threads)
        except UnsafeEndpoint as error:
            raise CannotRun(f"settings are wrong:\n  {error}") from None
        yield providers


@asynccontextmanager
async def inspection(kubeconfig: str | None, context: str | None) -> AsyncIterator[Inspection]:
    """Opens a connection for one command, as a person or as the pod. Raises CannotRun when there is no way to one."""
    environ = {**os.environ, "KUBECONFIG": kubeconfig} if kubeconfig else os.environ
    try:
        connection = await connect(environ, context=context)
    except NoCluster as error:
        raise CannotRun(str(error)) from None
    try:
        yield Inspection(connection)
    finally:
        await connection.close()


async def clock_of_the_cloud(settings: Settings) -> datetime | CloudError | None:
    """Returns what time it is at the cloud's endpoint, or why it does not answer. Raises CannotRun if it is unsafe."""
    try:
        return await reach.read_clock(settings)
    except UnsafeEndpoint as error:
        raise CannotRun(str(error)) from None
    except CloudError as error:
        return error


def endpoint(settings: Settings) -> Endpoint:
    """Returns where the cloud is asked, for sentences to people."""
    return Endpoint(host_of(settings), settings.protocol, settings.endpoint is None)


def run_verify(settings: Settings, key: AnyKey, asked: Verification) -> tuple[str, bool]:
    """Verifies the cloud, or ends what earlier verifications have left. Returns what to print, and whether nothing is
    left.

    SIGTERM and Ctrl-C end it early; it still ends what it has bought. Raises CannotRun.
    """
    with ThreadPoolExecutor(settings.cloud_threads, thread_name_prefix="cloud") as threads:
        try:
            refuse_unsafe_endpoint(settings)
            silence_sdk_logger()
            line = ClientLine(settings, key, asked.region, threads, now)
            return asyncio.run(_until_interrupted(_verify(line, settings, asked)))
        except UnsafeEndpoint as error:
            raise CannotRun(f"settings are wrong:\n  {error}") from None
        except CannotVerify as error:
            raise CannotRun(str(error)) from None
        except asyncio.CancelledError:
            raise CannotRun(
                "interrupted. What was bought has been asked to end; `spotcompute verify --clean"
                f" --region {asked.region} --report {asked.folder}` makes sure of it"
            ) from None


async def _verify(line: ClientLine, settings: Settings, asked: Verification) -> tuple[str, bool]:
    if asked.spend is None:
        left = await verifying.clean(line, asked.folder)
        return verifying.told(left), not left.living
    wish = Preference(asked.zone, asked.instance_type, asked.image, asked.network)
    limits = Allowance(asked.minutes * 60, asked.other_region)
    job = verifying.Job(asked.folder, _nonce(), settings.site, asked.spend, wish, limits, asked.watch_hours * 3600)
    done = await verifying.run_verification(line, job)
    return (
        f"{asked.folder / 'report.md'}\n{asked.folder / 'world.yaml'}\n{verifying.told(done.left)}",
        not done.left.living,
    )


async def _until_interrupted(work: Coroutine[Any, Any, tuple[str, bool]]) -> tuple[str, bool]:
    """Lets the first signal cancel the work, which then ends what it has bought."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def now() -> datetime:
    """Returns the time, aware and in UTC."""
    return datetime.now(UTC)


def _nonce() -> str:
    return "".join(secrets.choice(_NONCE_LETTERS) for _ in range(6))


def currency(settings: Settings) -> str:
    """Returns the currency in which the site quotes its prices."""
    return "CNY" if settings.site == "mainland" else "USD"


def _default_credentials(settings: Settings) -> AnyKey | None:
    return own_key(settings) if settings.allow_default_credentials else None


def own_key(settings: Settings) -> AnyKey | None:
    """Returns the operator's own key or identity, as SPOTCOMPUTE_KEY_FROM says. None when there is none.

    A key in TENCENTCLOUD_SECRET_ID, _KEY and _TOKEN takes the role in SPOTCOMPUTE_ROLE_ARN.
    """
    if settings.key_from != "environment":
        return OwnIdentity(Identity(settings.key_from))
    secret_id = os.environ.get("TENCENTCLOUD_SECRET_ID")
    secret_key = os.environ.get("TENCENTCLOUD_SECRET_KEY")
    if not secret_id or not secret_key:
        return None
    return Credentials(secret_id, secret_key, os.environ.get("TENCENTCLOUD_TOKEN") or None, settings.role_arn)


def needed_key(purpose: str, settings: Settings) -> AnyKey:
    """Returns our own key or identity. Raises CannotRun with the variables to set when there is none."""
    key = own_key(settings)
    if key is None:
        missing = [name for name in ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY") if not os.environ.get(name)]
        raise CannotRun(f"set {' and '.join(missing)}: {purpose} asks the cloud with this key")
    return key


def pace(settings: Settings) -> Pace:
    """Returns how often this installation sweeps an account, and for how long it does so without being asked."""
    return Pace(
        sweep=timedelta(seconds=settings.sweep_seconds),
        suspect=timedelta(seconds=settings.suspect_sweep_seconds),
        market=timedelta(seconds=settings.market_seconds),
        failure_limit=timedelta(seconds=settings.rest_limit_seconds),
        sweep_limit=timedelta(seconds=settings.sweep_limit_seconds),
        instances_per_second=settings.sweep_share * LISTED_PER_SECOND,
        idle=max(IDLE, 2 * timedelta(seconds=max(settings.resync_seconds, settings.sweep_seconds))),
    )


def policy(settings: Settings) -> Policy:
    """Returns the durations and limits of the protocol that this installation has chosen."""
    return Policy(
        states_bids=settings.site == "international",
        backoff_base=timedelta(seconds=settings.rest_base_seconds),
        backoff_max=timedelta(seconds=settings.rest_limit_seconds),
        blocked_recheck=timedelta(seconds=settings.recheck_seconds),
        early_loss=timedelta(seconds=settings.early_loss_seconds),
        half_life=timedelta(seconds=settings.early_half_life_seconds),
        launch_timeout=timedelta(seconds=settings.launch_timeout_seconds),
        replay_window=timedelta(seconds=settings.replay_seconds),
        answer_wait_max=timedelta(seconds=1.5 * settings.request_timeout_seconds),
        signature_lifetime=timedelta(seconds=settings.signature_seconds),
        listing_lag_max=timedelta(seconds=settings.visibility_seconds),
        absence_sweeps=settings.absence_sweeps,
        repeat_refused=timedelta(seconds=2 * settings.recheck_seconds),
        poll_interval=timedelta(seconds=settings.suspect_sweep_seconds),
        resync=timedelta(seconds=settings.resync_seconds),
        orphan_confirmed_after=timedelta(seconds=1.5 * settings.orphan_seconds),
        orphan_age_min=timedelta(seconds=3 * settings.orphan_seconds),
    )
