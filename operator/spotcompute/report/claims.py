"""Says in one sentence how a claim stands, for the Workload that waits.

Apart from `conclusion`, which says how the environment itself stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spotcompute.plan.claims import ClaimState, Standing

#: Most letters of a sentence. Kueue allows far more, and repeats it in its own conditions.
LETTERS = 1000


def sentence(answer: Standing, environment: tuple[str, str], message: str, capacity: Mapping[str, Any]) -> str:
    """Returns the sentence. `message` is what the environment says of itself, `capacity` that part of its spec."""
    name, most = "/".join(environment), capacity.get("maxReplicas")
    if answer.verdict is ClaimState.READY:
        return f"{_nodes(answer)} of environment {name} are ready"
    if answer.verdict is ClaimState.COMING:
        return f"{_nodes(answer)} of environment {name} are ready; {message}"[:LETTERS]
    if answer.verdict is ClaimState.BEHIND:
        return f"waits for older claims on environment {name}, which may have {most} nodes (spec.capacity.maxReplicas)"
    if answer.verdict is ClaimState.TOO_MUCH:
        remedy = "Raise it, or let fewer pods run at a time"
        return (
            f"needs about {answer.needed} nodes of environment {name}, which may have {most}"
            f" (spec.capacity.maxReplicas). {remedy}"
        )
    if answer.verdict is ClaimState.FITS_NOWHERE:
        remedy = "Ask for less, or name types in the environment that are large enough"
        return f"does not fit environment {name}: {answer.detail}. {remedy}"[:LETTERS]
    return f"waits for environment {name} to learn the sizes of its types; {message}"[:LETTERS]


def _nodes(answer: Standing) -> str:
    return f"{answer.ready} of {answer.needed} nodes"
