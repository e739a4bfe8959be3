"""Sends one signed HTTP request per call, through the official SDK, in a thread.

Apart from `provider` so that transport has one place: pace, threads, metrics, and whether a request that failed may
have been carried out. That question decides about money. It knows no action's parameters.

It uses the SDK (3.1.195) only to sign and send. The SDK's `StandardRetryer` repeats requests that succeeded, and its
region breaker hides what happened. Answers are read as JSON, not through the SDK's models, because the models turn an
answer with another Content-Type into an object of Nones, and an error as well.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from prometheus_client import Counter, Histogram
from requests.adapters import HTTPAdapter
from tencentcloud.common.abstract_client import LOGGER_NAME
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.cvm.v20170312.cvm_client import CvmClient
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from spotcompute.cloud.errors import CloudError, NotSent, OutcomeUnknown, Throttled
from spotcompute.cloud.pacer import Pacer
from spotcompute.cloud.tencent.codes import classify
from spotcompute.settings import Settings
from spotcompute.telemetry.redaction import redact

ENDPOINTS = {"mainland": "cvm.tencentcloudapi.com", "international": "cvm.intl.tencentcloudapi.com"}

#: The actions that do not belong to CVM, the product of each, and the version of that product. They are called through
#: the SDK's common client, because a second product's wheel would overwrite `tencentcloud/__init__.py`.
OTHER_PRODUCTS = {
    "GetCallerIdentity": ("sts", "2018-08-13"),
    "ModifyResourceTags": ("tag", "2018-08-13"),
    "DescribeDisks": ("cbs", "2017-03-12"),
    "DescribeAddresses": ("vpc", "2017-03-12"),
}

#: The timeout in the settings limits connecting and each read. A server that sends its answer slowly would defeat it,
#: so the whole call ends after this many timeouts.
DEADLINE_TIMEOUTS = 3

#: Longest message of the cloud that is kept, in characters. It ends up in status.
MAX_MESSAGE = 500

REQUESTS = Counter("spotenv_cloud_api_requests", "Calls of the cloud's API by action and code.", ["action", "code"])
DURATION = Histogram("spotenv_cloud_api_duration_seconds", "Duration of calls of the cloud's API.", ["action"])


class Vocabulary:
    """`Vocabulary` limits the codes that become labels of metrics. Each new one would stay in memory for ever."""

    def __init__(self, words: int = 100, characters: int = 80) -> None:
        """Takes how many codes to tell apart and how long they may be. In practice a few dozen occur."""
        self._words, self._characters = words, characters
        self._known: set[str] = set()

    def label(self, code: str) -> str:
        """Returns `code` itself, or `Other` when there are too many codes or it is too long."""
        if code not in self._known and (len(self._known) >= self._words or len(code) > self._characters):
            return "Other"
        self._known.add(code)
        return code


_CODES = Vocabulary()

#: Errors before any byte of a request leaves: the connection was never made, or the server's certificate was refused.
_NEVER_SENT = (NewConnectionError, ConnectTimeoutError, ssl.SSLCertVerificationError)

#: Codes that mean that the key itself is not accepted, as against what it may do.
_KEY_REFUSED = frozenset({"AuthFailure.TokenFailure", "AuthFailure.SecretIdNotFound", "AuthFailure.InvalidSecretId"})

Json = dict[str, Any]

#: Longest wait for a turn. It is shorter than the time in which a launch may be repeated, because an intent must not
#: grow old in this queue.
TURN_SECONDS = 60.0


class UnsafeEndpoint(ValueError):
    """`UnsafeEndpoint` means that the settings would send signed requests to an unsafe place.

    Its message names the remedy.
    """


class KeyHolder(Protocol):
    """`KeyHolder` holds the key that requests are signed with. It is asked in the client's threads, and may wait."""

    def current(self) -> Credential:
        """Returns a key that is good now. Raises NotSent or InvalidCredentials when there is none."""
        ...

    def refused(self, used: Credential) -> None:
        """Takes note that the cloud does not accept this key."""
        ...


class _Signer:
    """`_Signer` tells the SDK what to sign with: in each thread the key of the request that is being sent."""

    def __init__(self) -> None:
        self._thread = threading.local()

    def use(self, key: Credential) -> None:
        """Takes the key for the next request of this thread."""
        self._thread.key = key

    def get_credential_info(self) -> tuple[str, str, str | None]:
        """Returns secret id, key and token. The SDK asks when it signs."""
        key: tuple[str, str, str | None] = self._thread.key.get_credential_info()
        return key


