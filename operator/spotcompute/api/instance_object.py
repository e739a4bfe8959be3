"""Defines `SpotInstance`, the object that shows one instance: its CustomResourceDefinition, its form, and its marks.

Apart from `crd` and `status` because it is a view: the operator writes it and believes nothing in it. All that is read
back are the wishes, which are other people's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import Field

from spotcompute.api.crd import GROUP, KIND, VERSION, structural
from spotcompute.api.schema import column
from spotcompute.api.status import TIME, StatusPart, Time
from spotcompute.model.wishes import NO_WISH, Wish

INSTANCE_KIND, INSTANCE_PLURAL, INSTANCE_SINGULAR = "SpotInstance", "spotinstances", "spotinstance"

#: Our finalizer on the object of an instance. It makes the deletion of the object a wish that is not lost.
INSTANCE_FINALIZER = f"{GROUP}/instance"

#: Labels of the object, to select by.
ENVIRONMENT_LABEL = f"{GROUP}/environment"
ZONE_LABEL = f"{GROUP}/zone"
TYPE_LABEL = f"{GROUP}/instance-type"
CHARGE_LABEL = f"{GROUP}/charge-type"
LABELS = (ENVIRONMENT_LABEL, ZONE_LABEL, TYPE_LABEL, CHARGE_LABEL)

#: Marks by which people and programs ask for something, each as an annotation or as a label.
DO_NOT_TERMINATE = f"{GROUP}/do-not-terminate"
DELETE_FIRST = f"{GROUP}/delete-first"
DELETION_COST = f"{GROUP}/deletion-cost"
UNHEALTHY = f"{GROUP}/unhealthy"
KEEP = f"{GROUP}/keep"
INTERRUPTION_NOTICE = f"{GROUP}/interruption-notice"
MARKS = (DO_NOT_TERMINATE, DELETE_FIRST, DELETION_COST, UNHEALTHY, KEEP, INTERRUPTION_NOTICE)

#: A failed instance is kept for this long when the mark gives no time, and never longer than the second of the two.
KEEP_USUAL, KEEP_MAX = timedelta(hours=1), timedelta(hours=24)

#: Of a notice so much is carried on.
NOTICE_CHARACTERS = 256

#: The range of Kubernetes' own pod-deletion-cost.
COSTS = range(-(2**31), 2**31)

_OFF = frozenset({"false", "no", "off", "0"})
_COST = re.compile(r"[+-]?[0-9]{1,10}")
_PERIOD = re.compile(r"(?=[0-9])(?:([0-9]{1,4})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,6})s)?")


class InstanceObjectStatus(StatusPart):
    """`InstanceObjectStatus` is what the object of one instance shows."""

    state: str = Field(
        description="Its state as CVM spells it. LAUNCHED while it is not in the cloud's lists yet; UNSEEN while it is"
        " missing from them and its end is not proven, and while the cloud cannot be seen. BatchCompute:"
        " ComputeNode.ComputeNodeState; CVM: InstanceState."
    )
    ready: bool = Field(description="True when it is seen to run and is meant to stay.")
    zone: str = Field(description="Zone it runs in. CVM: Placement.Zone.")
    instance_type: str = Field(description="Its type. CVM: InstanceType.")
    charge_type: str = Field(
        description="SPOTPAID for spot, POSTPAID_BY_HOUR for the list price. CVM: InstanceChargeType."
    )
    private_ip: str | None = Field(
        default=None, alias="privateIP", description="Its first private address. CVM: PrivateIpAddresses."
    )
    public_ip: str | None = Field(
        default=None,
        alias="publicIP",
        description="Its first public address; absent when it has none. CVM: PublicIpAddresses.",
    )
    price_per_hour: str | None = Field(
        default=None,
        description="Its price per hour, without disks and traffic, in the account's currency. A new price alone is"
        " shown within fifteen minutes. Absent while the market does not quote it, and once the instance has ended.",
    )
    launched_at: Time | None = Field(
        default=None,
        json_schema_extra=TIME,
        description="When the cloud says that it was created; until the cloud says so, when it was asked for. CVM:"
        " CreatedTime.",
    )
    updated: bool = Field(
        default=True, description="False when it was launched from an older template or older user data."
    )
    node: str | None = Field(
        default=None, description="Its node in this cluster, with spec.nodes; absent until it has joined."
    )
    node_ready: bool | None = Field(
        default=None, description="True when its node is Ready; absent while it has no node."
    )
    note: str | None = Field(
        default=None, description="Why it is leaving, or what keeps it although it should leave; absent when it stays."
    )


def instance_resource_definition() -> dict[str, Any]:
    """Returns the whole manifest as JSON values. There is no status subresource: one write makes a change."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{INSTANCE_PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": INSTANCE_KIND,
                "listKind": f"{INSTANCE_KIND}List",
                "plural": INSTANCE_PLURAL,
                "singular": INSTANCE_SINGULAR,
                "shortNames": ["si"],
                "categories": ["spot"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": _columns(),
                    "selectableFields": [{"jsonPath": f".status.{name}"} for name in ("state", "zone", "instanceType")],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": "Shows one instance of a SpotComputeEnvironment. Its name is the id of the"
                            " instance. The operator makes and removes it. Deleting it ends the instance, which is"
                            " replaced while replicas asks for it. Annotations ask for something: see the tasks.",
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "status": {
                                    **structural(InstanceObjectStatus),
                                    "description": "What the operator has found. Only the operator writes it.",
                                },
                            },
                        }
                    },
                }
            ],
        },
    }


