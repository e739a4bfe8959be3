"""Three figures of the simulator: latency of a signed call, memory with 20,000 instances, time to start.

Prints each with its bound and exits non-zero when one is missed. Most of the latency is the SDK's own work, so the same
calls are made to a server that answers without reading: on a slow machine that alone may take the bound. Run it as
`make bench` does:
`PYTHONPATH=operator python benchmarks/cvmsim_bench.py`.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.cvm.v20170312 import cvm_client, models

from cvmsim.catalog import DEFAULT_WORLD

CALLS, PART = 400, 50
INSTANCES = 20_000
LATENCY_MAX_MS, MEMORY_MAX_MIB, START_MAX_SECONDS = 1.0, 120.0, 0.5
TAG = [{"ResourceType": "instance", "Tags": [{"Key": "bench", "Value": "all"}]}]
ORDER = {
    "InstanceChargeType": "SPOTPAID",
    "Placement": {"Zone": "ap-guangzhou-3"},
    "InstanceType": "S2.MEDIUM4",
    "ImageId": "img-pmqg1cw7",
    "InstanceCount": 100,
    "InstanceName": "bench",
    "TagSpecification": TAG,
}


def big_world() -> dict[str, Any]:
    """The shipped world with room for everything and no rate limits."""
    world: dict[str, Any] = yaml.safe_load(DEFAULT_WORLD.read_text(encoding="utf-8"))
    world["offerings"]["ap-guangzhou-3"]["S2.MEDIUM4"]["stock"] = 10 * INSTANCES
    world["limits"] = {}
    account = world["accounts"][0]
    account |= {"spotQuota": 10 * INSTANCES, "balance": "1000000"}
    account["networks"]["vpc-gz000001"]["subnets"] = {
        "subnet-gz000003": {"zone": "ap-guangzhou-3", "cidr": "10.0.0.0/15"}
    }
    return world


@contextmanager
def simulator(world: dict[str, Any]) -> Iterator[tuple[Any, int, float]]:
    """A served world: (SDK client, process id, seconds from exec to serving)."""
    with tempfile.TemporaryDirectory() as folder:
        path, ready = Path(folder) / "world.yaml", Path(folder) / "ready.json"
        path.write_text(yaml.safe_dump(world), encoding="utf-8")
        words = ["serve", "--seed", "1", "--world", str(path), "--ready-file", str(ready)]
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "cvmsim", *words], stdout=subprocess.DEVNULL)
        try:
            while not ready.exists():
                assert process.poll() is None, "cvmsim did not start"
                time.sleep(0.005)
            seconds = time.perf_counter() - began
            yield client_of(json.loads(ready.read_text(encoding="utf-8"))["api"]), process.pid, seconds
        finally:
            process.terminate()
            process.wait(10)


#: A server that gives one fixed answer to everything: what a call takes then is the SDK's share, and the kernel's.
MUTE = """
import asyncio
body = b'{"Response":{"TotalCount":0,"InstanceSet":[],"RequestId":"0"}}'
head = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n"
class Mute(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write(head % len(body) + body)
async def serve():
    server = await asyncio.get_running_loop().create_server(Mute, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()
asyncio.run(serve())
"""


@contextmanager
def mute_server() -> Iterator[Any]:
    """An SDK client of the server MUTE."""
    process = subprocess.Popen([sys.executable, "-c", MUTE], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield client_of(f"127.0.0.1:{process.stdout.readline().strip()}")
    finally:
        process.terminate()
        process.wait(10)


def client_of(endpoint: str) -> Any:
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=endpoint), language="en-US")
    credential = Credential("AKIDsimulatedsecretid0000000000000001", "simulatedSecretKey000000000000001")
    return cvm_client.CvmClient(credential, "ap-guangzhou", profile)


def listing(value: str) -> Any:
    request = models.DescribeInstancesRequest()
    request.from_json_string(json.dumps({"Filters": [{"Name": "tag:bench", "Values": [value]}], "Limit": 100}))
    return request


def median_ms(client: Any, request: Any, calls: int) -> float:
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        client.DescribeInstances(request)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def fill(client: Any) -> None:
    request = models.RunInstancesRequest()
    request.from_json_string(json.dumps(ORDER))
    for _ in range(INSTANCES // 100):
        client.RunInstances(request)
    assert client.DescribeInstances(listing("all")).TotalCount == INSTANCES


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def report(what: str, found: float, bound: float, unit: str) -> bool:
    is_met = found <= bound
    print(f"{what:<58} {found:9.2f} {unit:<4} (at most {bound:g})  {'ok' if is_met else 'MISSED'}")
    return is_met


def main() -> int:
    starts = []
    for _ in range(3):
        with simulator(big_world()) as (client, _, seconds):
            starts.append(seconds)
    with simulator(big_world()) as (client, pid, _), mute_server() as other:
        pairs = [(median_ms(client, listing("none"), PART), median_ms(other, listing("none"), PART))
                 for _ in range(CALLS // PART)]  # fmt: skip
        empty, alone = map(statistics.median, zip(*pairs, strict=True))
        fill(client)
        memory = resident_mib(pid)
        full = median_ms(client, listing("all"), 20)
    met = [
        report("signed DescribeInstances, empty page, official SDK, median", empty, LATENCY_MAX_MS, "ms"),
        report(f"resident memory with {INSTANCES:,} instances", memory, MEMORY_MAX_MIB, "MiB"),
        report("start to serving, median of 3", statistics.median(starts), START_MAX_SECONDS, "s"),
    ]
    print(f"for information: {alone:.2f} ms of a call are the SDK's, which a server that only answers takes too")
    print(f"for information: a page of 100 of {INSTANCES:,} takes the SDK {full:.1f} ms")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
