"""Longer histories come from a Prometheus, and when it does not answer the page says so and shows what it has seen."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kubectl_spot.ui.prometheus import Prometheus
from plugin.ui_objects import NOW


class Server(HTTPServer):
    """Answers every query with one series that rises by one a minute, and remembers what was asked."""

    asked: list[str]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            self.server.asked.append(query["query"][0])  # type: ignore[attr-defined]  # ours, with that list
            values = [[NOW - 120, "1"], [NOW - 60, "2"], [NOW, "2"]]
            body = {"status": "success", "data": {"result": [{"metric": {}, "values": values}]}}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            return


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Server.Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def test_its_points_are_used_and_kept_for_a_while(server: Server) -> None:
    prometheus = Prometheus(f"http://127.0.0.1:{server.server_port}/", lambda: NOW)
    expected = [(NOW - 120, 1.0), (NOW - 60, 2.0)]
    assert await prometheus.counts("jobs", 'we"b') == {"ready": expected, "desired": expected}
    assert await prometheus.reclaims() == [(NOW - 120, 1), (NOW - 60, 2), (NOW, 2)]
    await prometheus.counts("jobs", 'we"b')
    assert len(server.asked) == 3
    assert server.asked[0] == 'sum(spotenv_replicas_ready{namespace="jobs",name="we\\"b"})'
    assert prometheus.problem is None


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "file:///etc/passwd"])
async def test_without_an_answer_it_says_so_and_gives_nothing(address: str) -> None:
    prometheus = Prometheus(address, lambda: NOW)
    assert await prometheus.counts() == {}
    assert prometheus.problem is not None
    assert "charts show what this page has seen" in prometheus.problem.said
    assert "--prometheus" in prometheus.problem.remedy
