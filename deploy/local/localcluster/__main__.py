"""Defines the command line: `python -m localcluster COMMAND`; `--help` lists the commands."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from localcluster import assets, helm, kueue, pins, prometheus, scheduler, tools
from localcluster.background import Background, end_politely, wait_for_end
from localcluster.cluster import ClusterError
from localcluster.controlplane import ControlPlane
from localcluster.processes import ProcessError

REPOSITORY = Path(__file__).resolve().parents[3]
DEFAULT_DIRECTORY = REPOSITORY / ".cache" / "local"  # git-ignored
START_SECONDS = 120.0

directory_option = click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=DEFAULT_DIRECTORY,
    help="Directory for the lock, state and log of the running control plane.",
    show_default=".cache/local of the repository",
)


@click.group()
def cli() -> None:
    """Run a Kubernetes control plane on this machine, without nodes."""


@cli.command("assets")
def assets_command() -> None:
    """Find, fetch or build the binaries, and print their paths on stdout."""
    found = assets.ensure()
    for path in (found.etcd, found.kube_apiserver, found.kube_controller_manager, found.kubectl):
        print(path)


@cli.command("scheduler")
def scheduler_command() -> None:
    """Find, fetch or build kube-scheduler, which only clusters with nodes need, and print its path on stdout."""
    print(scheduler.ensure())


@cli.command("kueue")
def kueue_command() -> None:
    """Find or build Kueue, which only jobs that queue need, and print its path on stdout."""
    print(kueue.ensure().binary)


@cli.command("prometheus")
def prometheus_command() -> None:
    """Find or fetch Prometheus and promtool, which only the tests of alerts need, and print their paths on stdout."""
    for path in prometheus.ensure():
        print(path)


@cli.command("helm")
def helm_command() -> None:
    """Find, fetch or build helm, which only the tests of the chart need, and print its path on stdout."""
    print(helm.ensure())


@cli.command("tools")
@click.argument("name", type=click.Choice(list(pins.TOOLS)), required=False)
def tools_command(name: str | None) -> None:
    """Find or build the tools that only a release and its tests need, and print their paths on stdout, or one."""
    for tool, path in tools.ensure().items():
        if name in (None, tool):
            print(path)


@cli.command()
@directory_option
@click.option("--detach", is_flag=True, help="Return once it is ready and leave it running; end it with `down`.")
@click.option("--nodes", is_flag=True, help="Let machines join as nodes; a scheduler and the controllers of jobs run.")
def up(directory: Path, detach: bool, nodes: bool) -> None:
    """Start a control plane and print the path of its kubeconfig."""
    background = Background(directory)
    if detach:
        assets.ensure()  # here, so that the progress is visible
        if nodes:
            scheduler.ensure()
        command = [sys.executable, "-m", "localcluster", "up", f"--directory={directory}"]
        command += ["--nodes"] if nodes else []
        state = background.state() or background.launch(command, START_SECONDS)
        print(state["kubeconfig"])
        return
    end_politely()
    with background.hold(), ControlPlane(nodes=nodes) as plane:
        background.announce({"kubeconfig": str(plane.kubeconfig), "server": plane.server, "pids": plane.pids})
        print(plane.kubeconfig, flush=True)
        wait_for_end()


@cli.command()
@directory_option
def down(directory: Path) -> None:
    """End the control plane that `up` started. Does nothing when none runs."""
    print("ended" if Background(directory).end() else "nothing was running")


@cli.command()
@directory_option
def status(directory: Path) -> None:
    """Print kubeconfig, address and pids; exit code 1 when nothing runs."""
    state = Background(directory).state()
    if state is None:
        raise click.ClickException("nothing is running")
    for key, value in state.items():
        print(f"{key}: {value}")


def main() -> None:
    """Runs the command line. Errors that a person can correct end it with one line."""
    try:
        cli()
    except (assets.AssetsMissing, ProcessError, ClusterError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
