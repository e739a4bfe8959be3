"""One attempt is one HTTP request, and only what the cloud itself refused counts as refused."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tencentcloud.common.abstract_client import LOGGER_NAME
from tencentcloud.common.exception import TencentCloudSDKException

from cloud.stub import Answer, Request, Stub, breaks_off, drips, hangs, http, refuses, resets, says, serving
from spotcompute.cloud.credentials import Credentials
from spotcompute.cloud.errors import (
    CloudError,
    InsufficientCapacity,
    InvalidCredentials,
    NotSent,
    OutcomeUnknown,
    Throttled,
    Unclassified,
)
from spotcompute.cloud.pacer import Pacer, Rate
from spotcompute.cloud.tencent import client as client_module
from spotcompute.cloud.tencent.client import TURN_SECONDS, Client, UnsafeEndpoint, Vocabulary, silence_sdk_logger
from spotcompute.cloud.tencent.keys import GivenKey
from spotcompute.cloud.tencent.provider import RATES, TencentProvider, TencentProviders
from spotcompute.model.instance import Ownership
from spotcompute.model.launch import LaunchRequest, Template
from spotcompute.model.offering import Pool
from spotcompute.settings import Settings
from waiting import eventually_async

CREDENTIALS = Credentials("AKIDcanaryOfTheTests", "secretCanaryOfTheTests", "tokenCanaryOfTheTests")

LAUNCH = LaunchRequest(
    pool=Pool("ap-guangzhou-3", "S2.MEDIUM4"),
    count=1,
    name="web-1",
    ownership=Ownership("cluster-1", "env-1"),
    owner="default@web",
    template=Template("img-1"),
    max_price=Decimal("0.0923"),
)

IDS: dict[str, Any] = {"InstanceIdSet": ["ins-1"]}


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def settings(endpoint: str, **changes: Any) -> Settings:
    return Settings(**{"endpoint": endpoint, "protocol": "http", "request_timeout_seconds": 0.3, **changes})


def provider(endpoint: str, executor: ThreadPoolExecutor, **changes: Any) -> TencentProvider:
    return TencentProviders(settings(endpoint, **changes), executor)(CREDENTIALS, "ap-guangzhou")


async def launch(on: TencentProvider) -> tuple[str, ...]:
    return (await on.launch(LAUNCH, "Y2FuYXJ5", "token-1", "env-1")).instance_ids


# --- one attempt, one request ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(refuses("RequestLimitExceeded"), Throttled, id="throttled"),
        pytest.param(refuses("ResourcesSoldOut.SpecifiedInstanceType"), InsufficientCapacity, id="sold-out"),
        pytest.param(refuses("AuthFailure.SignatureFailure"), InvalidCredentials, id="wrong-key"),
        pytest.param(refuses("NeverHeardOf.IT"), Unclassified, id="unknown-code"),
        pytest.param(refuses("InternalError"), OutcomeUnknown, id="internal-error"),
        pytest.param(
            refuses("ResourcesSoldOut.SpecifiedInstanceType", content_type="application/json; charset=utf-8"),
            InsufficientCapacity,
            id="error-the-sdk-overlooks",
        ),
        pytest.param(http("{}", "500 Internal Server Error"), OutcomeUnknown, id="500"),
        pytest.param(http("<html>", "502 Bad Gateway", "text/html"), OutcomeUnknown, id="502-html"),
        pytest.param(http("", "503 Service Unavailable"), OutcomeUnknown, id="503-empty"),
        pytest.param(http('{"Response":', "200 OK"), OutcomeUnknown, id="half-json"),
        pytest.param(http("<html>portal</html>", "200 OK", "text/html"), OutcomeUnknown, id="html-with-200"),
        pytest.param(http("", "200 OK"), OutcomeUnknown, id="empty-body"),
        pytest.param(http("null", "200 OK"), OutcomeUnknown, id="null"),
        pytest.param(http("[]", "200 OK"), OutcomeUnknown, id="list"),
        pytest.param(http('{"Response": 7}', "200 OK"), OutcomeUnknown, id="number"),
        pytest.param(http("{}", "200 OK"), OutcomeUnknown, id="no-envelope"),
        pytest.param(http('{"Response":{"Error":{"Code":"X"}}}', "200 OK"), OutcomeUnknown, id="half-an-error"),
        pytest.param(http(b"\xff\xfe\x00", "200 OK", None), OutcomeUnknown, id="bytes-without-type"),
        pytest.param(says(), OutcomeUnknown, id="no-ids"),
        pytest.param(says(InstanceIdSet=None), OutcomeUnknown, id="null-ids"),
        pytest.param(says(InstanceIdSet=[]), OutcomeUnknown, id="empty-ids"),
        pytest.param(says(InstanceIdSet=[None]), OutcomeUnknown, id="id-null"),
        pytest.param(resets, OutcomeUnknown, id="reset"),
        pytest.param(breaks_off, OutcomeUnknown, id="breaks-off"),
        pytest.param(hangs, OutcomeUnknown, id="hangs"),
        pytest.param(drips, OutcomeUnknown, id="drips"),
        pytest.param(http("", "307 Temporary Redirect", None, "Location: /x\r\n"), OutcomeUnknown, id="redirect-post"),
        pytest.param(http("", "302 Found", None, "Location: /x\r\n"), OutcomeUnknown, id="redirect-get"),
        pytest.param(
            http("", "307 Temporary Redirect", None, "Location: http://127.0.0.1:9/\r\n"),
            OutcomeUnknown,
            id="redirect-to-a-closed-port",
        ),
    ],
)
async def test_a_failed_launch_was_sent_exactly_once(
    answer: Answer, error: type[CloudError], executor: ThreadPoolExecutor
) -> None:
    async with serving(answer) as stub:
        with pytest.raises(CloudError) as caught:
            await launch(provider(stub.endpoint, executor))
        await asyncio.sleep(0.05)
        assert type(caught.value) is error
        assert [request.action for request in stub.requests] == ["RunInstances"]


async def test_a_launch_that_succeeds_was_sent_exactly_once(executor: ThreadPoolExecutor) -> None:
    async with serving(says(**IDS)) as stub:
        assert await launch(provider(stub.endpoint, executor)) == ("ins-1",)
        assert len(stub.requests) == 1


@pytest.mark.parametrize("ids", [[], "<html>", "x", ["ins-1", "ins-2"], [1], [None], {"ins-1": 1}, None])
async def test_ids_that_are_not_those_asked_for_may_hide_a_purchase(ids: Any, executor: ThreadPoolExecutor) -> None:
    async with serving(says(InstanceIdSet=ids)) as stub:
        with pytest.raises(OutcomeUnknown):
            await launch(provider(stub.endpoint, executor))


async def test_one_throttle_and_then_success_is_two_attempts_of_one_request_each(executor: ThreadPoolExecutor) -> None:
    answers = [refuses("RequestLimitExceeded"), says(**IDS)]

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await answers.pop(0)(request, writer)

    async with serving(answer) as stub:
        cloud = provider(stub.endpoint, executor)
        with pytest.raises(Throttled):
            await launch(cloud)
        assert len(stub.requests) == 1
        assert await launch(cloud) == ("ins-1",)
        assert len(stub.requests) == 2


async def test_ids_are_read_whatever_the_content_type(executor: ThreadPoolExecutor) -> None:
    async with serving(says("application/json; charset=utf-8", **IDS)) as stub:
        assert await launch(provider(stub.endpoint, executor)) == ("ins-1",)


@pytest.mark.parametrize(
    "answer",
    [says(), says(TotalCount=1, InstanceSet=[{"InstanceId": "ins-1"}]), says(TotalCount="many", InstanceSet=[])],
    ids=["nothing", "half-an-instance", "no-number"],
)
async def test_a_list_that_cannot_be_read_decides_nothing(answer: Answer, executor: ThreadPoolExecutor) -> None:
    async with serving(answer) as stub:
        with pytest.raises(OutcomeUnknown):
            await provider(stub.endpoint, executor).list_instances("cluster-1")


# --- never sent ------------------------------------------------------------------------------------------------------


async def test_a_refused_connection_means_not_sent(executor: ThreadPoolExecutor) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(NotSent):
            await launch(provider(f"127.0.0.1:{unused.getsockname()[1]}", executor))


async def test_a_name_that_does_not_resolve_means_not_sent(executor: ThreadPoolExecutor) -> None:
    with pytest.raises(NotSent):
        await launch(provider("cvm.invalid", executor, protocol="https"))


async def test_a_certificate_that_is_refused_means_not_sent() -> None:
    error = TencentCloudSDKException("ClientNetworkError", "x")
    error.__context__ = OSError()
    error.__context__.__context__ = ssl.SSLCertVerificationError()
    assert isinstance(client_module._translated("RunInstances", error), NotSent)
    error.__context__.__context__ = ssl.SSLError("record layer failure")
    assert isinstance(client_module._translated("RunInstances", error), OutcomeUnknown)


@pytest.mark.parametrize(
    "credentials",
    [Credentials("", "key"), Credentials("id ", "key"), Credentials("id", "key\n"), Credentials("id", "schlüssel")],
    ids=["empty", "space", "newline", "umlaut"],
)
async def test_a_malformed_key_shows_at_the_first_call_and_is_never_sent(
    credentials: Credentials, executor: ThreadPoolExecutor
) -> None:
    async with serving(says(**IDS)) as stub:
        cloud = TencentProviders(settings(stub.endpoint), executor)(credentials, "ap-guangzhou")
        with pytest.raises(InvalidCredentials):
            await launch(cloud)
        assert stub.requests == []


@pytest.mark.looptime
async def test_a_launch_does_not_grow_old_while_it_waits_for_its_turn(executor: ThreadPoolExecutor) -> None:
    """Its intent is committed already, and others may settle it meanwhile."""
    crowded = Pacer({"RunInstances": Rate.even(0.001)})
    client = Client(GivenKey(CREDENTIALS), "ap-guangzhou", settings("127.0.0.1:1"), executor, crowded)
    await crowded.turn("RunInstances", "env-2")
    started = asyncio.get_running_loop().time()
    with pytest.raises(NotSent, match="LocalRateLimit"):
        await client.call("RunInstances", {}, "env-1")
    assert asyncio.get_running_loop().time() - started == TURN_SECONDS


async def test_a_call_cancelled_while_it_waits_for_its_turn_is_never_sent(executor: ThreadPoolExecutor) -> None:
    async with serving(says(**IDS)) as stub:
        client = Client(
            GivenKey(CREDENTIALS), "r", settings(stub.endpoint), executor, Pacer({"RunInstances": Rate.even(0.001)})
        )
        await client.call("RunInstances", {}, "a")
        waiting = asyncio.create_task(client.call("RunInstances", {}, "a"))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert len(stub.requests) == 1


@pytest.mark.parametrize("how", ["cancelled", "too late"])
async def test_a_call_that_ends_before_it_gets_a_thread_is_never_sent(how: str) -> None:
    async with serving(says(**IDS)) as stub, serving(hangs) as black_hole:
        with ThreadPoolExecutor(1) as executor:
            busy = asyncio.create_task(launch(provider(black_hole.endpoint, executor, request_timeout_seconds=2)))
            await eventually_async(lambda: black_hole.requests)  # the only thread is taken, however slow the machine is
            queued = asyncio.create_task(launch(provider(stub.endpoint, executor, request_timeout_seconds=0.05)))
            await asyncio.sleep(0.05)
            if how == "cancelled":
                queued.cancel()
            results = await asyncio.gather(queued, busy, return_exceptions=True)
            assert isinstance(results[0], asyncio.CancelledError if how == "cancelled" else NotSent)
            assert isinstance(results[1], OutcomeUnknown)
        assert stub.requests == []


# --- what goes over the wire -----------------------------------------------------------------------------------------


async def test_a_request_is_signed_addressed_and_in_english(executor: ThreadPoolExecutor) -> None:
    async with serving(says(**IDS)) as stub:
        await launch(provider(stub.endpoint, executor))
        (request,) = stub.requests
    assert request.line == "POST / HTTP/1.1"
    assert request.headers["host"] == stub.endpoint
    assert request.headers["x-tc-region"] == "ap-guangzhou"
    assert request.headers["x-tc-version"] == "2017-03-12"
    assert request.headers["x-tc-language"] == "en-US"
    assert request.headers["x-tc-token"] == CREDENTIALS.token
    assert request.headers["authorization"].startswith("TC3-HMAC-SHA256 Credential=AKIDcanaryOfTheTests/")
    assert request.parameters["ClientToken"] == "token-1"
    assert request.parameters["UserData"] == "Y2FuYXJ5"


async def test_connections_are_used_again(executor: ThreadPoolExecutor) -> None:
    async with serving(says(**IDS)) as stub:
        cloud = provider(stub.endpoint, executor)
        for _ in range(5):
            await launch(cloud)
        assert (len(stub.requests), stub.connections) == (5, 1)


async def test_an_error_keeps_the_clouds_words_and_no_secret(executor: ThreadPoolExecutor) -> None:
    message = f"signature of {CREDENTIALS.secret_key} " + "x" * 5000
    async with serving(refuses("ResourcesSoldOut.SpecifiedInstanceType", message)) as stub:
        with pytest.raises(InsufficientCapacity) as caught:
            await launch(provider(stub.endpoint, executor))
    assert caught.value.code == "ResourcesSoldOut.SpecifiedInstanceType"
    assert caught.value.request_id == "request-1"
    assert caught.value.message.startswith("signature of [redacted] x")
    assert len(caught.value.message) <= 500


async def test_a_page_of_somebody_else_is_not_quoted(executor: ThreadPoolExecutor) -> None:
    async with serving(http("proxy says: Authorization TC3-HMAC", "407 Proxy", "text/html")) as stub:
        with pytest.raises(OutcomeUnknown) as caught:
            await launch(provider(stub.endpoint, executor))
    assert "TC3" not in str(caught.value)


async def test_the_sdk_has_neither_retryer_nor_region_breaker(executor: ThreadPoolExecutor) -> None:
    sdk = Client(GivenKey(CREDENTIALS), "r", settings("127.0.0.1:1"), executor, Pacer(RATES))._sdk
    assert sdk.profile.retryer is None
    assert sdk.profile.disable_region_breaker
    assert sdk.circuit_breaker is None
    assert [adapter.max_retries.total for adapter in sdk.request.conn._session.adapters.values()] == [0, 0]


@pytest.mark.parametrize(("site", "host"), list(client_module.ENDPOINTS.items()))
def test_the_site_decides_the_endpoint(site: Any, host: str, executor: ThreadPoolExecutor) -> None:
    sdk = Client(GivenKey(CREDENTIALS), "r", Settings(site=site), executor, Pacer(RATES))._sdk
    assert sdk.profile.httpProfile.endpoint == host
    assert sdk.profile.httpProfile.scheme == "https"


@pytest.mark.parametrize("endpoint", ["127.0.0.1", "127.0.0.1:80", "localhost:80", "[::1]:80", "[::1]"])
def test_http_is_for_loopback(endpoint: str, executor: ThreadPoolExecutor) -> None:
    Client(GivenKey(CREDENTIALS), "r", settings(endpoint), executor, Pacer(RATES))


@pytest.mark.parametrize(
    "endpoint",
    ["cvm.tencentcloudapi.com", "10.0.0.1:80", "localhost.example.com", "127.0.0.1@example.com", "http://127.0.0.1"],
)
def test_http_to_anywhere_else_is_refused(endpoint: str, executor: ThreadPoolExecutor) -> None:
    with pytest.raises(UnsafeEndpoint):
        Client(GivenKey(CREDENTIALS), "r", settings(endpoint), executor, Pacer(RATES))
    with pytest.raises(UnsafeEndpoint):
        TencentProviders(settings(endpoint), executor)


# --- proxies and netrc -----------------------------------------------------------------------------------------------


async def test_a_proxy_of_the_environment_is_used(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(http("no", "403 Forbidden", "text/plain")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.endpoint}")
        with pytest.raises(OutcomeUnknown):
            await launch(provider("cvm.tencentcloudapi.com", executor, protocol="https"))
    assert [request.line.split()[:2] for request in proxy.requests] == [["CONNECT", "cvm.tencentcloudapi.com:443"]]


async def test_no_proxy_is_honoured(executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(says(**IDS)) as stub, serving(http("no", "403 Forbidden")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.endpoint}")
        monkeypatch.setenv("NO_PROXY", stub.endpoint)
        assert await launch(provider(stub.endpoint, executor)) == ("ins-1",)
    assert proxy.requests == []


async def test_a_proxy_that_is_not_there_means_not_sent(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(NotSent):
        await launch(provider("cvm.tencentcloudapi.com", executor, protocol="https"))


async def test_a_netrc_does_not_replace_the_signature(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with serving(says(**IDS)) as stub:
        await launch(provider(stub.endpoint, executor))
        assert stub.requests[0].headers["authorization"].startswith("TC3-HMAC-SHA256")


# --- logs and metrics ------------------------------------------------------------------------------------------------

CANARIES = ("AKIDcanaryOfTheTests", "secretCanaryOfTheTests", "tokenCanaryOfTheTests", "Y2FuYXJ5", "Signature=")


class Everything(logging.Handler):
    """Keeps every record it is given, as a careless handler would print it."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
