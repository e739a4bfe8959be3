"""Lists the names by which the API server knows us: group, kind, finalizers, annotations."""

from __future__ import annotations

from spotcompute.api.crd import GROUP, KIND, PLURAL, VERSION

CRD_NAME = f"{PLURAL}.{GROUP}"

#: Our finalizer. It must differ from kopf's `settings.persistence.finalizer`, because kopf removes its own finalizer
#: from every object it watches.
FINALIZER = f"{GROUP}/instances"
KOPF_FINALIZER = f"{GROUP}/kopf-unused"

#: The finalizer on a credentials Secret while instances exist that only its key can release.
SECRET_FINALIZER = f"{GROUP}/credentials-in-use"

#: ConfigMap in the operator's own namespace that records which keys have bought instances, and where.
ACCOUNTS = "spotcompute-accounts"

#: Annotations of that ConfigMap: which namespaces the operator watches, separated by commas or `EVERYWHERE`, and in
#: which version it runs.
WATCHES, RUNS = f"{GROUP}/watches", f"{GROUP}/version"
EVERYWHERE = "*"

#: Annotation with the identity that an environment was given once; see docs/decisions.
ENVIRONMENT_ID = f"{GROUP}/environment-id"

#: Annotation that keeps an environment, and its namespace, from being deleted. The API server looks at it, not we.
DELETION_PROTECTION = f"{GROUP}/deletion-protection"

#: The writer's name in `managedFields`.
FIELD_MANAGER = "spotcompute-operator"

__all__ = [
    "ACCOUNTS",
    "CRD_NAME",
    "DELETION_PROTECTION",
    "ENVIRONMENT_ID",
    "EVERYWHERE",
    "FIELD_MANAGER",
    "FINALIZER",
    "GROUP",
    "KIND",
    "KOPF_FINALIZER",
    "PLURAL",
    "RUNS",
    "SECRET_FINALIZER",
    "VERSION",
    "WATCHES",
]
