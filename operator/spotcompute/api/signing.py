"""Defines how a spec names the key that requests are signed with: a Secret, and the role that its key takes.

Apart from `spec`, which is about instances. The account registry reads a role too.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from spotcompute.api.schema import ObjectName, SpecPart, checked, rule

#: The resource name of a CAM role, by its name or by its number.
ROLE_ARN = r"qcs::cam::uin/[0-9]{1,32}:role(Name/[A-Za-z0-9_+=,.@-]{1,128}|/[0-9]{1,32})"
ROLE_ARN_MESSAGE = (
    "must name a CAM role by its account and name, such as qcs::cam::uin/100000000001:roleName/spot-operator"
)


def role_arn(text: str) -> str:
    """Returns `text` when it is the resource name of a CAM role. Raises ValueError otherwise."""
    if not re.fullmatch(ROLE_ARN, text):
        raise ValueError(ROLE_ARN_MESSAGE)
    return text


RoleArn = Annotated[
    str,
    AfterValidator(role_arn),
    Field(
        max_length=184,
        json_schema_extra=checked(rule(f"self.matches('^{ROLE_ARN}$')", ROLE_ARN_MESSAGE)),
    ),
]


class SecretRef(SpecPart):
    """`SecretRef` names a Secret in the object's own namespace. It deliberately has no namespace field."""

    name: ObjectName = Field(description="Name of the Secret, in the namespace of this object.")