async def careless() -> AsyncIterator[Everything]:
    """Somebody turns every logger there is up to DEBUG and prints it all."""
    handler = Everything()
    names = [None, LOGGER_NAME, "urllib3", "requests", "http.client", "tencentcloud"]
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, logger.level, logger.propagate, logger.disabled) for logger in loggers]
    yield handler
    for logger, level, propagate, disabled in before:
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled
        logger.removeHandler(handler)


def turn_up(handler: Everything) -> None:
    for name in (None, LOGGER_NAME, "urllib3", "requests", "http.client", "tencentcloud"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG)
        logger.propagate, logger.disabled = True, False
        logger.addHandler(handler)


async def call_once_each_way(executor: ThreadPoolExecutor) -> None:
    for answer in (says(**IDS), refuses("InternalError"), http("x", "500 No"), resets):
        async with serving(answer) as stub:
            await asyncio.gather(launch(provider(stub.endpoint, executor)), return_exceptions=True)


async def test_no_secret_is_logged_at_any_level_by_anybody(careless: Everything, executor: ThreadPoolExecutor) -> None:
    turn_up(careless)
    await call_once_each_way(executor)
    assert any("POST" in line for line in careless.lines), "urllib3's own lines are there, so DEBUG was really on"
    assert [line for line in careless.lines for canary in CANARIES if canary in line] == []


