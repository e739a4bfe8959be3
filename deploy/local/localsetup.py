"""Installs the locked dependencies into a virtual environment, and says what it does and how far it is.

`make setup` runs it as a plain file, with nothing but the standard library, because nothing else is installed yet. It
takes uv where that is on the PATH, otherwise pip. Both refuse a package whose hash is not in the lock file.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

REPORT_SECONDS = 5.0  # time between two lines about one step
ERROR_LINES = 15
#: What pip says when it begins with a package, and what it says once for all of them at the end.
BEGINS, INSTALLS = re.compile(r"Collecting (\S+)"), re.compile(r"Installing collected packages")
Say = Callable[[str], None]


class SetupFailed(RuntimeError):
    """`SetupFailed` means that a step did not succeed. Its message has the last lines of what the program said."""


def packages_in(lock: Path) -> int:
    """Returns how many packages a lock file names."""
    return len(re.findall(r"^[a-z0-9][\w.-]*==", lock.read_text(encoding="utf-8"), re.MULTILINE | re.IGNORECASE))


def install(environment: Path, lock: Path, project: Path, say: Say) -> None:
    """Makes `environment` if need be, and installs what `lock` names and the project itself. Raises SetupFailed."""
    begun, uv = time.monotonic(), shutil.which("uv")
    python = environment / "bin" / "python"
    count = packages_in(lock)
    say(f"[1/3] a virtual environment in {environment}, of Python {'.'.join(map(str, sys.version_info[:2]))}")
    _run([sys.executable, "-m", "venv", environment], lambda line: None)
    say(f"[2/3] {count} packages of {lock.name}, by {'uv' if uv else 'pip'}, which checks their hashes")
    if not (uv and _by_uv(uv, python, lock, say)):
        counted = Progress(count, say)
        pip: list[str | Path] = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off"]
        _run([*pip, "--require-hashes", "-r", lock], counted.heard)
    say("[3/3] this project, as it lies here")
    own: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run([*own, "--no-build-isolation", "--editable", project], lambda line: None)
    say(f"ready after {time.monotonic() - begun:.0f} s")


def _by_uv(uv: str, python: Path, lock: Path, say: Say) -> bool:
    """Installs by uv. False when that failed: uv does not read pip's settings, such as a company's package index."""
    command: list[str | Path] = [uv, "pip", "sync", "--python", python, "--require-hashes"]
    try:
        _run([*command, "--quiet", "--compile-bytecode", lock], lambda line: None)
    except SetupFailed as failure:
        say(f"{failure}\n[2/3] the same once more by pip")
        return False
    return True


class Progress:
    """`Progress` makes of pip's many lines a short one, every few seconds."""

    def __init__(self, count: int, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        """Expects `count` packages."""
        self._count, self._say, self._clock = count, say, clock
        self._begun, self._said = 0, clock()
        self._names: set[str] = set()

    def heard(self, line: str) -> None:
        """Takes one line of pip's."""
        if found := BEGINS.match(line):
            self._names.add(found[1])
            if self._clock() - self._said >= REPORT_SECONDS:
                self._said = self._clock()
                self._say(f"      {len(self._names)} of {self._count} fetched")
        elif INSTALLS.match(line):
            self._say(f"      all {self._count} fetched; now they are unpacked")


def _run(command: Sequence[str | Path], heard: Callable[[str], None]) -> None:
    last: deque[str] = deque(maxlen=ERROR_LINES)
    words = list(map(str, command))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            last.append(line.rstrip())
            heard(last[-1])
    if process.returncode != 0:
        raise SetupFailed("\n".join([f"{' '.join(words[:4])} … ended with {process.returncode}:", *last]))


def main() -> None:
    """Runs `python localsetup.py ENVIRONMENT LOCK`, in the project's directory."""
    environment, lock = map(Path, sys.argv[1:])
    try:
        install(environment, lock, Path(), lambda line: print(line, flush=True))
    except (SetupFailed, OSError) as failure:
        sys.exit(f"error: {failure}")


if __name__ == "__main__":
    main()
