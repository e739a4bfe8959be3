"""The operator in the surroundings that its image gives it: the image's own environment, and a user without a name.

Whoever runs the tests has a name, a home and a shell's variables; in a pod there is none of that.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from e2e.running import QUICK, Operator
from e2e.simulator import ROOT, Simulator
from e2e.stage import Stage, environment_id
from waiting import eventually

pytestmark = pytest.mark.e2e

#: As for user 65532, who stands in no passwd file; to become that user would take root.
NAMELESS = """
import pwd

def getpwuid(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = getpwuid
"""


def of_the_image() -> dict[str, str]:
    """The variables that the Dockerfile sets."""
    lines = re.findall(r"^ENV (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return dict(word.split("=", 1) for line in lines for word in line.split())


def test_a_user_without_a_name_or_a_home_can_run_it(
    stage: Stage, cloud: Simulator, operator_kubeconfig: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NAMELESS)
    settings = {**QUICK, "ENDPOINT": cloud.endpoint, "PROTOCOL": "http", "NAMESPACE": stage.namespace}
    environment = {
        **of_the_image(),
        "PATH": os.defpath,
        "PYTHONPATH": f"{ROOT / 'operator'}:{tmp_path}",
        "KUBECONFIG": str(operator_kubeconfig),
        **{f"SPOTCOMPUTE_{name}": value for name, value in settings.items()},
    }
    operator = Operator.within(environment, tmp_path / "operator.log")
    operator.start()
    stage.apply(replicas=1)
    eventually(lambda: operator.returncode is not None or environment_id(stage.get() or {}), "it works, or has ended")
    assert operator.returncode is None, operator.log_text()[-2000:]
    stage.until_ready(1)
    stage.delete()
    stage.until_gone()
    operator.kill9()
    operator.judge()
