"""A note about a key is written once; a refusal is no reason to stand still, an API server that is away is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest
from structlog.testing import capture_logs

from spotcompute.kube.account_registry import AccountRef, AccountRegistry
from spotcompute.kube.port import ApiUnavailable, Forbidden, Invalid, KubeError, KubePort, NotFound

NOTE = AccountRef("default", "key", "ap-guangzhou")


@dataclass
class Home:
    """The operator's own namespace; `trouble` is raised, in turn, before anything is written."""

    notes: dict[str, str] = field(default_factory=dict)
    trouble: list[KubeError] = field(default_factory=list)
    asked: int = 0

    async def remember_account(self, key: str, text: str) -> None:
        self.asked += 1
        if self.trouble:
            raise self.trouble.pop(0)
        self.notes[key] = text

    async def remembered_accounts(self) -> dict[str, str]:
        if self.trouble:
            raise self.trouble.pop(0)
        return self.notes


async def test_a_note_is_written_once_and_read_back() -> None:
    home = Home()
    register = AccountRegistry(cast(KubePort, home))
    await register.add(NOTE)
    await register.add(NOTE)
    assert home.asked == 1
    assert await register.all() == [NOTE]


@pytest.mark.parametrize("refusal", [Forbidden("no right"), NotFound("no namespace"), Invalid("too large")])
async def test_a_refusal_is_no_reason_to_stand_still(refusal: KubeError) -> None:
    home = Home(trouble=[refusal])
    register = AccountRegistry(cast(KubePort, home))
    await register.add(NOTE)
    await register.add(NOTE)
    assert home.asked == 1


async def test_notes_that_may_not_be_read_are_told_once_and_not_taken_for_none() -> None:
    home = Home(notes={NOTE.key: NOTE.to_json()}, trouble=[Forbidden("no right")] * 3)
    register = AccountRegistry(cast(KubePort, home))
    with capture_logs() as lines:
        assert [await register.all() for _ in range(3)] == [None, None, None]
        assert await register.all() == [NOTE]
    assert [(line["event"], line["error"]) for line in lines] == [("accounts_not_read", "no right")]


async def test_an_api_server_that_was_away_is_asked_again() -> None:
    home = Home(trouble=[ApiUnavailable("away")])
    register = AccountRegistry(cast(KubePort, home))
    with pytest.raises(ApiUnavailable):
        await register.add(NOTE)
    await register.add(NOTE)
    assert list(home.notes) == [NOTE.key]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"namespace": 1, "secret": null, "region": "r"}'])
async def test_what_somebody_else_has_written_there_is_passed_over(text: str) -> None:
    home = Home({NOTE.key: NOTE.to_json(), "other": text})
    assert await AccountRegistry(cast(KubePort, home)).all() == [NOTE]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        "[" * 100_000,
        '{"namespace": "default"}',
        '{"namespace": 7, "secret": [], "region": {}}',
        '{"namespace": "../kube-system", "secret": "key", "region": "ap-guangzhou"}',
        '{"namespace": "default", "secret": "key?x=y#z", "region": "ap-guangzhou"}',
        '{"namespace": "default", "secret": "key", "region": "a/evil.example:80"}',
        '{"namespace": "default", "secret": "\\u0000", "region": "ap-guangzhou"}',
    ],
)
async def test_a_note_that_somebody_else_wrote_is_ignored(text: str) -> None:
    home = Home(notes={NOTE.key: text})
    assert await AccountRegistry(cast(KubePort, home)).all() == []


async def test_a_note_under_another_notes_key_is_ignored_since_nobody_could_remove_it() -> None:
    home = Home(notes={"0" * 16: NOTE.to_json(), NOTE.key: NOTE.to_json()})
    assert await AccountRegistry(cast(KubePort, home)).all() == [NOTE]
