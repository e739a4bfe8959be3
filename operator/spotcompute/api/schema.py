"""Defines the building blocks of the spec: CEL rules, names, ids and prices that the API server can check.

Apart from `spec` and `template` because both are written with them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

#: BatchCompute's limit of nodes per compute environment.
MAX_REPLICAS = 2000


def rule(cel: str, message: str) -> dict[str, str]:
    """Returns one CEL rule with the sentence that a user reads when it fails."""
    return {"rule": cel, "message": message}


def checked(*rules: dict[str, str], **extra: Any) -> dict[str, Any]:
    """Returns the schema extras that carry CEL rules."""
    return {"x-kubernetes-validations": list(rules), **extra}


def column(name: str, kind: str, path: str, priority: int = 0) -> dict[str, Any]:
    """Returns one column of `kubectl get`; with a priority above 0 it stands in `-o wide` only."""
    return {"name": name, "type": kind, "jsonPath": path} | ({"priority": priority} if priority else {})


class SpecPart(BaseModel):
    """`SpecPart` is the base of all parts: camelCase outside, snake_case inside.

    Unknown fields are ignored here, because the API server handles them.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


PlainName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=32,
        json_schema_extra=checked(
            rule(
                "!self.contains('{') && !self.contains('}')",
                "must not contain { or }: CVM would expand a pattern such as {R:1}; write a plain prefix",
            ),
            rule(
                "self.matches('^[A-Za-z0-9{}]([A-Za-z0-9{}._-]*[A-Za-z0-9{}])?$')",
                "must start and end with a letter or digit and hold only letters, digits, '.', '_' and '-'",
            ),
        ),
    ),
]


def _id(prefix: str, what: str) -> dict[str, Any]:
    return checked(
        rule(f"self.matches('^{prefix}-[0-9a-z]+$')", f"must be the id of {what}, such as {prefix}-1a2b3c4d")
    )


ImageId = Annotated[str, Field(max_length=64, json_schema_extra=_id("img", "an image"))]


VpcId = Annotated[str, Field(max_length=64, json_schema_extra=_id("vpc", "a VPC"))]


SubnetId = Annotated[str, Field(max_length=64, json_schema_extra=_id("subnet", "a subnet"))]


SecurityGroupId = Annotated[str, Field(max_length=64, json_schema_extra=_id("sg", "a security group"))]


SnapshotId = Annotated[str, Field(max_length=64, json_schema_extra=_id("snap", "a snapshot"))]


BandwidthPackageId = Annotated[str, Field(max_length=64, json_schema_extra=_id("bwp", "a bandwidth package"))]


HpcClusterId = Annotated[str, Field(max_length=64, json_schema_extra=_id("hpc", "a high-performance cluster"))]


PlacementGroupId = Annotated[str, Field(max_length=64, json_schema_extra=_id("ps", "a placement group"))]


KeyId = Annotated[str, Field(max_length=64, json_schema_extra=_id("skey", "a key pair"))]


#: A name that the API server accepts for a Secret or ConfigMap. It answers other names with an error, but not with 404.
ObjectName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        json_schema_extra=checked(
            rule(
                "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
                "must be the name of an object of this namespace: lower-case letters, digits, '-' and '.'",
            )
        ),
    ),
]


_PRICE_MESSAGE = 'must be a positive decimal number of the account\'s currency per hour, such as "0.0923"'


def _price(text: str) -> str:
    """Checks a price again, because bids are computed with it and a stored object may be older than the rule."""
    if not re.fullmatch(r"[0-9]{1,6}([.][0-9]{1,8})?", text) or not re.search(r"[1-9]", text):
        raise ValueError(_PRICE_MESSAGE)
    return text


Price = Annotated[
    str,
    Field(
        max_length=32,
        json_schema_extra=checked(
            rule("self.matches('^[0-9]{1,6}([.][0-9]{1,8})?$') && self.matches('[1-9]')", _PRICE_MESSAGE)
        ),
    ),
    AfterValidator(_price),
]
