"""The names by which the API server knows us: group, kind, finalizer, annotations."""

from __future__ import annotations

from spotcompute.api.crd import GROUP, KIND, PLURAL, VERSION

CRD_NAME = f"{PLURAL}.{GROUP}"

#: Ours, and never equal to kopf's `settings.persistence.finalizer`: kopf strips its own from every object it watches.
FINALIZER = f"{GROUP}/instances"
KOPF_FINALIZER = f"{GROUP}/kopf-unused"

#: On a credentials Secret while instances exist that only its key can release.
SECRET_FINALIZER = f"{GROUP}/credentials-in-use"

#: ConfigMap in the operator's own namespace: which keys have bought instances, and where.
ACCOUNTS = "spotcompute-accounts"

#: Holds the identity an environment got once; see docs/decisions.
ENVIRONMENT_ID = f"{GROUP}/environment-id"

#: `managedFields` shows this as the writer.
FIELD_MANAGER = "spotcompute-operator"

__all__ = [
    "CRD_NAME",
    "ENVIRONMENT_ID",
    "FIELD_MANAGER",
    "FINALIZER",
    "GROUP",
    "KIND",
    "KOPF_FINALIZER",
    "PLURAL",
    "VERSION",
]
