"""What the page says of an environment: rows, sentences, totals, and nothing breaks on odd objects."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_spot.ui import form, market, rows
from kubectl_spot.ui.reading import slim, spent_until, summary_of
from plugin.ui_objects import NOW, condition, environment, instance, pool

AT = datetime.fromtimestamp(NOW, UTC)


@pytest.mark.parametrize(
    ("state", "spec", "status", "said"),
    [
        ("Available", {}, {}, "Need not be asked: nothing is missing."),
        ("Available", {"replicas": 3}, {}, "Is asked: instances are missing."),
        ("Available", {"replicas": 3, "paused": True}, {}, "Is not asked while the environment is paused."),
        (
            "Resting",
            {},
            {"lastError": "ResourceInsufficient: sold out"},
            "and is not asked for a while: ResourceInsuff",
        ),
        ("Full", {}, {"note": "2 of 2"}, "Is not asked: it has its share of the instances: 2 of 2"),
        ("Unheard", {}, {}, "Is in state Unheard."),
    ],
)
def test_each_pool_says_why_it_is_asked_or_not(
    state: str, spec: dict[str, Any], status: dict[str, Any], said: str
) -> None:
    obj = environment(spec=spec, status={"pools": [pool(state=state, **status)]})
    (row,) = rows.pool_rows(obj)
    assert said in row.why


def test_every_state_of_a_pool_and_every_condition_of_the_definition_has_words() -> None:
    from spotcompute.api.conditions import ConditionType
    from spotcompute.api.crd import custom_resource_definition

    (version,) = custom_resource_definition()["spec"]["versions"]
    status = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    assert set(status["pools"]["items"]["properties"]["state"]["enum"]) == set(rows.ASKED)
    assert set(status["phase"]["enum"]) == set(rows.TONES) == {*rows.URGENCY} - {"Not seen yet"}
    assert {kind for kind, _ in rows.MEANINGS} == set(map(str, ConditionType))


def test_a_discount_is_shown_beside_the_price() -> None:
    (row,) = rows.pool_rows(environment())
    assert (row.price, row.list_price, row.discount) == ("0.02", "0.1", "−80 %")


def test_what_was_spent_goes_on_until_now() -> None:
    cost = {"perHour": "0.04", "accrued": "1", "accruedAt": "2027-01-15T07:00:00Z", "currency": "USD"}
    obj = environment(status={"cost": cost | {"onDemandPerHour": "0.2", "savedPercent": 80}})
    assert spent_until(obj, AT) == Decimal("1.04")
    facts = dict(rows.cost_facts(obj, AT))
    assert facts["Spent until now"] == "1.04 USD"
    assert facts["Saved per hour"] == "0.16 USD (80 %)"


def test_totals_keep_currencies_apart() -> None:
    mainland = environment("b", status={"cost": {"perHour": "1", "currency": "CNY"}, "phase": "Waiting"})
    found = rows.totals(map(summary_of, [environment("a"), environment("c"), mainland]))
    assert (found.environments, found.ready, found.wanted) == (3, 6, 6)
    assert found.per_hour == "1 CNY, 0.08 USD"
    assert found.phases == [("Waiting", 1), ("Ready", 2)]


def test_the_most_urgent_comes_first_and_words_narrow_the_list() -> None:
    phases = ["Ready", "Stalled", "Waiting"]
    found = [summary_of(environment(f"env-{phase.lower()}", status={"phase": phase})) for phase in phases]
    assert [one.phase for one in rows.selected(found, "", "", "phase")] == ["Stalled", "Waiting", "Ready"]
    assert [one.name for one in rows.selected(found, "JOBS wait", "", "name")] == ["env-waiting"]
    assert rows.selected(found, "", "Paused", "name") == []


def test_an_object_that_nobody_has_seen_yet_says_so() -> None:
    obj = environment()
    del obj["status"]
    found = summary_of(obj)
    assert found.phase == "Not seen yet"
    assert "has not seen the latest change" in rows.sentence(found)


def test_a_machine_is_found_by_its_address() -> None:
    found = rows.selected_machines(summary_of(environment()).machines, "10.0.0.8")
    assert [one.id for one in found] == ["ins-2"]


def test_machines_that_status_names_by_id_alone_are_listed_too() -> None:
    status = {"instances": [instance("ins-1")], "instanceIDs": ["ins-3", "ins-1", "ins-2"]}
    assert [one.id for one in summary_of(environment(status=status)).machines] == ["ins-1", "ins-2", "ins-3"]


@pytest.mark.parametrize(
    ("asked", "number"), [(None, 1), ("2", 2), ("99", 3), ("0", 1), ("-1", 1), ("x", 1), ("²", 1), ("9" * 5000, 1)]
)
def test_every_number_of_a_page_leads_somewhere(asked: str | None, number: int) -> None:
    page = rows.paged(range(120), asked)
    assert page.number == number
    assert len(page.rows) == min(50, 120 - 50 * (number - 1))


def test_a_condition_says_what_it_means() -> None:
    obj = environment(
        status={"conditions": [condition("Stalled", "True", "correct the image"), condition("New", "True")]}
    )
    stalled, unknown = rows.condition_rows(obj)
    assert (stalled.meaning, stalled.message, stalled.tone) == ("A person must act.", "Correct the image.", "bad")
    assert unknown.meaning == "New is True."


def test_prices_of_one_pool_are_one_offer() -> None:
    dear = environment("b", status={"pools": [pool(pricePerHour="0.03", stock="EnoughStock"), pool(kind="S6.LARGE8")]})
    unpriced = environment("c", status={"pools": [{"zone": "z", "instanceType": "t", "state": "Unpriced"}]})
    first, second = market.offers(map(summary_of, [environment("a"), dear, unpriced]))
    assert (first.instance_type, first.price, first.discount) == ("S6.LARGE8", Decimal("0.02"), 80)
    assert (second.price, second.stock, second.environments) == (Decimal("0.03"), "EnoughStock", 2)


def test_a_quote_tells_what_would_be_bought_and_what_is_wrong() -> None:
    quote = {
        "missing": 3,
        "chosen": 2,
        "perHour": "0.04",
        "currency": "USD",
        "pools": [{"zone": "z", "instanceType": "t", "count": 2, "pricePerHour": "0.02"}],
        "errors": [{"field": "spec.template.imageId", "code": "InvalidImageId.NotFound", "message": "no such image"}],
    }
    lines = rows.quote_lines(environment(status={"quote": quote}))
    assert lines[0] == "2 of 3 missing instances would be bought."
    assert "2 × t@z at 0.02 USD per hour each." in lines
    assert lines[-1] == "Correct first: spec.template.imageId: InvalidImageId.NotFound: no such image"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PARTS = ["phase", "reason", "replicas", "readyReplicas", "cost", "pools", "instances", "instanceIDs", "activities"]


@given(
    spec=st.dictionaries(st.sampled_from(["region", "replicas", "paused"]), JSON),
    status=st.dictionaries(st.sampled_from([*PARTS, "conditions", "quote", "nextAttemptTime"]), JSON),
    lines=st.lists(
        st.dictionaries(st.sampled_from(["id", "zone", "state", "cause", "type", "count"]), JSON), max_size=3
    ),
)
def test_whatever_a_status_holds_it_is_shown(
    spec: dict[str, Any], status: dict[str, Any], lines: list[dict[str, Any]]
) -> None:
    """An older or a newer operator wrote it, or a person did."""
    for part in ("pools", "instances", "activities", "conditions"):
        status.setdefault(part, lines)
    obj = json.loads(json.dumps(environment(spec=spec, status=status)))
    found = summary_of(slim(obj))
    rows.totals([found])
    rows.selected([found], "a", "", "cost")
    rows.selected_machines(found.machines, "a")
    assert rows.sentence(found) is not None
    assert len(rows.pool_rows(obj)) + len(rows.activity_rows(obj)) + len(rows.condition_rows(obj)) >= 0
    rows.cost_facts(obj, AT)
    rows.quote_lines(obj)
    market.offers([found])


def test_the_form_makes_a_manifest_that_says_only_what_was_said() -> None:
    given = {
        "namespace": ["jobs"],
        "name": [" web "],
        "region": ["ap-guangzhou"],
        "zones": ["ap-guangzhou-3=vpc-1/subnet-1, ap-guangzhou-4"],
        "types": ["S5.MEDIUM4 S5.MEDIUM4 SA2.MEDIUM4"],
        "image": ["img-1"],
        "quantity": ["3"],
        "secret": [""],
        "max_price": ["0.05"],
        "unheard": ["x"],
    }
    manifest = form.manifest_of(form.Draft.of(given))
    assert manifest["metadata"] == {"name": "web", "namespace": "jobs"}
    assert manifest["spec"] == {
        "region": "ap-guangzhou",
        "replicas": 3,
        "placements": [
            {"zone": "ap-guangzhou-3", "vpcId": "vpc-1", "subnetId": "subnet-1"},
            {"zone": "ap-guangzhou-4"},
        ],
        "instanceTypes": ["S5.MEDIUM4", "SA2.MEDIUM4"],
        "market": {"maxPrice": "0.05"},
        "template": {"imageId": "img-1"},
    }


def test_without_types_the_bounds_are_requirements_and_nonsense_stays_for_the_api_server() -> None:
    draft = form.Draft(cpu_min="2", cpu_max="4", memory_max="many", quantity="1.5", paused="yes")
    spec = form.manifest_of(draft)["spec"]
    assert spec["market"] == {"allocationStrategy": "LowestPrice"}
    assert spec["instanceRequirements"] == {"cpu": {"min": 2, "max": 4}, "memoryGiB": {"max": "many"}}
    assert spec["replicas"] == "1.5"
    assert spec["paused"] is True


def test_a_draft_like_another_environment_makes_the_same_manifest() -> None:
    draft = form.Draft(
        namespace="jobs",
        name="web",
        region="r",
        zones="r-1=vpc-1/subnet-1 r-2",
        types="A B",
        image="img-1",
        max_price="0.1",
        quantity="4",
        strategy="LowestPrice",
        secret="key",
        key_ids="skey-1",
        security_groups="sg-1",
    )
    manifest = form.manifest_of(draft)
    assert form.manifest_of(form.draft_of(manifest, "jobs"))["spec"] == manifest["spec"]
