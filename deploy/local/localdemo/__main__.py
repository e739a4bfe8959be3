"""Defines the command line:

`python -m localdemo demo | jobs | up | down`, which `make demo`, `make demo-jobs`, `make up` and `make down` call.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import click

from localcluster import assets, scheduler
from localcluster.background import Background, end_politely
from localcluster.cluster import ClusterError
from localcluster.kubectl import KubectlError
from localcluster.processes import ProcessError
from localdemo import installation, shell
from localdemo.jobs import JobStory, open_jobs_stage
from localdemo.stage import PACE, Stage, open_stage, uses_existing_cluster
from localdemo.story import Story, StoryBroken
from localdemo.surroundings import REPOSITORY
from localdemo.terminal import Terminal
from localdemo.verdict import table

DEFAULT_DIRECTORY = REPOSITORY / ".cache" / "demo"  # git-ignored
START_SECONDS = 120.0
LOG_LINES = 20  # of the operator's log, shown when the story breaks

directory_option = click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=DEFAULT_DIRECTORY,
    help="Directory for the lock, state and log of what `up` started.",
    show_default=".cache/demo of the repository",
)


@click.group()
def cli() -> None:
    """Run the operator on this machine, with a real Kubernetes API and a simulated cloud."""


@cli.command()
@click.option("--transcript", type=click.Path(path_type=Path), help="Also write the output to this file.")
def demo(transcript: Path | None) -> None:
    """Play the whole story once. The exit code is 0 only when all of it came true."""
    leave_on_signals()
    if not uses_existing_cluster():
        assets.ensure()  # takes minutes when they must be built, which is not part of the time shown
    with _transcribing(transcript) as file:
        sys.exit(0 if play(Terminal(sys.stdout, file)) else 1)


@cli.command()
@click.option("--transcript", type=click.Path(path_type=Path), help="Also write the output to this file.")
def jobs(transcript: Path | None) -> None:
    """Play the story of a job on spot machines. The exit code is 0 only when all of it came true."""
    leave_on_signals()
    assets.ensure()
    scheduler.ensure()
    with _transcribing(transcript) as file:
        sys.exit(0 if play_jobs(Terminal(sys.stdout, file)) else 1)


def play_jobs(terminal: Terminal) -> bool:
    """Starts everything, plays the story of a job, shows the bill. True when everything came true."""
    begun = time.monotonic()
    terminal.heading("A cluster that machines can join, a simulated cloud, and the operator")
    with open_jobs_stage(terminal.say) as stage:
        terminal.say(
            f"Started in {time.monotonic() - begun:.0f} s: Kubernetes {server_version(stage)} with its scheduler and"
            f" its controller of jobs, {'Kueue, ' if stage.has_queue else ''}cvmsim, and the operator. The inside of"
            " the machines is played: they join with a bootstrap token, run pods for 12 s, and read their notice."
        )
        if not stage.has_queue:
            terminal.say("Kueue is not built here (`make kueue`, minutes, once): so the job waits without a queue.")
        story = JobStory(stage, terminal)
        try:
            story.tell()
        except (StoryBroken, KubectlError, ProcessError, subprocess.SubprocessError, OSError) as error:
            terminal.failed(str(error))
            terminal.output("\n".join(stage.operator.log_text().splitlines()[-LOG_LINES:]))
            return False
        terminal.heading("The ledger of the simulated cloud")
        account = stage.simulator.account(story.environment_id)
        terminal.output(table([("farm", story.most_wanted, account)]))
    terminal.say(f"Everything came true, in {time.monotonic() - begun:.0f} s. Nothing is left running.")
    return True


def play(terminal: Terminal) -> bool:
    """Starts everything, plays the story, shows the ledger's table. True when everything came true."""
    begun = time.monotonic()
    terminal.heading("A Kubernetes API server, a simulated cloud and the operator")
    with open_stage(terminal.say) as stage:
        introduce(terminal, stage, time.monotonic() - begun)
        story = Story(stage, terminal)
        try:
            story.tell()
        except (StoryBroken, KubectlError, ProcessError, subprocess.SubprocessError, OSError) as error:
            terminal.failed(str(error))
            terminal.output("\n".join(stage.operator.log_text().splitlines()[-LOG_LINES:]))
            return False
        terminal.heading("The ledger of the simulated cloud")
        environments = (story.seed, story.first)
        accounts = [
            (each.name, each.most_wanted, stage.simulator.account(each.environment_id)) for each in environments
        ]
        terminal.output(table(accounts))
    terminal.say(f"Everything came true, in {time.monotonic() - begun:.0f} s. Nothing is left running.")
    return True


