"""Reads what `spotcompute check` looks at: the install itself, with whatever rights the caller has.

Apart from `client`, which asks what the operator needs: an inspection writes nothing, and each of its answers may be
refused without an end to the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from spotcompute.api.crd import GROUP, PLURAL, VERSION
from spotcompute.kube.connection import Connection
from spotcompute.kube.names import ACCOUNTS
from spotcompute.kube.port import ApiUnavailable, KubeObject, NotFound
from spotcompute.kube.transport import Transport, segment

#: What every install puts on its Deployment.
LABEL = "app.kubernetes.io/name=spotcompute-operator"

#: Environments that are looked at. More would take long, and say the same.
LOOKED_AT = 500


@dataclass(frozen=True, slots=True)
class AccessQuestion:
    """`AccessQuestion` is one right: may `user` (None: the caller) do this? No `namespace` is the whole cluster."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    name: str = ""
    namespace: str = ""
    user: str | None = None


class Inspection:
    """`Inspection` asks one API server. Every method raises KubeError."""

    def __init__(self, connection: Connection) -> None:
        self._transport = Transport(connection)

    async def version(self) -> tuple[str, datetime | None]:
        """Returns the version of Kubernetes, and the API server's time."""
        answer, date = await self._transport.call_dated("GET", "/version")
        return str(answer.get("gitVersion")), parsedate_to_datetime(date).astimezone(UTC) if date else None

    async def caller(self) -> str:
        """Returns who we are to the API server."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await self._transport.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
        return str(answer["status"]["userInfo"]["username"])

    async def schema(self, kind: str) -> Mapping[str, Any] | None:
        """Returns the schema of a kind of ours as the API server publishes it. None when it does not know the kind."""
        try:
            found = await self._transport.call("GET", f"/openapi/v3/apis/{GROUP}/{VERSION}")
        except (ApiUnavailable, NotFound) as error:
            if "HTTP 404" in str(error):
                return None
            raise
        schemas = (found.get("components") or {}).get("schemas") or {}
        return next((schema for name, schema in schemas.items() if name.endswith(f".{kind}")), None)

    async def deployments(self, home: str) -> Sequence[KubeObject]:
        """Returns the Deployments of the operator in its own namespace."""
        query = {"labelSelector": LABEL}
        path = f"/apis/apps/v1/namespaces/{segment(home)}/deployments"
        return list((await self._transport.call("GET", path, query=query))["items"])

    async def config_map(self, namespace: str, name: str = ACCOUNTS) -> KubeObject | None:
        """Returns a ConfigMap, None when there is none."""
        return await self._one(f"/api/v1/namespaces/{segment(namespace)}/configmaps/{segment(name)}")

    async def lease(self, home: str, name: str) -> KubeObject | None:
        """Returns the Lease by which replicas agree, None when there is none."""
        return await self._one(f"/apis/coordination.k8s.io/v1/namespaces/{segment(home)}/leases/{segment(name)}")

    async def has_secret(self, namespace: str, name: str) -> bool:
        """True when there is such a Secret. Its data is not asked for."""
        accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        return await self._one(f"/api/v1/namespaces/{segment(namespace)}/secrets/{segment(name)}", accept) is not None

    async def environments(self, namespace: str | None = None) -> Sequence[KubeObject]:
        """Returns environments of a namespace, or of all: the first 500."""
        part = f"namespaces/{segment(namespace)}/" if namespace else ""
        query = {"limit": str(LOOKED_AT)}
        return list(
            (await self._transport.call("GET", f"/apis/{GROUP}/{VERSION}/{part}{PLURAL}", query=query))["items"]
        )

    async def may(self, question: AccessQuestion) -> bool:
        """True when it is allowed. To ask about another user is a right of its own, which an administrator has."""
        attributes = {
            "verb": question.verb,
            "group": question.group,
            "resource": question.resource,
            "subresource": question.subresource,
            "name": question.name,
            "namespace": question.namespace,
        }
        spec: dict[str, Any] = {"resourceAttributes": {key: value for key, value in attributes.items() if value}}
        kind = "SelfSubjectAccessReview"
        if question.user is not None:
            kind, spec = "SubjectAccessReview", spec | {"user": question.user, "groups": _groups(question.user)}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
        answer = await self._transport.call("POST", f"/apis/authorization.k8s.io/v1/{kind.lower()}s", body=body)
        return bool(answer["status"]["allowed"])

    async def _one(self, path: str, accept: str = "application/json") -> KubeObject | None:
        try:
            found: KubeObject = await self._transport.call("GET", path, accept=accept)
        except NotFound:
            return None
        return found


def _groups(user: str) -> list[str]:
    """Returns the groups of a ServiceAccount. Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/."""
    _, _, namespace, _ = user.split(":")
    return ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
