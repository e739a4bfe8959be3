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

from kubectl_spot import completion, views
from kubectl_spot.flags import kubectl_flags, scope
from kubectl_spot.machines import INSTANCES, completed, unshown
from kubectl_spot.problems import NO_KUBECTL, problem_of
from kubectl_spot.tree import tree
from kubectl_spot.watched import CONFIG_MAP, is_unseen, operators, why_unseen

#: The full name, so that it cannot mean another kind.
KIND = "spotcomputeenvironments.spotcompute.dev"

#: No registry of packages has ours, and a stranger may publish one of its name: so a clone or a file is named.
INSTALL_UI = (
    "In a clone of the repository `pip install '.[ui]'` installs all that the page needs,"
    " and so does `pip install 'FILE.whl[ui]'` with the wheel of a release"
)

#: Clears a terminal and puts the cursor in its corner.
CLEAR = "\x1b[2J\x1b[H"

_HELP = {
    "why": "Say why an environment lacks instances, and when the cloud is asked next.",
    "tree": "Draw namespaces, their environments and the instances of each as a tree.",
    "instances": "List the instances of an environment.",
    "activity": "Show what was done and what happened, newest first.",
    "pools": "List the pools of an environment, their prices, and when each is asked again.",
    "cost": "Say what environments cost per hour, and what they have cost until now.",
    "quote": "Show what a paused environment would buy, and what must be corrected first.",
}

#: Commands that show every instance.
EACH_INSTANCE = ("instances", "tree")

_flags = kubectl_flags(
    {"namespace": completion.namespaces, "context": completion.contexts, "kubeconfig": completion.files}
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spotcompute-operator")
@_flags
def main() -> None:
    """Read SpotComputeEnvironments at the terminal. Needs no more rights than `kubectl get sce`.

    kubectl's own flags are taken before and after the command's name.
    """


def _command(name: str) -> click.Command:
    @click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=completion.environments)
    @_flags
    @click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
    @click.option("-w", "--watch", is_flag=True, help="Show it again after every change.")
    def run(names: tuple[str, ...], output: str, watch: bool) -> None:
        arguments = [*scope().arguments(), *names]
        for objects in _watched(arguments) if watch else [_listed(arguments)]:
            shown = _with_every_instance(objects) if name in EACH_INSTANCE else objects
            _show(name, shown, output, is_again=watch)

    return click.command(name, help=_HELP[name])(run)


for _name in _HELP:
    main.add_command(_command(_name))


@main.command("completion")
def completion_script() -> None:
    """Print the script that lets kubectl complete this plugin: save it as kubectl_complete-spot on the PATH."""
    click.echo(completion.SCRIPT, nl=False)


@main.command("__complete", hidden=True, context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def complete(words: tuple[str, ...]) -> None:
    """Print what the last of these words may become, as kubectl reads it."""
    for line in completion.candidates(main, words):
        click.echo(line)


@main.command()
@_flags
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1. Default: one that is free.")
@click.option("--prometheus", metavar="URL", help="Take longer histories from this Prometheus.")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in a browser.")
def ui(port: int, prometheus: str | None, browser: bool) -> None:
    """Show environments as pages in a browser, with your own rights. Needs the extra `ui` of the package.

    Without --namespace it shows all namespaces, or the context's where you may not read all.
    """
    try:
        from kubectl_spot.ui.server import Wishes, serve
    except ModuleNotFoundError as missing:
        name = str(missing.name).partition(".")[0]
        raise click.ClickException(f"{name} is missing. {INSTALL_UI}.") from None
    flags = scope()
    flags.refuse(("selector", "field-selector"), "ui")
    namespace = flags.given.get("namespace")
    wishes = Wishes(flags.arguments(selecting=False), namespace, port, prometheus, browser)
    try:
        serve(wishes, click.echo)
    except OSError as failure:
        raise click.ClickException(
            f"port {port} of 127.0.0.1 cannot be used ({failure}); give another --port"
        ) from None


def _show(name: str, objects: Sequence[views.Object], output: str, *, is_again: bool) -> None:
    now = datetime.now(UTC)
    if output == "json":
        shown = json.dumps(views.data(name, objects), indent=2, ensure_ascii=False)
    elif name == "tree":
        shown = tree(objects, now)
    else:
        shown = "\n".join([views.text(name, objects, now), *(_about_unseen(objects, now) if name == "why" else ())])
    click.echo((CLEAR if is_again and sys.stdout.isatty() else "") + shown)


def _with_every_instance(objects: Sequence[views.Object]) -> Sequence[views.Object]:
    """Returns the environments with all their instances. Those of small ones stand in their status; others are read.

    Where the kind is not installed, or may not be read, the ids must do.
    """
    if not any(map(unshown, objects)):
        return objects
    done = _run("get", INSTANCES, *scope().arguments(selecting=False), "--output=json")
    return completed(objects, json.loads(done.stdout)["items"]) if done.returncode == 0 else objects


def _about_unseen(objects: Sequence[views.Object], now: datetime) -> Iterator[str]:
    """Yields why nobody looks at some of the objects. Only then another thing is read: which namespaces are watched."""
    unseen = [obj for obj in objects if is_unseen(obj, now)]
    if not unseen:
        return
    arguments = ["configmaps", "--all-namespaces", f"--field-selector=metadata.name={CONFIG_MAP}", "--output=json"]
    done = _run("get", *arguments, *scope().arguments(selecting=False))
    known = operators(json.loads(done.stdout)["items"]) if done.returncode == 0 else None
    yield from (f"  {why_unseen(obj, known)}" for obj in unseen)


def _kubectl(*arguments: str) -> list[str]:
    found = shutil.which("kubectl")
    if found is None:
        raise click.ClickException(str(NO_KUBECTL))
    return [found, *arguments]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_kubectl(*arguments), capture_output=True, text=True, check=False)


def _listed(arguments: Sequence[str]) -> list[views.Object]:
    """Returns the objects as they are now. When kubectl cannot read them, ends with a sentence and its exit code."""
    done = _run("get", KIND, *arguments, "--output=json")
    if done.returncode != 0:
        click.echo(f"Error: {problem_of(done.stderr)}", err=True)
        raise SystemExit(done.returncode)
    found = json.loads(done.stdout)
    return list(found["items"]) if found["kind"] == "List" else [found]


def _watched(arguments: Sequence[str]) -> Iterator[list[views.Object]]:
    """Yields all objects, again after each change, in the order in which they were first seen."""
    command = _kubectl("get", KIND, *arguments, "--output=json", "--watch", "--output-watch-events")
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
