"""The composition root and command line: the only file that knows every part and reads the environment."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import signal
import socket
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TextIO

import click
import structlog
import yaml
from prometheus_client import REGISTRY
from pydantic import ValidationError

from spotcompute import __version__
from spotcompute.api.crd import custom_resource_definition
from spotcompute.cloud.accounts import Accounts
from spotcompute.cloud.credentials import Credentials
from spotcompute.cloud.inventory import Pace
from spotcompute.cloud.tencent.client import UnsafeEndpoint
from spotcompute.cloud.tencent.provider import TencentProviders
from spotcompute.commands.quote import Quoted, Unusable, quote_all, read_manifests
from spotcompute.kube.account_registry import AccountRegistry
from spotcompute.kube.client import KubeClient
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.connection import Connection, NoCluster, connect
from spotcompute.kube.lease import LeaseClient
from spotcompute.kube.names import ENVIRONMENT_ID
from spotcompute.kube.port import Forbidden, KubeError
from spotcompute.kube.sources import Sources
from spotcompute.kube.store import Store
from spotcompute.plan.policy import Policy
from spotcompute.reconcile.orphan_sweep import OrphanSweep
from spotcompute.reconcile.reconciler import Reconciler
from spotcompute.runtime.election import Elector
from spotcompute.runtime.health import Health, serve_probes
from spotcompute.runtime.shell import Background, PartDied, Shell, run_shell
from spotcompute.runtime.workqueue import WorkQueue
from spotcompute.settings import Settings
from spotcompute.telemetry import logs, metrics, redaction

_log = structlog.get_logger(__name__)

#: Letters of the nonces that tell environments of one name apart.
_NONCE_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Keep the asked number of Tencent Cloud spot instances alive."""


@main.command()
def run() -> None:
    """Run the operator until SIGTERM. Settings come from SPOTCOMPUTE_* in the environment."""
    settings = _settings()
    logs.set_up(settings.log_level, settings.log_format, redact=redaction.redact)
    try:
        asyncio.run(_run(settings))
    except (NoCluster, KubeError) as error:
        raise click.ClickException(f"the API server cannot be used: {error}") from None
    except UnsafeEndpoint as error:
        raise click.ClickException(f"settings are wrong:\n  {error}") from None
    except PartDied as error:
        _log.error("stopped", error=str(error.__cause__ or error))
        sys.exit(1)


@main.command()
@click.option("-f", "--filename", required=True, type=click.File(encoding="utf-8"), help="A manifest; - for stdin.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def quote(filename: TextIO, output: str) -> None:
    """Show what a SpotComputeEnvironment would buy, where and at what cost, and all that is wrong with it.

    Nothing is bought, and no cluster is needed. The key is TENCENTCLOUD_SECRET_ID, TENCENTCLOUD_SECRET_KEY and
    TENCENTCLOUD_TOKEN of the environment; the endpoint comes from SPOTCOMPUTE_*, as for `run`. Exit code 0: all of it
    could be launched now; 1: something stands in the way; 2: there was nothing to quote.
    """
    settings = _settings()
    try:
        manifests = read_manifests(filename.read(), filename.name)
    except (Unusable, UnicodeDecodeError) as error:
        raise click.UsageError(f"{filename.name}: {error}") from None
    key = _key_of_the_environment()
    if key is None:
        raise click.UsageError("set TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY: the cloud is asked with them")
    currency = _currency(settings)
    with ThreadPoolExecutor(settings.cloud_threads, thread_name_prefix="cloud") as threads:
        try:
            providers = TencentProviders(settings, threads)
        except UnsafeEndpoint as error:
            raise click.ClickException(f"settings are wrong:\n  {error}") from None
        found = asyncio.run(
            quote_all(manifests, providers, key, settings.cluster_id or "quote", _policy(settings), _now())
        )
    click.echo(redaction.redact(_shown(found, currency, output)), nl=False)
    sys.exit(0 if all(one.is_launchable for one in found) else 1)


def _shown(found: Sequence[Quoted], currency: str, output: str) -> str:
    if output == "json":
        return json.dumps({"environments": [one.to_json(currency) for one in found]}, indent=2) + "\n"
    return "\n".join(one.to_text(currency) for one in found)


@main.command()
def crd() -> None:
    """Print the CustomResourceDefinition."""
    click.echo("# Generated by `make crds` from operator/spotcompute/api: edit there.")
    click.echo(yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=120), nl=False)


@main.command()
def settings() -> None:
    """Print every setting with its environment variable, default and reason, as Markdown."""
    click.echo("| Variable | Default | What for |\n|---|---|---|")
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        click.echo(f"| `SPOTCOMPUTE_{name.upper()}` | {default} | {field.description} |")


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"SPOTCOMPUTE_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        ]
        raise click.ClickException("settings are wrong:\n  " + "\n  ".join(lines)) from None


async def _run(settings: Settings) -> None:
    stop, health = asyncio.Event(), Health()
    for number in (signal.SIGTERM, signal.SIGINT):  # kopf puts its own handlers in their place once it runs
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    connection = await connect(os.environ)
    async with AsyncExitStack() as open_parts:
        open_parts.push_async_callback(connection.close)
        try:
            open_parts.enter_context(metrics.serve_metrics(settings.listen_host, settings.metrics_port))
            await open_parts.enter_async_context(serve_probes(health, settings.listen_host, settings.health_port))
        except OSError as error:
            raise click.ClickException(
                f"nothing can listen there: {error}. Set SPOTCOMPUTE_METRICS_PORT and SPOTCOMPUTE_HEALTH_PORT"
            ) from None
        if settings.lease:
            await _act_when_leading(settings, settings.lease, connection, health, stop)
        else:
            await _act(settings, connection, health, stop)


