"""What else a history draws: gangs, shares, tight limits, requirements, single attempts, and troubles of single pools.

Apart from `history`, with dice of its own: what else a seed draws stays as it was without them.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from spotcompute.cloud import errors
from spotcompute.cloud.tencent.codes import EXACT

if TYPE_CHECKING:
    from simulation.world import World

Spec = dict[str, Any]

#: Classes of which one answer says something about the whole account: they are troubles of the line, not of a pool.
OF_THE_ACCOUNT = (errors.InsufficientBalance, errors.InvalidCredentials, errors.Throttled)

#: Classes that one pool cannot have without its zone.
OF_THE_ZONE = (errors.NoRoom, errors.QuotaExceeded)

#: About releases only.
OF_RELEASES = (errors.InstanceGone, errors.InstanceBusy, errors.TerminationBlocked)

#: Codes by class with which a pool can refuse a launch, and some that are in no list.
CODES: dict[type[errors.CloudError], tuple[str, ...]] = {
    kind: codes for kind, codes in EXACT.items() if kind not in (*OF_THE_ACCOUNT, *OF_RELEASES)
} | {
    errors.OutcomeUnknown: ("InternalServerError", "InternalError.TradeUnknownError", "FailedOperation.Whatever"),
    errors.Unclassified: ("SomethingNew.AltogetherUnknown",),
}

#: Part of the environments that wish for each.
GANG, SHARE, LIMIT, ONE_TIME, REQUIREMENTS = 0.25, 0.2, 0.25, 0.07, 0.12

#: Part of the histories with the settings of an install that has chosen none.
DEFAULTS = 0.2

#: More than six machines cost at the prices of a healed world, in each currency, and less than they do before.
TIGHT = {"USD": "0.145", "CNY": "1.05"}


class Wishes:
    """`Wishes` draws what the specs of one history ask for besides, and which pools refuse launches."""

    def __init__(self, seed: int) -> None:
        """Draws the same for the same seed."""
        self._rng = random.Random(f"{seed}/wishes")
        self.has_defaults = self._rng.random() < DEFAULTS
        self._trouble = self._rng.choice([0.0, 0.05, 0.2])

    def added_to(self, spec: Spec, world: World) -> Spec:
        """The spec with what it wishes for besides; as the API server takes it."""
        rng, spec = self._rng, {**spec, "market": dict(spec["market"])}
        draws = [rng.random() for _ in range(5)]
        if draws[0] < GANG:
            spec["gang"] = {"minAvailable": rng.choice([1, 2, 3]), "holdSeconds": rng.choice([0, 30, 300])}
        if draws[1] < SHARE:
            spec["market"]["maxSharePerPool"] = rng.choice([34, 50, 75])
        # Neither a surge nor what is on demand in any case fits under a tight limit.
        if draws[2] < LIMIT and not spec.keys() & {"strategy", "onDemand"}:
            spec["limits"] = {"maxHourlyCost": TIGHT[world.cloud.simulator.switches["price-currency"]]}
        if draws[3] < ONE_TIME:
            spec["requestPolicy"] = "OneTime"
        if draws[4] < REQUIREMENTS and spec["market"].get("allocationStrategy", "Prioritized") != "Prioritized":
            del spec["instanceTypes"]
            spec["instanceRequirements"] = {"cpu": {"max": 2}, "families": rng.choice([["S5"], ["S2", "SA2"]])}
        keep_the_rules(spec)
        world.features |= {word for word in ("gang", "limits", "requestPolicy", "instanceRequirements") if word in spec}
        return spec

    def is_time_for_trouble(self) -> bool:
        """True now and then, in histories in which pools have troubles of their own."""
        return self._trouble > 0 and self._rng.random() < self._trouble

    def trouble_pools(self, world: World, *, leave_one: bool) -> None:
        """From now on some pools refuse every launch, each with a code from any class.

        With `leave_one`, each environment keeps a pool that sells, and what a pool has only with its zone is drawn for
        no pool.
        """
        troubles = world.cloud.pool_troubles
        troubles.clear()
        pools = sorted(world.cloud.simulator.world.offerings)
        kept = {pool for obj in world.api.objects.values() for pool in self._kept(obj["spec"], pools)}
        kinds = [kind for kind in CODES if not (leave_one and kind in OF_THE_ZONE)]
        for pool in pools:
            is_troubled, kind = self._rng.random() < 0.7, self._rng.choice(kinds)
            code = self._rng.choice(CODES[kind])
            if is_troubled and not (leave_one and pool in kept):
                troubles[pool] = code
        if troubles:
            world.features.add("pool-trouble")
        world.note(f"pools refuse: {sorted(troubles.items())}")

    def _kept(self, spec: Spec, pools: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Pools that must sell so that a spec can be filled: one of them, or with a share all."""
        zones = [placement["zone"] for placement in spec["placements"]]
        mine = [(zone, kind) for zone, kind in pools if zone in zones and _is_asked_for(kind, spec)]
        return mine if spec["market"].get("maxSharePerPool", 100) < 100 else [self._rng.choice(mine)]


def _is_asked_for(kind: str, spec: Spec) -> bool:
    if "instanceTypes" in spec:
        return kind in spec["instanceTypes"]
    family, _, size = kind.partition(".")
    return family in spec["instanceRequirements"]["families"] and size == "MEDIUM4"


def keep_the_rules(spec: Spec) -> None:
    """Take out of a spec what the API server would refuse, and a share under which not all have a place."""
    market, wanted = spec["market"], spec.get("replicas", 0)
    if spec.get("requestPolicy") == "OneTime":
        for key in ("onDemandFallback", "onDemand", "gang", "strategy"):
            spec.pop(key, None)
        market.pop("maxSharePerPool", None)
    if "gang" in spec and ("onDemandFallback" in spec or "onDemand" in spec):
        del spec["gang"]
    if "gang" in spec and wanted > 0:
        spec["gang"] = {**spec["gang"], "minAvailable": min(spec["gang"]["minAvailable"], wanted)}
    if "gang" in spec:
        spec.pop("strategy", None)
    share = market.get("maxSharePerPool", 100)
    pools = len(spec["placements"]) * len(spec.get("instanceTypes") or ())
    if share * pools < 100 or max(1, wanted * share // 100) * pools < wanted:
        market.pop("maxSharePerPool", None)
