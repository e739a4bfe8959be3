"""The simulated cloud as a process, its control port, and a world where every test has its own account and zones.

Apart from `stage`: this knows the cloud and nothing of Kubernetes. What it says of instances and requests is the
judge's ledger, never what the API answers.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from localcluster.processes import Child, direct_opener

ROOT = Path(__file__).resolve().parents[2]
REGION = "ap-guangzhou"
IMAGE = "img-pmqg1cw7"
TYPES = {"S5.MEDIUM4": "0.0226", "S2.MEDIUM4": "0.0214", "SA2.MEDIUM4": "0.0190"}  # spot price, dollars per hour
STOCK = 200
ZONES_EACH = 3
MUTATING = ("RunInstances", "TerminateInstances", "StopInstances", "StartInstances", "ModifyInstancesAttribute")

#: Lives short enough for a test; what they stand for is in `cvmsim switches`.
QUICK_SWITCHES = {"pending-seconds": "0.5", "terminating-seconds": "0.5", "stop-seconds": "0.3"}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Account:
    """A customer of the cloud. Nobody else's test uses its zones. The one subnet is in the first of them."""

    uin: str
    secret_id: str
    secret_key: str
    zones: tuple[str, ...]
    vpc: str
    subnet: str


def account(number: int) -> Account:
    """The account `number` of `world()`, counted from 0."""
    first = 3 + number * ZONES_EACH
    return Account(
        uin=f"2{number:011d}",
        secret_id=f"AKIDcanarysecretid{number:016d}",
        secret_key=f"canarySecretKey{number:016d}",
        zones=tuple(f"{REGION}-{first + index}" for index in range(ZONES_EACH)),
        vpc=f"vpc-e2e{number:05d}",
        subnet=f"subnet-e2e{number:05d}",
    )


def world(accounts: int) -> Row:
    """A world file's content: `accounts` customers with three zones each, everything in stock everywhere."""
    customers = [account(number) for number in range(accounts)]
    zones = [zone for customer in customers for zone in customer.zones]
    offers = {name: {"stock": STOCK, "spot": spot, "list": "0.1071"} for name, spot in TYPES.items()}
    return {
        "regions": {REGION: {"zones": {zone: {"id": f"1{index:05d}"} for index, zone in enumerate(zones)}}},
        "types": {name: {"cpu": 2, "memory": 4} for name in TYPES},
        "offerings": dict.fromkeys(zones, offers),
        "disks": {"CLOUD_PREMIUM": "0.00007"},
        "images": [{"id": IMAGE, "name": "image", "os": "Ubuntu", "platform": "Ubuntu", "size": 20}],
        "accounts": [_customer(number, customer) for number, customer in enumerate(customers)],
        "limits": {"RunInstances": 10, "TerminateInstances": 10, "DescribeInstances": 40},
    }


def _customer(number: int, customer: Account) -> Row:
    return {
        "uin": customer.uin,
        "appId": 1260000000 + number,
        "name": f"customer {number}",
        "credentials": [{"secretId": customer.secret_id, "secretKey": customer.secret_key}],
        "balance": "1000.00",
        "spotQuota": 100_000,
        "networks": {
            customer.vpc: {
                "region": REGION,
                "subnets": {customer.subnet: {"zone": customer.zones[0], "cidr": "10.0.0.0/20"}},
            }
        },
    }


class Simulator:
    """A running `cvmsim`. Start with `start`, end with `stop`."""

    def __init__(self, child: Child, ready: Row) -> None:
        self._child, self._ready = child, ready
        self._opener = direct_opener()
        self._handed_out = 0

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        world: Row | None = None,
        switches: dict[str, str] | None = None,
        port: int = 0,
        tls: tuple[Path, Path] | None = None,
    ) -> Self:
        """Serve `world` (default: the shipped one) with QUICK_SWITCHES and `switches`, logging into `directory`.

        `tls` is a certificate and its key.
        """
        ready_file = directory / "simulator.json"
        command = [sys.executable, "-m", "cvmsim", "serve", "--seed", "1", "--ready-file", str(ready_file)]
        command += [f"--port={port}"] if port else []
        command += ["--tls", *map(str, tls)] if tls else []
        if world is not None:
            (directory / "world.yaml").write_text(json.dumps(world))  # JSON is YAML too
            command += ["--world", str(directory / "world.yaml")]
        for name, value in {**QUICK_SWITCHES, **(switches or {})}.items():
            command += ["--switch", f"{name}={value}"]
        ready_file.unlink(missing_ok=True)
        environment = {**os.environ, "PYTHONPATH": "operator"}
        child = Child.start("cvmsim", command, log=directory / "simulator.log", env=environment, cwd=ROOT)
        child.wait_until(ready_file.exists, timeout=120)
        return cls(child, json.loads(ready_file.read_text()))

    def stop(self) -> None:
        self._child.stop()

    @property
    def endpoint(self) -> str:
        """host:port of the API, which speaks plain HTTP unless it was started with `tls`."""
        return str(self._ready["api"]).removeprefix("https://").removeprefix("http://")

    def new_account(self) -> Account:
        """An account of `world()` that no test has had yet."""
        self._handed_out += 1
        return account(self._handed_out - 1)

    # -- the control port

    def post(self, operation: str, **body: Any) -> Row:
        """One operation of the control port (see `cvmsim.control`); fails with the simulator's own sentence."""
        return self._call("POST", operation, json.dumps(body).encode())

    def get(self, operation: str, **query: Any) -> Row:
        return self._call("GET", f"{operation}?{urllib.parse.urlencode(query)}" if query else operation, None)

    def clear_faults(self) -> None:
        self._call("DELETE", "faults", None)

    def _call(self, method: str, path: str, body: bytes | None) -> Row:
        url, token = f"{self._ready['control']}/_sim/{path}", str(self._ready["token"])
        request = urllib.request.Request(url, body, {"X-Sim-Token": token}, method=method)  # noqa: S310 - its own
        try:
            with self._opener.open(request, timeout=120) as answer:
                found: Row = json.load(answer)
                return found
        except urllib.error.HTTPError as refusal:
            raise AssertionError(f"{method} {path}: {refusal.read().decode()}") from None

    # -- the judge

    def instances(self, customer: Account, *, gone: bool = False) -> list[Row]:
        """The instances that truly exist for an account; with `gone`, those that ever did."""
        rows = self.get("ledger")["instances"] if gone else self.get("instances", account=customer.uin)["instances"]
        return [row for row in rows if row["account"] == customer.uin]

    def running(self, customer: Account) -> list[Row]:
        """Those that run and are not about to be taken back."""
        return [row for row in self.instances(customer) if row["state"] == "RUNNING" and row["reclaimAt"] is None]

    def requests(self, customer: Account, *actions: str) -> list[Row]:
        """Every request of an account to `actions` (all when none is named), in order of arrival."""
        rows = self.get("ledger")["requests"]
        return [row for row in rows if row["account"] == customer.uin and (not actions or row["action"] in actions)]

    def launches(self, customer: Account) -> list[Row]:
        return self.requests(customer, "RunInstances")

    def peak(self, tag_value: str) -> int:
        """How many instances born with this tag value lived at once, at most."""
        tags: Row = self.get("ledger/summary")["tags"]
        return max((row["peak"] for tag, row in tags.items() if tag.endswith(f"={tag_value}")), default=0)
