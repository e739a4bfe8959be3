"""Builds the operator's image into one archive, without a daemon, a registry or root: Debian, locked wheels, our code.

    python deploy/image/build.py --out dist/spotcompute-operator-0.1.0-image.tar

Apart from `debian`, which knows Debian's packages, and `assemble`, which the image's own Python runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import debian

from localcluster.download import DownloadError
from localcluster.search import cache_root

ROOT = Path(__file__).resolve().parents[2]
CACHE = cache_root().parent / "debian"

#: What Linux calls the machines that we build for, and what Debian calls their libraries.
ARCHITECTURES = {"amd64": ("x86_64", "x86_64-linux-gnu"), "arm64": ("aarch64", "aarch64-linux-gnu")}
LOADERS = {"amd64": "lib64/ld-linux-x86-64.so.2", "arm64": "lib/ld-linux-aarch64.so.1"}

PYTHON = "usr/bin/python3.11"
LIBRARIES = "usr/local/lib/python3.11/dist-packages"

#: The user that the operator runs as. In a cluster it may be another.
USER = 65532

#: What an image needs of a system besides its packages.
FILES = {
    "etc/passwd": f"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/nonexistent:/sbin/nologin\n",
    "etc/group": f"root:x:0:\nnonroot:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\n",
}

LINKS = {
    "usr/local/bin/python": f"/{PYTHON}",
    # Where OpenSSL looks. A variable would do, too, but the operator takes SSL_CERT_FILE for a company's certificates.
    "usr/lib/ssl/cert.pem": "/etc/ssl/certs/ca-certificates.crt",
}

#: `kubectl exec … -- spotcompute check`
COMMAND = f"#!/{PYTHON}\nfrom spotcompute.__main__ import main\n\nmain(prog_name='spotcompute')\n"

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin",
    "LANG": "C.UTF-8",
    # A library asks for a home directory when it is imported, and not every runtime sets one.
    "HOME": "/nonexistent",
    "PYTHONPATH": "/app",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


class CannotBuild(Exception):
    """`CannotBuild` means that there is no image. `str()` says why."""


def lay_debian(architecture: str, tree: Path, cache: Path = CACHE) -> None:
    """Lays Debian's packages, and what their scripts would have made."""
    for deb in debian.bring(debian.Lock.read(), architecture, cache):
        control = debian.unpack(deb, tree)
        name = control.partition("\n")[0].removeprefix("Package: ")
        _write(tree / "var/lib/dpkg/status.d" / name, control)
    for path, content in FILES.items():
        _write(tree / path, content)
    certificates = sorted((tree / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    _write(tree / "etc/ssl/certs/ca-certificates.crt", "".join(one.read_text(encoding="utf-8") for one in certificates))
    for path, target in LINKS.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).symlink_to(target)


def lay_wheels(architecture: str, tree: Path) -> None:
    """Lays the locked wheels, each verified by its hash, without pip's own notes, which hold paths of this machine."""
    machine = ARCHITECTURES[architecture][0]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(36, 16, -1)] + [f"manylinux2014_{machine}"]
    target = tree / LIBRARIES
    command = [
        *(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-compile",
        ),
        *("--require-hashes", "--only-binary=:all:", "--implementation=cp", "--python-version=3.11"),
        *(word for one in platforms for word in ("--platform", one)),
        *("-r", str(ROOT / "requirements.run.lock"), "--target", str(target)),
    ]
    _run(command)
    for path in sorted(target.rglob("*")):
        if path.name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
            path.unlink()
        elif not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    shutil.rmtree(target / "bin", ignore_errors=True)


def lay_app(tree: Path) -> None:
    """Lays our own code, and the command that runs it."""
    source = ROOT / "operator" / "spotcompute"
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            target = tree / "app" / "spotcompute" / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    _write(tree / "usr/local/bin/spotcompute", COMMAND, 0o755)


