"""Which API server, as whom, and that credentials which change while we run are noticed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import certifi
import pytest
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from kube.stub import Stub, write_kubeconfig
from spotcompute.kube.client import KubeClient
from spotcompute.kube.connection import NoCluster, connect
from spotcompute.kube.port import Forbidden

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}


@pytest.fixture
def service_account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_text(Path(certifi.where()).read_text())  # any CA will do
    return tmp_path


async def header(connection: object) -> str:
    return (await connection.configuration.auth_settings())["BearerToken"]["value"]  # type: ignore[attr-defined]  # the client has no types


async def test_in_a_pod_the_token_is_read_again_for_each_request(service_account: Path) -> None:
    connection = await connect(IN_CLUSTER, service_account)
    assert await header(connection.api) == "Bearer first"
    (service_account / "token").write_text("second")
    assert await header(connection.api) == "Bearer second"
    (service_account / "token").unlink()  # replaced by renaming: for a moment it is not there
    with capture_logs() as lines:
        assert await header(connection.api) == "Bearer second"
    assert [line["event"] for line in lines] == ["credentials_unreadable"]
    await connection.close()


@pytest.mark.parametrize(
    ("host", "server"), [("10.0.0.1", "https://10.0.0.1:6443"), ("fd00::1", "https://[fd00::1]:6443")]
)
async def test_in_a_pod_the_server_is_the_one_named_by_the_kubelet(
    service_account: Path, host: str, server: str
) -> None:
    connection = await connect({**IN_CLUSTER, "KUBERNETES_SERVICE_HOST": host}, service_account)
    access = await connection.access()
    assert (access.server, access.verify_tls, access.authorization) == (server, True, "Bearer first")
    assert access.ca_path == str(service_account / "ca.crt")
    assert "first" not in repr(access)
    await connection.close()


async def test_a_named_kubeconfig_goes_before_the_pod(tmp_path: Path, service_account: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    connection = await connect({**IN_CLUSTER, "KUBECONFIG": str(path)}, service_account)
    assert (await connection.access()).server == "http://127.0.0.1:1"
    await connection.close()


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({"KUBECONFIG": "/nowhere/config"}, id="a kubeconfig that is not there"),
        pytest.param(IN_CLUSTER, id="a pod without a token"),
    ],
)
async def test_without_a_way_to_an_api_server_the_error_says_so(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(NoCluster, match="no way to an API server"):
        await connect(environ, tmp_path)


async def test_a_kubeconfig_that_changed_is_read_after_a_401(server: TestServer, stub: Stub, tmp_path: Path) -> None:
    url = str(server.make_url("")).rstrip("/")
    path = write_kubeconfig(tmp_path / "config", url, bearer="old")
    connection = await connect({"KUBECONFIG": str(path)})
    kube = KubeClient(connection)
    write_kubeconfig(path, url, bearer="new")
    stub.answer(401, {"kind": "Status"}, (200, {"metadata": {}}))
    with pytest.raises(Forbidden):
        await kube.get("ns", "web")
    await kube.get("ns", "web")
    assert [headers["Authorization"] for _, _, headers, _ in stub.requests] == ["Bearer old", "Bearer new"]
    await connection.close()


@pytest.mark.looptime
async def test_credentials_are_not_read_in_a_hot_loop(tmp_path: Path) -> None:
    connection = await connect({"KUBECONFIG": str(write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1"))})
    for _ in range(4):
        await connection.access()
    assert asyncio.get_running_loop().time() == 6.0
    await connection.close()


@pytest.mark.parametrize("content", ["", "[]", "x", "{", "contexts: 3\ncurrent-context: x", "\0", "users: {secret: 1}"])
async def test_a_file_that_is_no_kubeconfig_is_told_by_name_and_not_by_content(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(NoCluster, match=re.escape(str(path))) as refusal:
        await connect({"KUBECONFIG": str(path)})
    assert "secret" not in str(refusal.value)
