"""Builds into dist/ what a release holds besides the image: packages, chart, CRD, one-file install, plugin, checksums.

    python deploy/release/build.py --image ghcr.io/OWNER/spotcompute-operator --digest FILE --url https://…/download/v0.1.0

Apart from `targets.mk`, which calls it, because an archive must be the same byte by byte whoever builds it: no time, no
user and no order of a file system goes into one.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT / "deploy" / "local")]

from localcluster import assets, helm  # noqa: E402 - found by the line above

CHART = ROOT / "deploy" / "charts" / "spotcompute-operator"
CRDS = ROOT / "crds"

#: What the plugin imports besides the standard library.
PLUGIN_NEEDS = ("click",)

#: What every archive says of the time of its files: a zip knows no earlier one.
EPOCH = (1980, 1, 1, 0, 0, 0)

#: The image of `deploy/base`, which no registry has.
PLACEHOLDER = "spotcompute-operator"


class CannotBuild(Exception):
    """`CannotBuild` means that a part cannot be made. `str()` says why."""


def version() -> str:
    """The version of this release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def packages(dist: Path) -> None:
    """The wheel and the sdist. hatchling reads SOURCE_DATE_EPOCH itself."""
    _run(sys.executable, "-m", "hatchling", "build", "-d", str(dist))


def chart(dist: Path, image: str | None) -> None:
    """The chart. With `image` it names that one; otherwise it asks for one at `helm install`."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / CHART.name
        shutil.copytree(CHART, copy)
        if image:
            repository, tag, digest = parts_of(image)
            values = (copy / "values.yaml").read_text(encoding="utf-8")
            for key, value in (("repository", repository), ("tag", tag), ("digest", digest)):
                values, count = re.subn(rf'^(    {key}: )""$', rf'\g<1>"{value}"', values, flags=re.MULTILINE)
                if count != 1:
                    raise CannotBuild(f"values.yaml has {count} places for the image's {key}")
            (copy / "values.yaml").write_text(values, encoding="utf-8")
        packed = [(f"{CHART.name}/{path.relative_to(copy)}", path.read_bytes()) for path in _files(copy)]
        archive = dist / f"{CHART.name}-{version()}.tgz"
        archive.write_bytes(tar_gz(packed))
        _run(str(helm.ensure()), "lint", "--strict", str(archive))


def install(dist: Path, image: str | None) -> None:
    """One file that `kubectl apply --server-side -f` installs, and one with the CRDs alone."""
    text = _run(str(assets.ensure().kubectl), "kustomize", str(ROOT / "deploy" / "base"))
    head = f"# spotcompute-operator {version()}: kubectl apply --server-side -f install.yaml\n"
    named = f"{PLACEHOLDER}:{version()}"
    if text.count(f"image: {named}\n") != 1:
        raise CannotBuild(f"deploy/base does not name the image {named} once")
    if image:
        text = text.replace(f"image: {named}\n", f"image: {image}\n")
    else:
        head += f"# No registry has the image {named}: load it into your nodes, or name one of yours.\n"
    (dist / "install.yaml").write_text(head + text, encoding="utf-8")
    texts = [path.read_text(encoding="utf-8") for path in sorted(CRDS.glob("*.yaml"))]
    (dist / "crds.yaml").write_text("---\n".join(texts), encoding="utf-8")


def plugin(dist: Path, url: str | None) -> None:
    """`kubectl-spot` as one file that needs Python alone, the archive that krew takes, and krew's manifest."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory)
        (target / "needs.txt").write_text(_locked(PLUGIN_NEEDS), encoding="utf-8")
        _run(
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--no-compile", "--require-hashes", "-r", str(target / "needs.txt"), "--target", str(target / "app")),
        )
        shutil.copytree(ROOT / "operator" / "kubectl_spot", target / "app" / "kubectl_spot")
        packed = [(str(path.relative_to(target / "app")), path.read_bytes()) for path in _files(target / "app")]
    main = b"from kubectl_spot.__main__ import main\n\nmain(prog_name='kubectl spot')\n"
    program = zip_app([*packed, ("__main__.py", main)])
    pyz = dist / "kubectl-spot.pyz"
    pyz.write_bytes(program)
    pyz.chmod(0o755)
    script = completion_script(pyz)
    (dist / "kubectl_complete-spot").write_bytes(script)
    (dist / "kubectl_complete-spot").chmod(0o755)
    archive = tar_gz(
        [
            ("LICENSE", (ROOT / "LICENSE").read_bytes()),
            ("kubectl-spot", program),
            ("kubectl_complete-spot", script),
        ],
        executables=("kubectl-spot", "kubectl_complete-spot"),
    )
    (dist / "kubectl-spot.tar.gz").write_bytes(archive)
    manifest = krew(hashlib.sha256(archive).hexdigest(), url or "https://example.com/set-the-url-of-the-release")
    (dist / "spot.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False, width=120), encoding="utf-8")


def completion_script(pyz: Path) -> bytes:
    """The script by which kubectl completes the plugin, as the plugin prints it."""
    return _run(sys.executable, str(pyz), "completion").encode()


def krew(sha256: str, url: str) -> dict[str, object]:
    """krew's manifest of the plugin: https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/."""
    platform = {
        "selector": {"matchExpressions": [{"key": "os", "operator": "In", "values": ["linux", "darwin"]}]},
        "uri": f"{url}/kubectl-spot.tar.gz",
        "sha256": sha256,
        "files": [{"from": name, "to": "."} for name in ("kubectl-spot", "kubectl_complete-spot", "LICENSE")],
        "bin": "kubectl-spot",
    }
    return {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "spot"},
        "spec": {
            "version": f"v{version()}",
            "homepage": url.partition("/releases/")[0],
            "shortDescription": "Show spot environments as tables",
            "description": "Shows why an environment waits, a tree, its instances, activity, pools, costs and quote.",
            "caveats": "It needs Python 3.11 or newer. `kubectl spot completion` prints the script that completes it.",
            "platforms": [platform],
        },
    }


