"""Controls a simulated world without being its customer: what a test, or a person who plays the market, does to it.

Apart from `app`, which carries these operations over HTTP. Each operation is a function of a Simulation and a JSON
body. Every mistake in the body is a WorldFileError that names the field.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from cvmsim.actions.change import check_terminable
from cvmsim.actions.order import check_tag
from cvmsim.catalog import Catalog, money
from cvmsim.clock import Clock
from cvmsim.credentials import Credited
from cvmsim.errors import WorldFileError
from cvmsim.faults import KINDS
from cvmsim.instance import GONE, PENDING, RUNNING, SPOT, STOPPED, Instance, Operation
from cvmsim.ledger import dollars
from cvmsim.market import PINNED, Offering
from cvmsim.simulator import Simulator
from cvmsim.switches import TABLE
from cvmsim.world import NOTICE_SECONDS, LaunchOutcome, World

Body = Mapping[str, Any]
Row = dict[str, Any]
CONSOLE = "console"

#: The cause of what a machine does to itself.
GUEST = "guest"


class Simulation:
    """`Simulation` is a simulator with its clock. `renew` begins the same world again."""

    def __init__(self, catalog: Catalog, clock: Clock, seed: int, switches: Mapping[str, object] | None = None) -> None:
        self.clock = clock
        self._catalog, self._switches = catalog, dict(switches or {})
        self.simulator = self._begin(seed)

    @property
    def world(self) -> World:
        """Returns the world of the current simulator."""
        return self.simulator.world

    def renew(self, seed: int) -> None:
        """Begins the same world again, from `seed`."""
        self.simulator = self._begin(seed)

    def _begin(self, seed: int) -> Simulator:
        return Simulator(self._catalog, seed=seed, now=self.clock.now(), switches=self._switches)


# --- the market -----------------------------------------------------------------------------------


def stock(sim: Simulation, body: Body) -> Row:
    """Sets how many instances are left to buy, as spot or on demand. Body: {zone, type, stock, on_demand?: bool}."""
    offering, is_spot = _offering(sim, body), not body.get("on_demand")
    offering.add(_whole(body, "stock") - offering.left(is_spot), is_spot, sim.world.now)
    return _offering_row(offering)


def price(sim: Simulation, body: Body) -> Row:
    """Sets the spot price in dollars per hour, also for running instances. Body: {zone, type, price}."""
    offering = _offering(sim, body)
    sim.world.set_price(offering, money(body.get("price"), "price"))
    return _offering_row(offering)


def quote(sim: Simulation, body: Body) -> Row:
    """Sets the stock that the market quotes, true or not.

    Category null quotes the truth again. Body: {zone, type, category}.
    """
    offering, category = _offering(sim, body), body.get("category")
    if category is not None and category not in PINNED:
        raise WorldFileError(f"category: {category!r} is not one of {', '.join(PINNED)} or null")
    offering.pinned = category
    return _offering_row(offering)


def market(sim: Simulation, body: Body) -> Row:
    """Returns every offering with its true stock and price. Body: {}."""
    return {"offerings": [_offering_row(offering) for offering in sim.world.offerings.values()]}


def quota(sim: Simulation, body: Body) -> Row:
    """Sets the spot quota of one zone, or of every zone without a quota of its own. Body: {vcpu, zone?, account?}."""
    account, zone = _account(sim, body), _text(body, "zone", "default")
    if zone != "default" and zone not in sim.world.catalog.zones:
        raise WorldFileError(f"zone: no zone {zone!r}")
    sim.world.quotas[account][zone] = _whole(body, "vcpu")
    return {"account": account, "spotQuota": sim.world.quotas[account]}


def balance(sim: Simulation, body: Body) -> Row:
    """Sets the balance in dollars, before what is spent and frozen. Body: {balance, account?}."""
    account = _account(sim, body)
    sim.world.balances[account] = money(body.get("balance"), "balance")
    return {"account": account, "available": dollars(sim.world.available_balance(account))}


def limits(sim: Simulation, body: Body) -> Row:
    """Sets rate limits in requests per second. 0 removes a limit, `*` means every action. Body: {Action: rate, …}."""
    rates = sim.simulator.limits.rates
    for action in body:
        for name in rates if action == "*" else (action,):
            rates[name] = _number(body, action)
    return {"limits": dict(rates)}


def launch_outcome(sim: Simulation, body: Body) -> Row:
    """Decides how the next launches end. Body: {outcome: run|fail|stuck, times?, account?}."""
    outcome = body.get("outcome")
    if outcome not in ("run", "fail", "stuck"):
        raise WorldFileError(f"outcome: {outcome!r} is not one of run, fail, stuck")
    account = _account(sim, body) if "account" in body else None
    sim.world.launch_outcomes.append(LaunchOutcome(outcome, _whole(body, "times", 1), account))
    pending = [row for row in sim.world.launch_outcomes if row.times > 0]
    sim.world.launch_outcomes = pending
    return {"pending": [{"outcome": row.outcome, "times": row.times} for row in pending]}


# --- instances ------------------------------------------------------------------------------------


def interrupt(sim: Simulation, body: Body) -> Row:
    """Gives notice in the metadata, then takes spot instances back.

    Body: {instances|count, notice_seconds?, …selection}.
    """
    chosen = _select(sim, body, lambda one: one.state in (RUNNING, STOPPED, PENDING) and one.order.charge_type == SPOT)
    notice = _number(body, "notice_seconds", NOTICE_SECONDS)
    sim.world.reclaim(chosen, notice)
    return _ids(chosen) | {"reclaimAt": sim.world.now + notice}


def terminate(sim: Simulation, body: Body) -> Row:
    """Terminates instances as a person in the console, under the API's rules about states.

    Body: {instances|count, …selection}.
    """
    chosen = _select(sim, body, lambda one: one.state in (RUNNING, STOPPED))
    for instance in chosen:
        check_terminable(sim.world, instance)
    for instance in chosen:
        sim.world.terminate(instance, CONSOLE, _console_operation(sim, "TerminateInstances"))
    return _ids(chosen)


def stop(sim: Simulation, body: Body) -> Row:
    """Stops RUNNING instances. Body: {instances|count, …selection}."""
    chosen = _in_state(_select(sim, body, lambda one: one.state == RUNNING), RUNNING)
    for instance in chosen:
        sim.world.stop(instance, CONSOLE, _console_operation(sim, "StopInstances"))
    return _ids(chosen)


def power_off(sim: Simulation, body: Body) -> Row:
    """Stops RUNNING instances from inside, with no API call to show. Body: {instances|count, …selection}."""
    chosen = _in_state(_select(sim, body, lambda one: one.state == RUNNING), RUNNING)
    for instance in chosen:
        sim.world.stop(instance, GUEST, None)
    return _ids(chosen)


def start(sim: Simulation, body: Body) -> Row:
    """Starts STOPPED instances. Body: {instances|count, …selection}."""
    chosen = _in_state(_select(sim, body, lambda one: one.state == STOPPED), STOPPED)
    for instance in chosen:
        sim.world.start(instance, CONSOLE, _console_operation(sim, "StartInstances"))
    return _ids(chosen)


def tag(sim: Simulation, body: Body) -> Row:
    """Adds or overwrites tags. Body: {tags: {key: value}, instances|count, …selection}."""
    tags = _mapping(body, "tags")
    for key, value in tags.items():
        check_tag(sim.simulator.switches["tag-charset"], str(key), str(value))
    chosen = _select(sim, body, lambda one: one.state != GONE)
    for instance in chosen:
        sim.world.retag(instance, {**instance.tags, **{str(key): str(value) for key, value in tags.items()}})
    return _ids(chosen)


def untag(sim: Simulation, body: Body) -> Row:
    """Removes these tags, or all. Body: {keys?: […], instances|count, …selection}."""
    chosen = _select(sim, body, lambda one: one.state != GONE)
    for instance in chosen:
        keys = set(body.get("keys") or instance.tags)
        sim.world.retag(instance, {key: value for key, value in instance.tags.items() if key not in keys})
    return _ids(chosen)


def protect(sim: Simulation, body: Body) -> Row:
    """Switches termination protection on or off. Body: {protected?: bool, instances|count, …selection}."""
    chosen = _select(sim, body, lambda one: one.is_live)
    for instance in chosen:
        instance.is_protected = bool(body.get("protected", True))
    return _ids(chosen)


def rename(sim: Simulation, body: Body) -> Row:
    """Gives all these instances another name. Body: {name_to, instances|count, …selection}."""
    chosen = _select(sim, body, lambda one: one.is_live)
    for instance in chosen:
        instance.name = _text(body, "name_to")
    return _ids(chosen)


def address(sim: Simulation, body: Body) -> Row:
    """Makes an elastic address, and binds it to one instance, if one is named.

    Body: {account?, region?, …selection}.
    """
    named = body.get("instances") is not None
    chosen = _select(sim, body, lambda one: one.is_live) if named else []
    if len(chosen) > 1:
        raise WorldFileError("instances: an elastic address belongs to one instance")
    account = chosen[0].order.account if chosen else _account(sim, body)
    region = chosen[0].order.region if chosen else _text(body, "region", "ap-guangzhou")
    bound = sim.world.bind_address(account, region, chosen[0] if chosen else None)
    return {"address": {"id": bound.id, "address": bound.address, "instance": bound.instance_id}}


def launch(sim: Simulation, body: Body) -> Row:
    """Calls RunInstances as a person in the console of that account, without faults.

    Body: {params, account?, region?}.
    """
    region = _text(body, "region", next(iter(sim.world.catalog.regions)))
    params = dict(_mapping(body, "params"))
    return sim.simulator.handle(_account(sim, body), "RunInstances", params, sim.clock.now(), region=region)


def instances(sim: Simulation, body: Body) -> Row:
    """Returns the true instances. Gone ones are shown only with `state: GONE`. Body: {…selection}."""
    is_asked = (lambda one: True) if body.get("state") else (lambda one: one.state != GONE)
    narrowed = {name: value for name, value in body.items() if name not in ("instances", "count")}
    chosen = _select(sim, narrowed | {"count": 0}, is_asked)
    return {"instances": [sim.simulator.ledger.instance_row(one) for one in chosen]}


# --- faults, time, access -------------------------------------------------------------------------


def add_fault(sim: Simulation, body: Body) -> Row:
    """Adds a rule for faults.

    Body: {kind, action?, times?, probability?, skip?, code?, message?, seconds?, account?, env?, name?}.
    """
    return {"id": sim.simulator.faults.add(body).id}


def list_faults(sim: Simulation, body: Body) -> Row:
    """Returns the rules, how often each was met, and all kinds. Body: {}."""
    kinds = {name: kind.meaning for name, kind in KINDS.items()}
    return {"faults": list(sim.simulator.faults.rows()), "kinds": kinds}


def clear_faults(sim: Simulation, body: Body) -> Row:
    """Drops one rule, or all. Body: {id?}."""
    return {"dropped": sim.simulator.faults.clear(body.get("id"))}


def read_clock(sim: Simulation, body: Body) -> Row:
    """Returns the world time. Body: {}."""
    return {"now": sim.clock.now(), "stepped": sim.clock.is_stepped}


def step_clock(sim: Simulation, body: Body) -> Row:
    """Moves world time forward. Everything that is due happens. Body: {advance: seconds}."""
    sim.clock.advance(_number(body, "advance"))
    sim.world.advance(sim.clock.now())
    return read_clock(sim, body)


def read_switches(sim: Simulation, body: Body) -> Row:
    """Returns each switch with its value, settings, question, and the source that leaves it open. Body: {}."""
    values = dict(sim.simulator.switches.items())
    return {
        "switches": {
            row.name: {"value": values[row.name], "settings": row.settings, "kind": row.kind,
                       "question": row.question, "source": row.source}
            for row in TABLE
        }
    }  # fmt: skip


def set_switches(sim: Simulation, body: Body) -> Row:
    """Sets switches for everything that happens from now on. Body: {name: value, …}."""
    for name, value in body.items():
        sim.simulator.switches.set(name, value)
    return {"switches": dict(sim.simulator.switches.items())}


def credentials(sim: Simulation, body: Body) -> Row:
    """Changes who may call. Body: {op: add|revoke|rotate, secretId, secretKey?, account?, token?}.

    `add` makes a new key pair, `rotate` gives the same secretId another key, `revoke` ends a key pair.
    """
    op, secret_id, known = body.get("op"), _text(body, "secretId"), sim.world.credentials
    if op != "add" and secret_id not in known:
        raise WorldFileError(f"secretId: no credential {secret_id!r}")
    if op == "add":
        known[secret_id] = Credited(secret_id, _text(body, "secretKey"), _account(sim, body), _text(body, "token", ""))
    elif op == "rotate":
        known[secret_id] = known[secret_id]._replace(secret_key=_text(body, "secretKey"))
    elif op == "revoke":
        del known[secret_id]
    else:
        raise WorldFileError(f"op: {op!r} is not one of add, revoke, rotate")
    return {"secretIds": sorted(known)}


def accounts(sim: Simulation, body: Body) -> Row:
    """Returns the accounts with their secret ids, money and quota. Body: {}."""
    world = sim.world
    return {
        "accounts": [
            {
                "uin": uin,
                "name": account.name,
                "secretIds": sorted(key.secret_id for key in world.credentials.values() if key.account == uin),
                "available": dollars(world.available_balance(uin)),
                "spotQuota": world.quotas[uin],
                "live": world.live[uin],
            }
            for uin, account in world.catalog.accounts.items()
        ]
    }


# --- the ledger -----------------------------------------------------------------------------------


def ledger(sim: Simulation, body: Body) -> Row:
    """Returns every request, token and instance, with billed seconds and dollars. Body: {}."""
    return sim.simulator.ledger.export()


def summary(sim: Simulation, body: Body) -> Row:
    """Returns totals, and for each original tag how many live now and how many lived at most. Body: {}."""
    return sim.simulator.ledger.summary()


def reset(sim: Simulation, body: Body) -> Row:
    """Begins the same world again, with the switches of the start and an empty ledger. Body: {seed?}."""
    seed = _whole(body, "seed", sim.simulator.seed)
    sim.renew(seed)
    return {"seed": seed}


def healthz(sim: Simulation, body: Body) -> Row:
    """Answers that it serves. Body: {}."""
    return {"ok": True, "seed": sim.simulator.seed, "now": sim.clock.now(), "wall": time.time()}


class Route(NamedTuple):
    """`Route` is one operation of the control port: its method, path under /_sim/, and function."""

    method: str
    path: str
    perform: Callable[[Simulation, Body], Row]


OPERATIONS: tuple[Route, ...] = (
    Route("POST", "stock", stock),
    Route("POST", "price", price),
    Route("POST", "quote", quote),
    Route("GET", "market", market),
    Route("POST", "quota", quota),
    Route("POST", "balance", balance),
    Route("POST", "limits", limits),
    Route("POST", "launch-outcome", launch_outcome),
    Route("POST", "interrupt", interrupt),
    Route("POST", "terminate", terminate),
    Route("POST", "stop", stop),
    Route("POST", "power-off", power_off),
    Route("POST", "start", start),
    Route("POST", "tag", tag),
    Route("POST", "untag", untag),
    Route("POST", "protect", protect),
    Route("POST", "rename", rename),
    Route("POST", "address", address),
    Route("POST", "launch", launch),
    Route("GET", "instances", instances),
    Route("POST", "faults", add_fault),
    Route("GET", "faults", list_faults),
    Route("DELETE", "faults", clear_faults),
    Route("GET", "clock", read_clock),
    Route("POST", "clock", step_clock),
    Route("GET", "switches", read_switches),
    Route("POST", "switches", set_switches),
    Route("POST", "credentials", credentials),
    Route("GET", "accounts", accounts),
    Route("GET", "ledger", ledger),
    Route("GET", "ledger/summary", summary),
    Route("POST", "reset", reset),
    Route("GET", "healthz", healthz),
)


# --- reading bodies -------------------------------------------------------------------------------


def _select(sim: Simulation, body: Body, is_suitable: Callable[[Instance], bool]) -> list[Instance]:
    """Returns the instances that a body means: `instances` (ids), or the first `count` suitable ones (1 by default, 0
    for all).

    `env` (an original tag value), `tag` (key=value now), `name` (part of it), `zone`, `type`, `account` and `state`
    narrow the choice.
    """
    wanted = body.get("instances")
    if wanted is not None:
        return [_instance(sim, instance_id) for instance_id in ([wanted] if isinstance(wanted, str) else wanted)]
    fitting = (one for one in sim.world.instances.values() if is_suitable(one) and _matches(one, body))
    count = _whole(body, "count", 1)
    found = list(islice(fitting, count) if count else fitting)
    if len(found) < count:
        raise WorldFileError(f"count: {count} asked for, but only {len(found)} instances are suitable")
    return found


def _matches(one: Instance, body: Body) -> bool:
    order = one.order
    facts: Iterable[tuple[str, bool]] = (
        ("env", body.get("env") in order.tags.values()),
        ("tag", body.get("tag") in {f"{key}={value}" for key, value in one.tags.items()}),
        ("name", str(body.get("name")) in one.name),
        ("zone", body.get("zone") == order.zone),
        ("type", body.get("type") == order.type.name),
        ("account", body.get("account") == order.account),
        ("state", body.get("state") == one.state),
    )
    return all(holds for name, holds in facts if body.get(name) is not None)


def _instance(sim: Simulation, instance_id: object) -> Instance:
    instance = sim.world.instances.get(str(instance_id))
    if instance is None:
        raise WorldFileError(f"instances: no instance {instance_id!r}")
    return instance


def _in_state(chosen: list[Instance], state: str) -> list[Instance]:
    for instance in chosen:
        if instance.state != state:
            raise WorldFileError(f"instances: {instance.id} is {instance.state}, not {state}")
    return chosen


def _console_operation(sim: Simulation, name: str) -> Operation | None:
    is_recorded = sim.simulator.switches["latest-operation-of-console"] == "recorded"
    return Operation(name, "", "OPERATING") if is_recorded else None


def _ids(chosen: list[Instance]) -> Row:
    return {"instances": [instance.id for instance in chosen]}


def _offering(sim: Simulation, body: Body) -> Offering:
    zone, type = _text(body, "zone"), _text(body, "type")
    offering = sim.world.offerings.get((zone, type))
    if offering is None:
        known = ", ".join(f"{zone} {type}" for zone, type in sim.world.offerings)
        raise WorldFileError(f"nothing is offered as {zone} {type}; there is {known}")
    return offering


def _offering_row(offering: Offering) -> Row:
    return {
        "zone": offering.zone,
        "type": offering.type.name,
        "stock": offering.stock,
        "onDemandStock": offering.on_demand_stock,
        "price": str(offering.price),
        "list": str(offering.list_price),
        "quoted": offering.pinned,
    }


def _account(sim: Simulation, body: Body) -> str:
    """Returns a uin, from a uin or an account's name. Without a name it is the first account. Raises WorldFileError."""
    known = sim.world.catalog.accounts
    asked = _text(body, "account", next(iter(known)))
    found = next((uin for uin, account in known.items() if asked in (uin, account.name)), None)
    if found is None:
        raise WorldFileError(f"account: no account {asked!r}; known are {', '.join(known)}")
    return found


def _text(body: Body, name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or (not value and default is None):
        raise WorldFileError(f"{name}: text is needed, not {value!r}")
    return value


def _whole(body: Body, name: str, default: int | None = None) -> int:
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise WorldFileError(f"{name}: a whole number >= 0 is needed, not {value!r}")
    return value


def _number(body: Body, name: str, default: float | None = None) -> float:
    value = body.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise WorldFileError(f"{name}: a number >= 0 is needed, not {value!r}")
    return float(value)


def _mapping(body: Body, name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if not isinstance(value, dict):
        raise WorldFileError(f"{name}: an object is needed, not {value!r}")
    return value
