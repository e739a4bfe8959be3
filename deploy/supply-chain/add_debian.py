"""Adds the Debian packages of the image to a bill of materials, which a tool for Python has written.

    python deploy/supply-chain/add_debian.py dist/sbom.cdx.json deploy/image/debian.lock

Apart from `check_sbom`, which looks at the result as somebody would who trusts neither.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
from pathlib import Path
from typing import Any


def components(lock: str) -> list[dict[str, Any]]:
    """Each package of the lock as CycloneDX names one: https://cyclonedx.org/docs/1.6/json/#components."""
    found = []
    release = ""
    for line in lock.splitlines():
        if line.startswith("# Debian "):
            release = line.removeprefix("# Debian ")
        words = line.split()
        if len(words) != 6 or line.startswith("#"):
            continue
        name, version, architecture, _, _, sha256 = words
        purl = f"pkg:deb/debian/{name}@{urllib.parse.quote(version)}?arch={architecture}&distro=debian-{release}"
        hashes = [{"alg": "SHA-256", "content": sha256}]
        found.append(
            {"bom-ref": purl, "type": "library", "name": name, "version": version, "purl": purl, "hashes": hashes}
        )
    return found


if __name__ == "__main__":
    bill_path, lock_path = map(Path, sys.argv[1:])
    bill = json.loads(bill_path.read_text(encoding="utf-8"))
    bill["components"] += components(lock_path.read_text(encoding="utf-8"))
    bill_path.write_text(json.dumps(bill, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
