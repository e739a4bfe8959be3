"""Ledgers that an earlier version has written: they are read as they were meant, and written again as they were.

The files in `ledgers/` hold `status.ledger` as it is stored. They are never written anew: an operator that cannot read
what its predecessor wrote refuses it, and buys nothing until the quarantine ends.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spotcompute.api.ledger import _LedgerModel, decode, encode

FILES = sorted((Path(__file__).parent / "ledgers").glob("*.json"))

#: What `encode` takes off before it writes: the cloud is asked for it at each look.
NEVER_WRITTEN = {"members.doubted"}


def text_of(encoded: dict[str, Any]) -> str:
    """The text of a golden file."""
    return json.dumps(encoded, indent=1, ensure_ascii=False) + "\n"


def stored(name: str) -> dict[str, Any]:
    """The ledger in a golden file, as it stands in status."""
    found: dict[str, Any] = json.loads((Path(__file__).parent / "ledgers" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def words_of_schema(schema: dict[str, Any], definitions: dict[str, Any], path: str = "") -> set[str]:
    """Everything that can be written: `path` of each field, and `path=value` of each value of an enumeration."""
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    words = {f"{path}={value}" for value in schema.get("enum", ())}
    for name, inner in schema.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        words |= {below} | words_of_schema(inner, definitions, below)
    for inner in (schema.get("items"), *schema.get("anyOf", ())):
        if isinstance(inner, dict):
            words |= words_of_schema(inner, definitions, path)
    return words


def words_of_value(value: Any, path: str = "") -> set[str]:
    """The same words of a ledger that has been written."""
    if isinstance(value, dict):
        inner = [(f"{path}.{name}" if path else name, item) for name, item in value.items()]
        return {below for below, _ in inner}.union(*(words_of_value(item, below) for below, item in inner))
    if isinstance(value, list):
        return set().union(*(words_of_value(item, path) for item in value))
    return {f"{path}={value}"} if isinstance(value, str) else set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_an_earlier_version_wrote_is_read_and_written_the_same(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text_of(encode(decode(json.loads(text)))) == text


def test_all_that_can_be_written_is_in_a_golden_file() -> None:
    schema = _LedgerModel.model_json_schema(by_alias=True, mode="serialization")
    possible = words_of_schema(schema, schema["$defs"])
    shown = set().union(*(words_of_value(json.loads(path.read_text(encoding="utf-8"))) for path in FILES))
    missing = sorted(possible - shown - NEVER_WRITTEN)
    assert len(possible) > 90
    assert not missing, (
        f"No file in tests/api/ledgers shows {missing}. If this is a new field or value, add a file with the text of a "
        "ledger that has it (`text_of(encode(ledger))`). If it is a field with a new name, map the name to the old one "
        "in `WIRE` of api/ledger.py, because stored ledgers keep the old one. If `encode` never writes it, name it in "
        "NEVER_WRITTEN."
    )
    assert possible >= NEVER_WRITTEN, "NEVER_WRITTEN names a field that is no more"


def test_each_bit_of_a_lot_means_what_it_meant() -> None:
    flags = ("seen", "arrived", "verified", "on_demand")
    meant = {
        "ins-none": set(),
        "ins-seen": {"seen"},
        "ins-arrived": {"arrived"},
        "ins-verified": {"verified"},
        "ins-ondemand": {"on_demand"},
        "ins-all": set(flags),
    }
    members = decode(stored("member-flags")).members
    assert {key: {name for name in flags if getattr(one, name)} for key, one in members.items()} == meant
