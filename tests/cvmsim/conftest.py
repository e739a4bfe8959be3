"""A world in process for tables and properties, and a served one for what only the wire shows."""

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.cvm.v20170312.cvm_client import CvmClient

from cvmsim import catalog
from cvmsim.app import Address, Server
from cvmsim.clock import Clock
from cvmsim.control import Simulation
from cvmsim.simulator import Simulator

MAIN, OTHER = "100000000001", "100000000002"
SECRET_ID, SECRET_KEY = "AKIDsimulatedsecretid0000000000000001", "simulatedSecretKey000000000000001"
EPOCH = 1_800_000_000.0  # where the worlds in process begin
CATALOG = catalog.load()
DISK = Decimal("0.0035")  # dollars per hour for the system disk that nobody asked for: 50 GiB of CLOUD_PREMIUM

ORDER: dict[str, Any] = {
    "InstanceChargeType": "SPOTPAID",
    "Placement": {"Zone": "ap-guangzhou-3"},
    "InstanceType": "S2.MEDIUM4",
    "ImageId": "img-pmqg1cw7",
    "InstanceMarketOptions": {
        "MarketType": "spot",
        "SpotOptions": {"MaxPrice": "0.0923", "SpotInstanceType": "one-time"},
    },
}


class Cloud:
    """A simulator with its own time: `cloud(action, …)` is a request, `wait` lets time pass."""

    ORDER = ORDER
    DISK = DISK

    def __init__(self, seed: int = 1, **switches: object) -> None:
        words = {name.replace("_", "-"): value for name, value in switches.items()}
        self.simulator = Simulator(CATALOG, seed=seed, now=EPOCH, switches=words)
        self.now = EPOCH
        self.account, self.region = MAIN, "ap-guangzhou"
        self.simulator.limits.rates.clear()

    @property
    def world(self) -> Any:
        return self.simulator.world

    def __call__(self, action: str, **params: Any) -> dict[str, Any]:
        return self.simulator.handle(self.account, action, params, self.now, region=self.region)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.world.advance(self.now)

    def buy(self, count: int = 1, **changes: Any) -> list[str]:
        """Ids of instances bought, which must succeed."""
        answer = self("RunInstances", **{**ORDER, "InstanceCount": count, **changes})
        assert "Error" not in answer, answer
        return answer["InstanceIdSet"]

    def refusal(self, action: str, **params: Any) -> str:
        """The code of a request that must be refused, and by which nothing may change."""
        before = self.world.commits
        answer = self(action, **params)
        assert self.world.commits == before
        return answer["Error"]["Code"]

    def sells(self, stock: int, price: str = "0.0214", zone: str = "ap-guangzhou-3", type: str = "S2.MEDIUM4") -> None:
        offering = self.world.offerings[zone, type]
        offering.set_stock(stock, self.now)
        self.world.set_price(offering, Decimal(price))

    def states(self, ids: list[str]) -> list[str]:
        """States as DescribeInstances shows them, without what is absent."""
        answer = self("DescribeInstances", InstanceIds=ids, Limit=100)
        return [row["InstanceState"] for row in answer["InstanceSet"]]

    def listed(self, **params: Any) -> list[str]:
        answer = self("DescribeInstances", **{"Limit": 100, **params})
        assert "Error" not in answer, answer
        return [row["InstanceId"] for row in answer["InstanceSet"]]

    @staticmethod
    def tagged(*tags: tuple[str, str]) -> list[dict[str, Any]]:
        """A TagSpecification."""
        return [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags]}]


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture(scope="session")
def new_cloud() -> type[Cloud]:
    """For clouds under other switches: new_cloud(list_lag=60)."""
    return Cloud


class Served:
    """A simulator on real ports, its clock stepped, in a thread of its own."""

    def __init__(self) -> None:
        self.sim = Simulation(CATALOG, Clock(is_stepped=True), seed=1)
        self.sim.simulator.limits.rates.clear()
        self._server, self._loop = Server(self.sim), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.address: Address = asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def client(
        self, secret_id: str = SECRET_ID, key: str = SECRET_KEY, token: str | None = None, timeout: int = 10
    ) -> Any:
        """The official SDK's client."""
        http = HttpProfile(protocol="http", endpoint=self.address.api, reqTimeout=timeout)
        profile = ClientProfile(httpProfile=http, language="en-US")
        return CvmClient(Credential(secret_id, key, token), "ap-guangzhou", profile)

    def control(self, method: str, path: str, body: dict[str, Any] | None = None, token: str | None = None) -> Any:
        """One operation of the control port: (status, JSON)."""
        headers = {"X-Sim-Token": self.address.token if token is None else token}
        data = json.dumps(body or {}).encode() if method == "POST" else None
        url = f"{self.address.control}/_sim/{path}"
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.load(refusal)


@pytest.fixture(scope="module")
def _serving() -> Iterator[Served]:
    served = Served()
    yield served
    served.stop()


@pytest.fixture
def served(_serving: Served) -> Served:
    """The module's server with its world begun anew."""
    assert _serving.control("POST", "reset", {"seed": 1})[0] == 200
    _serving.sim.simulator.limits.rates.clear()
    return _serving
