"""The two grounds the contract suite is played on: the world in memory, and `cvmsim` over HTTP.

Both answer to the same few words, so that a test cannot know which one it runs on. Time passes only by `wait`.
"""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from cloud.world import InMemoryCloud
from spotcompute.cloud.credentials import Credentials
from spotcompute.cloud.errors import InvalidCredentials, OutcomeUnknown, Throttled
from spotcompute.cloud.provider import CloudProvider
from spotcompute.cloud.tencent.provider import TencentProviders
from spotcompute.model.offering import Pool
from spotcompute.settings import Settings

POOL = Pool("ap-guangzhou-3", "S2.MEDIUM4")
OTHER_POOL = Pool("ap-guangzhou-4", "S5.MEDIUM4")
PRICE, LIST_PRICE = "0.0214", "0.1071"
IMAGE = "img-pmqg1cw7"

#: What the account has, in the zone of `POOL`.
VPC, SUBNET, SUBNET_ELSEWHERE = "vpc-gz000001", "subnet-gz000003", "subnet-gz000004"
SECURITY_GROUP, KEY_PAIR, ROLE = "sg-gz000001", "skey-gz000001", "spot-worker"

#: Longer than PENDING or TERMINATING last on either ground, shorter than a failed launch stays in the lists.
SETTLED = 10.0

#: A key of the simulator's default world.
KEY = Credentials("AKIDsimulatedsecretid0000000000000001", "simulatedSecretKey000000000000001")


class Ground(Protocol):
    """What a test may do besides calling the provider. `POOL` is on sale at `PRICE`, with plenty of stock and quota."""

    provider: CloudProvider

    def now(self) -> datetime: ...
    def wait(self, seconds: float) -> None: ...
    def set_stock(self, pool: Pool, stock: int) -> None: ...
    def set_price(self, pool: Pool, price: str) -> None: ...
    def set_quota(self, instances: int) -> None: ...
    def set_lags(self, lists: float = 0, tags: float = 0) -> None: ...
    def reclaim(self, *ids: str) -> None: ...
    def console_terminate(self, *ids: str) -> None: ...
    def stop(self, *ids: str) -> None: ...
    def protect(self, *ids: str) -> None: ...
    def steal(self, instance_id: str, environment_id: str) -> None: ...
    def doom_next(self, count: int) -> None: ...
    def lose_answer_of_next_launch(self) -> None: ...
    def throttle_next_launch(self) -> None: ...
    def set_dry_run(self, answer: str, checks_price: str) -> None: ...
    def hide_account(self) -> None: ...
    def live(self, environment_id: str) -> set[str]: ...
    def peak(self, environment_id: str) -> int: ...