class Client:
    """`Client` calls one account in one region. `executor` is shared and bounded; `pacer` belongs to the account.

    `pacer` may be replaced at any time. A call that waits already keeps its place with the former one.
    """

    def __init__(self, key: KeyHolder, region: str, settings: Settings, executor: Executor, pacer: Pacer) -> None:
        """Makes the client without I/O. Raises UnsafeEndpoint. A malformed key shows at the first call."""
        self._key, self._signer = key, _Signer()
        self._region = region
        self._executor = executor
        self.pacer = pacer
        self._profile = profile_of(settings)
        self._other_profiles = {product: profile_of(settings, product) for product, _ in OTHER_PRODUCTS.values()}
        self._other_sdks: dict[str, Any] = {}
        self._connections = settings.cloud_threads
        self._deadline_seconds = DEADLINE_TIMEOUTS * settings.request_timeout_seconds

    async def call(self, action: str, parameters: Json, on_behalf_of: str) -> Json:
        """Sends one request and returns the ``Response`` object of its answer.

        Raises NotSent when it certainly did not reach the cloud, Refused with the cloud's code when the cloud said no,
        and OutcomeUnknown in every other case. When cancelled while waiting, it sends nothing. When cancelled in
        flight, the request goes on and its answer is lost.
        """
        pacer = self.pacer
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await pacer.turn(action, on_behalf_of)
        except TimeoutError:
            message = f"waited {TURN_SECONDS:g} s for a turn at {action}; there are more calls than the limits allow"
            raise NotSent("LocalRateLimit", message) from None
        code, started = "OK", time.monotonic()
        try:
            return await self._in_thread(action, parameters)
        except CloudError as error:
            code = error.code
            if isinstance(error, Throttled):
                pacer.slow_down(action)
            raise
        except asyncio.CancelledError:
            code = "Cancelled"
            raise
        finally:
            REQUESTS.labels(action, _CODES.label(code)).inc()
            DURATION.labels(action).observe(time.monotonic() - started)

    async def _in_thread(self, action: str, parameters: Json) -> Json:
        sending = self._executor.submit(self._send, action, parameters)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await asyncio.wrap_future(sending)
        except TimeoutError:
            message = f"no answer to {action} within {self._deadline_seconds:g} s"
            # A call that still waits for a thread can be withdrawn. A running one cannot be stopped.
            raise (NotSent if sending.cancel() else OutcomeUnknown)("DeadlineExceeded", message) from None

    def _send(self, action: str, parameters: Json) -> Json:
        key = self._key.current()
        self._signer.use(key)
        try:
            answer = dict(self._sdk_of(action).call_json(action, parameters)["Response"])
            # The SDK raises for an error itself, except when it does not read the answer because of its Content-Type.
            refusal = answer.get("Error")
            if refusal is not None:
                raise TencentCloudSDKException(refusal["Code"], refusal["Message"], answer["RequestId"])
        except TencentCloudSDKException as trouble:
            if trouble.requestId and trouble.code in _KEY_REFUSED:
                self._key.refused(key)
            raise _translated(action, trouble) from trouble
        except Exception as trouble:
            # The SDK may raise anything for an unreadable answer. The request was sent, so its outcome is not known.
            raise OutcomeUnknown(type(trouble).__name__, f"the answer to {action} could not be read") from trouble
        return answer

    @cached_property
    def _sdk(self) -> Any:
        return self._tamed(CvmClient(self._signer, self._region, self._profile))

    def _sdk_of(self, action: str) -> Any:
        """Returns the SDK's client of the product that `action` belongs to."""
        if action not in OTHER_PRODUCTS:
            return self._sdk
        product, version = OTHER_PRODUCTS[action]
        if product not in self._other_sdks:  # two threads may both make one; either serves
            made = CommonClient(product, version, self._signer, self._region, self._other_profiles[product])
            self._other_sdks[product] = self._tamed(made)
        return self._other_sdks[product]

    def _tamed(self, client: Any) -> Any:
        tame(client, self._connections)
        return client


def silence_sdk_logger() -> None:
    """Closes the SDK's logger for good. At DEBUG, and only there, it prints signatures, tokens and user data.

    It uses a filter, because later logging configuration can undo a level or `disabled`, but removes no filter.
    """
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(logging.CRITICAL + 1)
    logger.propagate = False
    if _nothing not in logger.filters:
        logger.addFilter(_nothing)


def _nothing(_record: logging.LogRecord) -> bool:
    return False


