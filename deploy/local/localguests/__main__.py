"""Defines the command line: `python -m localguests`, which plays the inside of every machine of one simulator."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
import tempfile
from pathlib import Path

import aiohttp
import click
import yaml

from localguests.apiserver import Refused, Server, Simulator
from localguests.guest import Guest, Habits

LOOK_SECONDS = 0.3


@click.command()
@click.option("--kubeconfig", envvar="KUBECONFIG", required=True, type=click.Path(path_type=Path, exists=True),
              help="Names the API server and its CA. Its credentials are not used.")  # fmt: skip
@click.option("--ready-file", envvar="CVMSIM_READY_FILE", required=True, type=click.Path(path_type=Path, exists=True),
              help="Written by `cvmsim serve`.")  # fmt: skip
@click.option("--boot-seconds", default=3.0, show_default=True, help="Seconds from RUNNING to the first call.")
@click.option("--task-seconds", default=12.0, show_default=True, help="Seconds that a pod works.")
@click.option("--notices/--no-notices", default=True, help="Whether machines report the notice of their end.")
@click.option("--named-by", type=click.Choice(["id", "ip"]), default="id", show_default=True,
              help="What a Node is called by.")  # fmt: skip
def main(
    kubeconfig: Path, ready_file: Path, boot_seconds: float, task_seconds: float, notices: bool, named_by: str
) -> None:
    """Plays the inside of every simulated machine until SIGTERM or SIGINT.

    A machine joins the cluster when its user data names a bootstrap token.
    """
    habits = Habits(boot_seconds, task_seconds, notices, named_by)
    asyncio.run(_play(_server(kubeconfig), json.loads(ready_file.read_text()), habits))


async def _play(server: Server, ready: dict[str, str], habits: Habits) -> None:
    following = asyncio.create_task(_follow(server, ready, habits))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, following.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await following


async def _follow(server: Server, ready: dict[str, str], habits: Habits) -> None:
    """Starts a guest for each machine that runs, and cancels it when the machine is gone."""
    simulator, guests = Simulator(ready), dict[str, asyncio.Task[None]]()
    with tempfile.TemporaryDirectory(prefix="guests-") as directory:
        try:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    running = await simulator.running()
                    for name in running.keys() - guests.keys():
                        guest = Guest(running[name], simulator, server, habits, Path(directory))
                        guests[name] = asyncio.create_task(_run(guest))
                    for name in guests.keys() - running.keys():
                        guests.pop(name).cancel()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for task in guests.values():
                task.cancel()
            await asyncio.gather(*guests.values(), return_exceptions=True)
            await simulator.close()


async def _run(guest: Guest) -> None:
    """Runs a guest, and says why one ended by itself: in silence it would look like a reclaim."""
    try:
        await guest.run()
    except (Refused, aiohttp.ClientError, ExceptionGroup) as error:
        print(f"{guest.id}: {error}", flush=True)


def _server(kubeconfig: Path) -> Server:
    """Returns the API server that the kubeconfig's first cluster names."""
    entry = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]
    return Server(entry["server"], base64.b64decode(entry["certificate-authority-data"]).decode())


if __name__ == "__main__":
    main()
