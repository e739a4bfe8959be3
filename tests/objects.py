"""Environments as Kubernetes shows them: what a user writes, and what the API server returns."""

from __future__ import annotations

from typing import Any

from spotcompute.kube.names import GROUP, KIND, VERSION


def manifest(namespace: str, name: str, **metadata: Any) -> dict[str, Any]:
    """The least that a user can apply."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"namespace": namespace, "name": name, **metadata},
        "spec": {
            "region": "ap-guangzhou",
            "replicas": 1,
            "placements": [{"zone": "ap-guangzhou-3"}],
            "instanceTypes": ["S5.MEDIUM4"],
            "template": {"imageId": "img-11111111"},
            "credentialsSecretRef": {"name": "tencent"},
        },
    }


def environment(
    version: int = 1,
    uid: str = "u1",
    name: str = "web",
    namespace: str = "ns",
    born: str = "2026-11-23T00:00:00Z",
    **metadata: Any,
) -> dict[str, Any]:
    """An object as the API server returns it, at resource version `version`; without a status."""
    return {
        "metadata": {
            "uid": uid,
            "namespace": namespace,
            "name": name,
            "generation": 1,
            "creationTimestamp": born,
            "resourceVersion": str(version),
            **metadata,
        },
        "spec": {"replicas": 1},
    }
