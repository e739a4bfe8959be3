"""Defines the command line: `serve`, and one command per operation of the control port, with tables for people.

Apart from `control`, because it is a client of the control port like any other and never touches a world itself.
"""

import asyncio
import json
import os
import secrets
import signal
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

Row = Mapping[str, Any]
REMOTE_TIMEOUT_SECONDS = 30.0
Command = TypeVar("Command", bound=Callable[..., None])


@click.group()
@click.option("--ready-file", type=click.Path(path_type=Path), envvar="CVMSIM_READY_FILE",
              help="The file of `serve --ready-file`; otherwise CVMSIM_CONTROL and CVMSIM_TOKEN are used.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON instead of a table.")
@click.pass_context
def cli(context: click.Context, ready_file: Path | None, as_json: bool) -> None:
    """Run a strict local CVM API, or change its market by hand."""
    context.obj = Remote(ready_file, as_json)


class Remote:
    """`Remote` is the control port of a running simulator."""

    def __init__(self, ready_file: Path | None, as_json: bool) -> None:
        self._ready_file, self._as_json = ready_file, as_json

    def _where(self) -> tuple[str, str]:
        if self._ready_file is not None:
            try:
                ready = json.loads(self._ready_file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as problem:
                raise click.ClickException(f"cannot read the ready file: {problem}") from problem
            return ready["control"], ready["token"]
        control, token = os.environ.get("CVMSIM_CONTROL"), os.environ.get("CVMSIM_TOKEN")
        if not control or not token:
            raise click.ClickException(
                "no simulator is named: give --ready-file, or set CVMSIM_CONTROL and CVMSIM_TOKEN"
            )
        return control, token

    def call(self, method: str, path: str, body: Row | None = None) -> dict[str, Any]:
        """Calls one operation. Raises ClickException with the simulator's own message."""
        control, token = self._where()
        given = {name: value for name, value in (body or {}).items() if value is not None and value != ()}
        query = f"?{urllib.parse.urlencode(given)}" if given and method != "POST" else ""
        data = json.dumps(given).encode() if method == "POST" else None
        request = urllib.request.Request(f"{control}/_sim/{path}{query}", data, {"X-Sim-Token": token}, method=method)  # noqa: S310 - the URL is the user's own
        try:
            with urllib.request.urlopen(request, timeout=REMOTE_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as refusal:
            raise click.ClickException(json.load(refusal).get("error", str(refusal))) from refusal
        except (OSError, ValueError) as problem:
            raise click.ClickException(f"no simulator answers at {control}: {problem}") from problem

    def show(self, answer: Row, *tables: tuple[str, Sequence[str]]) -> None:
        """Prints an answer: as JSON when asked, otherwise the named lists as tables, or its fields line by line."""
        if self._as_json:
            click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        elif tables:
            for name, columns in tables:
                click.echo(table(answer[name], columns))
        else:
            for name, value in answer.items():
                click.echo(f"{name}: {plain(value)}")


def table(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """Returns rows in aligned columns under their names. `(none)` when there are none."""
    lines = [[plain(row.get(column)) for column in columns] for row in rows]
    if not lines:
        return "(none)"
    lines.insert(0, [column.upper() for column in columns])
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def plain(value: object) -> str:
    """Returns a value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={plain(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ",".join(plain(item) for item in value) or "-"
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


# --- serve ----------------------------------------------------------------------------------------


def _pairs(context: click.Context, parameter: click.Parameter, words: Sequence[str]) -> dict[str, str]:
    split = [word.partition("=") for word in words]
    for name, equals, _ in split:
        if not equals:
            raise click.BadParameter(f"{name!r} is not name=value")
    return {name: value for name, _, value in split}


@cli.command()
@click.option("--port", default=0, show_default="a free one", help="Port of the API on 127.0.0.1.")
@click.option("--control-port", default=0, show_default="a free one", help="Port for control on 127.0.0.1.")
@click.option("--world", type=click.Path(path_type=Path), help="A world file; by default the built-in one.")
@click.option("--seed", type=int, help="Seed of every random choice; by default one is drawn and printed.")
@click.option("--clock", type=click.Choice(["real", "stepped"]), default="real", show_default=True)
@click.option("--start", type=float, help="World time at the start, in seconds since 1970; by default now.")
@click.option(
    "--switch", "switches", multiple=True, metavar="NAME=VALUE", callback=_pairs, help="See `cvmsim switches`."
)
@click.option(
    "--site", type=click.Choice(["mainland", "international"]), help="Set all switches in which the two sites differ."
)
@click.option(
    "--tls",
    nargs=2,
    type=click.Path(exists=True, dir_okay=False),
    metavar="CERT KEY",
    help="Serve the API over https, for clients that need it (the official command line).",
)
@click.option("--token", envvar="CVMSIM_TOKEN", help="Token of the control port; by default one is drawn.")
@click.option("--ready-file", type=click.Path(path_type=Path), help="File to write once it serves: where, as JSON.")
def serve(
    port: int,
    control_port: int,
    world: Path | None,
    seed: int | None,
    clock: str,
    start: float | None,
    switches: dict[str, str],
    site: str | None,
    tls: tuple[str, str] | None,
    token: str | None,
    ready_file: Path | None,
) -> None:
    """Serve a simulated cloud until interrupted."""
    # Imported here, so that the other commands start quickly.
    from cvmsim import app, catalog
    from cvmsim.clock import Clock
    from cvmsim.control import Simulation
    from cvmsim.errors import WorldFileError
    from cvmsim.switches import SITES

    switches = {**SITES.get(site or "", {}), **switches}
    time = Clock(is_stepped=clock == "stepped", start=start)
    try:
        found = catalog.load(world or catalog.DEFAULT_WORLD)
        sim = Simulation(found, time, secrets.randbits(31) if seed is None else seed, switches)
    except WorldFileError as problem:
        raise click.ClickException(str(problem)) from problem

    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*tls)

    def announce(address: app.Address) -> None:
        click.echo(f"api {'https' if tls else 'http'}://{address.api}  control {address.control}  seed {address.seed}")
        if ready_file is not None:
            address.write(ready_file)

    async def main() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await app.serve_until(stopped.wait(), app.Server(sim, token, context), port, control_port, announce)

    try:
        asyncio.run(main())
    except OSError as problem:
        raise click.ClickException(f"cannot serve: {problem}") from problem


# --- the market by hand ---------------------------------------------------------------------------


@cli.command()
@click.pass_obj
def market(remote: Remote) -> None:
    """Show every offering with its true stock and price."""
    remote.show(remote.call("GET", "market"), ("offerings", ("zone", "type", "stock", "price", "list", "quoted")))


@cli.command()
@click.argument("zone")
@click.argument("type")
@click.argument("stock", type=int)
@click.option("--on-demand", is_flag=True, help="Set the stock that is sold at the list price, not as spot.")
@click.pass_obj
def stock(remote: Remote, zone: str, type: str, stock: int, on_demand: bool) -> None:
    """Set how many instances can still be bought."""
    body = {"zone": zone, "type": type, "stock": stock, "on_demand": on_demand}
    remote.show(remote.call("POST", "stock", body))


@cli.command()
@click.argument("zone")
@click.argument("type")
@click.argument("price")
@click.pass_obj
def price(remote: Remote, zone: str, type: str, price: str) -> None:
    """Set the spot price, in dollars per hour."""
    remote.show(remote.call("POST", "price", {"zone": zone, "type": type, "price": price}))


@cli.command()
@click.argument("zone")
@click.argument("type")
@click.argument("category", required=False)
@click.pass_obj
def quote(remote: Remote, zone: str, type: str, category: str | None) -> None:
    """Let the market quote CATEGORY (EnoughStock, WithoutStock, …) for any stock; without it, the true one."""
    remote.show(remote.call("POST", "quote", {"zone": zone, "type": type, "category": category}))


@cli.command()
@click.argument("vcpu", type=int)
@click.option("--zone", help="Only this zone; otherwise every zone without a quota of its own.")
@click.option("--account")
@click.pass_obj
def quota(remote: Remote, vcpu: int, zone: str | None, account: str | None) -> None:
    """Set the spot quota, in vCPU per zone."""
    remote.show(remote.call("POST", "quota", {"vcpu": vcpu, "zone": zone, "account": account}))


@cli.command()
@click.argument("balance")
@click.option("--account")
@click.pass_obj
def balance(remote: Remote, balance: str, account: str | None) -> None:
    """Set an account's balance, in dollars."""
    remote.show(remote.call("POST", "balance", {"balance": balance, "account": account}))


@cli.command()
@click.argument("rates", nargs=-1, required=True, callback=_pairs, metavar="ACTION=RATE…")
@click.pass_obj
def limits(remote: Remote, rates: dict[str, str]) -> None:
    """Set rate limits, in requests per second; 0 removes one, `*=0` all."""
    remote.show(remote.call("POST", "limits", {name: _as_number(rate) for name, rate in rates.items()}))


def _as_number(word: str) -> float:
    try:
        return float(word)
    except ValueError as problem:
        raise click.ClickException(f"{word!r} is not a number") from problem


@cli.command("launch-outcome")
@click.argument("outcome", type=click.Choice(["run", "fail", "stuck"]))
@click.option("--times", type=int, default=1, show_default=True)
@click.pass_obj
def launch_outcome(remote: Remote, outcome: str, times: int) -> None:
    """Decide how the next launches end: RUNNING, LAUNCH_FAILED, or PENDING for ever."""
    remote.show(remote.call("POST", "launch-outcome", {"outcome": outcome, "times": times}))


# --- instances ------------------------------------------------------------------------------------


def selection(command: Command) -> Command:
    """Adds the options that choose instances to a command."""
    options = (
        click.argument("instances", nargs=-1, metavar="[INSTANCE]…"),
        click.option("--count", type=int, help="How many of the suitable ones (1 by default, 0 for all)."),
        click.option("--env", help="Only those launched with this tag value."),
        click.option("--tag", metavar="KEY=VALUE", help="Only those that have this tag now."),
        click.option("--name", help="Only those whose name contains this."),
        click.option("--zone"),
        click.option("--type"),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _chosen(instances: Sequence[str], narrowed: Row) -> dict[str, Any]:
    return {"instances": list(instances) or None, **narrowed}


@cli.command("instances")
@selection
@click.option("--state", help="Only those in this state; GONE shows ended ones.")
@click.pass_obj
def list_instances(remote: Remote, /, instances: Sequence[str], **narrowed: Any) -> None:
    """Show the true instances, which the API's lists may not show yet."""
    if instances:
        raise click.ClickException("narrow the list with options; ids are not taken here")
    columns = ("id", "account", "name", "state", "zone", "type", "originalTags", "createdTime", "price", "cost")
    remote.show(remote.call("GET", "instances", narrowed), ("instances", columns))


@cli.command()
@selection
@click.option(
    "--notice-seconds",
    type=float,
    help="Seconds of warning in the metadata, 120 by default; 0 takes them back at once.",
)
@click.pass_obj
def interrupt(remote: Remote, /, instances: Sequence[str], **narrowed: Any) -> None:
    """Take spot instances back, as the cloud does."""
    remote.show(remote.call("POST", "interrupt", _chosen(instances, narrowed)))


@cli.command()
@selection
@click.pass_obj
def terminate(remote: Remote, /, instances: Sequence[str], **narrowed: Any) -> None:
    """Terminate instances, as a person in the console does."""
    remote.show(remote.call("POST", "terminate", _chosen(instances, narrowed)))


@cli.command()
@selection
@click.pass_obj
def stop(remote: Remote, /, instances: Sequence[str], **narrowed: Any) -> None:
    """Stop running instances, as a person in the console does."""
    remote.show(remote.call("POST", "stop", _chosen(instances, narrowed)))


@cli.command("power-off")
@selection
@click.pass_obj
def power_off(remote: Remote, /, instances: Sequence[str], **narrowed: Any) -> None:
    """Stop running instances from inside, as their own shutdown does."""
    remote.show(remote.call("POST", "power-off", _chosen(instances, narrowed)))


@cli.command()
@selection
@click.pass_obj
def start(remote: Remote, /, instances: Sequence[str], **narrowed: Any) -> None:
    """Start stopped instances, as a person in the console does."""
    remote.show(remote.call("POST", "start", _chosen(instances, narrowed)))


@cli.command()
@selection
@click.option("--set", "tags", multiple=True, required=True, callback=_pairs, metavar="KEY=VALUE")
@click.pass_obj
def tag(remote: Remote, /, instances: Sequence[str], **narrowed: Any) -> None:
    """Add or overwrite tags, also on instances of another owner."""
    remote.show(remote.call("POST", "tag", _chosen(instances, narrowed)))


@cli.command()
@selection
@click.option("--key", "keys", multiple=True, help="Only this key; by default all keys.")
@click.pass_obj
def untag(remote: Remote, /, instances: Sequence[str], **narrowed: Any) -> None:
    """Remove tags."""
    remote.show(remote.call("POST", "untag", _chosen(instances, narrowed)))


@cli.command()
@selection
@click.option("--off", is_flag=True, help="Remove the protection.")
@click.pass_obj
def protect(remote: Remote, /, instances: Sequence[str], off: bool, **narrowed: Any) -> None:
    """Protect instances from TerminateInstances."""
    remote.show(remote.call("POST", "protect", _chosen(instances, {**narrowed, "protected": not off})))


@cli.command()
@click.argument("instance", required=False)
@click.option("--account")
@click.option("--region")
@click.pass_obj
def address(remote: Remote, instance: str | None, account: str | None, region: str | None) -> None:
    """Make an elastic address, and bind it to INSTANCE."""
    body = {"instances": [instance] if instance else None, "account": account, "region": region}
    remote.show(remote.call("POST", "address", body))


@cli.command()
@selection
@click.option("--to", "name_to", required=True)
@click.pass_obj
def rename(remote: Remote, /, instances: Sequence[str], **narrowed: Any) -> None:
    """Give instances another name."""
    remote.show(remote.call("POST", "rename", _chosen(instances, narrowed)))


# --- faults, time, access -------------------------------------------------------------------------


@cli.command()
@click.argument("kind", required=False)
@click.option("--action", help="Only this action; by default every action.")
@click.option("--times", type=int, help="How many requests meet it: 1 by default, 0 for all.")
@click.option("--skip", type=int, help="How many requests pass first.")
@click.option("--probability", type=float)
@click.option("--code", help="For kind `error`.")
@click.option("--message", help="For kind `error`.")
@click.option("--seconds", type=float, help="For kinds that take time.")
@click.option("--env", help="Only requests about this tag value.")
@click.option("--name", help="Only requests about instances whose name contains this.")
@click.option("--clear", is_flag=True, help="Drop all rules.")
@click.pass_obj
def faults(remote: Remote, /, kind: str | None, times: int | None, clear: bool, **fields: Any) -> None:
    """Add a fault of KIND; without one, show the rules and the kinds."""
    if clear:
        remote.show(remote.call("DELETE", "faults"))
    elif kind is not None:
        remote.show(remote.call("POST", "faults", {"kind": kind, "times": times, **fields}))
    else:
        found = remote.call("GET", "faults")
        kinds = [{"kind": name, "what": meaning} for name, meaning in found["kinds"].items()]
        columns = ("id", "kind", "action", "times", "skip", "probability", "code", "seconds", "env", "name", "met")
        remote.show({**found, "kinds": kinds}, ("faults", columns), ("kinds", ("kind", "what")))


@cli.command()
@click.argument("seconds", type=float, required=False)
@click.pass_obj
def clock(remote: Remote, seconds: float | None) -> None:
    """Show world time, or move it forward by SECONDS."""
    remote.show(remote.call("GET", "clock") if seconds is None else remote.call("POST", "clock", {"advance": seconds}))


@cli.command()
@click.argument("settings", nargs=-1, callback=_pairs, metavar="[NAME=VALUE]…")
@click.option("--markdown", is_flag=True, help="Print the table of the documentation; needs no simulator.")
@click.pass_obj
def switches(remote: Remote, settings: dict[str, str], markdown: bool) -> None:
    """Show the questions that Tencent leaves open and their settings, or change settings."""
    if markdown:
        from cvmsim.switches import as_markdown

        click.echo(as_markdown())
        return
    if settings:
        remote.call("POST", "switches", settings)
    found = remote.call("GET", "switches")["switches"]
    rows = [{"switch": name, **row} for name, row in found.items()]
    remote.show({"switches": rows}, ("switches", ("switch", "value", "question", "settings")))


@cli.command()
def actions() -> None:
    """Print which actions are carried out and which are refused, as the documentation shows it."""
    from cvmsim.actions import as_markdown

    click.echo(as_markdown())


@cli.command()
@click.argument("op", type=click.Choice(["add", "revoke", "rotate"]))
@click.argument("secret_id")
@click.argument("secret_key", required=False)
@click.option("--account")
@click.pass_obj
def credentials(remote: Remote, op: str, secret_id: str, secret_key: str | None, account: str | None) -> None:
    """Add a key pair, revoke one, or give one another key."""
    body = {"op": op, "secretId": secret_id, "secretKey": secret_key, "account": account}
    remote.show(remote.call("POST", "credentials", body))


@cli.command()
@click.pass_obj
def accounts(remote: Remote) -> None:
    """Show accounts with their money and quota."""
    columns = ("uin", "name", "secretIds", "available", "spotQuota", "live")
    remote.show(remote.call("GET", "accounts"), ("accounts", columns))


# --- the ledger -----------------------------------------------------------------------------------


@cli.command()
@click.option("--last", type=int, default=30, show_default=True, help="How many of the latest requests to show.")
@click.pass_obj
def ledger(remote: Remote, last: int) -> None:
    """Show what really happened: instances with their cost, tokens, the latest requests."""
    found = remote.call("GET", "ledger")
    found["requests"] = found["requests"][-last:]
    remote.show(
        found,
        ("instances", ("id", "name", "state", "originalTags", "createdTime", "billedSeconds", "price", "cost")),
        ("tokens", ("token", "instanceIds", "refusal", "replays")),
        ("requests", ("seq", "action", "code", "fault", "token", "instanceIds", "requestId")),
    )


@cli.command()
@click.pass_obj
def summary(remote: Remote) -> None:
    """Show totals, and for each original tag how many instances lived at most."""
    remote.show(remote.call("GET", "ledger/summary"))


@cli.command()
@click.option("--seed", type=int)
@click.pass_obj
def reset(remote: Remote, seed: int | None) -> None:
    """Start the same world again."""
    remote.show(remote.call("POST", "reset", {"seed": seed}))
