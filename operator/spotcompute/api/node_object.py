"""Translates nodes, and requests for certificates, from Kubernetes' objects into our types, and changes back.

Apart from `environment`, which is our own kind. Only shapes are known here: nothing is asked and nothing is chosen.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from spotcompute.api.times import from_text
from spotcompute.model.node import CertificateRequest, CertificateUse, Node, Pod, Taint

#: The condition by which a machine reports the notice of its end on its own node. Its message is the time.
NOTICE_CONDITION = "SpotInterruption"

#: The taint that Tencent's own agent puts on a node whose machine has notice.
AGENT_TAINT = "tke.cloud.tencent.com/tke-spot-agent"

#: The annotations by which a pod asks not to be disturbed, of the cluster autoscaler and of Karpenter, with the value.
KEEP_MARKS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}

#: The annotation of pods that the kubelet itself runs from a file.
MIRROR = "kubernetes.io/config.mirror"


def node_of(obj: Mapping[str, Any]) -> Node:
    """Returns the node. Raises KeyError on an object that no API server would send."""
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    conditions = {each["type"]: each for each in (obj.get("status") or {}).get("conditions") or ()}
    taints = tuple(map(_taint, spec.get("taints") or ()))
    return Node(
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        provider_id=spec.get("providerID") or "",
        labels=metadata.get("labels") or {},
        taints=taints,
        is_ready=conditions.get("Ready", {}).get("status") == "True",
        is_unschedulable=bool(spec.get("unschedulable")),
        notice=_notice(conditions.get(NOTICE_CONDITION, {}), taints),
        allocatable=(obj.get("status") or {}).get("allocatable") or {},
    )


def _notice(condition: Mapping[str, Any], taints: tuple[Taint, ...]) -> str | None:
    if condition.get("status") == "True":
        return str(condition.get("message") or "")
    return "" if any(taint.key == AGENT_TAINT for taint in taints) else None


def pod_of(obj: Mapping[str, Any]) -> Pod | None:
    """Returns the pod. None when no node has it yet, and when it has succeeded or failed."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    marks, owners = metadata.get("annotations") or {}, metadata.get("ownerReferences") or ()
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        node=spec["nodeName"],
        is_bound_to_node=MIRROR in marks or any(owner["kind"] == "DaemonSet" for owner in owners),
        is_kept=any(marks.get(key) == value for key, value in KEEP_MARKS.items()),
        started_at=from_text(status["startTime"]) if status.get("startTime") else None,
    )


def binding_of_node(node: Node, labels: Mapping[str, str], taints: tuple[Taint, ...]) -> dict[str, Any]:
    """Returns the merge patch that gives a node these labels and exactly these taints, if it is still that version."""
    return {
        "metadata": {"resourceVersion": node.version, "uid": node.uid, "labels": dict(labels)},
        "spec": {"taints": [_taint_object(taint) for taint in taints]},
    }


def cordon_of_node(node: Node, taints: tuple[Taint, ...], *, unschedulable: bool = True) -> dict[str, Any]:
    """Returns the merge patch that makes a node unschedulable or schedulable, with exactly these taints, if it is that
    version.
    """
    spec = {"unschedulable": unschedulable or None, "taints": [_taint_object(taint) for taint in taints]}
    return {"metadata": {"resourceVersion": node.version, "uid": node.uid}, "spec": spec}


def certificate_request_of(obj: Mapping[str, Any]) -> CertificateRequest | None:
    """Returns the request. None when it is for another signer, or holds nothing that can be read."""
    spec = obj.get("spec") or {}
    try:
        use = CertificateUse(spec.get("signerName", ""))
        asked = x509.load_pem_x509_csr(base64.b64decode(spec.get("request", ""), validate=True))
        names = _other_names(asked)
    except (ValueError, binascii.Error, x509.DuplicateExtension):
        return None
    if not asked.is_signature_valid:
        return None
    conditions = {each["type"] for each in (obj.get("status") or {}).get("conditions") or ()}
    common_names = _attributes(asked, NameOID.COMMON_NAME)
    return CertificateRequest(
        name=obj["metadata"]["name"],
        use=use,
        username=str(spec.get("username") or ""),
        common_name=common_names[0] if len(common_names) == 1 else "",
        organizations=_attributes(asked, NameOID.ORGANIZATION_NAME),
        dns_names=_values(names, x509.DNSName),
        addresses=_values(names, x509.IPAddress),
        has_other_names=any(not isinstance(name, (x509.DNSName, x509.IPAddress)) for name in names),
        usages=frozenset(spec.get("usages") or ()),
        is_approved="Approved" in conditions,
        is_denied=bool({"Denied", "Failed"} & conditions),
    )


def approval_of(obj: Mapping[str, Any], message: str, now: str) -> dict[str, Any]:
    """Returns the request's object with our approval, for the subresource `approval`."""
    status = obj.get("status") or {}
    approved = {
        "type": "Approved",
        "status": "True",
        "reason": "SpotComputeInstance",
        "message": message,
        "lastUpdateTime": now,
    }
    return {**obj, "status": {**status, "conditions": [*(status.get("conditions") or ()), approved]}}


def failure_of_pod(message: str, now: str) -> dict[str, Any]:
    """Returns the status of a pod whose machine is gone. A job that ignores DisruptionTarget starts it anew."""
    reason = "InstanceGone"
    disrupted = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
    }
    return {"status": {"phase": "Failed", "reason": reason, "message": message, "conditions": [disrupted]}}


def _taint(obj: Mapping[str, Any]) -> Taint:
    return Taint(str(obj["key"]), str(obj["effect"]), str(obj.get("value") or ""))


def _taint_object(taint: Taint) -> dict[str, str]:
    return {"key": taint.key, "effect": taint.effect} | ({"value": taint.value} if taint.value else {})


def _other_names(asked: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    try:
        return list(asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _attributes(asked: x509.CertificateSigningRequest, kind: x509.ObjectIdentifier) -> tuple[str, ...]:
    return tuple(str(each.value) for each in asked.subject.get_attributes_for_oid(kind))


def _values(names: list[x509.GeneralName], kind: type[x509.GeneralName]) -> frozenset[str]:
    return frozenset(str(name.value) for name in names if isinstance(name, kind))
