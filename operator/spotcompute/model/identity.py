"""Makes the names by which the cloud knows an environment and its launches. They must never be ambiguous.

`metadata.uid` is not the identity, because a restore changes it. The identity is given once, is kept in an annotation,
and is bound to (cluster, namespace, name). An annotation that was copied to another object is therefore recognised.
"""

from __future__ import annotations

import hashlib
import re

from spotcompute.model.instance import Instance, Ownership
from spotcompute.model.ledger import Intent


def binding(cluster_id: str, namespace: str, name: str) -> str:
    """Returns ten hex digits that stand for (cluster, namespace, name)."""
    return hashlib.sha256(f"{cluster_id}/{namespace}/{name}".encode()).hexdigest()[:10]


def new_environment_id(cluster_id: str, namespace: str, name: str, nonce: str) -> str:
    """Returns the identity of a new environment: its binding and `nonce`.

    The random nonce tells an environment from an earlier one of the same name.
    """
    return f"{binding(cluster_id, namespace, name)}-{nonce}"


def binding_of(environment_id: str) -> str:
    """Returns the binding in an identity."""
    return environment_id.rpartition("-")[0]


def is_bound_to(environment_id: str, cluster_id: str, namespace: str, name: str) -> bool:
    """True when `environment_id` was given to the object of this cluster, namespace and name."""
    return has_binding(environment_id, binding(cluster_id, namespace, name))


def has_binding(environment_id: str, expected: str) -> bool:
    """True when `environment_id` is an identity with this binding."""
    return re.fullmatch(re.escape(expected) + r"-[0-9a-z]{1,20}", environment_id) is not None


def owner_label(namespace: str, name: str) -> str:
    """Returns `namespace@name`: at most 127 characters, all of them allowed in a cloud tag."""
    return f"{namespace}@{name}"


def owner_of(label: str | None) -> tuple[str, str] | None:
    """Returns the namespace and name in a label of `owner_label`. None when `owner_label` did not make the label."""
    namespace, separator, name = (label or "").partition("@")
    return (namespace, name) if separator and namespace and name and "@" not in name else None


def launch_token(ownership: Ownership, sequence: int, digest: str) -> str:
    """Returns the idempotency token of one launch: 40 ASCII characters.

    The digest of the request is part of the token. Other parameters therefore always have another token, even when a
    restored status makes a sequence number come again.
    """
    text = f"{ownership.cluster_id}/{ownership.environment_id}/{sequence}/{digest}"
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def launch_name(prefix: str, ownership: Ownership, sequence: int, count: int) -> str:
    """Returns the InstanceName of one launch: readable, unique to the launch, at most 56 bytes.

    The cloud appends 1 to n when `count` is above 1. A trailing hyphen keeps that number apart from the sequence.
    """
    nonce = ownership.environment_id.rpartition("-")[2][:6]
    return f"{prefix[:32]}-{nonce}-{sequence}" + ("-" if count > 1 else "")


def is_launch_name(name: str, ownership: Ownership, sequence: int, count: int) -> bool:
    """True when `launch_name` gives `name` to that launch, whatever the prefix was."""
    suffix = launch_name("", ownership, sequence, count)
    prefix = name.removesuffix(suffix)
    return prefix != name and re.fullmatch(r"[A-Za-z0-9._:-]{1,32}", prefix) is not None


def is_named_by_us(instance: Instance, ownership: Ownership) -> bool:
    """True when the name has the form that `launch_name` gives to this environment's launches, or it was taken over.

    In the console a person can copy our tags to an instance that is not ours. Its name still shows that it is not, and
    the mark of one that was taken over is of no use on another.
    """
    return sequence_in(instance, ownership) is not None or was_adopted(instance, ownership)


def adoption_mark(ownership: Ownership, instance_id: str) -> str:
    """Returns the mark of an instance that this environment has taken over: 16 hex digits that fit no other one."""
    text = f"{ownership.cluster_id}/{ownership.environment_id}/{instance_id}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def was_adopted(instance: Instance, ownership: Ownership) -> bool:
    """True when the instance bears the mark of having been taken over by this environment."""
    return instance.adopted == adoption_mark(ownership, instance.id)


def sequence_in(instance: Instance, ownership: Ownership) -> int | None:
    """Returns the sequence of the launch in the instance's name. None when the name is not ours."""
    nonce = ownership.environment_id.rpartition("-")[2][:6]
    match = re.fullmatch(rf".{{1,32}}-{re.escape(nonce)}-(\d{{1,12}})(-\d{{1,3}})?", instance.name)
    return int(match[1]) if match else None


def is_of_launch(instance: Instance, intent: Intent) -> bool:
    """True when the instance's name says that `intent` launched it."""
    if not intent.name.endswith("-"):
        return instance.name == intent.name
    return re.fullmatch(re.escape(intent.name) + r"\d{1,3}", instance.name) is not None
