"""Reads one SpotComputeEnvironment: raw JSON in, types out.

Only this module looks into raw objects. All code after it has names and types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from spotcompute.api import ledger as ledgers
from spotcompute.api.cordon import cordons_of
from spotcompute.api.signing import role_arn
from spotcompute.api.spec import Spec, region_name
from spotcompute.api.template import TemplateSpec
from spotcompute.api.times import from_text
from spotcompute.model.desired import Desired
from spotcompute.model.identity import owner_label
from spotcompute.model.instance import Ownership
from spotcompute.model.ledger import Ledger


class InvalidSpec(ValueError):
    """`InvalidSpec` means that the API server accepted a spec that makes no sense, perhaps under an older schema.

    `str()` names the field.
    """


@dataclass(frozen=True, slots=True)
class LastKnown:
    """`LastKnown` holds what an object must still remember: its identity and the number of its latest launch.

    An object that remembers less was restored from a backup, or its status was edited.
    """

    environment_id: str | None = None
    sequence: int = 0

    @classmethod
    def of(cls, environment_id: str | None, status: Mapping[str, Any]) -> LastKnown:
        """Returns what annotation and status remember now. Nothing is taken from a ledger that makes no sense."""
        ledger = status.get("ledger")
        sequence = ledger.get("sequence") if isinstance(ledger, Mapping) else None
        is_meant = isinstance(sequence, int) and sequence in ledgers.SEQUENCES
        return cls(environment_id, sequence if is_meant and sequence else 0)

    def newest(self, other: LastKnown) -> LastKnown:
        """Returns both combined: an identity is kept, and the later launch wins."""
        return LastKnown(other.environment_id or self.environment_id, max(self.sequence, other.sequence))


@dataclass(frozen=True, slots=True)
class Environment:
    """`Environment` holds identity, lifecycle and stored state of one object, at one resourceVersion."""

    namespace: str
    name: str
    uid: str
    generation: int
    created_at: datetime
    deleted_at: datetime | None
    finalizers: tuple[str, ...]
    annotations: Mapping[str, str]
    raw_spec: Mapping[str, Any]
    status: Mapping[str, Any]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Environment:
        """Returns the environment in `raw`, which the API server has checked.

        Raises KeyError on an object that no API server would send.
        """
        metadata = raw["metadata"]
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            generation=metadata.get("generation", 1),
            created_at=from_text(metadata["creationTimestamp"]),
            deleted_at=from_text(metadata["deletionTimestamp"]) if "deletionTimestamp" in metadata else None,
            finalizers=tuple(metadata.get("finalizers") or ()),
            annotations=metadata.get("annotations") or {},
            raw_spec=raw.get("spec") or {},
            status=raw.get("status") or {},
        )

    @property
    def deleting(self) -> bool:
        """True when the object has been deleted. It still exists until our finalizer goes."""
        return self.deleted_at is not None

    @property
    def label(self) -> str:
        """Returns `namespace/name`, for logs and messages."""
        return f"{self.namespace}/{self.name}"

    def spec(self) -> Spec:
        """Returns the typed spec.

        Raises InvalidSpec. Its text never repeats values, because they may be secret.
        """
        try:
            return Spec.model_validate(self.raw_spec)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in ("spec", *first["loc"]))
            raise InvalidSpec(f"{where}: {first['msg']}") from None

    def mistakes(self) -> list[tuple[str, str]]:
        """Returns every mistake in the spec as (field, sentence). `spec` raises on the first one."""
        try:
            Spec.model_validate(self.raw_spec)
        except ValidationError as error:
            return [
                ("spec" + "".join(map(_step, item["loc"])), item["msg"].removeprefix("Value error, "))
                for item in error.errors(include_input=False, include_url=False, include_context=False)
            ]
        return []

    def desired(self, spec: Spec, ownership: Ownership, user_data_digest: str | None) -> Desired:
        """Returns what `spec` asks for under the identity `ownership`.

        While the object is being deleted, it asks for nothing.
        """
        retaining = self.deleting and self.retains
        return Desired(
            ownership=ownership,
            owner=owner_label(self.namespace, self.name),
            generation=self.generation,
            replicas=0 if self.deleting else spec.replicas,
            pools=spec.pools,
            unit=spec.capacity_unit,
            template=spec.template.resolved(),
            name_prefix=spec.template.instance_name or self.name,
            caps=spec.caps,
            user_data_digest=user_data_digest,
            strategy=spec.market.allocation_strategy,
            zone_policy=spec.market.zone_policy,
            share=spec.market.max_share_per_pool,
            placements=spec.places,
            requirements=spec.instance_requirements.resolved() if spec.instance_requirements else None,
            fallback=spec.on_demand_fallback.resolved() if spec.on_demand_fallback else None,
            on_demand=spec.on_demand.resolved(),
            limits=spec.limits.resolved(),
            gang=spec.gang.resolved() if spec.gang else None,
            adopt=spec.adopt.resolved(),
            scale_in=spec.scale_in.order,
            capacity=spec.capacity.resolved() if spec.capacity else None,
            cordons=cordons_of(self.annotations),
            rollout=spec.strategy.resolved(spec.max_age is not None),
            max_age=spec.max_age,
            one_time=spec.request_policy == "OneTime" and not spec.ends_once,
            runs=spec.runs(spec.replicas),
            paused=spec.paused,
            instance_objects=spec.instance_objects,
            deleting=self.deleting,
            retaining=retaining,
            expires_at=spec.expires(self.created_at),
            drain_limit=spec.nodes.resolved().drain_limit if spec.nodes else None,
            orphan_after=spec.orphan_protection.after if (spec.orphan_protection and not retaining) else None,
        )

    def spec_to_release(self) -> Spec:
        """Returns the spec as far as a release needs it: the region and the key. Raises InvalidSpec when it has no
        valid region.

        An object may have been stored under a newer or an older schema. Even when its launches cannot be understood,
        its instances must be released.
        """
        try:
            return self.spec()
        except InvalidSpec as invalid:
            try:
                region = region_name(str(self.raw_spec.get("region")))
            except ValueError:
                raise invalid from None
            nothing = TemplateSpec(image_id="")
            return Spec.model_construct(region=region, placements=[], instance_types=[], template=nothing)

    @property
    def retains(self) -> bool:
        """True when the instances are to outlive the object, even when the rest of the spec is invalid."""
        return self.raw_spec.get("deletionPolicy") == "Retain"

    @property
    def secret(self) -> str | None:
        """Returns the name of the credentials Secret, even when the rest of the spec is invalid.

        None when it names none.
        """
        reference = self.raw_spec.get("credentialsSecretRef")
        name = reference.get("name") if isinstance(reference, Mapping) else None
        return str(name) if name else None

    @property
    def role(self) -> str | None:
        """Returns the CAM role that the key takes, even when the rest of the spec is invalid. None without one."""
        return role_of(self.raw_spec)

    def ledger(self) -> Ledger | None:
        """Returns the stored ledger. None when none was ever stored. Raises UnreadableLedger."""
        raw = self.status.get("ledger")
        return ledgers.decode(raw) if raw else None


def role_of(raw_spec: Mapping[str, Any]) -> str | None:
    """Returns the CAM role that a spec names. None when it names none, or no valid one."""
    try:
        return role_arn(str(raw_spec["roleArn"]))
    except (KeyError, ValueError):
        return None


def _step(part: int | str) -> str:
    return f"[{part}]" if isinstance(part, int) else f".{part}"
