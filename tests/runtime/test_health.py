"""The probes' answers; what is asked behind them is tested where it is."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.request
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest

from localcluster.processes import free_port
from spotcompute.runtime.health import Health, serve_probes
from spotcompute.runtime.listening import listen, listen_address
from spotcompute.settings import Settings
from spotcompute.telemetry import metrics
from waiting import PATIENCE_SECONDS


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def health(port: int) -> AsyncIterator[Health]:
    health = Health()
    async with serve_probes(health, "127.0.0.1", port):
        yield health


async def ask(port: int, path: str) -> tuple[int, object]:
    async with aiohttp.request("GET", f"http://127.0.0.1:{port}{path}") as response:
        return response.status, json.loads(await response.text())


async def test_a_process_that_has_just_begun_is_alive_and_not_ready(health: Health, port: int) -> None:
    assert await ask(port, "/healthz") == (200, {"operator": {}})
    assert await ask(port, "/readyz") == (503, {"ready": False})


async def test_who_is_at_work_is_asked(health: Health, port: int) -> None:
    health.check, health.is_ready = lambda: {"waiting": 3.0}, lambda: True
    assert await ask(port, "/healthz") == (200, {"operator": {"waiting": 3.0}})
    assert await ask(port, "/readyz") == (200, {"ready": True})


async def test_what_only_a_restart_can_help_is_said(health: Health, port: int) -> None:
    def check() -> Mapping[str, float]:
        raise RuntimeError("no audit has ended for 901 s")

    health.check = check
    assert await ask(port, "/healthz") == (500, {"error": "no audit has ended for 901 s"})


async def test_a_loop_that_is_blocked_answers_no_probe(health: Health, port: int) -> None:
    """The kubelet takes silence for a failure. The block here is waiting for the very thread that asks."""

    def ask_from_outside(timeout: float) -> int:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{port}/healthz", timeout=timeout
        ) as answer:
            return int(answer.status)

    with ThreadPoolExecutor(1) as outside:
        assert await asyncio.wrap_future(outside.submit(ask_from_outside, PATIENCE_SECONDS)) == 200
        with pytest.raises(TimeoutError):
            outside.submit(ask_from_outside, 1.0).result()


@pytest.mark.parametrize("host", ["::", ""])
async def test_probes_and_scrapes_of_both_families_are_answered_on_every_address(host: str, port: int) -> None:
    async with serve_probes(Health(), host, port):
        for address in ("127.0.0.1", "[::1]"):
            async with aiohttp.request("GET", f"http://{address}:{port}/healthz") as response:
                assert response.status == 200
    with metrics.serve_metrics(listen_address(host), port):
        for address in ("127.0.0.1", "[::1]"):
            async with aiohttp.request("GET", f"http://{address}:{port}/metrics") as response:
                assert response.status == 200


async def test_an_address_of_one_family_is_kept_to(port: int) -> None:
    async with serve_probes(Health(), "0.0.0.0", port):  # noqa: S104 - what the setting may say
        assert (await ask(port, "/healthz"))[0] == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            async with aiohttp.request("GET", f"http://[::1]:{port}/healthz"):
                pass


def test_a_kernel_without_ipv6_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    assert listen_address(Settings().listen_host) == "0.0.0.0"  # noqa: S104 - the address that is meant


async def test_without_a_port_nothing_is_served_and_a_taken_one_is_an_error(health: Health, port: int) -> None:
    async with serve_probes(Health(), "127.0.0.1", 0):
        pass
    with pytest.raises(OSError, match="in use"):
        async with serve_probes(Health(), "127.0.0.1", port):
            pass


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_one_listens_in_the_family_of_the_address(host: str, family: socket.AddressFamily) -> None:
    if family is socket.AF_INET6 and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with listen(host, 0) as listening:
        assert listening.family is family
        assert listening.getsockname()[0] == host
