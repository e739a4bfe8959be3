"""Rights, judged by the API server itself: one SubjectAccessReview each, all in one go.

Apart from its tests: some ask what the operator is denied, others what it would be denied if it lacked something.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from deploy.manifests import Manifest
from localcluster.kubectl import Kubectl


class Right(NamedTuple):
    """A verb on a resource (or `resource/subresource`), in a namespace ("": cluster-wide), by name ("": any)."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""


class Asking(NamedTuple):
    """May this user, in these groups, do it?"""

    right: Right
    user: str
    groups: Sequence[str]


def are_allowed(kubectl: Kubectl, asked: Sequence[Asking]) -> list[bool]:
    """What the API server answers to each."""
    listed = {"apiVersion": "v1", "kind": "List", "items": [_review(one) for one in asked]}
    template = 'jsonpath={.status.allowed}{"\\n"}'  # false is left out, and is an empty line
    answers = kubectl.run("create", "-f", "-", "-o", template, stdin=json.dumps(listed)).splitlines()
    assert len(answers) == len(asked)
    assert set(answers) <= {"true", "false", ""}
    return [answer == "true" for answer in answers]


def _review(asking: Asking) -> Manifest:
    right = asking.right
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": right.namespace,
        "name": right.name,
    }
    spec = {"user": asking.user, "groups": list(asking.groups), "resourceAttributes": attributes}
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