async def test_without_the_filter_the_sdk_would_print_them_all(
    careless: Everything, executor: ThreadPoolExecutor
) -> None:
    logger = logging.getLogger(LOGGER_NAME)
    async with serving(says(**IDS)) as stub:
        cloud = provider(stub.endpoint, executor)
        logger.removeFilter(client_module._nothing)
        turn_up(careless)
        await launch(cloud)
        printed = "\n".join(careless.lines)
    client_module.silence_sdk_logger()
    assert all(canary in printed for canary in CANARIES if canary != "secretCanaryOfTheTests")


def count(action: str, code: str) -> float:
    return REGISTRY.get_sample_value("spotenv_cloud_api_requests_total", {"action": action, "code": code}) or 0.0


async def test_every_call_is_counted_with_its_code_and_timed(executor: ThreadPoolExecutor) -> None:
    labels = {"action": "RunInstances"}
    before = (
        count("RunInstances", "OK"),
        count("RunInstances", "RequestLimitExceeded"),
        REGISTRY.get_sample_value("spotenv_cloud_api_duration_seconds_count", labels) or 0.0,
    )
    for answer in (says(**IDS), refuses("RequestLimitExceeded")):
        async with serving(answer) as stub:
            await asyncio.gather(launch(provider(stub.endpoint, executor)), return_exceptions=True)
    assert count("RunInstances", "OK") == before[0] + 1
    assert count("RunInstances", "RequestLimitExceeded") == before[1] + 1
    assert REGISTRY.get_sample_value("spotenv_cloud_api_duration_seconds_count", labels) == before[2] + 2


