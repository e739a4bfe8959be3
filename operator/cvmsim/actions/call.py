"""Defines `Call`, one request as an action sees it, and the checks that several actions share.

Apart from the actions so that each of them can be read alone.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cvmsim.credentials import Credited
from cvmsim.errors import ApiError

Params = Mapping[str, Any]
Answer = dict[str, Any]  # the content of the `Response` envelope without RequestId

Row = TypeVar("Row")

PAGE, PAGE_MAX, IDS_MAX, FILTERS_MAX, VALUES_MAX = 20, 100, 100, 10, 5


@dataclass(frozen=True, slots=True)
class Call:
    """`Call` is a request that has passed signature, rate limit and schema.

    `account` is a uin. `caller` is None for the account's own key.
    """

    account: str
    region: str
    action: str
    params: Params
    request_id: str
    caller: Credited | None = None


def digest(params: Params, *without: str) -> str:
    """Returns a short fingerprint of the parameters. It does not depend on their order."""
    kept = {name: value for name, value in params.items() if name not in without}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def page_of(params: Params) -> tuple[int, int]:
    """Returns Offset and Limit. Raises InvalidParameterValue.LimitExceeded or InvalidParameterValueOffset."""
    offset, limit = params.get("Offset") or 0, params.get("Limit")
    limit = PAGE if limit is None else limit
    if not 1 <= limit <= PAGE_MAX:
        raise ApiError("InvalidParameterValue.LimitExceeded", f"`Limit` must be 1 to {PAGE_MAX}, not {limit}.")
    if offset < 0:
        raise ApiError("InvalidParameterValueOffset", f"`Offset` must not be negative, not {offset}.")
    return offset, limit


def filters_of(params: Params, known: frozenset[str], values_max: int = VALUES_MAX) -> dict[str, list[str]]:
    """Returns the filters as name → values. `known` holds filter names, and `tag:` when tag:<key> is one.

    Raises InvalidFilter for an unknown or empty filter, and InvalidFilterValue.LimitExceeded beyond the published
    limits.
    """
    filters = params.get("Filters") or []
    if len(filters) > FILTERS_MAX:
        raise ApiError("InvalidFilterValue.LimitExceeded", f"At most {FILTERS_MAX} filters, not {len(filters)}.")
    found: dict[str, list[str]] = {}
    for row in filters:
        name, values = row["Name"], row["Values"]
        is_known = name in known or ("tag:" in known and name.startswith("tag:") and len(name) > 4)
        if not is_known or not values:
            raise ApiError("InvalidFilter", f"The filter `{name}` is not supported or has no value.")
        if len(values) > values_max:
            raise ApiError("InvalidFilterValue.LimitExceeded", f"At most {values_max} values in filter `{name}`.")
        found.setdefault(name, []).extend(values)
    return found


def page(params: Params, rows: Sequence[Row]) -> Sequence[Row]:
    """Returns the rows from Offset on, at most Limit. Both may be text, as vpc wants them. Raises ApiError."""
    numbers = {name: params[name] for name in ("Offset", "Limit") if params.get(name) is not None}
    for name, value in numbers.items():
        word = str(value)
        if not (word.isascii() and word.removeprefix("-").isdigit() and len(word) < 10):
            raise ApiError("InvalidParameterValue", f"`{name}` must be a whole number, not {word!r}.")
        numbers[name] = int(word)
    offset, limit = page_of(numbers)
    return rows[offset : offset + limit]


def chosen(params: Params, name: str, prefix: str, malformed_code: str) -> list[str]:
    """Returns the ids in the parameter `name`, which must not come with filters. Raises ApiError."""
    ids: list[str] = list(dict.fromkeys(params.get(name) or []))
    if ids and params.get("Filters"):
        raise ApiError("InvalidParameter", f"`{name}` and `Filters` must not be given together.")
    if len(ids) > IDS_MAX:
        raise ApiError("InvalidParameterValue.LimitExceeded", f"At most {IDS_MAX} `{name}`, not {len(ids)}.")
    for one in ids:
        if not one.startswith(f"{prefix}-"):
            raise ApiError(malformed_code, f"The id `{one}` is malformed.")
    return ids


def fits(facts: Mapping[str, Collection[str]], filters: Mapping[str, list[str]]) -> bool:
    """True when each filter has one of the words that `facts` holds under its name. What `facts` lacks fits none."""
    return all(any(word in values for word in facts.get(name, ())) for name, values in filters.items())


def tag_facts(tags: Mapping[str, str]) -> dict[str, Collection[str]]:
    """Returns what the filters about tags compare: tag-key, tag-value, and tag:<key>."""
    named = {f"tag:{key}": (value,) for key, value in tags.items()}
    return {"tag-key": tuple(tags), "tag-value": tuple(tags.values()), **named}


def instance_ids_of(params: Params, malformed_code: str) -> list[str]:
    """Returns InstanceIds without duplicates. Raises ApiError when there are too many or one is malformed."""
    ids: list[str] = list(dict.fromkeys(params.get("InstanceIds") or []))
    if len(ids) > IDS_MAX:
        raise ApiError("InvalidParameterValue.LimitExceeded", f"At most {IDS_MAX} `InstanceIds`, not {len(ids)}.")
    for instance_id in ids:
        if not is_id(instance_id, "ins"):
            raise ApiError(malformed_code, f"The instance id `{instance_id}` is malformed.")
    return ids


def is_id(word: str, prefix: str) -> bool:
    """True when `word` has the form of an id: `<prefix>-` and eight lower-case letters or digits."""
    head, _, tail = word.partition("-")
    return head == prefix and len(tail) == 8 and tail.isascii() and tail.isalnum() and tail == tail.lower()
