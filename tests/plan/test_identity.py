"""Names that must never be ambiguous: identities, tokens, and the names of launches."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from plan.given import OURS, THEIRS, A, B, desired_of, instance, intent
from spotcompute.model.desired import Caps, Desired
from spotcompute.model.identity import (
    is_bound_to,
    is_named_by_us,
    is_of_launch,
    launch_token,
    new_environment_id,
    owner_label,
    owner_of,
)
from spotcompute.model.instance import Ownership
from spotcompute.model.launch import Template


def test_a_token_is_a_function_of_whose_which_and_what() -> None:
    tokens = {
        launch_token(OURS, 7, "aaaa"),
        launch_token(OURS, 7, "bbbb"),
        launch_token(OURS, 8, "aaaa"),
        launch_token(THEIRS, 7, "aaaa"),
        launch_token(Ownership("cluster-b", OURS.environment_id), 7, "aaaa"),
    }
    assert len(tokens) == 5
    assert launch_token(OURS, 7, "aaaa") in tokens


@pytest.mark.parametrize(
    ("desired", "changes"),
    [
        pytest.param(desired_of(template=Template("img-2")), {}, id="image"),
        pytest.param(desired_of(caps=Caps(Decimal("0.1"))), {}, id="price"),
        pytest.param(desired_of(user_data_digest="abc"), {}, id="user-data"),
        pytest.param(desired_of(name_prefix="other"), {}, id="name"),
        pytest.param(desired_of(), {"count": 3}, id="count"),
        pytest.param(desired_of(), {"pool": B}, id="pool"),
    ],
)
def test_no_token_ever_serves_other_parameters(desired: Desired, changes: dict[str, object]) -> None:
    """A restored status makes a sequence number come again; with other parameters the token must differ."""
    first = intent(desired_of(), count=2, pool=A)
    again = intent(desired, **({"count": 2, "pool": A} | changes))
    assert again.sequence == first.sequence
    assert again.token != first.token


@pytest.mark.parametrize(
    ("environment_id", "is_bound"),
    [
        (new_environment_id("c-1", "team", "web", "abc123"), True),
        (new_environment_id("c-1", "team", "web", "zzz999"), True),
        (new_environment_id("c-1", "team", "other", "abc123"), False),
        (new_environment_id("c-1", "other", "web", "abc123"), False),
        (new_environment_id("c-2", "team", "web", "abc123"), False),
        (new_environment_id("c-1", "team", "web", ""), False),
        (new_environment_id("c-1", "team", "web", "A'; drop"), False),
        ("", False),
    ],
)
def test_a_copied_identity_is_recognised_as_somebody_elses(environment_id: str, is_bound: bool) -> None:
    assert is_bound_to(environment_id, "c-1", "team", "web") is is_bound


@pytest.mark.parametrize(
    ("name", "count", "is_its"),
    [
        ("web-web001-700", 1, True),
        ("web-web001-7001", 1, False),
        ("web-web001-700-1", 1, False),
        ("web-web001-700-1", 2, True),
        ("web-web001-700-100", 2, True),
        ("web-web001-700-", 2, False),
        ("web-web001-700-1x", 2, False),
        ("web-web001-700", 2, False),
        ("", 1, False),
    ],
)
def test_which_names_belong_to_a_launch(name: str, count: int, is_its: bool) -> None:
    assert is_of_launch(instance("ins-1", name=name), intent(desired_of(), count)) is is_its


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("web-web001-1", True),
        ("web-web001-1795406400-100", True),
        ("renamed-prefix-web001-1", True),
        ("web-job002-1", False),
        ("web-web001-", False),
        ("web-web001-one", False),
        ("-web001-1", False),
        ("my-web001", False),
        ("x" * 33 + "-web001-1", False),
    ],
)
def test_which_names_are_of_this_environment(name: str, is_ours: bool) -> None:
    assert is_named_by_us(instance("ins-1", name=name), OURS) is is_ours


def test_another_cluster_does_not_name_as_we_do() -> None:
    theirs = replace(OURS, environment_id="9876543210-zzz999")
    assert not is_named_by_us(instance("ins-1", name=intent(desired_of()).name), theirs)


@pytest.mark.parametrize(
    ("label", "owner"),
    [
        (owner_label("team", "web"), ("team", "web")),
        (owner_label("n" * 63, "x" * 63), ("n" * 63, "x" * 63)),
        (None, None),
        ("", None),
        ("team", None),
        ("@web", None),
        ("team@", None),
        ("a@b@c", None),
    ],
)
def test_who_a_label_names(label: str | None, owner: tuple[str, str] | None) -> None:
    assert owner_of(label) == owner
    assert len(label or "") <= 127