async def test_a_code_that_no_cloud_would_send_is_no_label(executor: ThreadPoolExecutor) -> None:
    before = count("RunInstances", "Other")
    async with serving(refuses("x" * 5000)) as stub:
        await asyncio.gather(launch(provider(stub.endpoint, executor)), return_exceptions=True)
    assert count("RunInstances", "Other") == before + 1


def test_codes_beyond_the_first_hundred_are_counted_together() -> None:
    codes = Vocabulary()
    told = [codes.label(f"Invented.Code{number}") for number in range(1000)]
    assert len(set(told)) == 101
    assert told[99:101] == ["Invented.Code99", "Other"]
    assert codes.label("Invented.Code7") == "Invented.Code7"


async def test_a_throttle_slows_its_action_down_and_no_other(executor: ThreadPoolExecutor) -> None:
    async with serving(refuses("RequestLimitExceeded.UinLimitExceeded")) as stub:
        pacer = Pacer(RATES)
        client = Client(GivenKey(CREDENTIALS), "r", settings(stub.endpoint), executor, pacer)
        with pytest.raises(Throttled):
            await client.call("RunInstances", {}, "a")
        assert pacer.rate("RunInstances") == pytest.approx(RATES["RunInstances"].per_second / 2, rel=0.05)
        assert pacer.rate("DescribeInstances") == RATES["DescribeInstances"].per_second


