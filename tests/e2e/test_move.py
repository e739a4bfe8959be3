"""An environment moves to another cluster with its instances: two control planes, two operators, one account."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane import CRDS
from e2e.running import Operator, grant_shipped_rights
from e2e.simulator import Simulator
from e2e.stage import SECRET, Stage, condition, is_current
from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.e2e

THERE = "moved"


@pytest.mark.rare  # each of its two steps has tests of its own: Retain and adoption
def test_an_environment_moves_and_nothing_is_ended_or_bought(
    stage: Stage, own_operator: Callable[..., Operator], cloud: Simulator, tmp_path: Path
) -> None:
    own_operator()
    stage.apply(replicas=3, deletionPolicy="Retain")
    stage.until_ready(3)
    ids = {row["id"] for row in cloud.running(stage.account)}
    launches = len(cloud.requests(stage.account, "RunInstances"))
    stage.delete()
    stage.until_gone()
    assert stage.kubectl.json("get", "si")["items"] == []
    with ControlPlane(crds=CRDS) as other:
        operator = Operator(
            grant_shipped_rights(other), cloud.endpoint, tmp_path / "there.log", NAMESPACE=THERE, LOG_LEVEL="INFO"
        )
        there = Stage(other, cloud, THERE, tmp_path)
        there.account = stage.account
        there.write_secret(SECRET, secretId=stage.account.secret_id, secretKey=stage.account.secret_key)
        operator.start()
        try:
            tag = {"key": "spotcompute-retained", "value": f"{stage.namespace}@web"}
            there.apply(replicas=3, adopt={"tag": tag})
            found = there.until(lambda obj: is_current(obj, 3), "3 are taken over")
            assert {row["id"] for row in found["status"]["instances"]} == ids
            assert condition(found, "InstancesAdopted")["message"] == "3 of 3 taken over"
            assert {row["id"] for row in cloud.running(stage.account)} == ids
            assert cloud.requests(stage.account, "TerminateInstances") == []
            assert len(cloud.requests(stage.account, "RunInstances")) == launches
            there.delete()
            there.until_gone()
            assert cloud.running(stage.account) == []
        finally:
            operator.kill9()
            there.close()
        operator.judge()
