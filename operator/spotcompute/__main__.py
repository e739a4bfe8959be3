"""Defines the command line: each command reads its options and settings, calls the code that does the work, and prints.

Apart from `app`, which puts the operator together.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TextIO

import click
import yaml
from pydantic import ValidationError

from spotcompute import __version__, app
from spotcompute.api.crd import custom_resource_definition, json_schema
from spotcompute.api.instance_object import instance_resource_definition
from spotcompute.commands.check import (
    Check,
    Install,
    State,
    check_cluster,
    check_endpoint,
    identify,
    no_cluster,
    report,
)
from spotcompute.commands.leftovers import chosen, leftovers_json, leftovers_table, read_leftovers
from spotcompute.commands.market import (
    Order,
    Unreadable,
    Wanted,
    market_json,
    market_table,
    on_sale,
    read_market,
)
from spotcompute.commands.quote import Quoted, Terms, Unusable, exit_code, quote_all, read_manifests
from spotcompute.settings import Settings
from spotcompute.telemetry import logs, redaction


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Keep a number of Tencent Cloud spot instances alive."""


@main.command()
def run() -> None:
    """Run the operator until SIGTERM. It reads its settings from the environment variables SPOTCOMPUTE_*."""
    settings = _settings()
    logs.set_up(settings.log_level, settings.log_format, redact=redaction.redact)
    with _errors_in_one_line():
        app.run_operator(settings)


#: What `quote` and `market` end with, besides 0.
WRONG, NOT_NOW = 2, 3


