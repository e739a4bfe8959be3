"""A part that ends takes the process with it, and a process that stops lets its parts end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

import pytest
from structlog.testing import capture_logs

from spotcompute.runtime.supervisor import Background, PartDied, Supervisor


async def lasting() -> None:
    await asyncio.Event().wait()


async def ending() -> None:
    await asyncio.sleep(0)


async def failing() -> NoReturn:
    raise LookupError("gone")


async def exiting() -> NoReturn:
    raise SystemExit(3)


async def cancelling_itself() -> NoReturn:
    raise asyncio.CancelledError


def of_kind(kind: type[BaseException]) -> Callable[[BaseException], bool]:
    return lambda death: isinstance(death, kind)


@pytest.mark.parametrize(
    ("part", "is_right"),
    [
        pytest.param(ending, of_kind(PartDied), id="ends"),
        pytest.param(failing, of_kind(LookupError), id="fails"),
        pytest.param(exiting, of_kind(SystemExit), id="exits"),
        pytest.param(cancelling_itself, of_kind(PartDied), id="is-cancelled"),
    ],
)
@pytest.mark.parametrize("place", ["first", "background"])
async def test_a_part_that_ends_stops_the_process(
    part: Background, is_right: Callable[[BaseException], bool], place: str
) -> None:
    stop = asyncio.Event()
    supervisor = Supervisor([part] if place == "background" else [lasting], stop)
    with capture_logs() as lines:
        supervisor.start(part if place == "first" else lasting)
        await stop.wait()
    assert supervisor.death is not None
    assert is_right(supervisor.death)
    (line,) = lines
    assert (line["event"], line["part"]) == ("part_died", part.__qualname__)
    with pytest.raises(PartDied, match=part.__qualname__):
        supervisor.check()
    await supervisor.stop_parts(0)


async def test_the_first_death_is_the_one_that_is_told() -> None:
    supervisor = Supervisor([failing, ending], asyncio.Event())
    supervisor.start(lasting)
    for _ in range(5):
        await asyncio.sleep(0)
    assert isinstance(supervisor.death, LookupError)
    await supervisor.stop_parts(0)


async def test_a_process_that_stops_lets_its_parts_end() -> None:
    stop, closing = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await closing.wait()

    supervisor = Supervisor([lasting], stop)
    supervisor.start(work)
    supervisor.check()
    supervisor.stopping()
    closing.set()
    await supervisor.stop_parts(60)
    supervisor.check()
    assert supervisor.death is None
    assert not stop.is_set()


async def test_what_never_started_can_be_stopped() -> None:
    supervisor = Supervisor([lasting], asyncio.Event())
    supervisor.stopping()
    await supervisor.stop_parts(60)
    supervisor.check()
