"""Passes kopf's events into the store and the queue, and runs the process around them. Nothing else happens here.

kopf is the informer and runs the process (watch, CRD discovery, authentication, signals). It owns no finalizer and no
daemon, because it never repeats its own failed patches and starts daemons for objects that are gone. See
docs/decisions. Apart from `workqueue` and `reconcile` so that only this module knows kopf.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, cast

import kopf
import structlog

from spotcompute.kube.audit import Audit
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.connection import Access
from spotcompute.kube.names import CRD_NAME, GROUP, KOPF_FINALIZER, PLURAL, VERSION
from spotcompute.kube.port import KubeError
from spotcompute.runtime.supervisor import PartDied, Supervisor
from spotcompute.runtime.workqueue import WorkQueue
from spotcompute.settings import Settings
from spotcompute.telemetry import metrics

log = structlog.get_logger(__name__)

#: Time that runs get to end when the process stops. The pod's terminationGracePeriodSeconds must be longer.
DRAIN_SECONDS = 25.0

#: Age at which a run counts as stuck. Every call it waits for has a timeout, so it ends long before.
STUCK_SECONDS = 600.0

#: Time after which a start is tried again that the API server has refused or not answered.
START_SECONDS = 5

#: Interval at which kopf closes its connections and continues from the last version it saw.
LOGIN_SECONDS = 600.0


class Reconciles(Protocol):
    """`Reconciles` is what the shell needs of `reconcile.Reconciler`."""

    async def reconcile(self, uid: str) -> float | None:
        """Reconciles one environment. Returns the seconds until its next run, or None to wait for news."""
        ...


class Shell:
    """`Shell` runs the workers, the audit and the background parts while kopf runs. kopf starts and drains it."""

    def __init__(
        self,
        settings: Settings,
        *,
        login: Callable[[], Awaitable[Access]],
        cluster: Cluster,
        reconciler: Reconciles,
        queue: WorkQueue,
        supervisor: Supervisor,
    ) -> None:
        self._settings = settings
        self._login = login
        self._cluster = cluster
        self._store = cluster.store
        self._reconciler = reconciler
        self._queue = queue
        self._audit = Audit(cluster.store, cluster.kube, settings.audit_seconds)
        self._supervisor = supervisor

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Returns the namespaces to watch; empty for all of them."""
        return self._cluster.namespaces

    def observe(self, event: Mapping[str, Any]) -> None:
        """Takes in one watch event. Types: ADDED, MODIFIED, DELETED, and None for each object of a list."""
        obj = event["object"]
        if event["type"] == "DELETED":
            self._store.on_deleted(str(obj["metadata"]["uid"]))
        else:
            self._store.on_event(obj)

    async def access(self) -> kopf.ConnectionInfo:
        """Returns credentials in kopf's form, read anew.

        The expiration makes each answer different from the last. Otherwise kopf never again tries credentials that were
        refused once, and would give up after a single stray 401 while the token is still the same (kopf#1158).
        """
        access = await self._login()
        scheme, _, token = (access.authorization or "").partition(" ")
        return kopf.ConnectionInfo(
            server=access.server,
            ca_path=access.ca_path,
            insecure=not access.verify_tls,
            certificate_path=access.certificate_path,
            private_key_path=access.key_path,
            proxy_url=access.proxy,
            scheme=scheme or None,
            token=token or None,
            expiration=datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=LOGIN_SECONDS),
        )

    async def start(self) -> None:
        """Starts every part. kopf calls it before it watches, and again after a while when it raises KubeError.

        Our kind is waited for here. kopf looks for it once at its start and once at each change of the CRD, and then
        never again, although an API server names a new kind to others only seconds after the last change.
        """
        await self._cluster.kube.check_served()
        await self._cluster.kube.list_environments()  # kopf would say that it is ready, and then watch in vain
        metrics.workqueue_depth.set_function(lambda: len(self._queue))
        self._supervisor.start(self._work, self._audit.run)

    async def drain(self) -> None:
        """Begins nothing new, lets the runs under way end, then ends the other parts. kopf calls it at the end."""
        self._supervisor.stopping()
        self._queue.close()
        await self._supervisor.stop_parts(DRAIN_SECONDS)

    def check(self) -> Mapping[str, float]:
        """Returns what the liveness probe shows. Raises PartDied when only a restart can help.

        An unreachable API server or cloud is no reason, because a restart would not bring it back.
        """
        self._supervisor.check()
        longest = self._queue.longest_run_seconds()
        audit_age = self._audit.age_seconds()
        if longest > STUCK_SECONDS:
            raise PartDied(f"a worker has been busy with one environment for {longest:.0f} s")
        if audit_age > 3 * self._settings.audit_seconds:
            raise PartDied(f"no audit has ended for {audit_age:.0f} s")
        return {"waiting": len(self._queue), "longest_run_seconds": longest, "audit_age_seconds": audit_age}

    @property
    def death(self) -> BaseException | None:
        """Returns why the process must end with an error. None while all is well."""
        return self._supervisor.death

    async def _work(self) -> None:
        await self._queue.run(self._settings.workers, self._reconcile)

    async def _reconcile(self, uid: str) -> float | None:
        with metrics.reconcile_seconds.time():
            try:
                return await self._reconciler.reconcile(uid)
            except Exception as error:
                metrics.reconcile_errors.labels(type(error).__name__).inc()
                raise


