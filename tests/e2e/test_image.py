"""The image: built from the same code as a release's, unpacked, and run as a container would run it, without Docker.

A user whom the image does not know is harder than the one of the Deployment: some clusters choose the user. Only the
architecture of this machine is built here; `make image` builds both.
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

LOOK = """
import glob, importlib, json, os, pathlib, pwd, ssl, sys
import spotcompute.app

modules = [pathlib.Path(path).name.partition(".")[0] for path in glob.glob("/usr/lib/python3.11/lib-dynload/*.so")]
for module in modules:
    importlib.import_module(module)
try:
    name = pwd.getpwuid(os.getuid()).pw_name
except KeyError:
    name = None
context = ssl.create_default_context()
cached = spotcompute.app.__cached__
print(json.dumps({
    "modules": len(modules), "name": name, "uid": os.getuid(), "certificates": len(context.get_ca_certs()),
    "is_compiled": os.path.exists(cached), "file": spotcompute.app.now.__code__.co_filename,
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
def image(builder: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Image:
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no image is wanted")
    if not may_enter():
        pytest.skip("only root may enter an image here: this kernel gives users no namespaces")
    directory = tmp_path_factory.mktemp("image")
    directory.parent.chmod(0o755)  # the stranger walks through it, as through the folders of a node
    directory.parent.parent.chmod(0o755)
    directory.chmod(0o755)
    digest = builder.build(directory / "image.tar", architectures=(builder.own_architecture(),))
    with tarfile.open(directory / "image.tar") as archive:
        archive.extractall(directory / "layout", filter="data")

    def blob(descriptor: dict[str, Any]) -> Path:
        return directory / "layout" / "blobs" / str(descriptor["digest"]).replace(":", "/")

    (top,) = json.loads((directory / "layout" / "index.json").read_text())["manifests"]
    (one,) = json.loads(blob(top).read_text())["manifests"]
    manifest = json.loads(blob(one).read_text())
    root = directory / "root"
    for layer in manifest["layers"]:
        with tarfile.open(blob(layer)) as archive:
            archive.extractall(root, filter="fully_trusted")  # noqa: S202 - we have just built it
    return Image(directory / "image.tar", digest, json.loads(blob(manifest["config"]).read_text()), root)


def test_it_runs_as_the_deployments_user_and_says_what_it_is(image: Image) -> None:
    (deployment,) = of_kind(BASE, "Deployment")
    context = deployment["spec"]["template"]["spec"]["securityContext"]
    assert image.config["config"]["User"] == f"{context['runAsUser']}:{context['runAsGroup']}"
    labels = image.config["config"]["Labels"]
    assert {"title", "version", "revision", "licenses"} <= {name.rpartition(".")[2] for name in labels}
    assert image.run("/usr/local/bin/python", "-m", "spotcompute", "--version") == "spotcompute, version 0.1.0\n"
    assert image.run("spotcompute", "--version", user=context["runAsUser"]) == "spotcompute, version 0.1.0\n"


def test_nothing_of_the_standard_library_is_broken_and_everything_is_compiled(image: Image) -> None:
    seen = json.loads(image.run("/usr/local/bin/python", "-c", LOOK))
    assert (seen["uid"], seen["name"]) == (STRANGER, None)
    assert seen["modules"] > 30
    assert seen["certificates"] > 100
    assert (seen["is_compiled"], seen["file"]) == (True, "/app/spotcompute/app.py")
    assert not [path for path in seen["paths"] if not path.startswith(("/app", "/usr/"))]


def test_every_package_has_what_it_depends_on_and_can_be_named_by_a_scanner(image: Image, builder: ModuleType) -> None:
    notes = {path.name: path.read_text() for path in (image.root / "var/lib/dpkg/status.d").iterdir()}
    assert notes.keys() == builder.debian.PACKAGES.keys()
    for name, note in notes.items():
        fields = dict(line.split(": ", 1) for line in note.splitlines() if line[:1].isalpha() and ": " in line)
        groups = ", ".join(fields.get(field, "") for field in ("Depends", "Pre-Depends")).split(",")
        for group in filter(None, (one.strip() for one in groups)):
            choices = {one.split()[0].partition(":")[0] for one in group.split("|")}
            assert choices & {*notes, *builder.debian.LEFT_OUT}, f"{name} depends on {group}"
    assert (image.root / "usr/share/doc/libc6/copyright").exists()


def test_it_holds_no_shell_no_installer_and_no_simulator(image: Image) -> None:
    programs = {
        path.name
        for place in ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin")
        for path in (image.root / place).glob("*")
    }
    assert programs == {"python", "python3.11", "spotcompute"}
    libraries = image.root / "usr/local/lib/python3.11/dist-packages"
    assert not {"pip", "setuptools", "cvmsim", "kubectl_spot"} & {path.name for path in libraries.iterdir()}
    assert {path.name for path in (image.root / "app").iterdir()} == {"spotcompute"}


def test_a_registry_shows_the_digest_that_the_release_names(image: Image, tmp_path: Path) -> None:
    crane, address = tools.ensure()["crane"], f"127.0.0.1:{free_port()}"
    registry = Child.start("registry", [str(crane), "registry", "serve", "--address", address], log=tmp_path / "log")
    repository = f"{address}/your-team/spotcompute-operator"
    try:
        registry.wait_until(
            lambda: subprocess.run([crane, "catalog", address], capture_output=True, check=False).returncode == 0,
            timeout=30,
        )
        pushed = subprocess.run(
            ["make", "push", f"REPOSITORY={repository}", f"ARCHIVE={image.archive}", f"LAYOUT={tmp_path / 'layout'}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert pushed.returncode == 0, pushed.stdout + pushed.stderr
        shown = subprocess.run([crane, "digest", f"{repository}:0.1.0"], capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == image.digest
    finally:
        registry.stop()


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