def labels(source: str | None) -> dict[str, str]:
    """Returns what the image says of itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told = {
        "title": project["name"],
        "description": project["description"],
        "version": project["version"],
        "licenses": project["license"],
        "revision": _run(["git", "rev-parse", "HEAD"]),
        "source": source,
    }
    return {f"org.opencontainers.image.{key}": value for key, value in told.items() if value}


def plan_of(trees: dict[str, list[tuple[str, Path]]], out: Path, source: str | None) -> dict[str, Any]:
    """Returns what `assemble` is to write."""
    told = labels(source)
    name, version = told["org.opencontainers.image.title"], told["org.opencontainers.image.version"]
    return {
        "out": str(out.resolve()),
        "epoch": int(os.environ.get("SOURCE_DATE_EPOCH") or _run(["git", "log", "-1", "--format=%ct"])),
        "name": f"{name}:{version}",
        "tag": version,
        "config": {
            "User": f"{USER}:{USER}",
            "ExposedPorts": {"8080/tcp": {}, "9090/tcp": {}},
            "Env": [f"{key}={value}" for key, value in ENVIRONMENT.items()],
            "Entrypoint": [f"/{PYTHON}", "-m", "spotcompute"],
            "Cmd": ["run"],
            "WorkingDir": "/",
            "Labels": told,
        },
        "images": [
            {
                "architecture": architecture,
                "layers": [{"holds": holds, "tree": str(tree)} for holds, tree in layers],
            }
            for architecture, layers in trees.items()
        ],
    }


def own_architecture() -> str:
    """Returns that of this machine. Raises CannotBuild where the image's own Python cannot run."""
    for name, (machine, _) in ARCHITECTURES.items():
        if platform.system() == "Linux" and machine == platform.machine():
            return name
    raise CannotBuild("The image is built on Linux on x86-64 or arm64 only, because its own Python takes part")


def build(out: Path, source: str | None = None, architectures: Sequence[str] = tuple(ARCHITECTURES)) -> str:
    """Writes the archive. Returns the digest of the image. Raises CannotBuild."""
    own = own_architecture()
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="image-") as directory:
        app = Path(directory) / "app"
        lay_app(app)
        trees = {}
        for architecture in architectures:
            base, wheels = Path(directory) / f"debian-{architecture}", Path(directory) / f"wheels-{architecture}"
            try:
                lay_debian(architecture, base)
            except DownloadError as error:
                raise CannotBuild(f"A Debian package is not to be had: {error}") from error
            lay_wheels(architecture, wheels)
            trees[architecture] = [
                (f"Debian {debian.RELEASE} and its Python, by deploy/image/debian.lock", base),
                ("the dependencies, by requirements.run.lock", wheels),
                ("operator/spotcompute", app),
            ]
        out.parent.mkdir(parents=True, exist_ok=True)
        return write(own, trees[own][0][1], plan_of(trees, out, source))


def write(architecture: str, tree: Path, plan: dict[str, Any]) -> str:
    """Runs `assemble` by the Python of the image in `tree`, with the libraries there. Returns the digest."""
    libraries = ARCHITECTURES[architecture][1]
    command = [
        str(tree / LOADERS[architecture]),
        *("--library-path", f"{tree}/lib/{libraries}:{tree}/usr/lib/{libraries}"),
        *(str(tree / PYTHON), "-S", "-s", "-B", str(Path(__file__).with_name("assemble.py"))),
    ]
    environment = {"PYTHONHOME": str(tree / "usr"), "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
    return _run(command, environment, json.dumps(plan))


def _write(path: Path, content: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    path.chmod(mode)


def _run(command: list[str], environment: dict[str, str] | None = None, stdin: str | None = None) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotBuild(f"{' '.join(command[:4])} …: {done.stderr or done.stdout}")
    return done.stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the archive to write")
    parser.add_argument("--digest", type=Path, help="a file to write the image's digest to")
    parser.add_argument("--source", help="the URL of the repository, for the image's label")
    given = parser.parse_args()
    try:
        digest = build(given.out, given.source or None)
    except CannotBuild as error:
        sys.exit(f"{error}")
    if given.digest:
        given.digest.parent.mkdir(parents=True, exist_ok=True)
        given.digest.write_text(f"{digest}\n", encoding="utf-8")
    print(f"{given.out}: {digest}")
