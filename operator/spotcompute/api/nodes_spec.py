"""Defines the part of the spec that asks for instances that join the cluster as nodes.

Apart from `spec`, which asks for instances, because most environments have plain machines.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from spotcompute.api.schema import SpecPart, checked, rule
from spotcompute.model.node import NodeNames, NodeWishes, Taint

_LABEL = "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_VALUE = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"

LabelKey = Annotated[
    str,
    Field(
        max_length=317,
        json_schema_extra=checked(rule(f"self.matches('{_LABEL}')", "must be a label key such as example.org/team")),
    ),
]
LabelValue = Annotated[
    str,
    Field(
        max_length=63,
        json_schema_extra=checked(
            rule(f"self.matches('{_VALUE}')", "must be a label value: letters, digits, '-', '_' and '.', at most 63")
        ),
    ),
]


class TaintSpec(SpecPart):
    """`TaintSpec` keeps pods away from the nodes that do not tolerate it."""

    key: LabelKey = Field(description="Key of the taint, such as example.org/spot.")
    value: LabelValue | None = Field(default=None, description="Value of the taint. Left out: empty.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        description="What happens to pods that do not tolerate it, in Kubernetes' words."
    )


class DrainSpec(SpecPart):
    """`DrainSpec` says what happens to the pods of a machine that will be taken back, or is to be released."""

    on_notice: bool = Field(
        default=True,
        description="When true, pods are evicted as soon as the machine reports the notice of its end, as far as"
        " PodDisruptionBudgets allow, until it ends. When false, they work to its last second. In both cases no new pod"
        " is scheduled there. Default true.",
    )
    timeout_seconds: int = Field(
        default=300,
        ge=0,
        le=86_400,
        description="How long, in seconds, a machine that is to be released waits for its pods to leave. They are"
        " evicted as far as PodDisruptionBudgets allow; after that time it is released whatever runs there. Default"
        " 300.",
    )


class NodesSpec(SpecPart):
    """`NodesSpec` says that instances join this cluster as nodes, and what their nodes look like.

    The user data of the template does the join. Each machine registers with the taint
    spotcompute.dev/uninitialized:NoSchedule, which goes when its node is bound to its instance.
    """

    name_from: NodeNames = Field(
        default=NodeNames.INSTANCE_ID,
        description="What a machine calls its node: InstanceID, the default, or PrivateIP. A node of another name is"
        " not believed to be the machine.",
    )
    labels: dict[str, LabelValue] = Field(
        default={},
        max_length=20,
        description="Labels of every node. Left out: zone, region, type and environment alone.",
        json_schema_extra=checked(
            rule(
                "self.all(k, !k.contains('kubernetes.io/') && !k.contains('k8s.io/')"
                " && !k.startsWith('spotcompute.dev/'))",
                "labels of kubernetes.io, k8s.io and spotcompute.dev are not yours to set: use a prefix of your own",
            ),
            rule(f"self.all(k, k.matches('{_LABEL}'))", "every key must be a label key such as example.org/team"),
        ),
    )
    taints: list[TaintSpec] = Field(
        default=[],
        max_length=10,
        description="Taints that every node gets when it is bound. One that is taken off later is not put on again."
        " Left out: none.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    pods_of_lost_nodes: Literal["Fail", "Leave"] = Field(
        default="Fail",
        description="What happens to the pods of a machine that is gone. Fail, the default: they fail with condition"
        " DisruptionTarget, so that their jobs start them anew at once. Leave: Kubernetes' own controllers find out,"
        " which takes minutes.",
    )
    drain: DrainSpec = Field(
        default=DrainSpec(),
        description="What happens to pods when a machine has notice or is to be released. Left out: they are evicted.",
    )

    def resolved(self) -> NodeWishes:
        """Returns it as the operator's `NodeWishes`."""
        return NodeWishes(
            names=self.name_from,
            labels=tuple(sorted(self.labels.items())),
            taints=tuple(Taint(one.key, one.effect, one.value or "") for one in self.taints),
            fails_lost_pods=self.pods_of_lost_nodes == "Fail",
            drains_on_notice=self.drain.on_notice,
            drain_limit=timedelta(seconds=self.drain.timeout_seconds),
        )
