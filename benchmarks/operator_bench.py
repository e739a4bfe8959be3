"""What a fleet costs the operator: 200 environments of 5 instances on a real API server and the simulated cloud.

Prints the time until all are Ready, the calls it took, and what the steady state costs: CPU, memory, listings, writes.
The settings are the operator's defaults. Run it as `make bench` does:
`PYTHONPATH=operator:deploy/local:tests python benchmarks/operator_bench.py [environments] [seconds]`.

With `objects [instances] [seconds]` it tells instead what objects of kind SpotInstance cost: environments of up to
2,000 instances are filled without such objects and then, in another cluster, with them.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "deploy" / "local"), str(ROOT / "tests")]

from e2e.simulator import Account, Simulator, world  # noqa: E402 - after the paths
from e2e.stage import manifest  # noqa: E402 - after the paths
from localcluster.controlplane import ControlPlane  # noqa: E402 - after the paths
from localcluster.processes import Child  # noqa: E402 - after the paths

ENVIRONMENTS, INSTANCES_EACH, STEADY_SECONDS = 200, 5, 120.0
PATIENCE_SECONDS, LAST_WORDS_SECONDS = 600.0, 20.0
#: Instances with objects, and how many of them one environment may have.
INSTANCES_SHOWN, EACH_MAX = 10_000, 2000
WRITES = {"create", "update", "patch", "delete"}
CPU_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

#: Every request made under a ServiceAccount; of all programs here only the operator has one.
AUDIT_POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, userGroups: ["system:serviceaccounts"]}
  - {level: None}
"""
RIGHTS = ROOT / "deploy" / "overlays" / "all-namespaces-secrets"


@contextmanager
def fleet(
    environments: int, replicas: int = INSTANCES_EACH, **settings: str
) -> Iterator[tuple[ControlPlane, Simulator, Account, Child]]:
    """Control plane, cloud and operator with these settings, with the environments' manifests not yet applied."""
    big = world(1)
    for offered in big["offerings"].values():
        for offering in offered.values():
            offering["stock"] = 20 * environments * replicas
    big["accounts"][0]["balance"] = "1000000"
    for network in big["accounts"][0]["networks"].values():
        for subnet in network["subnets"].values():
            subnet["cidr"] = "10.0.0.0/15"
    with tempfile.TemporaryDirectory() as folder, ControlPlane(crds=ROOT / "crds", audit_policy=AUDIT_POLICY) as plane:
        cloud = Simulator.start(Path(folder), world=big, switches={"pending-seconds": "3"})
        customer = cloud.new_account()
        operator = start_operator(plane, cloud, Path(folder), settings)
        give_secret(plane, customer)
        try:
            yield plane, cloud, customer, operator
        finally:
            operator.kill9()
            cloud.stop()


def start_operator(plane: ControlPlane, cloud: Simulator, folder: Path, settings: Mapping[str, str]) -> Child:
    """Under its own ServiceAccount; nothing set but where the cloud is, and `settings`."""
    plane.kubectl.run("apply", "-k", str(RIGHTS))
    plane.kubectl.run("delete", "deployment", "--all", "-n", "spotcompute-system")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SPOTCOMPUTE_")},
        "PYTHONPATH": "operator",
        "KUBECONFIG": str(plane.service_account_kubeconfig("spotcompute-system", "spotcompute-operator")),
        "SPOTCOMPUTE_ENDPOINT": cloud.endpoint,
        "SPOTCOMPUTE_PROTOCOL": "http",
        "SPOTCOMPUTE_HEALTH_PORT": "0",
        "SPOTCOMPUTE_METRICS_PORT": "0",
        **{f"SPOTCOMPUTE_{name}": value for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "spotcompute", "run"]
    return Child.start("operator", command, log=folder / "operator.log", env=environment, cwd=ROOT)


def give_secret(plane: ControlPlane, customer: Account) -> None:
    data = {"secretId": customer.secret_id, "secretKey": customer.secret_key}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tencent"}, "stringData": data}
    plane.kubectl.apply(json.dumps(secret))


def ready_environments(plane: ControlPlane) -> int:
    """Asked as a table of those alone: to read the status of 10,000 instances twice a second is work for a core."""
    return plane.kubectl.run("get", "sce", "--no-headers", "--field-selector=status.phase=Ready").count("\n")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CPU_TICKS_PER_SECOND


def memory_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no VmRSS of process {pid}")


def calls(cloud: Simulator) -> Counter[str]:
    """Requests so far by action."""
    found: Counter[str] = Counter()
    for row, count in cloud.get("ledger/summary")["calls"].items():
        found[row.partition(" ")[0]] += count
    return found


def writes(plane: ControlPlane) -> int:
    return sum(row["verb"] in WRITES for row in plane.audit_events())


def fill(plane: ControlPlane, environments: int, replicas: int = INSTANCES_EACH, **spec: Any) -> float:
    """Apply all at once and return the seconds until the last is Ready."""
    manifests = [
        manifest(f"web-{number}", "ap-guangzhou-3", replicas=replicas, **spec) for number in range(environments)
    ]
    started = time.monotonic()
    plane.kubectl.run("create", "-f", "-", stdin="\n---\n".join(map(json.dumps, manifests)), timeout=PATIENCE_SECONDS)
    while (ready := ready_environments(plane)) < environments:
        if time.monotonic() - started > PATIENCE_SECONDS:
            raise SystemExit(f"only {ready} of {environments} environments are Ready after {PATIENCE_SECONDS:g} s")
        time.sleep(0.2)
    return time.monotonic() - started


