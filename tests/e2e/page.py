"""`kubectl spot ui` as a process, and a browser that looks at it as a person does.

Apart from the tests of the page, because those without a browser start it too. The browser is the system's: `make
browser` installs it, and its tests skip, with that hint, where there is none.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from e2e.simulator import ROOT
from localcluster.processes import Child
from waiting import eventually

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Plugin:
    """A running `kubectl spot ui`. It asks as a browser does, but shows nothing."""

    def __init__(self, child: Child) -> None:
        self._child = child
        found = eventually(
            lambda: re.search(r"Open (http://127\.0\.0\.1:(\d+)/\?token=\S+)", child.log.read_text()), "URL"
        )
        self.url, self.port = found[1], int(found[2])
        self.origin = f"http://127.0.0.1:{self.port}"
        self._cookie = ""
        status, _, headers = self.ask("/?" + urllib.parse.urlsplit(self.url).query)
        assert status == 303
        self._cookie = headers["Set-Cookie"].split(";")[0]

    @classmethod
    def start(cls, kubectl: Path, kubeconfig: Path, directory: Path, *options: str) -> Plugin:
        """Start it with this kubectl and kubeconfig."""
        (directory / "bin").mkdir(exist_ok=True)
        link = directory / "bin" / "kubectl"
        link.unlink(missing_ok=True)
        link.symlink_to(kubectl)
        path = os.pathsep.join([str(directory / "bin"), os.environ["PATH"]])
        env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "operator"), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "kubectl_spot", "ui", "--no-browser", f"--kubeconfig={kubeconfig}", *options]
        return cls(Child.start("page", command, log=directory / "page.log", env=env))

    def ask(
        self, path: str, form: dict[str, str] | None = None, **headers: str
    ) -> tuple[int, str, http.client.HTTPMessage]:
        """Status, text and headers of an answer. A form is posted, by default from the page itself."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {"Cookie": self._cookie} | ({"Origin": self.origin} if form is not None else {})
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = None if form is None else urllib.parse.urlencode(form)
        connection.request("GET" if form is None else "POST", path, body, given)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode(), answer.headers
        connection.close()
        return found

    def text(self, path: str) -> str:
        return self.ask(path)[1]

    def memory_mib(self) -> float:
        """Resident memory of the process and of the kubectl that watches for it."""
        own = self._child.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        found = [re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()) for pid in (own, *children)]
        return sum(int(one[1]) for one in found if one) / 1024

    def kill9(self) -> None:
        self._child.kill9()

    def stop(self) -> None:
        self._child.stop()


@contextmanager
def open_browser() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    binary = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if binary is None:
        pytest.skip("no Chromium is installed, which shows the page: make browser")
    with sync_playwright() as playwright:
        # Its sandbox needs rights that containers and root lack; it only looks at our own page.
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watched(page: Page, origin: str) -> Iterator[Page]:
    """The page; at the end no script has failed, nothing was refused by the policy, and no other host was asked."""
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(f"script: {error}"))

    def note(said: ConsoleMessage) -> None:
        # The stream of changes breaks when the program ends, which a test may want.
        if said.type == "error" and not said.location["url"].endswith("/events"):
            troubles.append(f"console: {said.text}")

    page.on("console", note)
    page.on("request", lambda asked: None if asked.url.startswith((origin, "data:")) else troubles.append(asked.url))
    page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
    yield page
    assert not troubles, troubles
