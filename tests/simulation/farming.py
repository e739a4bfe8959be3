"""Histories with nodes, notices and pods, and with lies about all three: who works goes last, and no node is mistaken.

Apart from `history`, in which machines are no nodes. One environment is scaled, reclaimed from and lied to, while its
machines join the cluster and run pods; then everything is healed, and each living machine must have its node.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from cvmsim.instance import Instance
from simulation.cloudworld import EPOCH
from simulation.kubeworld import Object
from simulation.nodeworld import Judge, Machines, NodeLine, NodeServer, certificate_request, node, with_notice
from simulation.virtual import run_virtual
from simulation.world import IMAGES, NAMES_OF_ENVIRONMENTS, SECRET, TYPES, ZONES, Outcome, Replica, World
from spotcompute.api.ledger import UnreadableLedger, decode
from spotcompute.model.ledger import Cause, Ledger, Member
from spotcompute.plan.capacity import occupies
from spotcompute.plan.nodes import INSTANCE_LABEL, STARTUP_TAINT
from spotcompute.plan.notices import NOTICE_TAG, is_doomed
from spotcompute.reconcile import node_keeper
from spotcompute.reconcile.node_keeper import NodeKeeper
from spotcompute.reconcile.node_states import NodeStates

NAME = NAMES_OF_ENVIRONMENTS[0]

#: Notice comes so long before the end.
NOTICE_SECONDS = 120.0

#: What has been the case for so long, with nothing in the way, the operator knows: sweeps, watches and its own looks.
KNOWN_SECONDS = 40.0

#: Time between two looks of the operator at its nodes, here: twenty times as many plays in the same time.
LOOK_SECONDS = 2.0


class FarmReplica(Replica):
    """An operator process that keeps nodes, too."""

    def start(self) -> None:
        """Begin as a fresh process."""
        super().start()
        world = self._world
        assert isinstance(world, FarmWorld)
        states = self.reconciler.nodes = NodeStates(self.queue.add)
        line = NodeLine(world.server, world.kube_trouble, random.Random(f"{world.seed}/line/{world.births}"))
        keeper = NodeKeeper(self.reconciler._cluster, line, self.accounts, states, self.reconciler._policy, self.clock)
        self._tasks.append(asyncio.ensure_future(keeper.run()))


class FarmWorld(World):
    """A world whose machines join the cluster."""

    def __init__(self, seed: str, switches: dict[str, object], sweep_seconds: float, judge: Judge) -> None:
        """`judge` hears of every deed about nodes and pods."""
        super().__init__(seed, [NAME], switches, sweep_seconds)
        self.server = NodeServer(judge)
        #: Machines whose end was announced so that the operator may believe it, truly or not.
        self.announced: set[str] = set()

    def start_replicas(self, count: int) -> None:
        """Start operator processes that keep nodes."""
        for number in range(count):
            replica = FarmReplica(self, number)
            self.replicas.append(replica)
            replica.start()

    def crash(self, number: int, down_seconds: float) -> None:
        """kill -9 one process; another takes its place after a while."""
        replica = self.replicas[number]
        if replica.alive:
            self.note(f"r{number} is killed")
            replica.crash()
            self.replicas[number] = FarmReplica(self, number)
            asyncio.get_running_loop().call_later(down_seconds, self.restart, self.replicas[number])

    def _allowed(self, environment_id: str, window: float) -> int | None:
        """What was wanted lately, and one more for each machine under notice that has lived until lately."""
        wanted, now = super()._allowed(environment_id, window), self.cloud.now
        machines = self.cloud.simulator.world.instances
        doubled = [machines[key] for key in self.announced if key in machines]
        lately = [one for one in doubled if one.is_live or now - one.changes[-1].time <= window]
        return None if wanted is None else wanted + len(lately)


class Farm(Judge):
    """What happens to one environment with nodes, drawn from one seed, and the judge of what the operator does."""

    def __init__(self, seed: int) -> None:
        """Draws everything from the seed."""
        self._rng = random.Random(f"{seed}/farm")
        pick = self._rng.choice
        switches: dict[str, object] = {
            "pending-seconds": pick(["0", "3", "30"]),
            "terminating-seconds": pick(["0", "5", "120"]),
            "tag-lag": pick(["0", "5"]),
            "list-lag": pick(["0", "0", "30"]),
            "reclaim-visible": pick(["terminating", "shutdown", "absent"]),
            "stop-seconds": pick(["0", "2"]),
        }
        self.world = FarmWorld(f"farm {seed}", switches, pick([5.0, 15.0]), self)
        self.server = self.world.server
        self.machines = Machines(self.server, random.Random(f"{seed}/machines"), pick([5.0, 30.0, 60.0]))
        self.foreign: dict[str, Object] = {}
        self.is_over, self.troubled_until = False, 0.0
        #: When the ledger first said of a machine that it is to go, because there are too many.
        self.chosen_at: dict[str, float] = {}
        self._judge_records = self.world.api.on_status
        self.world.api.on_status = self._note_choices
        self.world.cloud.on_termination = self._judge_release

    async def play(self) -> Outcome:
        """Let things happen, heal, and judge the end."""
        self._create()
        self.world.start_replicas(1)  # of several processes only the one that holds the Lease acts
        living = asyncio.ensure_future(self._live())
        until, tempo = self._rng.choice([900.0, 1800.0, 3600.0]), self._rng.choice([10.0, 30.0, 90.0])
        while self._now < until:
            await asyncio.sleep(self._rng.expovariate(1 / tempo))
            if self._rng.random() < 0.15:
                await self._let_some_go_in_peace()
            self._disturb()
            self.world.check_alive()
        self.is_over = True
        self.world.heal()
        self._clear_notices()
        await self.world.converge()
        await asyncio.sleep(300.0)
        await self.world.converge()
        self._judge_the_end()
        living.cancel()
        return self.world.outcome(str(self.world.seed))

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _live(self) -> None:
        """The machines' inside, second by second."""
        while True:
            await asyncio.sleep(1.0)
            self.world.cloud.advance()
            self.machines.step(self._now, self._running())

    def _running(self) -> list[Instance]:
        return [one for one in self.world.cloud.living() if one.state == "RUNNING"]

    def _create(self) -> None:
        replicas = self._rng.randint(1, 6)
        self.world.want(NAME, replicas)
        spec: dict[str, Any] = {
            "region": "ap-guangzhou",
            "replicas": replicas,
            "placements": [{"zone": zone} for zone in ZONES[: self._rng.randint(1, 2)]],
            "instanceTypes": list(TYPES[: self._rng.randint(1, 2)]),
            "template": {"imageId": IMAGES[0]},
            "nodes": {"drain": {"timeoutSeconds": self._rng.choice([60, 300])}},
            "credentialsSecretRef": {"name": SECRET},
        }
        self.machines.work = self._rng.randint(0, 2 * replicas)
        self.world.api.create("default", NAME, spec)

    # --- what happens ------------------------------------------------------------------------------------------------

    def _disturb(self) -> None:
        deeds = [
            self._scale, self._scale, self._scale, self._change_work, self._change_work, self._reclaim,
            self._reclaim_with_notice, self._reclaim_with_notice, self._false_notice, self._nonsense, self._impostor,
            self._relabel, self._forget_node, self._steal_token, self._end_by_hand, self._crash, self._api_away,
            self._cloud_away, self._lie_about_pods, self._lie_in_lists,
        ]  # fmt: skip
        deed = self._rng.choice(deeds)
        self.world.note(deed.__name__)
        deed()

    async def _let_some_go_in_peace(self) -> None:
        """Some are too many, while nothing else has happened for so long that the operator knows who works."""
        self.machines.work = self._rng.randint(1, 4)
        await asyncio.sleep(self._rng.choice([120.0, 300.0]))
        running = len(self._running())
        if running > 1:
            self._scale(self._rng.randint(1, running - 1))
            await asyncio.sleep(30.0)

    def _one(self) -> Instance | None:
        running = self._running()
        return self._rng.choice(running) if running else None

    def _scale(self, replicas: int | None = None) -> None:
        replicas = self._rng.randint(0, 7) if replicas is None else replicas
        self.world.want(NAME, replicas)
        self.world.api.change_spec("default", NAME, lambda spec: spec.update(replicas=replicas))

    def _change_work(self) -> None:
        self.machines.work = self._rng.randint(0, 10)

    def _reclaim(self) -> None:
        """The cloud takes some back, without a word in advance."""
        some = [one for one in [self._one()] if one is not None]
        self.world.cloud.simulator.world.reclaim(some, 0.0)

    def _reclaim_with_notice(self) -> None:
        one = self._one()
        if one is not None:
            self._announce(one, self._moment(NOTICE_SECONDS))
            self.world.cloud.simulator.world.reclaim([one], NOTICE_SECONDS)

    def _false_notice(self) -> None:
        """A stolen machine says that it will be taken back, and is not."""
        one = self._one()
        if one is not None:
            self._announce(one, self._moment(self._rng.choice([5.0, 120.0])))

    def _nonsense(self) -> None:
        """Times that no notice has, and text that is none."""
        one = self._one()
        if one is not None:
            self._tell(one, self._rng.choice([self._moment(1e6), self._moment(-1e6), "soon", "9" * 500, "\x00"]))

    def _announce(self, one: Instance, text: str) -> None:
        self.world.announced.add(one.id)
        self._tell(one, text)

    def _tell(self, one: Instance, text: str) -> None:
        """By the node, if there is one, or by the machine's own tag."""
        obj = self.machines.node_of(one.id)
        if obj is not None and self._rng.random() < 0.7:
            self.server.nodes.put(with_notice(obj, text))
        else:
            self.world.cloud.simulator.world.retag(one, {**one.tags, NOTICE_TAG: text})

    def _moment(self, seconds: float) -> str:
        at = datetime.fromtimestamp(EPOCH + self._now, UTC) + timedelta(seconds=seconds)
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _impostor(self) -> None:
        """Somebody else's node names one of our machines as its own."""
        one, uid = self._one(), self.machines.uid()
        key = one.id if one is not None else "ins-00000000"
        labels = {"spotcompute.dev/environment": NAME, "topology.kubernetes.io/zone": ZONES[0]}
        self.foreign[uid] = self.server.nodes.put(node(uid, f"other-{uid}", f"qcloud:///{ZONES[0]}/{key}", **labels))
        metadata = {"namespace": "work", "name": f"pod-{uid}", "uid": f"pod-{uid}"}
        spec = {"nodeName": f"other-{uid}"}
        self.server.pods.put({"metadata": metadata, "spec": spec, "status": {"phase": "Running"}})

    def _relabel(self) -> None:
        """A stolen machine changes what a node may change of itself."""
        one = self._one()
        obj = self.machines.node_of(one.id) if one is not None else None
        if obj is not None:
            labels = {**obj["metadata"]["labels"], "node.kubernetes.io/instance-type": "X1.HUGE"}
            self.server.nodes.put({**obj, "metadata": {**obj["metadata"], "labels": labels}})

    def _forget_node(self) -> None:
        """A person deletes the node of a machine that works; its kubelet registers it anew."""
        one = self._one()
        obj = self.machines.node_of(one.id) if one is not None else None
        if obj is not None:
            self.server.nodes.remove(obj["metadata"]["uid"])

    def _steal_token(self) -> None:
        """Whoever has the token asks for the names of machines that exist, or do not."""
        taken = [obj["metadata"]["name"] for obj in self.server.nodes.objects.values()]
        for name in ("ins-stolen00", "master-1", *taken[:2]):
            uid, organization = self.machines.uid(), self._rng.choice(["system:nodes", "system:masters"])
            self.server.requests.put(certificate_request(uid, name, "system:bootstrap:abcdef", organization))

    def _end_by_hand(self) -> None:
        one = self._one()
        if one is not None and self._rng.random() < 0.5:
            self.world.cloud.simulator.world.stop(one, "console", None)
        elif one is not None:
            self.world.cloud.simulator.world.terminate(one, "console", None)

    def _lie_about_pods(self) -> None:
        """A stolen machine says that its pods have ended, or that pods of its own are work."""
        one = self._one()
        pods = self.machines.pods_of(one.id) if one is not None else []
        for pod in pods[:1]:
            self.server.pods.put({**pod, "status": {"phase": self._rng.choice(["Failed", "Succeeded"])}})

    def _crash(self) -> None:
        self._trouble(down := self._rng.choice([0.1, 5.0, 60.0]))
        self.world.crash(0, down)

    def _api_away(self) -> None:
        self._trouble(seconds := self._rng.choice([2.0, 30.0, 200.0]))
        kind = self._rng.choice(["outage_until", "outage_until", "forbidden_until"])
        setattr(self.world.kube_trouble, kind, self._now + seconds)

    def _cloud_away(self) -> None:
        self._trouble(seconds := self._rng.choice([2.0, 30.0, 200.0]))
        self.world.cloud_trouble.outage_until = self._now + seconds

    def _lie_in_lists(self) -> None:
        """For a minute lists of the cloud are empty or hold half of it now and then, and the line loses answers."""
        trouble = self.world.cloud_trouble
        self._trouble(60.0)
        trouble.empty_list, trouble.partial_list, trouble.lose_after = 0.3, 0.3, 0.1
        asyncio.get_running_loop().call_later(60.0, self._tell_the_truth)

    def _tell_the_truth(self) -> None:
        trouble = self.world.cloud_trouble
        trouble.empty_list = trouble.partial_list = trouble.lose_after = 0.0

    def _trouble(self, seconds: float) -> None:
        """Until then, and a while longer, the operator cannot know what is the case."""
        self.troubled_until = max(self.troubled_until, self._now + seconds + KNOWN_SECONDS)

    def _clear_notices(self) -> None:
        """Machines that are not taken back say so in the end. What was believed once stays so."""
        for one in self._running():
            if one.reclaim_at is None:
                obj = self.machines.node_of(one.id)
                if obj is not None:
                    self.server.nodes.put(with_notice(obj, None))

    # --- what is judged ----------------------------------------------------------------------------------------------

    def _complain(self, text: str) -> None:
        self.world.cloud.violations.append(f"{text}, second {self._now:.0f}")

    def _living(self, instance_id: str) -> bool:
        one = self.world.cloud.simulator.world.instances.get(instance_id)
        return one is not None and one.is_live

    def _of(self, obj: Object) -> str | None:
        """The machine that has registered a node. None for somebody else's."""
        return self.machines.machine_of.get(obj["metadata"]["uid"])

    def patching(self, node: Object) -> None:
        """A node is changed: it must be ours."""
        if self._of(node) is None:
            self._complain(f"O16 foreign: node {node['metadata']['name']} is changed")

    def deleting(self, node: Object) -> None:
        """A node is deleted: it must be ours, and its machine gone."""
        machine = self._of(node)
        if machine is None:
            self._complain(f"O16 foreign: node {node['metadata']['name']} is deleted")
        elif self._living(machine):
            self._complain(f"O15 living: the node of {machine} is deleted, which lives")

    def failing(self, pod: Object) -> None:
        """A pod is failed: its machine must be gone, and ours."""
        name = pod["spec"]["nodeName"]
        if name not in self.machines.guests:
            self._complain(f"O16 foreign: a pod on {name} is failed")
        elif self._living(name):
            self._complain(f"O15 living: a pod on {name} is failed, which lives")

    def evicting(self, pod: Object) -> None:
        """A pod is asked to leave: its machine must be ours, and announced to end or released."""
        name, marks = pod["spec"]["nodeName"], pod["metadata"].get("annotations") or {}
        member = self._ledger().members.get(name)
        if name not in self.machines.guests:
            self._complain(f"O16 foreign: a pod on {name} is evicted")
        elif name not in self.world.announced and self._living(name) and (member is None or member.termination is None):
            self._complain(f"O17 work: a pod on {name} is evicted, which stays")
        if "cluster-autoscaler.kubernetes.io/safe-to-evict" in marks:
            self._complain(f"O17 work: {pod['metadata']['name']} is evicted, and must not be disturbed")

    def approving(self, request: Object) -> None:
        """A certificate is approved: for the first node of a machine of ours that lives, and for nothing else."""
        uid = request["metadata"]["uid"]
        name = next((key for key, guest in self.machines.guests.items() if guest.request == uid), None)
        if name is None:
            self._complain(f"O18 token: {request['metadata']['name']} is approved, which no machine has asked for")

    def _ledger(self) -> Ledger:
        status = self.world.api.objects["default", NAME].get("status") or {}
        try:
            return decode(status["ledger"])
        except (KeyError, UnreadableLedger):
            return Ledger("none yet")

    def _note_choices(self, before: Object, after: Object) -> None:
        self._judge_records(before, after)
        going = {one.id for one in self._ledger_of(after) if _is_surplus(one)}
        self.chosen_at = {key: self.chosen_at.get(key, self._now) for key in going}

    @staticmethod
    def _ledger_of(obj: Object) -> list[Member]:
        raw = (obj.get("status") or {}).get("ledger")
        return list(decode(raw).members.values()) if raw else []

    def _judge_release(self, instances: Sequence[Instance]) -> None:
        """What goes because there are too many is not at work while another one, which stays, is idle."""
        members = self._ledger().members
        going = {one.id for one in instances} | {key for key, one in members.items() if one.termination is not None}
        for one in instances:
            member, at = members.get(one.id), self.chosen_at.get(one.id)
            if member is None or at is None or not _is_surplus(member) or self.troubled_until >= at:
                continue
            if not self.machines.was(one.id, True, at - KNOWN_SECONDS, at):
                continue
            idle = next(self._idle(at, [member for key, member in members.items() if key not in going]), None)
            if idle is not None and one.is_live:
                self._complain(f"O17 work: {one.id} is ended, which works, and {idle} stays, which does not")

    def _idle(self, at: float, staying: Sequence[Member]) -> Iterator[str]:
        """Those that ran, and had no pods, for long enough before that moment; they are not about to be taken back."""
        clock = self.world.clock()
        for member in staying:
            one = self.world.cloud.simulator.world.instances[member.id]
            began = one.billed_from - EPOCH if one.billed_from is not None else at
            if not occupies(member) or is_doomed(member, clock) or one.state != "RUNNING" or not one.is_live:
                continue
            if began < at - 2 * KNOWN_SECONDS and self.machines.was(member.id, False, at - KNOWN_SECONDS, self._now):
                yield member.id

    def _judge_the_end(self) -> None:
        """Each machine has its node, bound and open; no other node of ours is left; others' are as they were."""
        for difference in self.world.differences():
            self._complain(f"O4 not converged: {difference}")
        running = {one.id for one in self._running()}
        for uid, obj in self.server.nodes.objects.items():
            machine, name = self._of(obj), obj["metadata"]["name"]
            if machine is None and obj != self.foreign.get(uid):
                self._complain(f"O16 foreign: node {name} is not as it was")
            if machine is not None and machine not in running:
                self._complain(f"O19 left: node {name} is there, and its machine is gone")
        for uid in self.foreign.keys() - self.server.nodes.objects.keys():
            self._complain(f"O16 foreign: the node {uid} is gone")
        for key in sorted(running):
            obj = self.machines.node_of(key)
            taints = [one["key"] for one in (obj or {}).get("spec", {}).get("taints", ())]
            if obj is None or obj["metadata"]["labels"].get(INSTANCE_LABEL) != key or STARTUP_TAINT in taints:
                self._complain(f"O19 unbound: {key} runs, and has no node that is bound to it")


def _is_surplus(member: Member) -> bool:
    return member.termination is not None and member.termination.cause is Cause.SCALED_DOWN


def farm(seed: int) -> Outcome:
    """Play the farm of `seed` to its end and judge it."""

    async def play() -> Outcome:
        return await Farm(seed).play()

    with mock.patch.object(node_keeper, "LOOK_SECONDS", LOOK_SECONDS):
        return run_virtual(play())
