"""What the operator may not do, asked of the real API server."""

from __future__ import annotations

import pytest

from deploy.rights import Asking, Right, are_allowed
from localcluster.cluster import Cluster

pytestmark = pytest.mark.e2e

HOME, JOBS, SYSTEM = "spotcompute-system", "spot-jobs", "kube-system"
OPERATOR = f"system:serviceaccount:{HOME}:spotcompute-operator"
OURS = "spotcompute.dev"


def each(verbs: str, resource: str, group: str = "", *namespaces: str) -> list[Right]:
    return [Right(verb, resource, group, namespace) for verb in verbs.split() for namespace in namespaces or ("",)]


DENIED = [
    # Secrets: none anywhere until a namespace grants it; never all of them.
    *each("get list watch create update patch delete deletecollection", "secrets", "", "", JOBS, HOME, SYSTEM),
    # Environments: neither made nor ended, and their spec is written through patch alone.
    *each("create update delete deletecollection", "spotcomputeenvironments", OURS, "", JOBS),
    *each("get update", "spotcomputeenvironments/status", OURS, JOBS),
    *each("get update patch", "spotcomputeenvironments/scale", OURS, JOBS),
    # What would let it run code, or become somebody else.
    *each("get list watch create update patch delete", "pods", "", HOME, JOBS),
    *each("create", "pods/exec", "", HOME, JOBS),
    *each("create", "pods/attach", "", HOME),
    *each("create", "pods/portforward", "", HOME),
    *each("get", "pods/log", "", HOME),
    *each("create patch update", "deployments", "apps", HOME, JOBS),
    *each("create", "jobs", "batch", HOME, JOBS),
    *each("create", "serviceaccounts/token", "", HOME, SYSTEM),
    *each("create patch", "serviceaccounts", "", HOME),
    *each("impersonate", "users"),
    *each("impersonate", "groups"),
    *each("impersonate", "serviceaccounts"),
    *each("escalate bind create patch", "clusterroles", "rbac.authorization.k8s.io"),
    *each("escalate bind create patch", "roles", "rbac.authorization.k8s.io", HOME, JOBS),
    *each("create patch", "clusterrolebindings", "rbac.authorization.k8s.io"),
    *each("create patch", "rolebindings", "rbac.authorization.k8s.io", HOME, JOBS),
    *each("approve sign", "signers", "certificates.k8s.io"),
    # The cluster itself.
    *each("get list patch", "nodes"),
    *each("get create", "nodes/proxy"),
    *each("get list create delete patch", "namespaces"),
    *each("create patch delete", "customresourcedefinitions", "apiextensions.k8s.io"),
    *each("create patch", "mutatingwebhookconfigurations", "admissionregistration.k8s.io"),
    *each("create patch", "validatingwebhookconfigurations", "admissionregistration.k8s.io"),
    # It may not lift what protects an environment from deletion.
    *each("create patch delete", "validatingadmissionpolicies", "admissionregistration.k8s.io"),
    *each("create patch delete", "validatingadmissionpolicybindings", "admissionregistration.k8s.io"),
    *each("create", "persistentvolumes"),
    # Its own notes and Lease are the only ones it reads and writes.
    *each("list watch update delete", "configmaps", "", HOME),
    *each("get patch create list", "configmaps", "", JOBS, SYSTEM),
    *each("list watch update delete", "leases", "coordination.k8s.io", HOME),
    *each("get patch create", "leases", "coordination.k8s.io", JOBS, SYSTEM),
    Right("get", "configmaps", "", HOME, "somebody-elses"),
    Right("patch", "configmaps", "", HOME, "somebody-elses"),
    Right("get", "leases", "coordination.k8s.io", HOME, "somebody-elses"),
    Right("patch", "leases", "coordination.k8s.io", HOME, "somebody-elses"),
    Right("list", "customresourcedefinitions", "apiextensions.k8s.io", "", "somebody-elses"),
    Right("get", "namespaces", "", "", "default"),
    # Events are told, not read.
    *each("get list delete", "events", "events.k8s.io", JOBS),
]

#: So that a mistake in asking shows: these it may.
ALLOWED = [
    Right("watch", "spotcomputeenvironments", OURS),
    Right("patch", "spotcomputeenvironments/status", OURS, JOBS),
    Right("patch", "configmaps", "", HOME, "spotcompute-accounts"),
    Right("patch", "leases", "coordination.k8s.io", HOME, "spotcompute-operator"),
    Right("get", "namespaces", "", "", SYSTEM),
]


#: As the API server would find them in its token.
GROUPS = ["system:serviceaccounts", f"system:serviceaccounts:{HOME}", "system:authenticated"]


def granted(cluster: Cluster, rights: list[Right]) -> list[Right]:
    """Those of `rights` that the API server grants the operator."""
    answers = are_allowed(cluster.kubectl, [Asking(right, OPERATOR, GROUPS) for right in rights])
    return [right for right, is_allowed in zip(rights, answers, strict=True) if is_allowed]


def test_nothing_that_it_does_not_need_is_granted(installed: Cluster) -> None:
    assert len(DENIED) >= 60
    assert granted(installed, DENIED) == []


def test_what_it_needs_is_granted(installed: Cluster) -> None:
    assert granted(installed, ALLOWED) == ALLOWED
