"""Keeps the clock of a served world: real time with an offset, or time that stands until it is moved.

Apart from the world, which is only given the time.
"""

import time


class Clock:
    """`Clock` counts world seconds (since 1970, UTC).

    A stepped clock stands, a real one runs. Both can be moved forward.
    """

    def __init__(self, *, is_stepped: bool, start: float | None = None) -> None:
        self.is_stepped = is_stepped
        wall = time.time()
        self._offset = 0.0 if start is None else start - wall
        self._standing = wall if start is None else start

    def now(self) -> float:
        """Returns the world time in seconds."""
        return self._standing if self.is_stepped else time.time() + self._offset

    def advance(self, seconds: float) -> float:
        """Moves the clock forward by `seconds`. Returns the new time."""
        self._offset += seconds
        self._standing += seconds
        return self.now()
