"""Names that users see stay as they are: today's are those in the files beside this test."""

from __future__ import annotations

from difflib import unified_diff

import pytest

from golden.names import GOLDEN, KINDS, lines_of


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_users_see_have_not_changed(kind: str) -> None:
    golden = (GOLDEN / kind).read_text(encoding="utf-8").splitlines()
    changes = list(unified_diff(golden, lines_of(kind), f"tests/golden/{kind}", "today", n=0, lineterm=""))
    assert golden
    assert not changes, (
        "Users see these names; manifests, alerts, dashboards and scripts are written with them. If a name is gone or "
        "changed by accident, put it back. If the change is wanted, run `make golden`, commit the file, and say in the "
        "commit what users have to do:\n" + "\n".join(changes)
    )


def test_every_file_is_compared() -> None:
    assert {path.name for path in GOLDEN.glob("*.txt")} == set(KINDS)
