"""How hypothesis looks for counterexamples: always at the same ones, unless it is told to explore.

What a change must pass may not depend on luck; `make explore` draws anew.
"""

from __future__ import annotations

from hypothesis import settings

# No deadline: how long an example takes says more about the machine than about the code.
settings.register_profile("same", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, database=None)
settings.load_profile("same")
