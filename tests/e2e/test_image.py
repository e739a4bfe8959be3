"""The image: built by the code of a release, unpacked, and run as a container would run it, without Docker.

Nine tenths of the time to build it go into the dependencies. So most tests look at an image without them: Debian's
packages, our code, and an archive written by the image's own Python. The rare ones build all of it for this machine's
architecture, and run the operator in it; `make try-image` runs these, and so does the workflow of a release. A user
whom the image does not know is harder than the one of the Deployment: some clusters choose the user.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deploy.manifests import BASE, of_kind
from e2e.running import QUICK, Operator
from e2e.simulator import ROOT, Simulator
from e2e.stage import Stage, environment_id
from localcluster import tools
from localcluster.processes import Child, free_port
from waiting import eventually

pytestmark = pytest.mark.e2e

#: In no passwd file, with no home.
STRANGER = 4242

#: Looks from inside. It reads the bytecode of the operator, and imports nothing that needs a dependency.
LOOK = """
import glob, importlib.util, json, os, pathlib, pwd, ssl, sys

modules = [pathlib.Path(path).name.partition(".")[0] for path in glob.glob("/usr/lib/python3.11/lib-dynload/*.so")]
for module in modules:
    importlib.import_module(module)
try:
    name = pwd.getpwuid(os.getuid()).pw_name
except KeyError:
    name = None
context = ssl.create_default_context()
spec = importlib.util.find_spec("spotcompute.app")
print(json.dumps({
    "modules": len(modules), "name": name, "uid": os.getuid(), "certificates": len(context.get_ca_certs()),
    "is_compiled": os.path.exists(spec.cached), "file": spec.loader.get_code(spec.name).co_filename,
    "paths": [path for path in sys.path if path],
}))
"""


@dataclass(frozen=True)
class Image:
    """The archive, the digest that the builder told, the configuration, and the root file system."""

    archive: Path
    digest: str
    config: dict[str, Any]
    root: Path

    @property
    def variables(self) -> dict[str, str]:
        return dict(one.split("=", 1) for one in self.config["config"]["Env"])

    def command(self, *words: str, user: int = STRANGER) -> list[str]:
        """The command line that runs these words in the image."""
        if os.geteuid() == 0:
            inside = ["chroot", f"--userspec={user}:{user}", str(self.root)]
        else:
            inside = ["unshare", "--user", f"--map-user={user}", f"--map-group={user}", f"--root={self.root}"]
        found = shutil.which(inside[0])
        assert found is not None, inside[0]
        return [found, *inside[1:], *words]

    def run(self, *words: str, user: int = STRANGER) -> str:
        done = subprocess.run(
            self.command(*words, user=user), env=self.variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def builder() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "deploy" / "image"))
    yield importlib.import_module("build")
    sys.path.remove(str(ROOT / "deploy" / "image"))


def may_enter() -> bool:
    """True where a process may have another root directory: for root, and where users may have namespaces."""
    tried = ["unshare", "--user", f"--map-user={STRANGER}", "--root=/", "true"]
    return os.geteuid() == 0 or subprocess.run(tried, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that anybody may enter, as the folders of a node; skips where nobody could enter an image."""
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no image is wanted")
    if not may_enter():
        said = "only root may enter an image here: this kernel gives users no namespaces"
        if os.environ.get("IMAGE_IS_WANTED"):
            pytest.fail(said)
        pytest.skip(said)
    directory = tmp_path_factory.mktemp("image")
    for one in (directory, directory.parent, directory.parent.parent):
        one.chmod(0o755)
    return directory


@pytest.fixture(scope="module")
def small(builder: ModuleType, place: Path) -> Image:
    """An image without the dependencies. Its archive holds our code alone, and was written by its own Python."""
    own, root, app = builder.own_architecture(), place / "small", place / "app"
    builder.lay_debian(own, root)
    builder.lay_app(app)
    archive = place / "small.tar"
    digest = builder.write(own, root, builder.plan_of({own: [("operator/spotcompute", app)]}, archive, source=None))
    return Image(archive, digest, unpacked(archive, place / "small-layout", root), root)


@pytest.fixture(scope="module")
def image(builder: ModuleType, place: Path) -> Image:
    """The image of a release, for the architecture of this machine."""
    archive, root = place / "image.tar", place / "root"
    digest = builder.build(archive, architectures=(builder.own_architecture(),))
    return Image(archive, digest, unpacked(archive, place / "layout", root), root)


def unpacked(archive: Path, layout: Path, root: Path) -> dict[str, Any]:
    """Unpacks the layers into `root`. Returns the configuration."""
    with tarfile.open(archive) as opened:
        opened.extractall(layout, filter="data")

    def blob(descriptor: dict[str, Any]) -> Path:
        return layout / "blobs" / str(descriptor["digest"]).replace(":", "/")

    (top,) = json.loads((layout / "index.json").read_text())["manifests"]
    (one,) = json.loads(blob(top).read_text())["manifests"]
    manifest = json.loads(blob(one).read_text())
    for layer in manifest["layers"]:
        with tarfile.open(blob(layer)) as opened:
            opened.extractall(root, filter="fully_trusted")  # noqa: S202 - we have just built it
    config: dict[str, Any] = json.loads(blob(manifest["config"]).read_text())
    return config