def checksums(dist: Path) -> None:
    """SHA256SUMS of every file of the release, for `sha256sum --check`."""
    names = sorted(path.name for path in dist.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256((dist / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (dist / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def named(image: str | None, digest: Path | None) -> str | None:
    """The image's name: with the tag of this release and the digest in that file, where there is one."""
    if not image or digest is None:
        return image or None
    repository, tag, known = parts_of(image)
    if tag or known:
        raise CannotBuild(f"{image} is to be a repository, without tag and digest: the release gives it both")
    return f"{repository}:{version()}@{digest.read_text(encoding='utf-8').strip()}"


def parts_of(image: str) -> tuple[str, str, str]:
    """Repository, tag and digest of `REPOSITORY[:TAG][@sha256:…]`; a registry may have a port."""
    found = re.fullmatch(r"(?P<name>[^@]+?)(?::(?P<tag>[\w.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?", image)
    if found is None:
        raise CannotBuild(f"{image} is no name of an image: REPOSITORY[:TAG][@sha256:DIGEST]")
    return found["name"], found["tag"] or "", found["digest"] or ""


def tar_gz(files: list[tuple[str, bytes]], executables: tuple[str, ...] = ()) -> bytes:
    """A compressed archive of these files that is the same whenever and by whomever it is made."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755 if name in executables else 0o644
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def zip_app(files: list[tuple[str, bytes]]) -> bytes:
    """An executable archive for Python, with the same promise."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_DEFLATED)
    return b"#!/usr/bin/env python3\n" + packed.getvalue()


def _locked(names: tuple[str, ...]) -> str:
    """Those entries of the lock, with their hashes."""
    lock = (ROOT / "requirements.run.lock").read_text(encoding="utf-8")
    entries = re.findall(r"^[a-z].*?(?=^[a-z]|\Z)", lock, re.MULTILINE | re.DOTALL)
    return "".join(entry for entry in entries if entry.partition("==")[0].strip() in names)


def _files(directory: Path) -> Iterator[Path]:
    """What belongs into an archive. pip's own notes hold paths of this machine."""
    for path in sorted(directory.rglob("*")):
        is_note = path.name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json") or "bin" in path.parts[-2:-1]
        if path.is_file() and "__pycache__" not in path.parts and not is_note:
            yield path


def _run(*command: str) -> str:
    epoch = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    environment = {"SOURCE_DATE_EPOCH": epoch, **os.environ}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotBuild(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def build(dist: Path, image: str | None, url: str | None) -> None:
    """Everything but the image and the bill of materials, which have targets of their own."""
    dist.mkdir(parents=True, exist_ok=True)
    packages(dist)
    chart(dist, image)
    install(dist, image)
    plugin(dist, url)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dist", type=Path, default=ROOT / "dist")
    parser.add_argument("--image", help="REPOSITORY[:TAG][@sha256:DIGEST] that chart and install.yaml name")
    parser.add_argument("--digest", type=Path, help="a file with the digest of the image: --image is its repository")
    parser.add_argument("--url", help="where the files of the release will lie")
    parser.add_argument(
        "--checksums", action="store_true", help="write SHA256SUMS of what is in dist, and nothing else"
    )
    given = parser.parse_args()
    try:
        if given.checksums:
            checksums(given.dist)
        else:
            build(given.dist, named(given.image, given.digest), given.url or None)
    except CannotBuild as error:
        sys.exit(f"{error}")
