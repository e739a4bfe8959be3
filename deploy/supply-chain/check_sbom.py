"""Does a bill of materials name every package of the lock files, with its version and all its hashes?

    python deploy/supply-chain/check_sbom.py dist/sbom.cdx.json requirements.run.lock deploy/image/debian.lock

Apart from the tool that writes the bill, because a tool that leaves something out will not say so.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any


def locked(text: str) -> dict[tuple[str, str], set[str]]:
    """Each package and version of a lock file, pip's or that of the image, with its SHA-256 hashes."""
    found: dict[tuple[str, str], set[str]] = {}
    for name, version, digest in re.findall(r"^(\S+) (\S+) \S+ \S+ \S+ ([0-9a-f]{64})$", text, re.MULTILINE):
        found.setdefault((name, version), set()).add(digest)
    for block in re.split(r"\n(?=\S)", text):
        if named := re.match(r"([A-Za-z0-9._-]+)==(\S+)", block):
            found[named[1], named[2]] = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", block))
    return found


def missing(bill: dict[str, Any], lock: str) -> list[str]:
    """What the lock file has and the bill has not."""
    listed: dict[tuple[str, str], set[str]] = {}
    for part in bill["components"]:
        listed.setdefault((part["name"], part["version"]), set()).update(_hashes(part))
    return [
        f"{name} {version}"
        for (name, version), hashes in locked(lock).items()
        if not hashes or not hashes <= listed.get((name, version), set())
    ]


def _hashes(part: dict[str, Any]) -> set[str]:
    holders = (part, *part.get("externalReferences", ()))
    return {entry["content"] for holder in holders for entry in holder.get("hashes", ())}


if __name__ == "__main__":
    bill_path, *lock_paths = map(Path, sys.argv[1:])
    for lock_path in lock_paths:
        if gaps := missing(json.loads(bill_path.read_text()), lock_path.read_text()):
            sys.exit(f"{bill_path} lacks, or has without its hashes: {', '.join(gaps)}")
        sys.stdout.write(f"{bill_path}: {len(locked(lock_path.read_text()))} of {lock_path}, each with its hashes\n")
