"""Finds the API server and our credentials, for our own client and for kopf.

Apart from `client` because kopf needs them too, and because credentials change: a pod's token is replaced every hour
while we run. A process that reads it only once would be locked out.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_kube_config
from yaml import YAMLError

from spotcompute.kube.names import FIELD_MANAGER

log = structlog.get_logger(__name__)

#: The path at which the kubelet mounts a pod's credentials.
#: Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

#: Connections at the same time: more than workers, and few enough at a start with thousands of objects.
CONNECTIONS = 32

#: Shortest time between two reads of the credentials, however many requests are refused.
REFRESH_SECONDS = 2.0


#: How the sentence begins when the program that a kubeconfig names for credentials (`exec`) has failed.
CREDENTIALS_PROGRAM_FAILED = "the program that the kubeconfig names for credentials failed"

#: Characters of its words that are kept.
WORDS_MAX = 300


class NoCluster(Exception):
    """`NoCluster` means that there is no API server to find: no KUBECONFIG, no pod's service account, no
    ~/.kube/config.
    """


@dataclass(frozen=True, slots=True)
class Access:
    """`Access` holds the API server and our credentials, as of now.

    Paths name files. `authorization` is the whole header, or None.
    """

    server: str
    ca_path: str | None
    verify_tls: bool
    certificate_path: str | None
    key_path: str | None
    proxy: str | None
    authorization: str | None = field(repr=False)


class _Heard(logging.Handler):
    """`_Heard` keeps what the loader logs instead of raising: that the program for credentials has failed."""

    failure: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the first error of the loader. What other parts log meanwhile is not its own."""
        if record.levelno >= logging.ERROR and Path(record.pathname).stem == "kube_config":
            self.failure = self.failure or record.getMessage()[:WORDS_MAX]


class Connection:
    """`Connection` is an open connection to one API server. Call `close()` in the event loop that used it."""

    def __init__(self, configuration: Configuration, reload: Callable[[Configuration], Awaitable[None]]) -> None:
        """Takes `reload`, which puts the current credentials into the configuration.

        It may raise OSError or ConfigException.
        """
        configuration.connection_pool_maxsize = CONNECTIONS
        configuration.client_session_kwargs = {"trust_env": False}  # HTTPS_PROXY is the cloud's, NO_PROXY often missing
        self._configuration = configuration
        self._reload = reload
        self._refreshed_at: float | None = None
        self._refreshing = asyncio.Lock()
        self.api = ApiClient(configuration)
        # The API server writes its first word into managedFields, and its audit log shows it.
        self.api.user_agent = FIELD_MANAGER

    async def access(self) -> Access:
        """Reads the credentials again and returns them. Waits so that two reads are at least 2 s apart.

        When they cannot be read, the old ones stay: a file is unreadable for a moment while it is replaced.
        """
        async with self._refreshing:
            loop = asyncio.get_running_loop()
            if self._refreshed_at is not None:
                await asyncio.sleep(self._refreshed_at + REFRESH_SECONDS - loop.time())
            await self._refresh()
        configuration = self._configuration
        return Access(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            verify_tls=configuration.verify_ssl,
            certificate_path=configuration.cert_file,
            key_path=configuration.key_file,
            proxy=configuration.proxy,
            authorization=configuration.api_key.get("BearerToken"),
        )

    async def refused(self) -> None:
        """Reads the credentials again after the API server refused them (HTTP 401), unless that was just done."""
        now = asyncio.get_running_loop().time()
        if self._refreshing.locked() or (self._refreshed_at is not None and now - self._refreshed_at < REFRESH_SECONDS):
            return
        async with self._refreshing:
            await self._refresh()

    async def close(self) -> None:
        """Closes every connection."""
        await self.api.rest_client.close()

    async def _refresh(self) -> None:
        self._refreshed_at = asyncio.get_running_loop().time()
        try:
            await self._reload(self._configuration)
        except (OSError, ConfigException) as error:
            log.warning("credentials_unreadable", error=f"{type(error).__name__}: {error}")


async def connect(
    environ: Mapping[str, str], service_account: Path = SERVICE_ACCOUNT, context: str | None = None
) -> Connection:
    """Finds the API server: `KUBECONFIG` if set, otherwise the pod we run in, otherwise `~/.kube/config`.

    `context` names one of the kubeconfig's; without it, its current one.

    Raises NoCluster when there is none, or when its configuration cannot be read.
    """
    named = environ.get("KUBECONFIG")
    try:
        if not named and not context and environ.get("KUBERNETES_SERVICE_HOST"):
            return _in_cluster(environ, service_account)
        return await _from_kubeconfig(named or "~/.kube/config", context)  # the loader expands ~
    except (OSError, ConfigException) as error:
        raise NoCluster(f"no way to an API server: {error}") from error


def _in_cluster(environ: Mapping[str, str], service_account: Path) -> Connection:
    host = environ["KUBERNETES_SERVICE_HOST"]
    configuration = Configuration()
    configuration.host = (
        f"https://{f'[{host}]' if ':' in host else host}:{environ.get('KUBERNETES_SERVICE_PORT', '443')}"
    )
    configuration.ssl_ca_cert = str(service_account / "ca.crt")

    def read_token(configuration: Configuration) -> None:
        configuration.api_key["BearerToken"] = f"Bearer {(service_account / 'token').read_text().strip()}"

    async def reload(configuration: Configuration) -> None:
        read_token(configuration)

    def before_each_request(configuration: Configuration) -> None:
        # It is a small file in memory. Reading it 20 times a second is simpler than a cache.
        try:
            read_token(configuration)
        except OSError as error:
            log.warning("credentials_unreadable", error=str(error))

    read_token(configuration)  # an unreadable token is an error at the start, and later only a delay
    # The hook is meant to be set (the client's own loader does so), though its type says None.
    configuration.refresh_api_key_hook = before_each_request  # type: ignore[assignment]  # the package annotates it as None
    return Connection(configuration, reload)


async def _from_kubeconfig(path: str, context: str | None = None) -> Connection:
    configuration = Configuration()
    if not _exists(path):
        raise ConfigException(f"there is no file {path}")

    async def reload(configuration: Configuration) -> None:
        # persist_config=False: we never write into a person's kubeconfig.
        heard = _Heard()
        logging.getLogger().addHandler(heard)
        try:
            await load_kube_config(  # type: ignore[no-untyped-call]  # the package has no types
                config_file=path, context=context, client_configuration=configuration, persist_config=False
            )
        except (AttributeError, LookupError, TypeError, ValueError, YAMLError) as error:
            # The loader does not check the file first, and fails somewhere inside. Its message may quote the file.
            raise ConfigException(f"{path} is empty, or no kubeconfig ({type(error).__name__})") from None
        finally:
            logging.getLogger().removeHandler(heard)
        if heard.failure and not configuration.api_key and not configuration.cert_file:
            raise ConfigException(f"{CREDENTIALS_PROGRAM_FAILED}: {heard.failure}")

    await reload(configuration)
    return Connection(configuration, reload)


def _exists(path: str) -> bool:
    """True when one of the files exists that `path` names, separated as in KUBECONFIG."""
    return any(Path(one).expanduser().exists() for one in path.split(os.pathsep) if one)