def refuse_unsafe_endpoint(settings: Settings) -> None:
    """Raises UnsafeEndpoint unless requests go over https, or over http to this machine itself."""
    endpoint = host_of(settings)
    if "/" in endpoint:
        parts = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
        raise UnsafeEndpoint(
            f"SPOTCOMPUTE_ENDPOINT must be host[:port] without scheme and path, not {endpoint!r}. Set"
            f" SPOTCOMPUTE_ENDPOINT={parts.netloc or 'host[:port]'}"
            + (" and SPOTCOMPUTE_PROTOCOL=http" if parts.scheme == "http" else "")
        )
    if settings.protocol == "http" and not _is_loopback(endpoint):
        raise UnsafeEndpoint(
            f"SPOTCOMPUTE_PROTOCOL=http is for loopback only; {endpoint!r} needs https. Unset SPOTCOMPUTE_PROTOCOL, or"
            " set SPOTCOMPUTE_ENDPOINT to a host of this machine, such as 127.0.0.1:8080"
        )
    if settings.metadata_endpoint is not None and not _is_loopback(settings.metadata_endpoint):
        raise UnsafeEndpoint(
            f"SPOTCOMPUTE_METADATA_ENDPOINT {settings.metadata_endpoint!r} is not on this machine. What answers there"
            " could hand out keys of another account: unset it"
        )
    if settings.ca_bundle is not None:
        _refuse_unusable(settings.ca_bundle)


def _refuse_unusable(ca_bundle: Path) -> None:
    """Raises UnsafeEndpoint when it holds no certificate. Otherwise every single call would fail because of it.

    A directory is the form of OpenSSL, and is read certificate by certificate when one is needed.
    """
    if ca_bundle.is_dir():
        return
    try:
        ssl.create_default_context(cafile=ca_bundle)
    except OSError as error:
        raise UnsafeEndpoint(
            f"SPOTCOMPUTE_CA_BUNDLE (or REQUESTS_CA_BUNDLE) names {ca_bundle}, which holds no certificate in PEM form:"
            f" {error.strerror or error}"
        ) from None


def host_of(settings: Settings, product: str = "cvm") -> str:
    """Returns the host of `product`. A host that begins with `cvm.` has one beside it for each product."""
    endpoint = settings.endpoint or ENDPOINTS[settings.site]
    return f"{product}.{endpoint.removeprefix('cvm.')}" if endpoint.startswith("cvm.") else endpoint


def profile_of(settings: Settings, product: str = "cvm") -> Any:
    """Returns the SDK's profile of a product: no retryer, no region breaker, messages in English, POST with TC3."""
    refuse_unsafe_endpoint(settings)
    http = HttpProfile(
        protocol=settings.protocol,
        endpoint=host_of(settings, product),
        reqMethod="POST",
        reqTimeout=settings.request_timeout_seconds,
        keepAlive=True,
        certification=str(settings.ca_bundle) if settings.ca_bundle else None,
    )
    return ClientProfile(httpProfile=http, language="en-US", disable_region_breaker=True, retryer=None)


def _is_loopback(endpoint: str) -> bool:
    host = urlsplit(f"//{endpoint}").hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tame(client: Any, connections: int) -> None:
    """Makes the SDK's HTTP session send each request once, and only to its endpoint.

    A redirect would repeat the purchase elsewhere. A `~/.netrc` would replace the signature by its password (the SDK
    still reads proxies from the environment itself). A pool smaller than the number of threads would throw connections
    away.
    """
    session = client.request.conn._session
    session.max_redirects = 0
    session.trust_env = False
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=connections, max_retries=0))


def _translated(action: str, trouble: TencentCloudSDKException) -> CloudError:
    """Returns our error for an error of the SDK. Only an answer of the server with a RequestId is a refusal.

    The SDK's own codes have no RequestId.
    """
    code, message = str(trouble.code), _shortened(trouble.message)
    if trouble.requestId:
        return classify(action, code)(code, message, trouble.requestId)
    if code == "ClientNetworkError" and _was_never_sent(trouble):
        return NotSent(code, message)
    if code == "ServerNetworkError":
        # The body comes from a proxy or a gateway and may quote the request, so it is not kept.
        message = f"the answer to {action} did not have HTTP status 200"
    return OutcomeUnknown(code, message)


def _shortened(message: Any) -> str:
    return redact(str(message))[:MAX_MESSAGE]


def _was_never_sent(error: BaseException) -> bool:
    return any(isinstance(cause, _NEVER_SENT) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields the chain below `error`. The SDK and requests wrap without `from`, so implicit context counts as well."""
    seen: set[int] = set()
    cause = error.__cause__ or error.__context__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
