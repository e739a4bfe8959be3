"""Makes some calls at the same time, but not all.

Apart from those who use it, because lists and look-ups both must leave threads to others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def few_at_once(limit: int, calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Returns the answers of all calls, in order, and has at most `limit` under way. Raises what the first one raises.

    After an error no further call is begun.
    """
    answers: dict[int, T] = {}
    waiting = iter(enumerate(calls))

    async def work() -> None:
        for number, call in waiting:
            answers[number] = await call()

    try:
        await asyncio.gather(*(work() for _ in range(min(limit, len(calls)))))
    finally:
        for _ in waiting:
            pass
    return [answers[number] for number in range(len(calls))]