def build_registry(shell: Shell) -> kopf.OperatorRegistry:
    """Returns kopf's handlers for `shell` in a registry of their own, because kopf's default one is global to the
    process.

    All handlers are async: a plain function would run in a thread and race with the loop.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def startup(**_: Any) -> None:
        try:
            await shell.start()
        except KubeError as error:
            raise kopf.TemporaryError(str(error), delay=START_SECONDS) from None  # one line, and no traceback

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await shell.access()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def observe(event: Mapping[str, Any], **_: Any) -> None:
        shell.observe(event)

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: Any) -> None:
        await shell.drain()

    return registry


def kopf_settings(*, is_namespaced: bool) -> kopf.OperatorSettings:
    """Returns kopf's settings for production. A setting that is not here keeps kopf's default."""
    settings = kopf.OperatorSettings()
    # The last resort for a process that does not end: after our drain, and before the kubelet's own SIGKILL.
    settings.process.ultimate_exiting_timeout = 50
    # We write events ourselves (kube.events): kopf sends one request for each, merges none, and queues without bound.
    settings.posting.enabled = False
    # Otherwise another team's operator could pause us through a cluster-wide peering object (kopf#734).
    settings.peering.standalone = True
    # A restarting API server is not hammered with new watches.
    settings.watching.reconnect_backoff = 1.0
    settings.watching.connect_timeout = 10
    # Only one CRD is watched, so that a role with resourceNames can allow it.
    settings.watching.field_selectors["apiextensions.k8s.io", "customresourcedefinitions"] = f"metadata.name={CRD_NAME}"
    # Watching CRDs and namespaces needs cluster-wide rights. An installation for one namespace has none, and kopf would
    # wait for them as long as error_backoffs last before it began to work.
    settings.scanning.disabled = is_namespaced
    settings.queueing.error_delays = (1, 2, 5, 10, 30)
    # With a limit, objects would wait five seconds for each other, because an idle worker keeps its slot.
    settings.queueing.worker_limit = None
    # Only startup and login are handlers that kopf repeats.
    settings.execution.default_backoff = START_SECONDS
    # Otherwise an API server that hangs would hold a request for five minutes.
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    # A failing API server (5xx, 403) is waited for about 6.5 minutes. Then the process ends, and that is visible.
    settings.networking.error_backoffs = (1, 1, 2, 3, 5, 8, 13, 21, 34, 60, 60, 60, 60, 60)
    settings.networking.enforce_retry_after = True
    # kopf removes its own finalizer from every object it sees. If it were ours, we would add it again without end.
    settings.persistence.finalizer = KOPF_FINALIZER
    # With on.event alone nothing is stored. Our own prefix is set in case a handler is added one day.
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP, v1=False)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP, v1=False)
    return settings


async def run_shell(shell: Shell, stop: asyncio.Event, ready: asyncio.Event | None = None) -> None:
    """Runs until SIGTERM, SIGINT or `stop`. `ready` is set once everything has been started.

    Raises PartDied when a worker or a background part has ended, and kopf's own error when kopf cannot go on.
    """
    namespaces = shell.namespaces
    await kopf.operator(
        registry=build_registry(shell),
        settings=kopf_settings(is_namespaced=bool(namespaces)),
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
        ready_flag=ready,
        # For its peering, which is off. Otherwise kopf uses our user's name, and in the image the user has none.
        identity=cast(Any, "operator"),  # the type is not public: a str by another name
    )
    if shell.death is not None:
        raise PartDied("a part of the operator has ended") from shell.death
