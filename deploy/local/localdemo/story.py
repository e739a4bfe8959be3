"""Plays the story: one environment through everything that a spot market does to it, each chapter judged by the ledger.

Apart from `stage`, on which it plays. A chapter acts as a user, the market or a person in the console would, watches
with `kubectl get -w` until the expected state is reached, and fails when that takes too long.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from localcluster.processes import Child
from localdemo.simulator import SECRET_ID, SECRET_KEY, Account
from localdemo.stage import Stage
from localdemo.surroundings import REPOSITORY
from localdemo.terminal import Terminal

SAMPLES = Path("deploy/samples")  # of the repository, where the commands run
CHAPTER_SECONDS = 120.0
POLL_SECONDS = 0.1
WATCH_GRACE_SECONDS = 0.4  # time for the watch to print the line of the state that was just reached
BID, DEAR = "0.0500", "0.0975"  # dollars per hour
Claim = Callable[["Sight"], bool]


class StoryBroken(Exception):
    """`StoryBroken` means that something did not happen in time. Its message says what was seen instead."""


@dataclass(frozen=True)
class Sight:
    """`Sight` is one look at an environment: the object from the API server, and the ledger's account of it."""

    status: dict[str, Any]
    account: Account

    def stands(self, phase: str, reason: str | None = None) -> bool:
        """True when the status has this phase, and this reason if one is given."""
        return self.status.get("phase") == phase and reason in (None, self.status.get("reason"))

    @property
    def message(self) -> str:
        """Returns the message of the Ready condition."""
        messages = [each["message"] for each in self.status.get("conditions", ()) if each["type"] == "Ready"]
        return "".join(messages)

    def __str__(self) -> str:
        phase, reason, ready = (self.status.get(key) for key in ("phase", "reason", "readyReplicas"))
        account = self.account
        return (
            f"status {phase}/{reason} with {ready} ready: {self.message or '(nothing)'};"
            f" ledger {account.running} running of {account.live} live, {account.launched} launched"
        )


@dataclass
class Environment:
    """`Environment` is one of the samples, with what the story has asked of it so far."""

    name: str
    file: Path
    spec: dict[str, Any]
    wanted: int
    most_wanted: int
    environment_id: str = ""

    @classmethod
    def of_sample(cls, name: str) -> Environment:
        """Returns the environment of a sample's file."""
        file = SAMPLES / f"{name}.yaml"
        manifest = yaml.safe_load((REPOSITORY / file).read_text())
        replicas = manifest["spec"]["replicas"]
        return cls(manifest["metadata"]["name"], file, manifest["spec"], replicas, replicas)

    def want(self, replicas: int) -> None:
        """Records that `replicas` instances are wanted from now on."""
        self.wanted, self.most_wanted = replicas, max(self.most_wanted, replicas)

    @property
    def pools(self) -> list[tuple[str, str]]:
        """Returns every zone and type in which it may buy."""
        return [(place["zone"], kind) for place in self.spec["placements"] for kind in self.spec["instanceTypes"]]