class MemoryGround:
    """`InMemoryCloud` on a clock of its own."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
        self.cloud = InMemoryCloud(self.now)
        self.cloud.sell(POOL.zone, POOL.instance_type, PRICE, 500, LIST_PRICE)
        self.cloud.sell(OTHER_POOL.zone, OTHER_POOL.instance_type, "0.0230", 500)
        self.cloud.known = frozenset({IMAGE, SUBNET, SECURITY_GROUP, KEY_PAIR, ROLE})
        self.provider: CloudProvider = self.cloud

    def now(self) -> datetime:
        return self._now

    def wait(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self.cloud.advance()

    def set_stock(self, pool: Pool, stock: int) -> None:
        self.cloud.set_stock(pool, stock)

    def set_price(self, pool: Pool, price: str) -> None:
        self.cloud.set_price(pool, price)

    def set_quota(self, instances: int) -> None:
        self.cloud.quota = instances

    def set_lags(self, lists: float = 0, tags: float = 0) -> None:
        self.cloud.list_lag, self.cloud.tag_lag = timedelta(seconds=lists), timedelta(seconds=tags)

    def reclaim(self, *ids: str) -> None:
        self.cloud.reclaim(*ids)

    def console_terminate(self, *ids: str) -> None:
        self.cloud.console_terminate(*ids)

    def stop(self, *ids: str) -> None:
        self.cloud.stop(*ids)

    def protect(self, *ids: str) -> None:
        self.cloud.protect(*ids)

    def steal(self, instance_id: str, environment_id: str) -> None:
        tags = self.cloud.books.instances[instance_id].tag_history[-1][1]
        self.cloud.retag(instance_id, {**tags, "spotcompute-environment": environment_id})

    def doom_next(self, count: int) -> None:
        self.cloud.doom_next_launches(count)

    def lose_answer_of_next_launch(self) -> None:
        self.cloud.fail_next("launch", OutcomeUnknown("ClientNetworkError", "reset"), after_commit=True)

    def throttle_next_launch(self) -> None:
        self.cloud.fail_next("launch", Throttled("RequestLimitExceeded", "slow down"))

    def set_dry_run(self, answer: str, checks_price: str) -> None:
        self.cloud.checks_price = checks_price == "yes"  # the port hides how a pass is answered

    def hide_account(self) -> None:
        self.cloud.fail_next("identify", InvalidCredentials("UnauthorizedOperation", "not with this key", "request-x"))

    def live(self, environment_id: str) -> set[str]:
        return {record.id for record in self.cloud.books.live_of(environment_id)}

    def peak(self, environment_id: str) -> int:
        return self.cloud.books.peak[environment_id]


class Simulator:
    """A running `cvmsim serve` on a stepped clock, and its side door."""

    def __init__(self, api: str, control: str, token: str) -> None:
        self.api = api
        self._control = control
        self._token = token

    def __call__(self, operation: str, method: str = "POST", **body: Any) -> Any:
        """One operation of the side door."""
        request = urllib.request.Request(  # noqa: S310 - the address is that of our own process
            f"{self._control}/_sim/{operation}",
            data=json.dumps(body).encode() if method != "GET" else None,
            headers={"X-Sim-Token": self._token, "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            return json.load(answer)


@contextmanager
def simulator(directory: Path) -> Iterator[Simulator]:
    """Start `cvmsim` as a process of its own; it ends with this one, whatever ends this one."""
    ready = directory / "cvmsim.json"
    command = [sys.executable, "-m", "cvmsim", "serve", "--seed", "1", "--clock", "stepped", "--ready-file", str(ready)]
    libc = ctypes.CDLL(None)
    process = subprocess.Popen(
        command,
        preexec_fn=lambda: libc.prctl(1, signal.SIGKILL),  # noqa: PLW1509 - one call into C, which takes no lock
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while not ready.exists():
            assert process.poll() is None, "cvmsim has ended"
            assert time.monotonic() < deadline, "cvmsim does not come up"
            time.sleep(0.02)
        address = json.loads(ready.read_text())
        yield Simulator(address["api"], address["control"], address["token"])
    finally:
        process.kill()
        process.wait()


def provider_of(sim: Simulator, executor: Executor, credentials: Credentials = KEY) -> CloudProvider:
    """The real provider, talking to `sim`."""
    settings = Settings(endpoint=sim.api, protocol="http", request_timeout_seconds=5)
    return TencentProviders(settings, executor)(credentials, "ap-guangzhou")


class SimulatedGround:
    """The real provider against a simulator, begun anew."""

    def __init__(self, sim: Simulator, executor: Executor, credentials: Credentials = KEY) -> None:
        self.sim = sim
        sim("reset")
        sim("limits", "POST", **{"*": 0})
        sim("quota", vcpu=10_000)
        sim("balance", balance="100000")
        for pool in (POOL, OTHER_POOL):
            self.set_stock(pool, 500)
        self.provider: CloudProvider = provider_of(sim, executor, credentials)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.sim("clock", "GET")["now"], UTC)

    def wait(self, seconds: float) -> None:
        self.sim("clock", advance=seconds)

    def set_stock(self, pool: Pool, stock: int) -> None:
        self.sim("stock", zone=pool.zone, type=pool.instance_type, stock=stock)

    def set_price(self, pool: Pool, price: str) -> None:
        self.sim("price", zone=pool.zone, type=pool.instance_type, price=price)

    def set_quota(self, instances: int) -> None:
        self.sim("quota", vcpu=2 * instances)

    def set_lags(self, lists: float = 0, tags: float = 0) -> None:
        self.switch("list-lag", lists)
        self.switch("tag-lag", tags)

    def reclaim(self, *ids: str) -> None:
        self.sim("interrupt", instances=list(ids), notice_seconds=0)

    def console_terminate(self, *ids: str) -> None:
        self.sim("terminate", instances=list(ids))

    def stop(self, *ids: str) -> None:
        self.sim("stop", instances=list(ids))

    def protect(self, *ids: str) -> None:
        self.sim("protect", instances=list(ids))

    def steal(self, instance_id: str, environment_id: str) -> None:
        self.sim("tag", instances=[instance_id], tags={"spotcompute-environment": environment_id})

    def doom_next(self, count: int) -> None:
        self.sim("launch-outcome", outcome="fail", times=count)

    def lose_answer_of_next_launch(self) -> None:
        self.fault("lost_after_commit", action="RunInstances")

    def throttle_next_launch(self) -> None:
        self.fault("throttle", action="RunInstances")

    def set_dry_run(self, answer: str, checks_price: str) -> None:
        self.switch("dry-run-answer", answer)
        self.switch("dry-run-checks-price", checks_price)

    def hide_account(self) -> None:
        self.switch("caller-identity", "UnauthorizedOperation")

    def live(self, environment_id: str) -> set[str]:
        rows = self.sim("ledger", "GET")["instances"]
        return {row["id"] for row in rows if row["live"] and _owner(row) == environment_id}

    def peak(self, environment_id: str) -> int:
        tags = self.sim("ledger/summary", "GET")["tags"]
        return int(tags.get(f"spotcompute-environment={environment_id}", {"peak": 0})["peak"])

    # --- what only the simulator can do --------------------------------------------------------------------------

    def switch(self, name: str, value: object) -> None:
        """Settle a question the vendor leaves open."""
        self.sim("switches", **{name: str(value) if not isinstance(value, float) else f"{value:g}"})

    def fault(self, kind: str, **rule: Any) -> None:
        """Order trouble for a coming request."""
        self.sim("faults", kind=kind, **rule)


def _owner(row: dict[str, Any]) -> str | None:
    return str(row["originalTags"].get("spotcompute-environment"))