def measure(environments: int, steady_seconds: float) -> dict[str, Any]:
    """The figures by their names, in the order they are printed."""
    with fleet(environments) as (plane, cloud, customer, operator):
        seconds = fill(plane, environments)
        busy_cpu, filled, filling_writes = cpu_seconds(operator.pid), calls(cloud), writes(plane)
        time.sleep(LAST_WORDS_SECONDS)  # about having become ready
        before = calls(cloud), writes(plane), cpu_seconds(operator.pid)
        time.sleep(steady_seconds)
        after = calls(cloud), writes(plane), cpu_seconds(operator.pid)
        minutes = steady_seconds / 60
        wanted, exist = environments * INSTANCES_EACH, len(cloud.instances(customer))
        if exist != wanted:
            raise SystemExit(f"{exist} instances exist, {wanted} are wanted")
        return {
            "environments × instances": f"{environments} × {INSTANCES_EACH}",
            "until all are Ready": f"{seconds:.1f} s",
            "RunInstances calls": filled["RunInstances"],
            "DescribeInstances calls until then": filled["DescribeInstances"],
            "writes per object until then": f"{filling_writes / environments:.1f}",
            "CPU until then": f"{busy_cpu:.1f} s",
            "steady: CPU of one core": f"{100 * (after[2] - before[2]) / steady_seconds:.1f} %",
            "steady: resident memory": f"{memory_mib(operator.pid):.0f} MiB",
            "steady: DescribeInstances per minute": f"{(after[0] - before[0])['DescribeInstances'] / minutes:.1f}",
            "steady: all calls per minute": f"{(after[0] - before[0]).total() / minutes:.1f}",
            "steady: writes per object": f"{(after[1] - before[1]) / environments:.2f}",
        }


def shown_instances(plane: ControlPlane) -> int:
    """How many instances have an object that says that they run."""
    return plane.kubectl.run("get", "si", "-o", "jsonpath={.items[*].status.ready}", timeout=60).split().count("true")


def object_writes(plane: ControlPlane) -> int:
    rows = (row for row in plane.audit_events() if row["verb"] in WRITES)
    return sum((row.get("objectRef") or {}).get("resource") == "spotinstances" for row in rows)


def measure_objects(instances: int, steady_seconds: float) -> dict[str, Any]:
    """What the objects of so many instances cost, beside the same fill without them."""
    each = min(instances, EACH_MAX)
    environments = instances // each
    with fleet(environments, each) as (plane, _, _, operator):
        without = fill(plane, environments, each, instanceObjects=False)
        memory_without, cpu_without = memory_mib(operator.pid), cpu_seconds(operator.pid)
    with fleet(environments, each) as (plane, _, _, operator):
        began = time.monotonic()
        filled = fill(plane, environments, each)
        cpu_filled, at_fill = cpu_seconds(operator.pid), shown_instances(plane)
        while (shown := shown_instances(plane)) < environments * each:
            if time.monotonic() - began - filled > PATIENCE_SECONDS:
                raise SystemExit(f"only {shown} of {environments * each} instances have an object")
            time.sleep(2)
        complete, cpu_complete = time.monotonic() - began - filled, cpu_seconds(operator.pid)
        time.sleep(LAST_WORDS_SECONDS)
        before = object_writes(plane), writes(plane), cpu_seconds(operator.pid)
        time.sleep(steady_seconds)
        after = object_writes(plane), writes(plane), cpu_seconds(operator.pid)
        return {
            "environments × instances": f"{environments} × {each}",
            "until all are Ready, without objects": f"{without:.1f} s",
            "until all are Ready, with objects": f"{filled:.1f} s ({100 * (filled / without - 1):+.1f} %)",
            "objects at that time": at_fill,
            "until all objects are complete, from then": f"{complete:.1f} s",
            "writes to objects, for each": f"{after[0] / (environments * each):.2f}",
            "CPU until all are Ready": f"{cpu_without:.1f} s without, {cpu_filled:.1f} s with objects",
            "CPU for the objects after that": f"{cpu_complete - cpu_filled:.1f} s",
            "resident memory": f"{memory_without:.0f} MiB without, {memory_mib(operator.pid):.0f} MiB with objects",
            "steady: writes to objects": after[0] - before[0],
            "steady: all writes": after[1] - before[1],
            "steady: CPU of one core": f"{100 * (after[2] - before[2]) / steady_seconds:.1f} %",
        }


def main() -> None:
    if sys.argv[1:2] == ["objects"]:
        instances = int(sys.argv[2]) if len(sys.argv) > 2 else INSTANCES_SHOWN
        show(measure_objects(instances, float(sys.argv[3]) if len(sys.argv) > 3 else STEADY_SECONDS))
        return
    environments = int(sys.argv[1]) if len(sys.argv) > 1 else ENVIRONMENTS
    steady_seconds = float(sys.argv[2]) if len(sys.argv) > 2 else STEADY_SECONDS
    show(measure(environments, steady_seconds))


def show(figures: dict[str, Any]) -> None:
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value}")


if __name__ == "__main__":
    main()