def introduce(terminal: Terminal, stage: Stage, seconds: float) -> None:
    """Shows what runs, and how it differs from an installation."""
    account = f"{installation.OPERATOR_NAMESPACE}/{installation.OPERATOR_ACCOUNT}"
    terminal.say(
        f"Started in {seconds:.0f} s: Kubernetes {server_version(stage)}; cvmsim, a strict local CVM API with stock,"
        f" prices and a ledger; and the operator, a process with the rights of ServiceAccount {account} only."
    )
    sweep, base, limit = (PACE[f"SPOTCOMPUTE_{name}_SECONDS"] for name in ("SWEEP", "REST_BASE", "REST_LIMIT"))
    terminal.say(
        f"The demo is fast, so that it takes a minute or two: the operator looks every {sweep} s (15 by default) and"
        f" asks again after {base} to {limit} s (5 to 60 by default)."
    )
    terminal.say(
        f"Below, kubectl is the user (in namespace {installation.NAMESPACE}), and cvmsim is the market."
        " A line with ✓ says what the simulator's ledger shows."
    )


def server_version(stage: Stage) -> str:
    """Returns the version of the API server."""
    version: str = stage.kubectl.json("version")["serverVersion"]["gitVersion"]
    return version


def say(line: str) -> None:
    """Shows a line about what is under way, at once also where the output goes to a file."""
    print(line, flush=True)


@cli.command()
@directory_option
def up(directory: Path) -> None:
    """Start everything and leave it running. A second call changes nothing. End it with `down`."""
    if not uses_existing_cluster():
        assets.ensure()  # here, so that the progress is visible
    background = Background(directory)
    command = [sys.executable, "-m", "localdemo", "serve", f"--directory={directory}"]
    state = background.state() or background.launch(command, START_SECONDS, say=say)
    shell.write(directory, state)
    click.echo(shell.instructions(directory, state))


@cli.command(hidden=True)
@directory_option
def serve(directory: Path) -> None:
    """Run what `up` leaves running."""
    end_politely()
    background = Background(directory)
    with background.hold(), open_stage(say) as stage:
        while True:
            background.announce(description(stage))
            stage.revive()


def description(stage: Stage) -> dict[str, Any]:
    """Returns what `up` announces about the stage."""
    kubectl = stage.kubectl.binary
    return {
        "kubeconfig": str(stage.kubectl.kubeconfig),
        "ready_file": str(stage.simulator.ready_file),
        "endpoint": stage.simulator.endpoint,
        "path": f"{Path(sys.executable).parent}:{kubectl.parent}",
        "operator_log": str(stage.operator.log),
        "metrics": f"http://127.0.0.1:{stage.metrics_port}/metrics",
    }


@cli.command()
@directory_option
def down(directory: Path) -> None:
    """End what `up` started. Does nothing when nothing runs."""
    click.echo("ended" if Background(directory).end(timeout=150.0) else "nothing was running")


def leave_on_signals() -> None:
    """Makes Ctrl-C, SIGTERM and SIGHUP leave through the `with` blocks, which clean up.

    The exit code names the signal.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


@contextlib.contextmanager
def _transcribing(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    with path.open("w", encoding="utf-8") as file:
        yield file


def main() -> None:
    """Runs the command line. Errors that a person can correct end it with one line."""
    try:
        cli()
    except (assets.AssetsMissing, ClusterError, KubectlError, ProcessError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