def _columns() -> list[dict[str, Any]]:
    return [
        column("Type", "string", ".status.instanceType"),
        column("Zone", "string", ".status.zone"),
        column("IP", "string", ".status.privateIP"),
        column("Public-IP", "string", ".status.publicIP"),
        column("State", "string", ".status.state"),
        column("Ready", "boolean", ".status.ready"),
        column("Price/H", "string", ".status.pricePerHour"),
        column("Age", "date", ".status.launchedAt"),
        column("Note", "string", ".status.note"),
        column("Environment", "string", f".metadata.labels.{ENVIRONMENT_LABEL.replace('.', chr(92) + '.')}", 1),
        column("Charge", "string", ".status.chargeType", 1),
        column("Updated", "boolean", ".status.updated", 1),
        column("Node", "string", ".status.node", 1),
        column("Node-Ready", "boolean", ".status.nodeReady", 1),
    ]


# --- what is read back ------------------------------------------------------------------------------------------------


def environment_of(obj: Mapping[str, Any]) -> tuple[str, str] | None:
    """Returns name and uid of the environment that the object belongs to. None when it belongs to none."""
    for reference in _metadata(obj).get("ownerReferences") or ():
        group = str(reference.get("apiVersion", "")).partition("/")[0]
        if group == GROUP and reference.get("kind") == KIND and reference.get("controller"):
            return str(reference.get("name", "")), str(reference.get("uid", ""))
    return None


def owner_reference(name: str, uid: str) -> dict[str, Any]:
    """Returns the reference to an environment. It does not hold up the environment's deletion."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def wish_in(obj: Mapping[str, Any]) -> Wish:
    """Returns what the object's marks ask for. A mark that makes no sense asks for nothing, except for protection."""
    metadata = _metadata(obj)
    marks = {**_texts(metadata.get("labels")), **_texts(metadata.get("annotations"))}
    is_ended = bool(metadata.get("deletionTimestamp")) and INSTANCE_FINALIZER in (metadata.get("finalizers") or ())
    wish = Wish(
        protect=_is_on(marks.get(DO_NOT_TERMINATE)),
        delete_first=_is_on(marks.get(DELETE_FIRST)),
        deletion_cost=_cost(marks.get(DELETION_COST)),
        unhealthy=_is_on(marks.get(UNHEALTHY)),
        keep_for=_period(marks.get(KEEP)),
        notice=marks[INTERRUPTION_NOTICE][:NOTICE_CHARACTERS] if _is_on(marks.get(INTERRUPTION_NOTICE)) else None,
        ended=is_ended,
    )
    return NO_WISH if wish == NO_WISH else wish


def _metadata(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = obj.get("metadata") or {}
    return metadata


def _texts(marks: Mapping[str, Any] | None) -> dict[str, str]:
    return {key: str((marks or {})[key]) for key in MARKS if key in (marks or {})}


def _is_on(text: str | None) -> bool:
    """True when the mark is there, whatever it says, unless it says no."""
    return text is not None and text.strip().lower() not in _OFF


def _cost(text: str | None) -> int:
    if text is None or not _COST.fullmatch(text):
        return 0
    return int(text) if int(text) in COSTS else 0


def _period(text: str | None) -> timedelta | None:
    """Returns the time that `1h30m` stands for, at most `KEEP_MAX`. `true` stands for the usual time."""
    if text is None or not _is_on(text):
        return None
    if text.strip().lower() in ("", "true", "yes"):
        return KEEP_USUAL
    found = _PERIOD.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return min(timedelta(hours=hours, minutes=minutes, seconds=seconds), KEEP_MAX)


def shown_digest(obj: Mapping[str, Any]) -> int:
    """Returns a number that is the same for objects that show the same. It holds in this process only.

    It covers what the operator writes, which is owner, labels and status, and nothing of other people's.
    """
    labels, status = _metadata(obj).get("labels") or {}, obj.get("status") or {}
    kept = {key: value for key, value in status.items() if value is not None} if isinstance(status, dict) else status
    return hash(json.dumps([environment_of(obj), [labels.get(key) for key in LABELS], kept], sort_keys=True))
