"""`make hostile`: fifty thousand hostile manifests as dry runs, two thousand for real, and the figures.

Exit code 1 when anything was not as it must be; each failure is printed with the number that makes it again.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT / "deploy" / "local"), str(ROOT / "tests")]

from hostile.judge import Tally, api_server, dry_run  # noqa: E402 - after the path is set
from hostile.live import Live, Theatre  # noqa: E402 - after the path is set
from hostile.manifests import Forge, bases  # noqa: E402 - after the path is set
from localcluster.controlplane import ControlPlane  # noqa: E402 - after the path is set

SHARE = 2_000  # of the dry runs between two lines of progress
ALIVE = 50
MOST_DELAY = 2.0


@click.command()
@click.option("--dry", default=50_000, show_default=True, help="Manifests that are only tried.")
@click.option(
    "--live", default=2_000, show_default=True, help="Manifests the API server accepts and the operator gets."
)
@click.option("--seed", default=1, show_default=True)
def main(dry: int, live: int, seed: int) -> None:
    """Play, and print what came of it."""
    with ControlPlane(crds=ROOT / "crds") as plane:
        failures = asyncio.run(_dry(plane.kubeconfig, dry, seed)) if dry else []
        failures += _live(plane, live, seed) if live else []
    for failure in failures[:50]:
        click.echo(f"FAILED {failure}")
    sys.exit(1 if failures else 0)


async def _dry(kubeconfig: Path, count: int, seed: int) -> list[str]:
    forge = Forge(seed, bases(("ap-guangzhou-3", "ap-guangzhou-4"), "img-pmqg1cw7", "tencent"))
    total, began = Tally(), time.monotonic()
    async with api_server(kubeconfig, "default") as server:
        for first in range(0, count, SHARE):
            tally = await dry_run(server, forge.manifests(min(SHARE, count - first), first))
            total.answers += tally.answers
            total.invalid += tally.invalid
            total.failures += tally.failures
            done, spent = min(first + SHARE, count), time.monotonic() - began
            click.echo(f"{done} of {count} tried, {spent:.0f} s spent, {spent / done * (count - done):.0f} s left")
    click.echo(
        f"dry runs (seed {seed}): {dict(sorted(total.answers.items()))}; {total.invalid} accepted that our own reading"
        f" refuses with its place; {len(total.failures)} failures"
    )
    return total.failures


def _live(plane: ControlPlane, count: int, seed: int) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="spotcompute-hostile-") as directory:
        theatre = Theatre(plane, Path(directory), seed)
        try:
            live = theatre.play(count, ALIVE, click.echo)
        finally:
            theatre.close()
    beside, arriving = median(live.beside) / median(live.alone), median(live.meanwhile) / median(live.beside_harmless)
    _tell(live, seed, beside, arriving)
    slow = [f"a neighbour waits {ratio:.1f} times as long" for ratio in (beside, arriving) if ratio > MOST_DELAY]
    return live.failures + slow


def _tell(live: Live, seed: int, beside: float, arriving: float) -> None:
    click.echo(
        f"for real (seed {seed}): {live.applied} applied, {live.accepted} accepted; {len(live.failures)} failures"
    )
    click.echo(f"  became: {dict(live.became.most_common())}")
    click.echo(f"  answers of the cloud: {dict(live.codes.most_common())}")
    click.echo(f"  log lines a minute of the most talkative object, at rest: {live.lines_per_minute}")
    click.echo(f"  a neighbour's wait beside {ALIVE} of them, against alone: {beside:.2f}")
    click.echo(f"  a neighbour's wait while {ALIVE} of them arrive, against {ALIVE} harmless ones: {arriving:.2f}")


if __name__ == "__main__":
    main()