@main.command()
@click.option("-f", "--filename", required=True, type=click.File(encoding="utf-8"), help="A manifest; - for stdin.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def quote(filename: TextIO, output: str) -> None:
    """Show what a SpotComputeEnvironment would buy, where and at what cost, and what is wrong with it.

    It buys nothing and needs no cluster. It reads the key from the environment variables TENCENTCLOUD_SECRET_ID,
    TENCENTCLOUD_SECRET_KEY and TENCENTCLOUD_TOKEN, and the endpoint from SPOTCOMPUTE_ENDPOINT and
    SPOTCOMPUTE_PROTOCOL, as `run` does. Exit code 0: all of it would be had now; 3: not now; 2: something is wrong, in
    the manifest, the key or the settings.
    """
    settings = _settings(WRONG)
    try:
        manifests = read_manifests(filename.read(), filename.name)
    except (Unusable, UnicodeDecodeError) as error:
        raise click.UsageError(f"{filename.name}: {error}") from None
    cluster_id, currency = settings.cluster_id or "quote", app.currency(settings)
    with _errors_in_one_line(WRONG), app.cloud(settings) as providers:
        terms = Terms(
            providers,
            app.needed_key("a quote", settings),
            app.endpoint(settings),
            cluster_id,
            app.policy(settings),
            app.now(),
        )
        found = asyncio.run(quote_all(manifests, terms))
    click.echo(redaction.redact(_shown(found, currency, output)), nl=False)
    sys.exit(exit_code(found))


def _shown(found: Sequence[Quoted], currency: str, output: str) -> str:
    if output == "json":
        return json.dumps({"environments": [one.to_json(currency) for one in found]}, indent=2) + "\n"
    return "\n".join(one.to_text(currency) for one in found)


_NETWORK = re.compile(r"(vpc-[0-9a-z]+)/(subnet-[0-9a-z]+)")


@main.command()
@click.option("--region", required=True, help="The region in which to buy, such as ap-guangzhou.")
@click.option("--spend", help="The most that may be spent, in the currency of the site, such as 0.50.")
@click.option("--yes", is_flag=True, help="Buy without asking again.")
@click.option("--clean", is_flag=True, help="Buy nothing: end what earlier verifications have left.")
@click.option(
    "--minutes", type=click.FloatRange(10, 240), default=30.0, show_default=True, help="How long it may take."
)
@click.option("--watch", type=click.FloatRange(0, 720), default=0.0, help="Hours to watch one instance for a reclaim.")
@click.option("--other-region", default="ap-singapore", show_default=True, help="Where rates are compared.")
@click.option("--zone", help="Buy only in this zone.")
@click.option("--type", "type_", help="Buy this instance type instead of the cheapest small one.")
@click.option("--image", help="The image; by default a public Ubuntu.")
@click.option("--network", help="vpc-…/subnet-…; by default the default network.")
@click.option("--report", type=click.Path(file_okay=False), default="spotcompute-verify", show_default=True)
def verify(**options: Any) -> None:
    """Settle on a real account what the vendor does not document.

    It buys small spot instances one after the other, ends them, and writes report.md and world.yaml for cvmsim into the
    folder of --report. It touches nothing that it did not make. It reads the key from TENCENTCLOUD_SECRET_ID,
    TENCENTCLOUD_SECRET_KEY and TENCENTCLOUD_TOKEN, and the site from SPOTCOMPUTE_SITE. Exit code 0: nothing is left;
    1: it could not verify, or something is left; 2: usage.
    """
    settings, asked = _settings(), _verification(options)
    key = app.own_key(settings)
    if key is None:
        raise click.UsageError("set TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY: this key buys and ends")
    with _errors_in_one_line():
        text, is_clean = app.run_verify(settings, key, asked)
    click.echo(redaction.redact(text))
    sys.exit(0 if is_clean else 1)


def _verification(options: Mapping[str, Any]) -> app.Verification:
    """Returns what was asked for. Raises UsageError."""
    network = _NETWORK.fullmatch(options["network"] or "")
    if options["network"] and network is None:
        raise click.UsageError("--network must be vpc-…/subnet-…")
    spend = None
    if not options["clean"]:
        spend = _amount(options["spend"])
        if not options["yes"]:
            raise click.UsageError(
                f"this buys instances for at most {spend}: add --yes. Or use --clean to end what is left"
            )
    return app.Verification(
        region=options["region"],
        folder=Path(options["report"]),
        spend=spend,
        minutes=options["minutes"],
        watch_hours=options["watch"],
        other_region=options["other_region"],
        zone=options["zone"],
        instance_type=options["type_"],
        image=options["image"],
        network=(network[1], network[2]) if network else None,
    )


def _amount(text: str | None) -> Decimal:
    try:
        amount = Decimal(text or "")
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise click.UsageError("--spend must be an amount above 0, such as 0.50")
    return amount


@main.command()
@click.option("--region", required=True, help="Region to look at, such as ap-guangzhou.")
@click.option("--zone", "zones", multiple=True, help="Only this zone, or zones like this: 'ap-guangzhou-*'. Repeat it.")
@click.option("--type", "types", multiple=True, help="Only this type, or types like this: 'S5.*'. Repeat it.")
@click.option("--min-vcpu", type=click.IntRange(0), help="Only types with at least so many vCPU.")
@click.option("--max-vcpu", type=click.IntRange(0), help="Only types with at most so many vCPU.")
@click.option("--min-memory", type=click.IntRange(0), help="Only types with at least so many GiB of memory.")
@click.option("--max-memory", type=click.IntRange(0), help="Only types with at most so many GiB of memory.")
@click.option("--min-gpus", type=click.IntRange(0), help="Only types with at least so many GPUs.")
@click.option("--max-gpus", type=click.IntRange(0), help="Only types with at most so many GPUs; 0 for none.")
@click.option("--max-price", metavar="PRICE", help="Only pools whose spot price per hour is not above this.")
@click.option("--in-stock", is_flag=True, help="Only pools that are not sold out.")
@click.option(
    "--sort", type=click.Choice(list(Order)), default=Order.PRICE, show_default=True, help="What comes first."
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def market(region: str, sort: Order, output: str, **wanted: Any) -> None:
    """Show what a region sells as spot now: price, list price, discount, stock and zone of each type.

    It needs neither a cluster nor a manifest. Key and endpoint come from the same variables as those of `quote`. Exit
    code 0: something was shown; 3: nothing of that is on sale, or the cloud does not answer; 2: an option, the key or
    the settings are wrong.
    """
    settings = _settings(WRONG)
    currency, asked = app.currency(settings), _wanted(**wanted)
    with _errors_in_one_line(WRONG), app.cloud(settings) as providers:
        key, endpoint = app.needed_key("the market", settings), app.endpoint(settings)
        try:
            offerings = asyncio.run(read_market(providers, key, region, endpoint))
        except Unreadable as error:
            text = redaction.redact(str(error))
            raise _failure(text, WRONG if error.advice.is_wrong else NOT_NOW) from None
    shown = on_sale(offerings, asked, sort)
    if output == "json":
        click.echo(json.dumps(market_json(shown, region, currency), indent=2))
    else:
        click.echo(market_table(shown, region, len(offerings), currency), nl=False)
    sys.exit(0 if shown else NOT_NOW)


@main.command()
@click.option("--region", required=True, help="Region to look at, such as ap-guangzhou.")
@click.option("--cluster", "cluster_id", help="Only what a cluster has left: its id, the tag spotcompute-cluster.")
@click.option("--environment", help="Only what an environment has left: NAMESPACE/NAME.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def leftovers(region: str, cluster_id: str | None, environment: str | None, output: str) -> None:
    """List the disks and elastic addresses that have outlived instances and still cost money. It ends nothing.

    Disks are those with our tags that no instance has. Addresses bear no tag of ours, so all that are not bound are
    shown, unless you ask for a cluster or an environment. Key and endpoint come from the same variables as those of
    `quote`. Exit code 0: it could look; 3: the cloud does not answer; 2: an option, the key or the settings are wrong.
    """
    if environment is not None and not re.fullmatch(r"[^/]+/[^/]+", environment):
        raise click.BadParameter(f"{environment} is not NAMESPACE/NAME", param_hint="--environment")
    settings = _settings(WRONG)
    with _errors_in_one_line(WRONG), app.cloud(settings) as providers:
        key, endpoint = app.needed_key("leftovers", settings), app.endpoint(settings)
        try:
            found = asyncio.run(read_leftovers(providers, key, region, endpoint))
        except Unreadable as error:
            raise _failure(redaction.redact(str(error)), WRONG if error.advice.is_wrong else NOT_NOW) from None
    shown = chosen(found, cluster_id, environment)
    if output == "json":
        click.echo(json.dumps(leftovers_json(shown, region), indent=2))
    else:
        click.echo(leftovers_table(shown, region), nl=False)


def _wanted(max_price: str | None, zones: Sequence[str], types: Sequence[str], **limits: Any) -> Wanted:
    try:
        price = None if max_price is None else Decimal(max_price)
    except InvalidOperation:
        price = Decimal("NaN")
    if price is not None and not (price.is_finite() and price > 0):
        raise click.BadParameter(f"{max_price} is no price: write it as 0.05", param_hint="--max-price")
    return Wanted(zones=tuple(zones), types=tuple(types), max_price=price, **limits)


@main.command()
@click.option(
    "--kubeconfig", help="Path of the kubeconfig. Default: KUBECONFIG, the pod's own account, ~/.kube/config."
)
@click.option("--context", help="Context of the kubeconfig.")
@click.option("-n", "--namespace", help="The operator's own namespace. Default: SPOTCOMPUTE_HOME_NAMESPACE.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def check(kubeconfig: str | None, context: str | None, namespace: str | None, output: str) -> None:
    """Check the install as it is: CRD, operator, Lease, rights, Secrets, endpoint, clocks and versions.

    It works on your machine with your own rights, and in the operator's pod. It changes nothing. Exit code 0: no check
    failed; 1: one has failed, and the line below it says what to do; 2: an option or a setting is wrong.
    """
    settings = _settings(WRONG)
    with _errors_in_one_line(WRONG):
        found = asyncio.run(_checks(settings, namespace or settings.home_namespace, kubeconfig, context))
    if output == "json":
        click.echo(json.dumps({"checks": [one.to_json() for one in found]}, indent=2, ensure_ascii=False))
    else:
        click.echo(redaction.redact(report(found)), nl=False)
    sys.exit(any(one.state is State.FAILED for one in found))


async def _checks(settings: Settings, home: str, kubeconfig: str | None, context: str | None) -> list[Check]:
    install = Install(home, __version__, settings.lease, settings.watched, settings.nodes)
    try:
        async with app.inspection(kubeconfig, context) as inspection:
            await identify(inspection, install)
            found = await check_cluster(inspection, install, app.now)
    except app.CannotRun as error:
        found = [no_cluster(str(error))]
    # What the operator in the cluster was told about the cloud counts more than what this shell says.
    told = {name: install.settings.get(f"SPOTCOMPUTE_{name.upper()}") for name in ("site", "endpoint", "protocol")}
    theirs = settings.model_copy(update={name: value for name, value in told.items() if value})
    return [*found, *check_endpoint(await app.clock_of_the_cloud(theirs), app.endpoint(theirs), app.now())]


@main.command()
@click.option("--json-schema", "is_json", is_flag=True, help="The JSON schema of a manifest instead, for editors.")
@click.option("--instances", "is_instances", is_flag=True, help="That of SpotInstance instead.")
def crd(is_json: bool, is_instances: bool) -> None:
    """Print the CustomResourceDefinition of SpotComputeEnvironment."""
    if is_json:
        click.echo(json.dumps(json_schema(), indent=1))
        return
    click.echo("# Generated by `make crds` from operator/spotcompute/api: edit there.")
    definition = instance_resource_definition() if is_instances else custom_resource_definition()
    click.echo(yaml.safe_dump(definition, sort_keys=False, width=120), nl=False)


@main.command()
def settings() -> None:
    """Print every setting with its environment variable, default and reason, as Markdown."""
    click.echo("| Variable | Default | What for |\n|---|---|---|")
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, ()) else f"`{field.default}`"
        click.echo(f"| `SPOTCOMPUTE_{name.upper()}` | {default} | {field.description} |")


class _Wrong(click.ClickException):
    """`_Wrong` is a failure that a person must correct."""

    exit_code = WRONG


class _NotNow(click.ClickException):
    """`_NotNow` is a failure that may pass."""

    exit_code = NOT_NOW


def _failure(text: str, code: int) -> click.ClickException:
    return {WRONG: _Wrong, NOT_NOW: _NotNow}.get(code, click.ClickException)(text)


@contextmanager
def _errors_in_one_line(code: int = 1) -> Iterator[None]:
    """Turns CannotRun into one line of click and this exit code."""
    try:
        yield
    except app.CannotRun as error:
        raise _failure(str(error), code) from None


def _settings(code: int = 1) -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"SPOTCOMPUTE_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        ]
        raise _failure("settings are wrong:\n  " + "\n  ".join(lines), code) from None


if __name__ == "__main__":
    main(prog_name="spotcompute")
