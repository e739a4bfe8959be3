"""What the page needs is an extra: the operator's image has none of it, and nothing is loaded from elsewhere."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UI = ROOT / "operator" / "kubectl_spot" / "ui"
HERE = {"PYTHONPATH": str(ROOT / "operator")}
EXTRA = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["ui"]


@pytest.mark.parametrize("requirement", EXTRA)
def test_the_image_has_no_part_of_the_extra(requirement: str) -> None:
    name = re.split(r"[<>=]", requirement)[0]
    assert f"\n{name}==" in "\n" + (ROOT / "requirements.lock").read_text()
    assert f"\n{name}==" not in "\n" + (ROOT / "requirements.run.lock").read_text()


def test_the_other_commands_do_not_need_it() -> None:
    program = (
        "import sys, kubectl_spot.__main__; print([m for m in ('starlette', 'jinja2', 'uvicorn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], env=HERE, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_where_it_is_not_installed_the_command_says_how_to_install_it() -> None:
    program = "import sys; sys.modules['starlette'] = None; from kubectl_spot.__main__ import main; main(['ui'])"
    done = subprocess.run([sys.executable, "-c", program], env=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "starlette is missing. In a clone of the repository `pip install '.[ui]'` installs" in done.stderr
    assert "install 'spotcompute" not in done.stderr, "no registry has it, and a stranger may take the name"


def test_scripts_of_others_are_the_ones_whose_licence_is_beside_them() -> None:
    vendor = UI / "static" / "vendor"
    listed = dict(re.findall(r"^([0-9a-f]{64})  (\S+)$", (vendor / "LICENCE").read_text(), re.MULTILINE))
    found = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in vendor.glob("*.js")}
    assert listed == found


@pytest.mark.parametrize("path", sorted((UI / "templates").glob("*.html")), ids=lambda path: path.name)
def test_no_template_loads_from_elsewhere_runs_inline_code_or_turns_escaping_off(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"(src|href|action)=[\"']?(https?:)?//", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"\s(style|on\w+)=", text)
    assert not re.search(r"\|\s*safe|autoescape", text)
