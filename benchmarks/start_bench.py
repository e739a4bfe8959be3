"""How soon the operator is there, and what it costs when there is nothing to do.

Installs the base on an empty control plane, starts the operator under its ServiceAccount, and prints: the time of the
apply, of the start until /readyz, until the first launch of a waiting environment, and an idle minute's CPU and memory.
Pulling the image and scheduling the pod are the cluster's, and not in it. Run it as `make bench` does:
`PYTHONPATH=operator:deploy/local:tests python benchmarks/start_bench.py [runs]`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "deploy" / "local"), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from e2e.simulator import Simulator, world  # noqa: E402 - after the paths
from e2e.stage import manifest  # noqa: E402 - after the paths
from localcluster.controlplane import ControlPlane  # noqa: E402 - after the paths
from localcluster.processes import Child, answers, free_port  # noqa: E402 - after the paths
from operator_bench import cpu_seconds, give_secret, memory_mib  # noqa: E402 - after the paths

BASE = ROOT / "deploy" / "overlays" / "all-namespaces-secrets"
CRD = ROOT / "crds" / "spotcompute.dev_spotcomputeenvironments.yaml"
IDLE_SECONDS = 60.0


def seconds_until(holds: Callable[[], object], since: float) -> float:
    while not holds():
        time.sleep(0.02)
        if time.monotonic() - since > 120:
            raise SystemExit("two minutes have passed in vain")
    return time.monotonic() - since


def is_ready(port: int) -> bool:
    try:
        return answers(f"http://127.0.0.1:{port}/readyz")
    except OSError:
        return False


def start(plane: ControlPlane, cloud: Simulator, folder: Path, port: int) -> Child:
    """Under its own ServiceAccount, with the settings of the base."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SPOTCOMPUTE_")},
        "PYTHONPATH": "operator",
        "KUBECONFIG": str(plane.service_account_kubeconfig("spotcompute-system", "spotcompute-operator")),
        "SPOTCOMPUTE_ENDPOINT": cloud.endpoint,
        "SPOTCOMPUTE_PROTOCOL": "http",
        "SPOTCOMPUTE_HEALTH_PORT": str(port),
        "SPOTCOMPUTE_METRICS_PORT": str(free_port()),
        "SPOTCOMPUTE_LEASE": "spotcompute-operator",
        "SPOTCOMPUTE_LISTEN_HOST": "127.0.0.1",
    }
    command = [sys.executable, "-m", "spotcompute", "run"]
    return Child.start("operator", command, log=folder / "operator.log", env=environment, cwd=ROOT)


def measure(runs: int) -> dict[str, str]:
    """The figures by their names, in the order they are printed."""
    with tempfile.TemporaryDirectory() as folder, ControlPlane() as plane:
        cloud = Simulator.start(Path(folder), world=world(1))
        customer = cloud.new_account()
        began = time.monotonic()
        plane.kubectl.run("apply", "--server-side", "-k", str(BASE))
        plane.kubectl.wait_established("crd/spotcomputeenvironments.spotcompute.dev")
        applied = time.monotonic() - began
        plane.kubectl.run("delete", "deployment", "--all", "-n", "spotcompute-system")
        give_secret(plane, customer)
        ready, first = [], []
        for number in range(runs):
            plane.kubectl.apply(json.dumps(manifest(f"web-{number}", customer.zones[0], replicas=1)))
            launched, port = len(cloud.launches(customer)), free_port()
            since = time.monotonic()
            operator = start(plane, cloud, Path(folder), port)
            ready.append(seconds_until(lambda port=port: is_ready(port), since))
            first.append(seconds_until(lambda many=launched: len(cloud.launches(customer)) > many, since))
            operator.stop()
        plane.kubectl.run("delete", "sce", "--all", "--wait=false")
        operator = start(plane, cloud, Path(folder), port)
        seconds_until(lambda: not plane.kubectl.run("get", "sce", "-o", "name"), time.monotonic())
        time.sleep(10)
        before = cpu_seconds(operator.pid)
        time.sleep(IDLE_SECONDS)
        idle, memory = cpu_seconds(operator.pid) - before, memory_mib(operator.pid)
        operator.kill9()
        cloud.stop()
    return {
        "apply of the base, until the definition is served": f"{applied:.1f} s",
        f"start until /readyz, median of {runs}": f"{median(ready):.1f} s",
        f"start until the first launch is asked for, median of {runs}": f"{median(first):.1f} s",
        "apply and start together": f"{applied + median(ready):.1f} s",
        "idle: CPU of one core": f"{100 * idle / IDLE_SECONDS:.2f} %",
        "idle: resident memory": f"{memory:.0f} MiB",
        "size of the definition": f"{CRD.stat().st_size / 1024:.0f} KiB",
    }


def main() -> None:
    figures = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value}")


if __name__ == "__main__":
    main()
