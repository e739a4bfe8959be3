"""Defines the part of the spec that names instances to be taken over.

Apart from `spec`, which asks for instances that do not exist yet.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from spotcompute.api.schema import SpecPart, checked, rule
from spotcompute.model.desired import Adopt

#: Ids in one list. More are named by a tag.
MOST_IDS = 500


class AdoptTagSpec(SpecPart):
    """`AdoptTagSpec` names instances by a tag."""

    key: str = Field(min_length=1, max_length=127, description="Key of the tag, such as team.")
    value: str = Field(min_length=1, max_length=127, description="Value of the tag, such as blue.")


class AdoptSpec(SpecPart):
    """`AdoptSpec` names instances that exist already and are to belong to this environment."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "!has(self.tag) || !self.tag.key.startsWith('spotcompute-') || self.tag.key == 'spotcompute-retained'",
                "tags spotcompute-… say whose an instance is: of them only spotcompute-retained can be given here",
            ),
        )
    )

    instance_ids: list[Annotated[str, Field(max_length=64)]] = Field(
        default=[],
        max_length=MOST_IDS,
        description="Ids of instances to take over, such as ins-1a2b3c4d, at most 500. Left out: none by id.",
        json_schema_extra=checked(
            rule("self.all(i, i.matches('^ins-[0-9a-z]+$'))", "every id must look like ins-1a2b3c4d"),
            **{"x-kubernetes-list-type": "set"},
        ),
    )
    tag: AdoptTagSpec | None = Field(
        default=None,
        description="Tag of instances to take over, such as spotcompute-retained with the value namespace@name of the"
        " environment that has left them. Left out: none by tag.",
    )

    def resolved(self) -> Adopt:
        """Returns it as the operator's `Adopt`."""
        tag = (self.tag.key, self.tag.value) if self.tag is not None else None
        return Adopt(tuple(dict.fromkeys(self.instance_ids)), tag)
