"""Defines the command line of `kubectl spot`: it has kubectl read the objects, and shows them.

Apart from `views` because this module has the processes, the clock and the terminal.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from kubectl_spot import views

#: The full name, so that it cannot mean another kind.
KIND = "spotcomputeenvironments.spotcompute.dev"

INSTALL_UI = "pip install 'spotcompute-operator[ui]'"

#: Clears a terminal and puts the cursor in its corner.
CLEAR = "\x1b[2J\x1b[H"

_HELP = {
    "why": "Say why an environment lacks instances, and when the cloud is asked next.",
    "instances": "List the instances of an environment.",
    "activity": "Show what was done and what happened, newest first.",
    "pools": "List the pools of an environment, their prices, and when each is asked again.",
    "cost": "Say what environments cost per hour, and what they have cost until now.",
    "quote": "Show what a paused environment would buy, and what must be corrected first.",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spotcompute-operator")
def main() -> None:
    """Read SpotComputeEnvironments at the terminal. Needs no more rights than `kubectl get sce`."""


def _command(name: str) -> click.Command:
    @click.argument("names", nargs=-1, metavar="[NAME]...")
    @click.option("-n", "--namespace", help="Read this namespace instead of the context's.")
    @click.option("-A", "--all-namespaces", is_flag=True, help="Read all namespaces.")
    @click.option("--context", help="Context of the kubeconfig.")
    @click.option("--kubeconfig", help="Path of the kubeconfig.")
    @click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
    @click.option("-w", "--watch", is_flag=True, help="Show it again after every change.")
    def run(names: tuple[str, ...], output: str, watch: bool, **scope: Any) -> None:
        arguments = [*_scope(**scope), *names]
        for objects in _watched(arguments) if watch else [_listed(arguments)]:
            _show(name, objects, output, is_again=watch)

    return click.command(name, help=_HELP[name])(run)


for _name in _HELP:
    main.add_command(_command(_name))


@main.command()
@click.option(
    "-n", "--namespace", help="Show this namespace only. Default: all, or the context's where you may not read all."
)
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--kubeconfig", help="Path of the kubeconfig.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1. Default: one that is free.")
@click.option("--prometheus", metavar="URL", help="Take longer histories from this Prometheus.")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in a browser.")
def ui(namespace: str | None, port: int, prometheus: str | None, browser: bool, **scope: str | None) -> None:
    """Show environments as pages in a browser, with your own rights. Needs the extra `ui` of the package."""
    try:
        from kubectl_spot.ui.server import Wishes, serve
    except ModuleNotFoundError as missing:
        name = str(missing.name).partition(".")[0]
        raise click.ClickException(f"{name} is missing: {INSTALL_UI} installs all that the page needs") from None
    wishes = Wishes(_scope(None, all_namespaces=False, **scope), namespace, port, prometheus, browser)
    try:
        serve(wishes, click.echo)
    except OSError as failure:
        raise click.ClickException(
            f"port {port} of 127.0.0.1 cannot be used ({failure}); give another --port"
        ) from None


def _scope(namespace: str | None, all_namespaces: bool, context: str | None, kubeconfig: str | None) -> list[str]:
    if namespace and all_namespaces:
        raise click.UsageError("give either --namespace or --all-namespaces")
    given = {"namespace": namespace, "context": context, "kubeconfig": kubeconfig}
    return [f"--{key}={value}" for key, value in given.items() if value] + ["--all-namespaces"] * all_namespaces


def _show(name: str, objects: Sequence[views.Object], output: str, *, is_again: bool) -> None:
    if output == "json":
        shown = json.dumps(views.data(name, objects), indent=2, ensure_ascii=False)
    else:
        shown = views.text(name, objects, datetime.now(UTC))
    click.echo((CLEAR if is_again and sys.stdout.isatty() else "") + shown)


def _kubectl(*arguments: str) -> list[str]:
    found = shutil.which("kubectl")
    if found is None:
        raise click.ClickException("kubectl is not on the PATH; install it, or add its directory to PATH")
    return [found, "get", KIND, *arguments]


def _listed(arguments: Sequence[str]) -> list[views.Object]:
    """Returns the objects as they are now. When kubectl cannot read them, ends with its message and exit code."""
    done = subprocess.run(_kubectl(*arguments, "--output=json"), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        click.echo(done.stderr.strip(), err=True)
        raise SystemExit(done.returncode)
    found = json.loads(done.stdout)
    return list(found["items"]) if found["kind"] == "List" else [found]


def _watched(arguments: Sequence[str]) -> Iterator[list[views.Object]]:
    """Yields all objects, again after each change, in the order in which they were first seen."""
    command = _kubectl(*arguments, "--output=json", "--watch", "--output-watch-events")
    known: dict[str, views.Object] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            for event in _documents(process.stdout or ()):
                if event["type"] == "DELETED":
                    known.pop(event["object"]["metadata"]["uid"], None)
                else:
                    known[event["object"]["metadata"]["uid"]] = event["object"]
                yield list(known.values())
        except KeyboardInterrupt:
            process.terminate()
    if process.returncode and process.returncode > 0:
        raise SystemExit(process.returncode)


def _documents(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yields the JSON documents that kubectl prints: each on one line, or ending with a line that is only a brace."""
    document: list[str] = []
    for line in lines:
        document.append(line)
        if line.rstrip() == "}" or (line[0] == "{" and line.rstrip()[-1] == "}"):
            found: dict[str, Any] = json.loads("".join(document))
            yield found
            document.clear()


if __name__ == "__main__":
    main()
