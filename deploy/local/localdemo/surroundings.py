"""Returns the environment variables for the demo's processes, and the path of the repository.

It is a module of its own because a mistake here would cost real money: no cloud credentials, settings or cluster of the
person may reach the operator of a demo.
"""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
OPERATOR_SOURCES = REPOSITORY / "operator"
NOT_INHERITED = ("TENCENTCLOUD_", "SPOTCOMPUTE_", "CVMSIM_", "KUBECONFIG", "PYTHON")


def surroundings(sources: Path, **added: str) -> dict[str, str]:
    """Returns this process's environment without credentials and settings, without proxies for loopback, and with
    `added`.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(NOT_INHERITED)}
    bypass = ",".join(filter(None, [kept.get("NO_PROXY"), "127.0.0.1,localhost"]))
    return {**kept, "NO_PROXY": bypass, "no_proxy": bypass, "PYTHONPATH": str(sources), **added}