async def _act_when_leading(
    settings: Settings, lease: str, connection: Connection, health: Health, stop: asyncio.Event
) -> None:
    identity = settings.identity or f"{socket.gethostname()}-{_nonce()}"
    elector = Elector(LeaseClient(connection, settings.home_namespace, lease), identity, _now)
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
    """End the process as soon as it may no longer act: another one does, or soon will, and a tidy end takes long."""
    reason = await elector.hold()
    _log.error("leadership_lost", reason=reason)
    os._exit(1)


async def _act(settings: Settings, connection: Connection, health: Health, stop: asyncio.Event) -> None:
    metrics.leader.set(1)
    kube = KubeClient(connection, settings.namespace, home=settings.home_namespace)
    uid = None if settings.cluster_id else await _uid_of_the_cluster(kube)
    await _serve(settings, kube, settings.cluster_id or uid or "", uid, connection, health, stop)


async def _uid_of_the_cluster(kube: KubeClient) -> str:
    """The name the cluster has by itself. An install for one namespace has no right to it, and must give one."""
    try:
        return await kube.cluster_id()
    except Forbidden as error:
        raise click.ClickException(
            f"no name of this cluster: {error}\n  Set SPOTCOMPUTE_CLUSTER_ID to a name that no other cluster with these"
            " cloud accounts has and that stays, or grant get on namespace kube-system."
        ) from None


async def _serve(
    settings: Settings,
    kube: KubeClient,
    cluster_id: str,
    uid: str | None,
    connection: Connection,
    health: Health,
    stop: asyncio.Event,
) -> None:
    """Build the parts and run them. `uid` is what the API server says of its cluster, when it was asked."""
    queue = WorkQueue(random.Random(), limit_seconds=settings.rest_limit_seconds, foreseen=(KubeError,))
    store = Store(queue.add)
    REGISTRY.register(metrics.Environments(store.all))
    threads = ThreadPoolExecutor(settings.cloud_threads, thread_name_prefix="cloud")
    providers = TencentProviders(settings, threads)
    accounts = Accounts(providers, cluster_id, _now, _pace(settings), partial(_wake, store, queue))
    sources = Sources(kube, _default_credentials(settings), _now)
    cluster = Cluster(cluster_id, kube, store, sources, AccountRegistry(kube), settings.namespace, uid)
    policy = _policy(settings)
    reconciler = Reconciler(cluster, accounts, policy, _now, _nonce, _currency(settings))
    orphans = OrphanSweep(cluster, accounts, policy, _now, timedelta(seconds=settings.orphan_seconds))
    background: list[Background] = [accounts.run, kube.events.run, orphans.run]
    door = Shell(
        settings,
        login=connection.access,
        reconciler=reconciler,
        store=store,
        queue=queue,
        kube=kube,
        background=background,
        stop=stop,
    )
    _log.info("starting", version=__version__, cluster_id=cluster_id, namespace=settings.namespace or "all")
    ready = asyncio.Event()
    health.check, health.is_ready = door.check, ready.is_set
    await run_shell(door, settings, stop, ready)


def _wake(store: Store, queue: WorkQueue, environment_ids: Collection[str]) -> None:
    """A sweep has news of these environments: look at the objects that carry their ids."""
    for obj in store.all():
        if (obj["metadata"].get("annotations") or {}).get(ENVIRONMENT_ID) in environment_ids:
            queue.add(obj["metadata"]["uid"])


def _now() -> datetime:
    return datetime.now(UTC)


def _nonce() -> str:
    return "".join(secrets.choice(_NONCE_LETTERS) for _ in range(6))


def _currency(settings: Settings) -> str:
    return "CNY" if settings.site == "mainland" else "USD"


def _default_credentials(settings: Settings) -> Credentials | None:
    return _key_of_the_environment() if settings.allow_default_credentials else None


def _key_of_the_environment() -> Credentials | None:
    secret_id = os.environ.get("TENCENTCLOUD_SECRET_ID")
    secret_key = os.environ.get("TENCENTCLOUD_SECRET_KEY")
    if not secret_id or not secret_key:
        return None
    return Credentials(secret_id, secret_key, os.environ.get("TENCENTCLOUD_TOKEN") or None)


def _pace(settings: Settings) -> Pace:
    return Pace(
        sweep=timedelta(seconds=settings.sweep_seconds),
        suspect=timedelta(seconds=settings.suspect_sweep_seconds),
        market=timedelta(seconds=settings.market_seconds),
        failure_limit=timedelta(seconds=settings.rest_limit_seconds),
    )


def _policy(settings: Settings) -> Policy:
    return Policy(
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
        poll_interval=timedelta(seconds=settings.suspect_sweep_seconds),
        resync=timedelta(seconds=settings.resync_seconds),
        orphan_confirmed_after=timedelta(seconds=1.5 * settings.orphan_seconds),
        orphan_age_min=timedelta(seconds=3 * settings.orphan_seconds),
    )


if __name__ == "__main__":
    main(prog_name="spotcompute")