def test_the_regions_of_one_key_share_a_pacer_and_two_keys_do_not(executor: ThreadPoolExecutor) -> None:
    providers = TencentProviders(settings("127.0.0.1:1"), executor)
    one, two = providers(CREDENTIALS, "ap-guangzhou"), providers(CREDENTIALS, "ap-singapore")
    other = providers(Credentials("AKIDother", "secret-other"), "ap-guangzhou")
    assert one._client.pacer is two._client.pacer
    assert one._client.pacer is not other._client.pacer
    assert len({one.key, two.key, other.key}) == 3
    assert not any(canary in one.key for canary in CANARIES)


async def test_the_keys_of_one_account_share_a_pacer_once_it_is_known(executor: ThreadPoolExecutor) -> None:
    other_key = Credentials("AKIDother", "secret-other")
    async with serving(says(AccountId="100000000001")) as stub:
        providers = TencentProviders(settings(stub.endpoint), executor)
        one, other = providers(CREDENTIALS, "ap-guangzhou"), providers(other_key, "ap-guangzhou")
        one._client.pacer.slow_down("RunInstances")
        for provider in (one, other):
            await provider.identify()
        assert one._client.pacer is other._client.pacer
        assert other._client.pacer.rate("RunInstances") < RATES["RunInstances"].per_second
        stub.answer = says(AccountId="100000000002")
        stranger = providers(Credentials("AKIDstranger", "secret-stranger"), "ap-guangzhou")
        await stranger.identify()
        assert stranger._client.pacer is not one._client.pacer


