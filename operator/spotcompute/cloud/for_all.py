"""Begins calls that all environments of an account wait for together.

Apart from those who use it, because all of them need the same two things: an empty logging context, and an end that is
heard even when every caller has given up waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

from spotcompute.cloud.errors import CloudError

T = TypeVar("T")


def begun_for_all(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Returns the work as a task that belongs to no caller; they wait for it behind a shield.

    When all of them have given up waiting, a `CloudError` says nothing new: the next call tells the trouble. asyncio
    would log it as one that was never retrieved, with a traceback, for each key that is refused. Other errors are ours
    and are told.
    """
    task = asyncio.create_task(work, context=Context())
    task.add_done_callback(_heard)
    return task


def _heard(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, CloudError):
        task.get_loop().call_exception_handler({"message": "work for all has failed", "exception": error, "task": task})
