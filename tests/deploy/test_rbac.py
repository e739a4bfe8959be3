"""The operator's rights are what its code uses, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.manifests import ALL_SECRETS, BASE, SAMPLES, SINGLE, Manifest, of_kind, only

OPERATOR = {"kind": "ServiceAccount", "name": "spotcompute-operator", "namespace": "spotcompute-system"}
SECRET_ROLES = {"spotcompute-read-sources", "spotcompute-guard-credentials"}
USER_ROLES = {"spotcompute-view", "spotcompute-edit"}


def bound(directory: Path, kind: str) -> dict[str, str | None]:
    """Roles bound to the operator by bindings of `kind`, with the namespace they hold in."""
    bindings = [binding for binding in of_kind(directory, kind) if OPERATOR in binding["subjects"]]
    return {binding["roleRef"]["name"]: binding["metadata"].get("namespace") for binding in bindings}


def roles() -> list[Manifest]:
    return of_kind(BASE, "ClusterRole")


@pytest.mark.parametrize("role", roles(), ids=lambda role: role["metadata"]["name"])
def test_no_role_uses_a_wildcard_or_hands_out_rights(role: Manifest) -> None:
    for rule in role["rules"]:
        granted = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert not any("*" in word for word in granted)
        assert granted.isdisjoint({"escalate", "bind", "impersonate"})


def test_two_roles_touch_secrets_and_neither_can_list_them() -> None:
    granted = {
        role["metadata"]["name"]: rule["verbs"]
        for role in roles()
        for rule in role["rules"]
        if "secrets" in rule["resources"]
    }
    assert granted == {"spotcompute-read-sources": ["get"], "spotcompute-guard-credentials": ["patch"]}


def test_nobody_but_the_operator_may_write_status() -> None:
    writers = {
        role["metadata"]["name"]
        for role in roles()
        for rule in role["rules"]
        if "spotcomputeenvironments/status" in rule["resources"] and {"patch", "update"} & set(rule["verbs"])
    }
    assert writers == {"spotcompute-operator"}


def test_the_operator_neither_creates_nor_deletes_environments() -> None:
    verbs = {
        verb
        for rule in only(BASE, "ClusterRole", "spotcompute-operator")["rules"]
        if "spotcomputeenvironments" in rule["resources"]
        for verb in rule["verbs"]
    }
    assert verbs == {"get", "list", "watch", "patch"}


def test_what_cannot_be_namespaced_is_granted_by_name() -> None:
    for rule in only(BASE, "ClusterRole", "spotcompute-operator-discovery")["rules"]:
        assert rule["resourceNames"]


def test_the_base_binds_no_right_to_touch_secrets() -> None:
    assert bound(BASE, "ClusterRoleBinding").keys() == {"spotcompute-operator", "spotcompute-operator-discovery"}
    assert bound(BASE, "RoleBinding") == {"spotcompute-operator-home": "spotcompute-system"}


def test_one_overlay_grants_all_secrets_and_changes_nothing_else() -> None:
    added = bound(ALL_SECRETS, "ClusterRoleBinding").keys() - bound(BASE, "ClusterRoleBinding").keys()
    assert added == SECRET_ROLES
    assert len(of_kind(ALL_SECRETS, "ClusterRole")) == len(roles())


def test_the_other_overlay_holds_the_operator_in_the_namespace_it_watches() -> None:
    (settings,) = of_kind(SINGLE, "ConfigMap")
    watched = settings["data"]["SPOTCOMPUTE_NAMESPACE"]
    assert bound(SINGLE, "RoleBinding") == {
        "spotcompute-operator": watched,
        "spotcompute-operator-home": "spotcompute-system",
        "spotcompute-read-sources": watched,
    }
    for binding in of_kind(SINGLE, "RoleBinding"):
        (role,) = [role for role in of_kind(SINGLE, "Role") if role["metadata"] == binding["metadata"]]
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("Role", role["metadata"]["name"])


def test_an_install_for_one_namespace_has_no_cluster_role() -> None:
    assert of_kind(SINGLE, "ClusterRole") == of_kind(SINGLE, "ClusterRoleBinding") == []


@pytest.mark.parametrize("name", ["spotcompute-operator", "spotcompute-read-sources"])
def test_the_rights_in_one_namespace_are_those_of_the_whole_cluster(name: str) -> None:
    assert only(SINGLE, "Role", name)["rules"] == only(BASE, "ClusterRole", name)["rules"]


def test_no_name_of_the_cluster_is_given_that_two_clusters_could_share() -> None:
    (settings,) = of_kind(SINGLE, "ConfigMap")
    assert settings["data"]["SPOTCOMPUTE_CLUSTER_ID"] == ""


def test_nothing_binds_the_guard_in_a_namespace_whose_end_would_take_the_right_away() -> None:
    for install in (BASE, ALL_SECRETS, SINGLE, SAMPLES):
        assert "spotcompute-guard-credentials" not in bound(install, "RoleBinding")


def test_user_roles_are_aggregated_and_bound_to_nobody() -> None:
    for name in USER_ROLES:
        suffix = name.removeprefix("spotcompute-")
        labels = only(BASE, "ClusterRole", name)["metadata"]["labels"]
        assert labels[f"rbac.authorization.k8s.io/aggregate-to-{suffix}"] == "true"
    referenced = {binding["roleRef"]["name"] for binding in of_kind(BASE, "ClusterRoleBinding")}
    assert referenced.isdisjoint(USER_ROLES)