async def test_whose_a_key_is_is_asked_of_another_product_with_the_same_key(executor: ThreadPoolExecutor) -> None:
    async with serving(says(AccountId="100000000001")) as stub:
        await provider(stub.endpoint, executor).identify()
    (request,) = stub.requests
    assert (request.action, request.headers["x-tc-version"], request.parameters) == (
        "GetCallerIdentity", "2018-08-13", {},
    )  # fmt: skip
    assert "/sts/tc3_request" in request.headers["authorization"]
    assert request.headers["x-tc-token"] == CREDENTIALS.token


@pytest.mark.parametrize("number", [None, "", "10000/ap-guangzhou", ["100000000001"], True, "1" * 33, "\u0661\u0662"])
async def test_an_account_that_is_no_number_is_not_believed(executor: ThreadPoolExecutor, number: Any) -> None:
    async with serving(says(AccountId=number)) as stub:
        asked = provider(stub.endpoint, executor)
        with pytest.raises(OutcomeUnknown):
            await asked.identify()
        assert asked.account is None


@pytest.mark.parametrize(
    ("changes", "host"),
    [
        ({"site": "mainland"}, "sts.tencentcloudapi.com"),
        ({"site": "international"}, "sts.intl.tencentcloudapi.com"),
        ({"endpoint": "cvm.internal.tencentcloudapi.com"}, "sts.internal.tencentcloudapi.com"),
        ({"endpoint": "127.0.0.1:8080", "protocol": "http"}, "127.0.0.1:8080"),
    ],
)
def test_the_other_product_is_found_beside_the_first(
    executor: ThreadPoolExecutor, changes: dict[str, Any], host: str
) -> None:
    sdk = Client(GivenKey(CREDENTIALS), "r", Settings(**changes), executor, Pacer(RATES))._sdk_of("GetCallerIdentity")
    assert sdk.profile.httpProfile.endpoint == host
    assert sdk.profile.retryer is None
    assert [adapter.max_retries.total for adapter in sdk.request.conn._session.adapters.values()] == [0, 0]


async def test_an_empty_lookup_asks_nothing(executor: ThreadPoolExecutor) -> None:
    async with serving(says()) as stub:
        assert await provider(stub.endpoint, executor).get_instances([], "env-1") == ()
        assert stub.requests == []


def list_answer(stub_total: int) -> tuple[Answer, list[int]]:
    offsets: list[int] = []

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        offset = request.parameters["Offset"]
        offsets.append(offset)
        items = [instance_json(number) for number in range(offset, min(offset + 100, stub_total))]
        await says(TotalCount=stub_total, InstanceSet=items)(request, writer)

    return answer, offsets


