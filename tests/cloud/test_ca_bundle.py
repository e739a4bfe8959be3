"""The endpoint's certificate may be a company's own, and the file that says so is checked before the first call."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from cloud.stub import Stub, says, serving
from spotcompute.cloud.credentials import Credentials
from spotcompute.cloud.errors import NotSent
from spotcompute.cloud.tencent.client import UnsafeEndpoint
from spotcompute.cloud.tencent.provider import TencentProviders
from spotcompute.settings import Settings

VARIABLES = ("SPOTCOMPUTE_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.fixture(scope="module")
def company() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(company: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    company.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def bundle(company: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    company.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


async def asked(stub: Stub, settings: Settings, executor: ThreadPoolExecutor) -> object:
    cloud = TencentProviders(settings, executor)(Credentials("id", "key"), "ap-guangzhou")
    return await cloud.list_instances("cluster-1")


@pytest.mark.parametrize("variable", VARIABLES)
async def test_each_variable_that_names_the_companys_certificate_is_enough(
    variable: str, bundle: Path, tls: ssl.SSLContext, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(bundle))
    async with serving(says(TotalCount=0, InstanceSet=[]), tls) as stub:
        await asked(stub, Settings(endpoint=stub.endpoint), executor)
        assert len(stub.requests) == 1


async def test_without_it_the_endpoint_is_not_trusted_and_nothing_is_sent(
    tls: ssl.SSLContext, executor: ThreadPoolExecutor
) -> None:
    async with serving(says(TotalCount=0, InstanceSet=[]), tls) as stub:
        with pytest.raises(NotSent):
            await asked(stub, Settings(endpoint=stub.endpoint), executor)
        assert stub.requests == []


async def test_our_own_variable_wins_over_those_of_others(
    bundle: Path, tls: ssl.SSLContext, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file")
    monkeypatch.setenv("SPOTCOMPUTE_CA_BUNDLE", str(bundle))
    async with serving(says(TotalCount=0, InstanceSet=[]), tls) as stub:
        await asked(stub, Settings(endpoint=stub.endpoint), executor)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(None, "No such file or directory", id="absent"),
        pytest.param("", r"\[X509\]|\[X509:.*", id="empty"),
        pytest.param("no certificate\n", r"\[X509\]|\[X509:.*", id="text"),
    ],
)
def test_a_file_that_holds_no_certificate_is_refused_at_the_start_by_name(
    content: str | None, why: str, tmp_path: Path, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wrong.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SPOTCOMPUTE_CA_BUNDLE", str(path))
    with pytest.raises(UnsafeEndpoint, match=f"SPOTCOMPUTE_CA_BUNDLE.*{path}.* form: ({why})"):
        TencentProviders(Settings(), executor)


def test_an_empty_variable_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTCOMPUTE_CA_BUNDLE", "")
    assert Settings().ca_bundle is None
