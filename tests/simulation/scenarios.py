"""Scripted plays and every fault point in them: each request of the operator, in each phase, with each kind of fault.

A reference run learns the requests a scenario makes; then the scenario is played again once for each cell. After the
fault everything is healthy, so the world must converge as the reference did.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any

from cvmsim.instance import Instance
from cvmsim.switches import SITES
from simulation.faultpoint import Cell, Kind, cells_of
from simulation.kubeworld import Object
from simulation.virtual import run_virtual
from simulation.world import ACCOUNT, IMAGES, NAMES_OF_ENVIRONMENTS, SECRET, Outcome, World, obj_set
from spotcompute.kube.names import FINALIZER

NAME = NAMES_OF_ENVIRONMENTS[0]
OTHER = NAMES_OF_ENVIRONMENTS[1]
Cells = Mapping[int, Cell]


class Stage:
    """A world with one replica and one environment or more, and the hands that move a scenario."""

    def __init__(self, name: str, cells: Cells, names: Sequence[str], switches: Mapping[str, str]) -> None:
        usual = {"pending-seconds": "3", "terminating-seconds": "5", "tag-lag": "5"}
        self.world = World(name, names, {**usual, **switches})
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

    def create(self, replicas: int, zones: int = 1, types: int = 1, name: str = NAME, **spec: Any) -> None:
        """Apply an environment."""
        self.world.want(name, replicas)
        usual = {
            "region": "ap-guangzhou",
            "replicas": replicas,
            "placements": [{"zone": zone} for zone in ("ap-guangzhou-3", "ap-guangzhou-4")[:zones]],
            "instanceTypes": ["S2.MEDIUM4", "S5.MEDIUM4"][:types],
            "market": {} if self.world.policy.states_bids else {"maxPrice": "0.5"},  # there a bid is made up
            "template": {"imageId": IMAGES[0]},
            "credentialsSecretRef": {"name": SECRET},
        }
        self.world.api.create("default", name, {**usual, **spec})

    def start(self) -> None:
        """Start the operator."""
        self.world.start_replicas(1)

    async def ready(self) -> None:
        """Wait, without faults, until all is as wanted."""
        await self.until(lambda: not self.world.differences())
        await asyncio.sleep(2)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds`, five minutes at most."""
        for _ in range(300):
            await asyncio.sleep(1)
            self.world.cloud.advance()
            if holds():
                return
        raise AssertionError(f"{self.world.seed} never came so far: {self.world.differences()}")

    def arm(self) -> None:
        """From here on requests count, and the chosen ones fail."""
        self.world.fault.armed = True

    def scale(self, replicas: int, name: str = NAME) -> None:
        """kubectl scale."""
        self.world.want(name, replicas)
        self.world.api.change_spec("default", name, lambda spec: obj_set(spec, "replicas", replicas))

    def change(self, key: str, value: object) -> None:
        """Edit one field of the spec."""
        self.world.api.change_spec("default", NAME, lambda spec: obj_set(spec, key, value))

    def delete(self, name: str = NAME) -> None:
        """kubectl delete --wait=false."""
        self.world.want(name, 0)
        self.world.api.delete("default", name)

    def strangers(self, count: int, **other: Any) -> list[str]:
        """A person buys machines that an environment of one zone and type could have bought; their ids."""
        cloud = self.world.cloud
        order = {
            "Placement": {"Zone": "ap-guangzhou-3"},
            "ImageId": IMAGES[0],
            "InstanceType": "S2.MEDIUM4",
            "InstanceChargeType": "SPOTPAID",
            "InstanceName": "by-hand",
            "InstanceCount": count,
            **self.world.stated_price,
        }
        answer = cloud.simulator.handle(ACCOUNT, "RunInstances", {**order, **other}, cloud.now)
        return list(answer["InstanceIdSet"])

    def living(self) -> list[Instance]:
        """Live instances, oldest name first."""
        return sorted(self.world.cloud.living(), key=lambda instance: instance.id)

    def stock(self, zone: str, type_: str, count: int) -> None:
        """Set the stock of one pool."""
        simulated = self.world.cloud.simulator.world
        simulated.offerings[zone, type_].set_stock(count, simulated.now)

    def price(self, amount: str) -> None:
        """Set the price of every pool."""
        simulated = self.world.cloud.simulator.world
        for offering in simulated.offerings.values():
            simulated.set_price(offering, Decimal(amount))

    def restore(self, *, keep_annotations: bool) -> None:
        """The object comes back as another, from a backup or from Git: without status."""
        old = self.world.api.remove_by_force("default", NAME)
        assert old is not None
        kept = {"annotations": old["metadata"]["annotations"]} if keep_annotations else {}
        self.world.api.create("default", NAME, old["spec"], **kept)


