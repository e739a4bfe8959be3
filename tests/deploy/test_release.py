"""What a release holds: the same bytes whenever it is built, and an image only where one was published."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from deploy import chart
from deploy.chart import HelmError
from deploy.manifests import ROOT
from localcluster import tools

DIGEST = "sha256:" + "0" * 64
IMAGE = f"ghcr.io/your-team/spotcompute-operator:1.2.3@{DIGEST}"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build", ROOT / "deploy" / "release" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def dist(build: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with a published image, without the packages."""
    directory = tmp_path_factory.mktemp("dist")
    for part in (build.chart, build.install):
        part(directory, IMAGE)
    build.plugin(directory, "https://example.com/releases/download/v1")
    build.checksums(directory)
    return directory


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("spotcompute-operator", ("spotcompute-operator", "", "")),
        ("localhost:5000/team/operator", ("localhost:5000/team/operator", "", "")),
        ("localhost:5000/team/operator:1.0", ("localhost:5000/team/operator", "1.0", "")),
        (IMAGE, ("ghcr.io/your-team/spotcompute-operator", "1.2.3", DIGEST)),
        (f"registry/operator@{DIGEST}", ("registry/operator", "", DIGEST)),
    ],
)
def test_the_name_of_an_image_is_taken_apart(build: ModuleType, image: str, parts: tuple[str, str, str]) -> None:
    assert build.parts_of(image) == parts


@pytest.mark.parametrize("image", ["", "a@sha256:short", "a b:@"])
def test_what_names_no_image_is_refused(build: ModuleType, image: str) -> None:
    with pytest.raises(build.CannotBuild):
        build.parts_of(image)


def test_chart_and_install_manifest_name_the_published_image(dist: Path) -> None:
    (packed,) = dist.glob("*.tgz")
    made = chart.Helm().run("template", "x", str(packed), "--kube-version", "1.36.0")
    for text in (made, (dist / "install.yaml").read_text()):
        assert re.findall(r"image: (\S+)", text) == [IMAGE]


def test_without_a_published_image_the_chart_asks_for_one_and_the_manifest_says_so(
    build: ModuleType, tmp_path: Path
) -> None:
    build.install(tmp_path, None)
    assert "No registry has the image" in (tmp_path / "install.yaml").read_text()
    with pytest.raises(HelmError, match=r"set controller\.image\.repository"):
        chart.Helm().run("template", "x", str(chart.CHART), "--kube-version", "1.36.0")


def test_the_plugin_runs_where_nothing_but_python_is_installed(dist: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(dist / "kubectl-spot.pyz"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env={"PATH": "/nowhere"})
    assert done.returncode == 0, done.stderr
    assert "kubectl spot" in done.stdout


def test_krew_finds_the_file_that_it_is_promised(dist: Path) -> None:
    (platform,) = yaml.safe_load((dist / "spot.yaml").read_text())["spec"]["platforms"]
    archive = (dist / "kubectl-spot.tar.gz").read_bytes()
    assert platform["sha256"] == hashlib.sha256(archive).hexdigest()
    assert platform["uri"].endswith("/kubectl-spot.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        names = {member.name: member for member in opened}
    assert {one["from"] for one in platform["files"]} == names.keys()
    assert names[platform["bin"]].mode & 0o111
    assert names["kubectl_complete-spot"].mode & 0o111


def test_the_script_completes_the_plugin_that_lies_beside_it(dist: Path, tmp_path: Path) -> None:
    (tmp_path / "kubectl-spot").symlink_to(dist / "kubectl-spot.pyz")
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [str(dist / "kubectl_complete-spot"), "wh"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": path})
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == ["why", ":4"], done.stderr


def test_two_builds_are_the_same(build: ModuleType, dist: Path, tmp_path: Path) -> None:
    build.chart(tmp_path, IMAGE)
    build.install(tmp_path, IMAGE)
    build.plugin(tmp_path, "https://example.com/releases/download/v1")
    build.checksums(tmp_path)
    assert (tmp_path / "SHA256SUMS").read_text() == (dist / "SHA256SUMS").read_text()
    assert len((dist / "SHA256SUMS").read_text().splitlines()) == 7


def test_the_workflows_call_targets_that_exist() -> None:
    makefiles = [ROOT / "Makefile", *sorted((ROOT / "deploy").rglob("targets.mk"))]
    targets = set(re.findall(r"^([a-z-]+):", "\n".join(path.read_text() for path in makefiles), re.MULTILINE))
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    called = {name for path in workflows for name in re.findall(r"\bmake (?:--\S+ )*([a-z-]+)", path.read_text())}
    assert called <= targets
    assert {"release", "push", "push-chart", "docs"} <= called


def test_actions_of_others_than_github_are_named_by_their_commit() -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    used = [words for path in workflows for words in re.findall(r"uses: (\S+)", path.read_text())]
    others = [words for words in used if not words.startswith("actions/")]
    assert others
    assert [words for words in others if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40}", words)] == []


def test_actionlint_finds_no_mistake_in_the_workflows() -> None:
    actionlint = tools.ensure()["actionlint"]
    done = subprocess.run([actionlint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = "on: push\njobs: {test: {runs-on: ubuntu-latest, steps: [{run: 'echo ${{ github.no_such_thing }}'}]}}\n"
    done = subprocess.run([actionlint, "-"], cwd=ROOT, input=wrong, capture_output=True, text=True, check=False)
    assert "no_such_thing" in done.stdout, "it would have found one"


def test_the_workflow_pushes_the_archive_that_the_release_holds() -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    steps = ("make release REPOSITORY=", "make try-image", "make push REPOSITORY=", "cosign sign")
    assert [*map(text.index, steps)] == sorted(map(text.index, steps)), "nothing is pushed that was not tried"
    assert "docker build" not in text


@pytest.mark.parametrize(("given", "is_named"), [((), False), (("REPOSITORY=ghcr.io/your-team/operator",), True)])
def test_make_names_an_image_only_when_it_is_told_where_it_will_lie(given: tuple[str, ...], is_named: bool) -> None:
    plan = subprocess.run(
        ["make", "--dry-run", "release", *given], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    (line,) = [line for line in plan.splitlines() if "deploy/release/build.py" in line and "checksums" not in line]
    assert ("--image 'ghcr.io/your-team/operator' --digest .cache/image-digest" in line) == is_named
    assert ("--image" in line) == is_named
    assert plan.index("deploy/image/build.py") < plan.index("deploy/release/build.py"), "its digest is known before"


def test_an_image_is_named_by_the_digest_that_it_was_built_with(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "digest").write_text(f"{DIGEST}\n")
    assert (
        build.named("ghcr.io/your-team/operator", tmp_path / "digest") == f"ghcr.io/your-team/operator:0.1.0@{DIGEST}"
    )
    assert (build.named(None, tmp_path / "digest"), build.named("", None), build.named(IMAGE, None)) == (
        None,
        None,
        IMAGE,
    )
    with pytest.raises(build.CannotBuild, match="without tag and digest"):
        build.named(IMAGE, tmp_path / "digest")