def deployed() -> tuple[int, int]:
    """The user and the group of the Deployment."""
    (deployment,) = of_kind(BASE, "Deployment")
    context = deployment["spec"]["template"]["spec"]["securityContext"]
    return context["runAsUser"], context["runAsGroup"]


def test_it_is_of_the_deployments_user_and_says_what_it_is(small: Image) -> None:
    user, group = deployed()
    assert small.config["config"]["User"] == f"{user}:{group}"
    labels = small.config["config"]["Labels"]
    assert {"title", "version", "revision", "licenses"} <= {name.rpartition(".")[2] for name in labels}


@pytest.mark.rare
def test_it_says_its_version_to_the_deployments_user_and_to_any_other(image: Image) -> None:
    user, _ = deployed()
    assert image.run("/usr/local/bin/python", "-m", "spotcompute", "--version") == "spotcompute, version 0.1.0\n"
    assert image.run("spotcompute", "--version", user=user) == "spotcompute, version 0.1.0\n"


def test_nothing_of_the_standard_library_is_broken_and_our_code_is_compiled(small: Image) -> None:
    seen = json.loads(small.run("/usr/local/bin/python", "-c", LOOK))
    assert (seen["uid"], seen["name"]) == (STRANGER, None)
    assert seen["modules"] > 30
    assert seen["certificates"] > 100
    assert (seen["is_compiled"], seen["file"]) == (True, "/app/spotcompute/app.py")
    assert not [path for path in seen["paths"] if not path.startswith(("/app", "/usr/"))]


def test_every_package_has_what_it_depends_on_and_can_be_named_by_a_scanner(small: Image, builder: ModuleType) -> None:
    notes = {path.name: path.read_text() for path in (small.root / "var/lib/dpkg/status.d").iterdir()}
    assert notes.keys() == builder.debian.PACKAGES.keys()
    for name, note in notes.items():
        fields = dict(line.split(": ", 1) for line in note.splitlines() if line[:1].isalpha() and ": " in line)
        groups = ", ".join(fields.get(field, "") for field in ("Depends", "Pre-Depends")).split(",")
        for group in filter(None, (one.strip() for one in groups)):
            choices = {one.split()[0].partition(":")[0] for one in group.split("|")}
            assert choices & {*notes, *builder.debian.LEFT_OUT}, f"{name} depends on {group}"
    assert (small.root / "usr/share/doc/libc6/copyright").exists()


def programs(root: Path) -> set[str]:
    """The names of all programs in an image."""
    places = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin")
    return {path.name for place in places for path in (root / place).glob("*")}


def test_it_holds_no_shell_and_no_simulator(small: Image) -> None:
    assert programs(small.root) == {"python", "python3.11", "spotcompute"}
    assert {path.name for path in (small.root / "app").iterdir()} == {"spotcompute"}


@pytest.mark.rare
def test_dependencies_bring_no_program_and_no_installer(image: Image) -> None:
    assert programs(image.root) == {"python", "python3.11", "spotcompute"}
    libraries = image.root / "usr/local/lib/python3.11/dist-packages"
    assert not {"pip", "setuptools", "cvmsim", "kubectl_spot"} & {path.name for path in libraries.iterdir()}


def test_a_registry_shows_the_digest_that_the_release_names(small: Image, tmp_path: Path) -> None:
    crane, address = tools.ensure()["crane"], f"127.0.0.1:{free_port()}"
    registry = Child.start("registry", [str(crane), "registry", "serve", "--address", address], log=tmp_path / "log")
    repository = f"{address}/your-team/spotcompute-operator"
    try:
        registry.wait_until(
            lambda: subprocess.run([crane, "catalog", address], capture_output=True, check=False).returncode == 0,
            timeout=30,
        )
        pushed = subprocess.run(
            ["make", "push", f"REPOSITORY={repository}", f"ARCHIVE={small.archive}", f"LAYOUT={tmp_path / 'layout'}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert pushed.returncode == 0, pushed.stdout + pushed.stderr
        shown = subprocess.run([crane, "digest", f"{repository}:0.1.0"], capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == small.digest
    finally:
        registry.stop()


@pytest.mark.rare
def test_an_unknown_user_without_a_home_can_run_it(
    stage: Stage, cloud: Simulator, operator_kubeconfig: Path, image: Image, tmp_path: Path
) -> None:
    (image.root / "kubeconfig").write_bytes(operator_kubeconfig.read_bytes())
    (image.root / "kubeconfig").chmod(0o644)
    settings = {**QUICK, "ENDPOINT": cloud.endpoint, "PROTOCOL": "http", "NAMESPACE": stage.namespace}
    environment = {
        **image.variables,
        "KUBECONFIG": "/kubeconfig",
        **{f"SPOTCOMPUTE_{name}": value for name, value in settings.items()},
    }
    words = [*image.config["config"]["Entrypoint"], *image.config["config"]["Cmd"]]
    operator = Operator.within(environment, tmp_path / "operator.log", image.command(*words))
    operator.start()
    stage.apply(replicas=1)
    eventually(lambda: operator.returncode is not None or environment_id(stage.get() or {}), "it works, or has ended")
    assert operator.returncode is None, operator.log_text()[-2000:]
    stage.until_ready(1)
    stage.delete()
    stage.until_gone()
    operator.kill9()
    operator.judge()