@dataclass
class Story:
    """`Story` holds all chapters.

    `tell` plays them, and raises StoryBroken at the first one that does not come true.
    """

    stage: Stage
    terminal: Terminal
    seed: Environment = field(default_factory=lambda: Environment.of_sample("seed"))
    first: Environment = field(default_factory=lambda: Environment.of_sample("first"))

    def tell(self) -> None:
        """Plays all chapters."""
        self.one_time()
        self.filled()
        self.sold_out()
        self.stock_returns()
        self.reclaimed()
        self.ended_in_console()
        self.too_dear()
        self.scaled_down()
        self.deleted()

    # --- chapters ----------------------------------------------------------------------------------------------------

    def one_time(self) -> None:
        """Plays: one instance, one attempt."""
        self.terminal.heading("One instance, one attempt")
        self.terminal.say(
            "The account's key is in a Secret in the environment's namespace. The operator may read it only there."
        )
        self.kubectl("apply", "-f", str(SAMPLES / "read-sources.yaml"))
        secret = self.seed.spec["credentialsSecretRef"]["name"]
        literals = (f"--from-literal=secretId={SECRET_ID}", f"--from-literal=secretKey={SECRET_KEY}")
        self.kubectl("create", "secret", "generic", secret, *literals)
        self.terminal.say(
            "The smallest request: requestPolicy OneTime asks once, as the plain API does. kubectl shows each change of"
            " its status."
        )
        self.kubectl("apply", "-f", str(self.seed.file))
        sight = self.watch(self.seed, "it is Ready", lambda seen: seen.stands("Ready"))
        self.check_single_purchase()
        self.terminal.proved(f"{self.holds(self.seed, sight)}; one RunInstances, exactly as asked")

    def filled(self) -> None:
        """Plays: the operator keeps a number of instances alive."""
        self.terminal.heading("Instances kept alive")
        self.terminal.say("requestPolicy Persistent is the default: from now on the operator keeps the number.")
        self.kubectl("apply", "-f", str(self.first.file))
        self.until_filled(self.first)

    def sold_out(self) -> None:
        """Plays: the stock runs out."""
        self.terminal.heading("The stock runs out while scaling up")
        for number, (zone, kind) in enumerate(self.first.pools):
            self.market("stock", zone, kind, "0" if number else "1")
        self.scale(self.first, self.first.wanted + 2)
        held = self.first.wanted - 1
        sight = self.watch(
            self.first,
            f"it holds {held} and waits for stock",
            lambda seen: seen.stands("Waiting", "InsufficientCapacity") and seen.account.running == held,
        )
        self.terminal.say("It takes what is left. For the rest it waits, says why, and says when it asks next:")
        self.show_message(self.first)
        self.terminal.proved(self.holds(self.first, sight, wanted=held))

    def stock_returns(self) -> None:
        """Plays: the stock returns."""
        self.terminal.heading("The stock returns")
        for zone, kind in self.first.pools:
            self.market("stock", zone, kind, "100")
        self.until_filled(self.first)

    def reclaimed(self) -> None:
        """Plays: the cloud takes instances back."""
        self.terminal.heading("The cloud takes two instances back")
        before = self.look(self.first).account
        self.market("interrupt", f"--name={self.first.name}-", "--count=2", "--notice-seconds=0")
        self.terminal.say(
            "They ended within ten minutes of their launch, so the operator waits before it asks their pool again."
        )
        self.until_replaced(before, cloud=2)

    def ended_in_console(self) -> None:
        """Plays: a person ends an instance in the console."""
        self.terminal.heading("A person terminates one in the console")
        before = self.look(self.first).account
        self.market("terminate", f"--name={self.first.name}-", "--count=1")
        self.until_replaced(before, console=1)

    def too_dear(self) -> None:
        """Plays: the price rises above the bid."""
        self.terminal.heading("The price rises above the bid")
        limit = json.dumps({"spec": {"market": {"maxPrice": BID}}}, separators=(",", ":"))
        self.kubectl("patch", "sce", self.first.name, "--type=merge", "-p", limit)
        for zone, kind in self.first.pools:
            self.market("price", zone, kind, DEAR)
        held = self.first.wanted
        self.scale(self.first, held + 1)
        sight = self.watch(
            self.first,
            f"it holds {held} and waits for the price, naming {DEAR} and {BID}",
            lambda seen: (
                seen.stands("Waiting", "PriceTooLow")
                and seen.account.running == held
                and DEAR in seen.message
                and BID in seen.message
            ),
        )
        self.show_message(self.first)
        self.terminal.proved(self.holds(self.first, sight, wanted=held))

    def scaled_down(self) -> None:
        """Plays: fewer instances are wanted."""
        self.terminal.heading("Fewer are enough")
        self.scale(self.first, 1)
        self.until_filled(self.first)

    def deleted(self) -> None:
        """Plays: everything is deleted."""
        self.terminal.heading("Everything is deleted")
        self.terminal.say(
            "The operator's finalizer keeps an object until the cloud confirms that its instances are gone."
        )
        self.kubectl("delete", "sce", self.seed.name, self.first.name, f"--timeout={CHAPTER_SECONDS:g}s")
        accounts = [self.stage.simulator.account(each.environment_id) for each in (self.seed, self.first)]
        self.demand(not any(each.live or each.leaving for each in accounts), f"instances are left: {accounts}")
        live = self.stage.simulator.summary()["live"]
        self.demand(live == 0, f"{live} instances live without an environment")
        self.terminal.proved("ledger: 0 instances live, and none is still ending")

    # --- parts of chapters -------------------------------------------------------------------------------------------

    def kubectl(self, *words: str) -> None:
        """Runs kubectl as a person would, and shows command and output."""
        self.terminal.command("kubectl", *words)
        self.terminal.output(self.stage.kubectl.run(*words))

    def market(self, *words: str) -> None:
        """Runs cvmsim as a person would, and shows command and output."""
        self.terminal.command("cvmsim", *words)
        self.terminal.output(self.stage.simulator.command(*words))

    def scale(self, environment: Environment, replicas: int) -> None:
        """Scales the environment, and records what it wants now."""
        self.kubectl("scale", f"sce/{environment.name}", f"--replicas={replicas}")
        environment.want(replicas)

    def until_filled(self, environment: Environment) -> None:
        """Waits until all wanted instances run."""
        wanted = environment.wanted
        sight = self.watch(
            environment,
            f"all {wanted} run",
            lambda seen: seen.stands("Ready") and seen.account.running == seen.account.live == wanted,
        )
        self.terminal.proved(self.holds(environment, sight))

    def until_replaced(self, before: Account, **ended: int) -> None:
        """Waits until as many more have ended as `ended` says, by cause, and all wanted ones run again."""
        wanted, total = self.first.wanted, sum(ended.values())
        sight = self.watch(
            self.first,
            f"{total} are replaced",
            lambda seen: (
                all(seen.account.ended.get(by, 0) - before.ended.get(by, 0) == count for by, count in ended.items())
                and seen.account.launched == before.launched + total
                and seen.account.running == seen.account.live == wanted
                and seen.stands("Ready")
            ),
        )
        self.terminal.proved(f"{self.holds(self.first, sight)}; {total} launched anew")

    def holds(self, environment: Environment, sight: Sight, wanted: int | None = None) -> str:
        """Returns the ledger's sentence. Raises StoryBroken when there was ever one instance too many."""
        live, peak = sight.account.live, sight.account.peak
        self.demand(live == (environment.wanted if wanted is None else wanted), f"{live} live: {sight}")
        self.demand(peak <= environment.most_wanted, f"{peak} lived at once, {environment.most_wanted} were wanted")
        return f"ledger: {live} live of {environment.wanted} wanted, at no time more than {peak}"

    def show_message(self, environment: Environment) -> None:
        """Shows the message of the Ready condition."""
        path = '{.status.conditions[?(@.type=="Ready")].message}'
        self.demand("nextAttemptTime" in self.look(environment).status, "no nextAttemptTime in the status")
        self.kubectl("get", "sce", environment.name, "-o", f"jsonpath={path}")

    def check_single_purchase(self) -> None:
        """Raises StoryBroken unless RunInstances was called once, exactly as the sample asks."""
        ledger, spec = self.stage.simulator.ledger(), self.seed.spec
        bought = [each["params"] for each in ledger["requests"] if each["action"] == "RunInstances"]
        asked = (
            spec["placements"][0]["zone"],
            spec["instanceTypes"][0],
            spec["template"]["imageId"],
            spec["market"]["maxPrice"],
        )
        sent = [
            (
                params["Placement"]["Zone"],
                params["InstanceType"],
                params["ImageId"],
                params["InstanceMarketOptions"]["SpotOptions"]["MaxPrice"],
            )
            for params in bought
        ]
        self.demand(sent == [asked], f"RunInstances was called with {sent}, asked was {asked}")

    def look(self, environment: Environment) -> Sight:
        """Returns the environment as it is now."""
        status = self.stage.kubectl.json("get", "sce", environment.name).get("status", {})
        environment.environment_id = status.get("environmentID", environment.environment_id)
        return Sight(status, self.stage.simulator.account(environment.environment_id))

    def watch(self, environment: Environment, what: str, claim: Claim) -> Sight:
        """Shows `kubectl get -w` until `claim` is true of the environment. Returns the sight that made it true."""
        deadline = time.monotonic() + CHAPTER_SECONDS
        with self.watching(environment) as show:
            while not claim(sight := self.look(environment)):
                self.demand(time.monotonic() < deadline, f"{CHAPTER_SECONDS:g} s passed before {what}: {sight}")
                show()
                time.sleep(POLL_SECONDS)
            time.sleep(WATCH_GRACE_SECONDS)
            show()
        return sight

    @contextlib.contextmanager
    def watching(self, environment: Environment) -> Iterator[Callable[[], None]]:
        """Runs `kubectl get -w`. A call of the function that it yields shows the lines since the last call."""
        words = ("get", "sce", environment.name, "--watch")
        self.terminal.command("kubectl", *words)
        log = self.stage.cluster.directory / f"watch-{time.monotonic_ns()}.log"
        with Child.start("kubectl", self.stage.kubectl.command(*words), log=log), log.open() as lines:
            begun = ""  # a line that is not complete yet

            def show() -> None:
                nonlocal begun
                *complete, begun = (begun + lines.read()).split("\n")
                for line in complete:
                    self.terminal.output(line)

            yield show

    def demand(self, is_so: bool, otherwise: str) -> None:
        """Raises StoryBroken with `otherwise` unless `is_so`."""
        if not is_so:
            raise StoryBroken(otherwise)
