"""Writes `debian.lock` anew: the newest version of each Debian package of the image, for both architectures.

    python deploy/image/lock.py

Apart from `debian`, which reads the lock: this one needs a machine that is that release of Debian.
"""

from __future__ import annotations

import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from debian import LOCK, PACKAGES, RELEASE, Apt, is_this_debian

ARCHITECTURES = ("amd64", "arm64")
HEAD = f"""\
# The Debian packages of the image, written by `make image-lock`: name, version, architecture, archive, path, SHA-256.
# Debian's archive had all of them at the moment of the snapshot.
# Debian {RELEASE}
"""


def lines_of(shown: str) -> list[str]:
    """Returns a line for each package of what `apt-cache show` prints."""
    found = []
    for stanza in shown.strip().split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", stanza, re.MULTILINE))
        path = fields["Filename"]
        archive = "debian-security" if path.startswith("pool/updates/") else "debian"
        words = (fields["Package"], fields["Version"], fields["Architecture"], archive, path, fields["SHA256"])
        found.append(" ".join(words))
    return found


def main() -> None:
    """Asks apt, and writes the file."""
    if not is_this_debian():
        sys.exit(f"This needs a machine that is Debian {RELEASE}: its apt says which versions are the newest.")
    lines: set[str] = set()
    with tempfile.TemporaryDirectory() as directory:
        for architecture in ARCHITECTURES:
            apt = Apt(architecture, Path(directory))
            apt.run("apt-get", "update")
            lines.update(lines_of(apt.run("apt-cache", "show", "--no-all-versions", *PACKAGES)))
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    LOCK.write_text(HEAD + f"snapshot {moment}\n" + "".join(f"{line}\n" for line in sorted(lines)), encoding="utf-8")


if __name__ == "__main__":
    main()
