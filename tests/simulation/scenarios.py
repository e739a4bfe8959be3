"""Scripted plays and every fault point in them: each request of the operator, in each phase, with each kind of fault.

A reference run learns the requests a scenario makes; then the scenario is played again once for each cell. After the
fault everything is healthy, so the world must converge as the reference did.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import islice

from cvmsim.instance import Instance
from simulation.faultpoint import CELLS, Kind, Phase
from simulation.kubeworld import Object
from simulation.virtual import run_virtual
from simulation.world import IMAGES, NAMES_OF_ENVIRONMENTS, SECRET, Outcome, World, obj_set
from spotcompute.kube.names import FINALIZER

NAME = NAMES_OF_ENVIRONMENTS[0]
Cells = Mapping[int, tuple[Phase, Kind]]


class Stage:
    """A world with one environment and one replica, and the hands that move a scenario."""

    def __init__(self, name: str, cells: Cells) -> None:
        self.world = World(name, [NAME], {"pending-seconds": "3", "terminating-seconds": "5", "tag-lag": "5"})
        fault = self.world.fault
        fault.cells = dict(cells)
        fault.crash = lambda: self.world.crash(0, 1.0)
        fault.interfere = self._interfere
        fault.replay_old = self._replay_old
        self._old: list[Object] = []
        self.world.api.watchers.append(lambda kind, obj: self._old.append(obj))

    def _interfere(self) -> None:
        self.world.api.edit("default", NAME, lambda obj: obj["metadata"].setdefault("labels", {}).update(touched="x"))

    def _replay_old(self) -> None:
        if len(self._old) > 1:
            self.world.replicas[0].deliver("MODIFIED", self._old[-2])

    def create(self, replicas: int, zones: int = 1, types: int = 1) -> None:
        """Apply an environment."""
        self.world.want(NAME, replicas)
        spec = {
            "region": "ap-guangzhou",
            "replicas": replicas,
            "placements": [{"zone": zone} for zone in ("ap-guangzhou-3", "ap-guangzhou-4")[:zones]],
            "instanceTypes": ["S2.MEDIUM4", "S5.MEDIUM4"][:types],
            "market": {"maxPrice": "0.5"},
            "template": {"imageId": IMAGES[0]},
            "credentialsSecretRef": {"name": SECRET},
        }
        self.world.api.create("default", NAME, spec)

    def start(self) -> None:
        """Start the operator."""
        self.world.start_replicas(1)

    async def ready(self) -> None:
        """Wait, without faults, until all is as wanted."""
        for _ in range(300):
            await asyncio.sleep(1)
            self.world.cloud.advance()
            if not self.world.differences():
                await asyncio.sleep(2)
                return
        raise AssertionError(f"{self.world.seed} never became ready: {self.world.differences()}")

    def arm(self) -> None:
        """From here on requests count, and the chosen ones fail."""
        self.world.fault.armed = True

    def scale(self, replicas: int) -> None:
        """kubectl scale."""
        self.world.want(NAME, replicas)
        self.world.api.change_spec("default", NAME, lambda spec: obj_set(spec, "replicas", replicas))

    def change(self, key: str, value: object) -> None:
        """Edit one field of the spec."""
        self.world.api.change_spec("default", NAME, lambda spec: obj_set(spec, key, value))

    def delete(self) -> None:
        """kubectl delete --wait=false."""
        self.world.want(NAME, 0)
        self.world.api.delete("default", NAME)

    def living(self) -> list[Instance]:
        """Live instances, oldest name first."""
        return sorted(self.world.cloud.living(), key=lambda instance: instance.id)

    def stock(self, zone: str, type_: str, count: int) -> None:
        """Set the stock of one pool."""
        simulated = self.world.cloud.simulator.world
        simulated.offerings[zone, type_].set_stock(count, simulated.now)


Script = Callable[[Stage], Awaitable[None]]
SCENARIOS: dict[str, Script] = {}

#: Their pairs of faults are played exhaustively by `make prove`.
SMALLEST = ("scale-up", "adopt", "create-1", "create-5")


def scenario(script: Script) -> Script:
    """Register a script under its name."""
    SCENARIOS[script.__name__.replace("_", "-")] = script
    return script


@scenario
async def create_1(stage: Stage) -> None:
    stage.arm()
    stage.create(1)
    stage.start()
    await asyncio.sleep(20)


@scenario
async def create_5(stage: Stage) -> None:
    stage.arm()
    stage.create(5)
    stage.start()
    await asyncio.sleep(30)


@scenario
async def scale_up(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.scale(5)
    await asyncio.sleep(20)


@scenario
async def scale_down(stage: Stage) -> None:
    stage.create(3)
    stage.start()
    await stage.ready()
    await asyncio.sleep(30)
    stage.arm()
    stage.scale(1)
    await asyncio.sleep(30)


@scenario
async def replace_reclaimed(stage: Stage) -> None:
    stage.create(3)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.world.cloud.simulator.world.reclaim(stage.living()[:2], 0.0)
    await asyncio.sleep(40)


@scenario
async def change_template(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.change("template", {"imageId": IMAGES[1]})
    await asyncio.sleep(5)
    stage.scale(4)
    await asyncio.sleep(20)


@scenario
async def delete(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    await asyncio.sleep(30)
    stage.arm()
    stage.delete()
    await asyncio.sleep(60)


@scenario
async def delete_while_creating(stage: Stage) -> None:
    stage.arm()
    stage.create(3)
    stage.start()
    await asyncio.sleep(1.0)
    stage.delete()
    await asyncio.sleep(60)


@scenario
async def adopt(stage: Stage) -> None:
    stage.create(3)
    stage.start()
    await stage.ready()
    await asyncio.sleep(30)
    stage.arm()
    stage.world.api.edit("default", NAME, lambda obj: obj.update(status={"observedGeneration": -1, "replicas": 0}))
    await asyncio.sleep(60)


@scenario
async def rotate_credentials(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.arm()
    data = {"secretId": b"AKIDy", "secretKey": b"another"}
    stage.world.api.secrets["default", SECRET] = {"data": data}
    await asyncio.sleep(40)
    stage.scale(3)
    await asyncio.sleep(20)


@scenario
async def pause_resume(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.change("paused", True)
    stage.world.cloud.simulator.world.reclaim(stage.living()[:1], 0.0)
    await asyncio.sleep(30)
    stage.change("paused", False)
    await asyncio.sleep(20)


@scenario
async def zone_sold_out(stage: Stage) -> None:
    stage.stock("ap-guangzhou-3", "S2.MEDIUM4", 1)
    stage.stock("ap-guangzhou-3", "S5.MEDIUM4", 0)
    stage.arm()
    stage.create(4, zones=2, types=2)
    stage.start()
    await asyncio.sleep(40)


@scenario
async def orphans(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.world.want(NAME, 0)
    stage.delete()
    stage.world.api.edit("default", NAME, lambda obj: obj["metadata"]["finalizers"].remove(FINALIZER))
    await asyncio.sleep(200)


@scenario
async def release_after_outage(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.world.cloud_trouble.outage_until = asyncio.get_running_loop().time() + 60
    stage.delete()
    await asyncio.sleep(120)


def play(name: str, cells: Cells | None = None) -> tuple[Outcome, list[str]]:
    """Play one scenario with faults at the given requests; return its outcome and the requests it made while armed."""

    async def run() -> tuple[Outcome, list[str]]:
        stage = Stage(name, cells or {})
        await SCENARIOS[name](stage)
        stage.world.fault.armed = False
        requests = list(stage.world.fault.names)
        stage.world.heal()
        await stage.world.converge()
        await stage.world.stay_quiet(1800.0)
        label = ", ".join(
            f"{at}:{requests[at] if at < len(requests) else '?'}:{' '.join(cell)}" for at, cell in (cells or {}).items()
        )
        return stage.world.outcome(f"{name} [{label}]"), requests

    return run_virtual(run())


def single_points(name: str) -> Iterator[Cells]:
    """Every fault point of a scenario, one at a time."""
    _, requests = play(name)
    for number, request in enumerate(requests):
        for cell in CELLS:
            if cell[1] in (Kind.CONFLICT, Kind.STALE) and not request.startswith("kube"):
                continue
            yield {number: cell}


def pairs(name: str, rng: random.Random, count: int | None = None) -> Iterator[Cells]:
    """Pairs of fault points of a scenario: all of them, or `count` drawn at random."""
    points = [next(iter(cells.items())) for cells in single_points(name)]

    def drawn() -> Iterator[Cells]:
        while True:
            (one, first), (two, second) = rng.sample(points, 2)
            if one != two:
                yield {one: first, two: second}

    if count is not None:
        yield from islice(drawn(), count)
        return
    for at, (one, first) in enumerate(points):
        for two, second in points[at + 1 :]:
            if one != two:
                yield {one: first, two: second}