Script = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A script, and the world it is played in."""

    script: Script
    names: tuple[str, ...]
    switches: Mapping[str, str]
    killable: bool


SCENARIOS: dict[str, Scenario] = {}

#: What follows a scenario's name when it is played on the other site of the vendor: `create-5@international`.
ABROAD = "@international"

#: Small scenarios: some of their pairs of faults are played by `make test`.
SMALLEST = ("scale-up", "scale-to-zero", "create-1", "create-5")


def scenario(environments: int = 1, *, killable: bool = True, **switches: str) -> Callable[[Script], Script]:
    """Register a script under its name; switches of the cloud are written with underscores.

    One that is not `killable` is about what only a process knows that goes on.
    """

    def register(script: Script) -> Script:
        names = NAMES_OF_ENVIRONMENTS[:environments]
        settings = {key.replace("_", "-"): value for key, value in switches.items()}
        SCENARIOS[script.__name__.replace("_", "-")] = Scenario(script, names, settings, killable)
        return script

    return register


@scenario()
async def create_1(stage: Stage) -> None:
    stage.arm()
    stage.create(1)
    stage.start()
    await asyncio.sleep(20)


@scenario()
async def create_5(stage: Stage) -> None:
    stage.arm()
    stage.create(5)
    stage.start()
    await asyncio.sleep(30)


@scenario()
async def scale_up(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.scale(5)
    await asyncio.sleep(20)


@scenario()
async def scale_down(stage: Stage) -> None:
    stage.create(3)
    stage.start()
    await stage.ready()
    await asyncio.sleep(30)
    stage.arm()
    stage.scale(1)
    await asyncio.sleep(30)


@scenario()
async def replace_reclaimed(stage: Stage) -> None:
    stage.create(3)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.world.cloud.simulator.world.reclaim(stage.living()[:2], 0.0)
    await asyncio.sleep(40)


@scenario()
async def change_template(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.change("template", {"imageId": IMAGES[1]})
    await asyncio.sleep(5)
    stage.scale(4)
    await asyncio.sleep(20)


@scenario()
async def delete(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    await asyncio.sleep(30)
    stage.arm()
    stage.delete()
    await asyncio.sleep(60)


@scenario()
async def retain(stage: Stage) -> None:
    stage.create(2, deletionPolicy="Retain")
    stage.start()
    await stage.ready()
    await asyncio.sleep(30)
    stage.arm()
    stage.delete()
    await asyncio.sleep(60)


@scenario()
async def retain_while_creating(stage: Stage) -> None:
    stage.arm()
    stage.create(3, deletionPolicy="Retain")
    stage.start()
    await asyncio.sleep(1.5)
    stage.delete()
    await asyncio.sleep(60)


@scenario()
async def take_over(stage: Stage) -> None:
    ids = stage.strangers(2)
    await asyncio.sleep(30)
    stage.arm()
    stage.create(3, adopt={"instanceIds": ids})
    stage.start()
    await asyncio.sleep(60)


@scenario()
async def take_over_by_tag(stage: Stage) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "team", "Value": "blue"}]}]
    stage.strangers(2, TagSpecification=tags)
    await asyncio.sleep(30)
    stage.arm()
    stage.create(3, adopt={"tag": {"key": "team", "value": "blue"}})
    stage.start()
    await asyncio.sleep(240)


@scenario()
async def take_over_and_delete(stage: Stage) -> None:
    ids = stage.strangers(2)
    await asyncio.sleep(30)
    stage.arm()
    stage.create(2, adopt={"instanceIds": ids}, deletionPolicy="Retain")
    stage.start()
    await asyncio.sleep(1.5)
    stage.delete()
    await asyncio.sleep(60)


@scenario()
async def delete_while_creating(stage: Stage) -> None:
    stage.arm()
    stage.create(3)
    stage.start()
    await asyncio.sleep(1.5)
    stage.delete()
    await asyncio.sleep(60)


@scenario()
async def adopt(stage: Stage) -> None:
    stage.create(3)
    stage.start()
    await stage.ready()
    await asyncio.sleep(30)
    stage.arm()
    stage.world.api.edit("default", NAME, lambda obj: obj.update(status={"observedGeneration": -1, "replicas": 0}))
    await asyncio.sleep(60)
    stage.scale(4)
    await asyncio.sleep(530)


@scenario()
async def rotate_credentials(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.world.use_key("AKIDy")
    await asyncio.sleep(40)
    stage.scale(3)
    await asyncio.sleep(20)


@scenario()
async def rotate_while_all_are_reclaimed(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    await asyncio.sleep(30)
    stage.arm()
    stage.world.use_key("AKIDy", "token-of-an-hour")
    stage.world.cloud.simulator.world.reclaim(stage.living(), 0.0)
    await asyncio.sleep(60)


@scenario()
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


@scenario()
async def zone_sold_out(stage: Stage) -> None:
    stage.stock("ap-guangzhou-3", "S2.MEDIUM4", 1)
    stage.stock("ap-guangzhou-3", "S5.MEDIUM4", 0)
    stage.arm()
    stage.create(4, zones=2, types=2)
    stage.start()
    await asyncio.sleep(40)


@scenario()
async def orphans(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.world.want(NAME, 0)
    stage.delete()
    stage.world.api.edit("default", NAME, lambda obj: obj["metadata"]["finalizers"].remove(FINALIZER))
    await asyncio.sleep(200)


@scenario()
async def release_after_outage(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.world.cloud_trouble.outage_until = asyncio.get_running_loop().time() + 60
    stage.delete()
    await asyncio.sleep(120)


@scenario()
async def scale_to_zero(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.scale(0)
    await asyncio.sleep(14)  # they are known to run before their tags show, and are not touched until then


@scenario()
async def there_and_back(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.scale(0)
    await asyncio.sleep(30)
    stage.scale(2)
    await asyncio.sleep(30)


@scenario(environments=2)
async def two_environments(stage: Stage) -> None:
    stage.arm()
    stage.create(2)
    stage.create(1, name=OTHER)
    stage.start()
    await asyncio.sleep(20)
    stage.scale(1)
    stage.delete(OTHER)
    await asyncio.sleep(40)


@scenario()
async def partly_filled(stage: Stage) -> None:
    stage.stock("ap-guangzhou-3", "S2.MEDIUM4", 2)
    stage.arm()
    stage.create(5)
    stage.start()
    await asyncio.sleep(30)
    stage.stock("ap-guangzhou-3", "S2.MEDIUM4", 100)
    await asyncio.sleep(60)


@scenario()
async def replace_elsewhere(stage: Stage) -> None:
    stage.create(3, zones=2)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.stock("ap-guangzhou-3", "S2.MEDIUM4", 0)
    stage.world.cloud.simulator.world.reclaim(stage.living()[:2], 120.0)
    await asyncio.sleep(170)


@scenario(recycle_bin="yes", recycle_bin_seconds="60")
async def recycle_bin(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    await asyncio.sleep(30)
    stage.arm()
    stage.scale(1)
    await asyncio.sleep(40)
    stage.delete()
    await asyncio.sleep(100)


@scenario()
async def protected(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    await asyncio.sleep(30)
    for instance in stage.living():
        instance.is_protected = True
    stage.arm()
    stage.delete()
    await asyncio.sleep(40)
    for instance in stage.living():
        instance.is_protected = False
    await asyncio.sleep(80)


@scenario(pending_seconds="40", terminate_pending="refused")
async def released_while_starting(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.until(lambda: len(stage.living()) == 2)
    stage.arm()
    stage.delete()
    await asyncio.sleep(120)


@scenario(environments=2)
async def namespace_deleted(stage: Stage) -> None:
    stage.create(2)
    stage.create(1, name=OTHER)
    stage.start()
    await stage.ready()
    await asyncio.sleep(30)
    stage.arm()
    stage.world.api.delete_secret("default", SECRET)
    stage.delete()
    stage.delete(OTHER)
    await asyncio.sleep(70)


@scenario()
async def restored_with_its_identity(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    await asyncio.sleep(20)
    stage.arm()
    stage.restore(keep_annotations=True)
    await asyncio.sleep(20)
    stage.scale(3)
    await asyncio.sleep(550)


@scenario()
async def restored_from_git(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    await asyncio.sleep(20)
    stage.arm()
    stage.restore(keep_annotations=False)
    await asyncio.sleep(40)


@scenario(list_lag="170", killable=False)
async def etcd_restored(stage: Stage) -> None:
    stage.create(1)
    stage.start()
    await stage.ready()
    await asyncio.sleep(100)
    stage.scale(3)
    backup = stage.world.api.snapshot()
    await asyncio.sleep(10)
    stage.arm()
    stage.world.api.restore(backup)
    await asyncio.sleep(200)


@scenario(killable=False)
async def forgotten_and_deleted(stage: Stage) -> None:
    """etcd is restored from before the launch, the process is another, and the object is to go: nobody remembers."""
    stage.create(0)
    stage.start()
    await stage.ready()
    backup = stage.world.api.snapshot()
    stage.scale(3)
    await stage.ready()
    await asyncio.sleep(40)
    stage.world.crash(0, 5.0)
    stage.world.api.restore(backup)
    stage.delete()
    stage.arm()
    await asyncio.sleep(700)


@scenario()
async def one_time(stage: Stage) -> None:
    stage.stock("ap-guangzhou-3", "S2.MEDIUM4", 0)
    stage.arm()
    stage.create(2, types=2, requestPolicy="OneTime")
    stage.start()
    await asyncio.sleep(60)


@scenario()
async def price_falls(stage: Stage) -> None:
    stage.price("0.9")
    stage.arm()
    stage.create(2)
    stage.start()
    await asyncio.sleep(15)
    stage.price("0.02")
    await asyncio.sleep(40)


@scenario()
async def key_revoked(stage: Stage) -> None:
    stage.create(1)
    stage.start()
    await stage.ready()
    stage.arm()
    stage.scale(3)
    stage.world.cloud_trouble.revoked = True
    await asyncio.sleep(25)
    stage.world.cloud_trouble.revoked = False
    await asyncio.sleep(40)


@scenario()
async def api_server_away(stage: Stage) -> None:
    stage.arm()
    stage.create(3)
    stage.start()
    await asyncio.sleep(0.3)
    stage.world.kube_trouble.outage_until = asyncio.get_running_loop().time() + 30
    await asyncio.sleep(90)


@scenario()
async def stopped_by_hand(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    await asyncio.sleep(20)
    stage.arm()
    stage.world.cloud.simulator.world.stop(stage.living()[0], "console", None)
    await asyncio.sleep(60)


@scenario(launch_failed_lifetime="60")
async def launch_fails(stage: Stage) -> None:
    stage.world.cloud.simulator.world.switches.set("launch-failure-rate", "1")
    stage.arm()
    stage.create(1)
    stage.start()
    await asyncio.sleep(12)
    stage.world.cloud.simulator.world.switches.set("launch-failure-rate", "0")
    await asyncio.sleep(40)


@scenario()
async def user_data_from_elsewhere(stage: Stage) -> None:
    stage.world.api.config_maps["default", "boot"] = {"script": "#!/bin/sh"}
    stage.arm()
    source = {"configMapKeyRef": {"name": "boot", "key": "script"}}
    stage.create(2, template={"imageId": IMAGES[0], "userDataFrom": source})
    stage.start()
    await asyncio.sleep(20)
    stage.world.api.config_maps["default", "boot"] = {"script": "#!/bin/bash"}
    stage.scale(3)
    await asyncio.sleep(20)


@scenario(environments=2)
async def orphans_of_two(stage: Stage) -> None:
    stage.create(1)
    stage.create(1, name=OTHER)
    stage.start()
    await stage.ready()
    stage.arm()
    for name in (NAME, OTHER):
        stage.delete(name)
        stage.world.api.edit("default", name, lambda obj: obj["metadata"]["finalizers"].remove(FINALIZER))
    await asyncio.sleep(150)


@scenario()
async def account_forgotten(stage: Stage) -> None:
    stage.create(1)
    stage.start()
    await stage.ready()
    stage.delete()
    await stage.until(lambda: not stage.world.api.objects)
    await asyncio.sleep(640)
    stage.arm()
    await asyncio.sleep(220)


@scenario()
async def timers(stage: Stage) -> None:
    """Timers are set at launch, renewed, taken off, and set again; one that stays unnoticed ends an instance later."""
    stage.arm()
    stage.create(2, orphanProtection={"afterSeconds": 900})
    stage.start()
    await asyncio.sleep(320)
    stage.change("orphanProtection", None)
    await asyncio.sleep(30)
    stage.change("orphanProtection", {"afterSeconds": 900})
    await asyncio.sleep(30)
    stage.change("orphanProtection", None)
    await asyncio.sleep(30)


@scenario()
async def timers_and_retain(stage: Stage) -> None:
    stage.create(1, orphanProtection={"afterSeconds": 900})
    stage.start()
    await stage.ready()
    await asyncio.sleep(20)
    stage.change("orphanProtection", None)
    stage.change("deletionPolicy", "Retain")
    stage.arm()
    stage.delete()
    await asyncio.sleep(60)


def scenario_of(name: str) -> Scenario:
    """The scenario of that name, on the site that the name says."""
    plain = name.removesuffix(ABROAD)
    found = SCENARIOS[plain]
    return found if plain == name else replace(found, switches={**SITES["international"], **found.switches})


def play(name: str, cells: Cells | None = None) -> tuple[Outcome, list[str]]:
    """Play one scenario with faults at the given requests; return its outcome and the requests it made while armed."""

    async def run() -> tuple[Outcome, list[str]]:
        played = scenario_of(name)
        stage = Stage(name, cells or {}, played.names, played.switches)
        stage.world.fault.may_kill = played.killable
        stage.world.judge_all_the_time()
        await played.script(stage)
        stage.world.fault.armed = False
        requests = list(stage.world.fault.names)
        stage.world.heal()
        await stage.world.converge()
        await stage.world.stay_quiet(1800.0)
        label = ", ".join(
            f"{at}:{requests[at] if at < len(requests) else '?'}:{' '.join(cell)}" for at, cell in (cells or {}).items()
        )
        return stage.world.outcome(f"{name} [{label}]"), requests

    outcome, requests = run_virtual(run())
    spare = outcome.launched - reference(name)[0].launched if cells else 0
    if spare > 0:
        violation = f"O10 {spare} launched more than without the fault"
        outcome = replace(outcome, violations=(*outcome.violations, violation))
    return outcome, requests


@lru_cache(maxsize=128)
def reference(name: str) -> tuple[Outcome, tuple[str, ...]]:
    """The scenario without any fault, and the requests it makes."""
    outcome, requests = play(name)
    return outcome, tuple(requests)


def single_points(name: str) -> Iterator[Cells]:
    """Every fault point of a scenario, one at a time."""
    for number, request in enumerate(reference(name)[1]):
        for cell in _cells(name, request):
            yield {number: cell}


def _cells(name: str, request: str) -> list[Cell]:
    return [cell for cell in cells_of(request) if scenario_of(name).killable or cell[1] is not Kind.CRASH]


#: These requests change what is paid for.
PAID_REQUESTS = frozenset({"cloud RunInstances", "cloud TerminateInstances", "cloud ModifyResourceTags"})
#: A scenario plays one way to fail of so many, and another scenario the next: for these requests, and for all others.
PAID_SHARED_BY, SHARED_BY = 3, 8


def one_of_each(name: str) -> Iterator[Cells]:
    """Returns a part of them: kinds of requests in ways they can fail, alternately an early and a later one.

    The ways in which a request can fail are dealt out to the scenarios that make it; `make prove` plays all of them. In
    the smallest scenarios `PAID_REQUESTS` fail in every way.
    """
    places: dict[tuple[str, Cell], list[int]] = {}
    for number, request in enumerate(reference(name)[1]):
        for cell in _cells(name, request):
            places.setdefault((request, cell), []).append(number)
    for at, ((request, cell), numbers) in enumerate(places.items()):
        sharing = _sharing(request, cell, name.removeprefix(name.removesuffix(ABROAD)))
        turn = sharing.index(name) + cells_of(request).index(cell)
        shared_by = SHARED_BY if request not in PAID_REQUESTS else 1 if name in SMALLEST else PAID_SHARED_BY
        if turn % min(shared_by, len(sharing)) == 0:
            yield {numbers[at * 7 % len(numbers)]: cell}


@cache
def _sharing(request: str, cell: Cell, site: str) -> list[str]:
    """The scenarios of that site in which a request can fail in that way."""
    names = [name + site for name in SCENARIOS]
    return [name for name in names if request in reference(name)[1] and cell in _cells(name, request)]


def coverage() -> Counter[tuple[str, Cell]]:
    """How many single points there are for each request and each way in which it fails, over all scenarios."""
    return Counter(
        (request, cell) for name in SCENARIOS for request in reference(name)[1] for cell in cells_of(request)
    )


def pairs(name: str, rng: random.Random) -> Iterator[Cells]:
    """Pairs of fault points of a scenario, drawn at random without end."""
    points = [next(iter(cells.items())) for cells in single_points(name)]
    if len({number for number, _ in points}) < 2:
        raise ValueError(f"{name} makes fewer than two requests: there are no pairs of faults in it")
    while True:
        (one, first), (two, second) = rng.sample(points, 2)
        if one != two:
            yield {one: first, two: second}
