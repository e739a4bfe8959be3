"""In what an instance differs from its spec: template, type, zone, subnet, charge type, and never what is unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plan.given import A, B, desired_of, fallback, instance, ledger_of, market_of, member, observed_of, situation_of
from spotcompute.model.desired import Desired, Placement, Requirements, Span
from spotcompute.model.instance import Instance
from spotcompute.model.ledger import Member
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.drift import Asked, Drift

OTHER_TYPE = Pool(A.zone, "SA2.MEDIUM4")


def drift(
    desired: Desired, one: Member | None = None, seen: Instance | None = None, market: Market | None = None
) -> set[Drift]:
    """In what an instance differs that is as `desired_of` asks unless said otherwise."""
    one = one or member("ins-1")
    observed = observed_of(*([seen] if seen else []), market=market)
    return set(Asked(situation_of(desired, ledger_of(one), observed)).drift_of(one))


def placed(*placements: Placement, **other: Any) -> Desired:
    """A spec with these placements and the usual type."""
    pools = {Pool(one.zone, A.instance_type): one for one in reversed(placements)}
    return replace(desired_of(2, pools), **({"pools": tuple(pools.items()), "placements": placements} | other))


def needing(**requirements: Any) -> Desired:
    """A spec that describes types in the place of naming them; the market has brought pool B only."""
    return placed(Placement(A.zone), requirements=Requirements(**requirements), pools=((B, Placement(B.zone)),))


TWO_SUBNETS = (Placement(A.zone, "vpc-1", "subnet-1"), Placement(A.zone, "vpc-1", "subnet-2"))
ANY_SUBNET = (TWO_SUBNETS[0], Placement(A.zone))


@pytest.mark.parametrize(
    ("desired", "one", "seen", "differs"),
    [
        pytest.param(desired_of(1), {}, {}, set(), id="as-it-is-asked-for"),
        pytest.param(desired_of(1), {"template_digest": "0" * 12}, {}, {Drift.TEMPLATE}, id="an-older-template"),
        pytest.param(desired_of(1), {"template_digest": None}, {}, set(), id="a-found-one-has-no-known-template"),
        pytest.param(desired_of(1, user_data_digest="abc"), {}, {}, {Drift.TEMPLATE}, id="other-user-data"),
        pytest.param(desired_of(1, [B]), {}, {}, {Drift.ZONE}, id="its-zone-was-taken-out"),
        pytest.param(desired_of(1), {"pool": OTHER_TYPE}, {}, {Drift.INSTANCE_TYPE}, id="its-type-was-taken-out"),
        pytest.param(
            desired_of(1, [B]), {"pool": OTHER_TYPE}, {}, {Drift.ZONE, Drift.INSTANCE_TYPE}, id="both-were-taken-out"
        ),
        pytest.param(placed(*TWO_SUBNETS), {}, {"subnet_id": "subnet-2"}, set(), id="one-of-two-subnets"),
        pytest.param(placed(*TWO_SUBNETS), {}, {"subnet_id": "subnet-3"}, {Drift.SUBNET}, id="another-subnet"),
        pytest.param(placed(*TWO_SUBNETS), {}, {}, set(), id="the-cloud-shows-no-subnet"),
        pytest.param(placed(*ANY_SUBNET), {}, {"subnet_id": "subnet-3"}, set(), id="any-subnet-will-do"),
        pytest.param(desired_of(1), {"on_demand": True}, {}, {Drift.CHARGE_TYPE}, id="no-fallback-any-more"),
        pytest.param(desired_of(1, fallback=fallback()), {"on_demand": True}, {}, set(), id="it-stands-in-for-spot"),
        pytest.param(desired_of(0, []), {}, {}, set(), id="nothing-is-known-of-the-pools"),
    ],
)
def test_in_what_an_instance_differs(
    desired: Desired, one: dict[str, Any], seen: dict[str, Any], differs: set[Drift]
) -> None:
    found = member("ins-1", **one)
    assert drift(desired, found, instance("ins-1", **({"pool": found.pool} | seen))) == differs


def test_an_instance_that_is_not_listed_yet_differs_in_no_subnet() -> None:
    assert drift(placed(*TWO_SUBNETS)) == set()


def test_requirements_are_compared_with_the_type_and_not_with_the_pools_of_the_moment() -> None:
    quoted = market_of({A: "1", B: "1"})
    assert drift(needing(), market=quoted) == set()
    assert drift(needing(vcpu=Span(minimum=2)), market=quoted) == set()
    assert drift(needing(vcpu=Span(minimum=4)), market=quoted) == {Drift.INSTANCE_TYPE}


def test_without_a_quote_requirements_say_only_which_types_are_excluded() -> None:
    assert drift(needing(vcpu=Span(minimum=4))) == set()
    assert drift(needing(excluded_types=frozenset({A.instance_type}))) == {Drift.INSTANCE_TYPE}


def test_a_drifted_instance_is_not_updated() -> None:
    asked = Asked(situation_of(desired_of(2, [A])))
    assert asked.is_updated(member("ins-1"))
    assert not asked.is_updated(replace(member("ins-2"), pool=B))
