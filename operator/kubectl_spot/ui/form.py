"""Turns the form *Create Computing Environment* into a manifest. It is pure.

Apart from `pages`, which shows the form. It checks almost nothing: the API server does, by the rules of the CRD in the
cluster, and its sentences name the field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import yaml

#: What the form offers; first the field's default, the order in which types are written. Bounds have no such order.
STRATEGIES = ("", "LowestPrice", "CapacityOptimized", "PriceCapacityOptimized")

#: Bounds of a type when none is named, by the form's field: the field of the spec, and which of its bounds.
_BOUNDS = {
    "cpu_min": ("cpu", "min"),
    "cpu_max": ("cpu", "max"),
    "memory_min": ("memoryGiB", "min"),
    "memory_max": ("memoryGiB", "max"),
}


@dataclass(frozen=True, slots=True)
class Draft:
    """`Draft` is what stands in the form: everything is text, as it was typed."""

    namespace: str = ""
    name: str = ""
    region: str = ""
    zones: str = ""
    types: str = ""
    cpu_min: str = ""
    cpu_max: str = ""
    memory_min: str = ""
    memory_max: str = ""
    image: str = ""
    max_price: str = ""
    quantity: str = "1"
    strategy: str = ""
    secret: str = "tencent-credentials"  # noqa: S105 - the name of an object, as in the samples
    key_ids: str = ""
    security_groups: str = ""
    paused: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Sequence[str]]) -> Draft:
        """Returns the draft of a submitted form. Fields that a form may repeat are joined."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: " ".join(one.strip() for one in given[name]).strip() for name in known if name in given})

    @property
    def named_zones(self) -> list[str]:
        """Returns the names of the zones, without their networks."""
        return [word.partition("=")[0] for word in _words(self.zones)]

    @property
    def named_types(self) -> list[str]:
        """Returns the instance types."""
        return _words(self.types)


def draft_of(obj: Mapping[str, Any], namespace: str) -> Draft:
    """Returns a draft with the fields of an environment that exists, for another one like it."""
    spec = obj.get("spec") or {}
    template, market = spec.get("template") or {}, spec.get("market") or {}
    needs = spec.get("instanceRequirements") or {}
    places = []
    for place in spec.get("placements") or ():
        network = f"={place['vpcId']}/{place['subnetId']}" if place.get("vpcId") and place.get("subnetId") else ""
        places.append(f"{place.get('zone', '')}{network}")
    return Draft(
        namespace=namespace,
        region=str(spec.get("region", "")),
        zones=" ".join(places),
        types=" ".join(spec.get("instanceTypes") or ()),
        **{name: str((needs.get(of) or {}).get(bound, "")) for name, (of, bound) in _BOUNDS.items()},
        image=str(template.get("imageId", "")),
        max_price=str(market.get("maxPrice", "")),
        quantity=str(spec.get("replicas", 0)),
        strategy=str(market.get("allocationStrategy", "")).replace("Prioritized", ""),
        secret=str((spec.get("credentialsSecretRef") or {}).get("name", "")),
        key_ids=" ".join((template.get("loginSettings") or {}).get("keyIds") or ()),
        security_groups=" ".join(template.get("securityGroupIds") or ()),
    )


def manifest_of(draft: Draft) -> dict[str, Any]:
    """Returns the manifest that the draft describes. What is left out in the form is left out in it."""
    spec: dict[str, Any] = {"region": draft.region, "replicas": _whole(draft.quantity)}
    if draft.paused:
        spec["paused"] = True
    spec["placements"] = [_placement(word) for word in _words(draft.zones)]
    if draft.named_types:
        spec["instanceTypes"] = draft.named_types
    elif needs := _requirements(draft):
        spec["instanceRequirements"] = needs
    market: dict[str, Any] = {}
    if draft.max_price:
        market["maxPrice"] = draft.max_price
    if strategy := draft.strategy or ("LowestPrice" if "instanceRequirements" in spec else ""):
        market["allocationStrategy"] = strategy
    if market:
        spec["market"] = market
    template: dict[str, Any] = {"imageId": draft.image}
    if draft.security_groups:
        template["securityGroupIds"] = _words(draft.security_groups)
    if draft.key_ids:
        template["loginSettings"] = {"keyIds": _words(draft.key_ids)}
    spec["template"] = template
    if draft.secret:
        spec["credentialsSecretRef"] = {"name": draft.secret}
    return {
        "apiVersion": "spotcompute.dev/v1alpha1",
        "kind": "SpotComputeEnvironment",
        "metadata": {"name": draft.name, "namespace": draft.namespace},
        "spec": spec,
    }


def yaml_of(manifest: Mapping[str, Any]) -> str:
    """Returns a manifest as it stands in a file."""
    found: str = yaml.safe_dump(dict(manifest), sort_keys=False, allow_unicode=True, default_flow_style=False)
    return found


def manifest_in(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the manifest of an environment that exists: without status, and without what the API server added."""
    metadata = obj.get("metadata") or {}
    kept = {key: metadata[key] for key in ("name", "namespace", "labels") if metadata.get(key)}
    return {
        "apiVersion": "spotcompute.dev/v1alpha1",
        "kind": "SpotComputeEnvironment",
        "metadata": kept,
        "spec": obj.get("spec") or {},
    }


def _placement(word: str) -> dict[str, str]:
    zone, _, network = word.partition("=")
    vpc, _, subnet = network.partition("/")
    return {"zone": zone} | ({"vpcId": vpc} if vpc else {}) | ({"subnetId": subnet} if subnet else {})


def _requirements(draft: Draft) -> dict[str, dict[str, int | str]]:
    found: dict[str, dict[str, int | str]] = {}
    for name, (of, bound) in _BOUNDS.items():
        if value := getattr(draft, name):
            found.setdefault(of, {})[bound] = _whole(value)
    return found


def _words(value: str) -> list[str]:
    return list(dict.fromkeys(value.replace(",", " ").split()))


def _whole(value: str) -> int | str:
    """Returns a whole number; what is none stays text, so that the API server says which field is wrong."""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else value