def instance_json(number: int) -> dict[str, Any]:
    return {
        "InstanceId": f"ins-{number:05d}",
        "InstanceState": "RUNNING",
        "InstanceType": "S2.MEDIUM4",
        "Placement": {"Zone": "ap-guangzhou-3"},
        "CreatedTime": "2026-11-23T04:05:06Z",
        "Tags": [{"Key": "spotcompute-cluster", "Value": "cluster-1" if number else "somebody-else"}],
    }


async def test_a_sweep_reads_all_pages_and_believes_no_filter(executor: ThreadPoolExecutor) -> None:
    answer, offsets = list_answer(950)
    async with serving(answer) as stub:
        listed = await provider(stub.endpoint, executor, request_timeout_seconds=5).list_instances("cluster-1")
    assert len(listed) == 949, "all but the one whose tag names another cluster"
    assert sorted(offsets) == list(range(0, 945, 95))
    assert stub.requests[0].parameters["Filters"] == [{"Name": "tag:spotcompute-cluster", "Values": ["cluster-1"]}]
    assert stub.requests[0].parameters["Limit"] == 100


async def test_a_list_that_never_becomes_complete_raises(executor: ThreadPoolExecutor) -> None:
    async with serving(says(TotalCount=2, InstanceSet=[instance_json(1)])) as stub:
        with pytest.raises(CloudError) as caught:
            await provider(stub.endpoint, executor).list_instances("cluster-1")
    assert caught.value.code == "ListingUnstable"
    assert len(stub.requests) == 5


def named(stub: Stub) -> list[list[str]]:
    return [request.parameters["Filters"][0]["Values"] for request in stub.requests]


async def test_a_launch_of_several_is_looked_for_by_five_names_at_a_time(executor: ThreadPoolExecutor) -> None:
    exists = {f"web-1-{number}" for number in range(1, 8)}

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        # A filter that matches parts of names, as the real one may.
        wanted = [name for name in request.parameters["Filters"][0]["Values"] if name in exists] + ["web-1-1-9"]
        items = [{**instance_json(1), "InstanceId": f"ins-{name}", "InstanceName": name} for name in wanted]
        await says(TotalCount=len(items), InstanceSet=items)(request, writer)

    async with serving(answer) as stub:
        found = await provider(stub.endpoint, executor).find_by_name("web-1-", "env-1")
    assert {instance.name for instance in found} == exists
    assert named(stub) == [[f"web-1-{n}" for n in range(1, 6)], [f"web-1-{n}" for n in range(6, 11)]]


async def test_of_the_largest_launch_every_name_is_looked_for(executor: ThreadPoolExecutor) -> None:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        wanted = request.parameters["Filters"][0]["Values"]
        items = [{**instance_json(1), "InstanceId": f"ins-{name}", "InstanceName": name} for name in wanted]
        await says(TotalCount=len(items), InstanceSet=items)(request, writer)

    async with serving(answer) as stub:
        found = await provider(stub.endpoint, executor).find_by_name("web-1-", "env-1")
    assert [instance.name for instance in found] == [f"web-1-{number}" for number in range(1, 101)]
    assert len(named(stub)) == 20


async def test_a_launch_of_one_is_looked_for_by_its_exact_name(executor: ThreadPoolExecutor) -> None:
    items = [
        {**instance_json(number), "InstanceName": name} for number, name in enumerate(["web-1", "web-12", "web-1-1"])
    ]
    async with serving(says(TotalCount=3, InstanceSet=items)) as stub:
        found = await provider(stub.endpoint, executor).find_by_name("web-1", "env-1")
    assert [instance.name for instance in found] == ["web-1"]
    assert named(stub) == [["web-1"]]


def test_the_logger_of_the_sdk_stays_silent_whatever_is_configured_later(caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG it prints signatures, tokens and user data."""
    logger = logging.getLogger(LOGGER_NAME)
    before = logger.level, logger.propagate
    silence_sdk_logger()
    silence_sdk_logger()
    assert len(logger.filters) == 1
    logger.setLevel(logging.DEBUG)
    logger.propagate = True
    try:
        with caplog.at_level(logging.DEBUG):
            logger.critical("Authorization: TC3-HMAC-SHA256 …")
        assert caplog.records == []
    finally:
        logger.level, logger.propagate = before
