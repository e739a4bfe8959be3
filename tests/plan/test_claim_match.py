"""Which work is a claim on which environment, and what an admission check names."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from spotcompute.model.claim import Claim, PodGroup
from spotcompute.model.workload import AdmissionCheck, CheckState, Flavor, MarkedJob, Workload
from spotcompute.plan.claim_match import Named, Work, claims_on, named_by

FARM, OTHER = ("jobs", "farm"), ("jobs", "other")
CHECK = AdmissionCheck("farm", "u1", "7", 1, "farm")
CLAIM = Claim(
    "Workload", "jobs", "render", "u2", datetime(2026, 11, 30, tzinfo=UTC), (PodGroup("main", 4, {"cpu": 1}),)
)
WORKLOAD = Workload(CLAIM, "7", True, {}, {"farm": CheckState("Pending")})
CHECKS = {"farm": Named(FARM)}


@pytest.mark.parametrize(
    ("check", "environments", "key", "said"),
    [
        pytest.param(CHECK, [FARM], FARM, "", id="the-only-one"),
        pytest.param(CHECK, [OTHER], None, "there is no SpotComputeEnvironment farm", id="none"),
        pytest.param(CHECK, [FARM, ("b", "farm")], None, "in several namespaces (b, jobs)", id="two-of-that-name"),
        pytest.param(replace(CHECK, namespace="b"), [FARM, ("b", "farm")], ("b", "farm"), "", id="chosen"),
        pytest.param(replace(CHECK, namespace="b"), [FARM], None, "farm in namespace b", id="chosen-and-not-there"),
        pytest.param(
            replace(CHECK, environment=None), [FARM], None, "must name a SpotComputeEnvironment", id="strange"
        ),
    ],
)
def test_a_check_names_one_environment_or_says_why_not(
    check: AdmissionCheck, environments: list[tuple[str, str]], key: tuple[str, str] | None, said: str
) -> None:
    found = named_by(check, environments, environments)
    assert found.key == key
    assert said in found.problem


def test_an_environment_without_capacity_takes_no_claims() -> None:
    assert "takes no claims" in named_by(CHECK, [FARM], []).problem


@pytest.mark.parametrize(
    ("workload", "is_claim"),
    [
        pytest.param(WORKLOAD, True, id="with-quota"),
        pytest.param(replace(WORKLOAD, has_quota=False), False, id="without-quota"),
        pytest.param(replace(WORKLOAD, states={"strange": CheckState("Pending")}), False, id="with-another-check"),
    ],
)
def test_a_workload_with_quota_and_our_check_is_a_claim(workload: Workload, is_claim: bool) -> None:
    found = claims_on(FARM, Work(workloads=(workload,)), CHECKS)
    assert [claim.check for claim in found] == (["farm"] if is_claim else [])
    assert claims_on(OTHER, Work(workloads=(workload,)), CHECKS) == ()


def test_only_pods_whose_flavor_is_of_the_environment_count() -> None:
    groups = (PodGroup("driver", 1, {}), PodGroup("worker", 9, {}))
    mixed = replace(
        WORKLOAD,
        claim=replace(CLAIM, groups=groups),
        flavors={"driver": frozenset({"steady"}), "worker": frozenset({"spot"})},
    )
    flavors = {"steady": Flavor(), "spot": Flavor("farm")}
    (found,) = claims_on(FARM, Work(workloads=(mixed,), flavors=flavors), CHECKS)
    assert [group.name for group in found.groups] == ["worker"]
    (found,) = claims_on(FARM, Work(workloads=(mixed,), flavors={}), CHECKS)
    assert found.pods == 10, "where no flavor names an environment, all do"
    elsewhere = {"steady": Flavor(), "spot": Flavor("farm", "central")}
    (found,) = claims_on(FARM, Work(workloads=(mixed,), flavors=elsewhere), CHECKS)
    assert found.pods == 0, "and an environment of another namespace is another one"


@pytest.mark.parametrize(
    ("job", "has_kueue", "is_claim"),
    [
        pytest.param(MarkedJob(CLAIM, "farm", "jobs"), True, True, id="marked"),
        pytest.param(MarkedJob(CLAIM, "other", "jobs"), True, False, id="marked-for-another"),
        pytest.param(MarkedJob(CLAIM, "farm", "b"), True, False, id="of-another-namespace"),
        pytest.param(MarkedJob(CLAIM, "farm", "jobs", is_queued=True), True, False, id="kueue-has-it-in-hand"),
        pytest.param(MarkedJob(CLAIM, "farm", None, is_queued=True), False, True, id="kueue-was-removed"),
    ],
)
def test_a_job_counts_once(job: MarkedJob, has_kueue: bool, is_claim: bool) -> None:
    assert bool(claims_on(FARM, Work(jobs=(job,), has_kueue=has_kueue), {})) == is_claim
