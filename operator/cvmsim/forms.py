"""Reads parameters in the query form: `Placement.Zone=…&InstanceIds.0=…`, as GET requests and v1 signatures carry them.

Apart from `wire`, because here every value is text and only the table of `schema` knows which type is meant.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from cvmsim import schema
from cvmsim.errors import ApiError
from cvmsim.schema import Field

DEPTH_MAX = 12  # the deepest published parameter has seven parts
INTEGER_DIGITS_MAX = 19
INDEX_DIGITS_MAX = 4
BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def pairs_of(text: str) -> dict[str, str]:
    """Returns the pairs of a query or of a form. Raises InvalidParameter for bytes that are no UTF-8 and for a name
    that comes twice.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
    except ValueError as problem:
        raise ApiError("InvalidParameter", "The parameters are not URL-encoded UTF-8.") from problem
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise ApiError("InvalidParameter", f"The parameter `{name}` is given twice.")
        found[name] = value
    return found


def nested(pairs: Mapping[str, str]) -> dict[str, Any]:
    """Returns dotted names as mappings in mappings. Raises InvalidParameter for a name that is no path, or that is
    both a value and a structure.
    """
    root: dict[str, Any] = {}
    for name, value in pairs.items():
        *parents, last = name.split(".")
        if not last or not all(parents) or len(parents) >= DEPTH_MAX:
            raise ApiError("InvalidParameter", f"The parameter name `{name}` is malformed.")
        node = root
        for part in parents:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise _clash(name)
        if last in node:
            raise _clash(name)
        node[last] = value
    return root


def _clash(name: str) -> ApiError:
    return ApiError("InvalidParameter", f"The parameter `{name}` is both a value and a structure.")


def shaped(action: str, pairs: Mapping[str, str]) -> dict[str, Any]:
    """Returns the parameters of `action` with the types of its table.

    What does not fit stays as it is, so that the check of the table refuses it with the parameter's name.
    """
    root = nested(pairs)
    fields = schema.shapes().get(action)
    return root if fields is None else _structure(fields, root)


def _structure(fields: Mapping[str, Field], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(fields[name], value) if name in fields else value for name, value in values.items()}


def _value(field: Field, value: object) -> object:
    if not field.is_list:
        return _item(field.type, value)
    if not isinstance(value, dict) or not all(map(_is_index, value)):
        return value
    return [_item(field.type, value[index]) for index in sorted(value, key=int)]


def _is_index(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= INDEX_DIGITS_MAX


def _item(type: str, value: object) -> object:
    if isinstance(value, dict):
        return _structure(schema.shapes()[type], value) if type not in schema.SCALARS else value
    word = str(value)
    if type == "int":
        digits = word.removeprefix("-")
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= INTEGER_DIGITS_MAX
        return int(word) if is_number else word
    return BOOLEANS.get(word.lower(), word) if type == "bool" else word
