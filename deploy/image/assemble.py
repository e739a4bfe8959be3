"""Writes the archive of an image from the trees of its layers, the same byte by byte whoever runs it and whenever.

    PYTHON_OF_THE_IMAGE assemble.py < plan.json

Apart from `build`, which runs it by the image's own Python: bytecode and compression differ between versions of Python
and zlib, so those of the machine must have no part in them. Only the standard library is there.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import py_compile
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

#: The highest level takes three times as long, and saves one part in a hundred.
COMPRESSION = 6

LAYOUT = "application/vnd.oci.image"


class Blobs:
    """`Blobs` holds the content of an archive by its digest."""

    def __init__(self) -> None:
        self._by_path: dict[str, bytes] = {}

    def add(self, content: bytes, media_type: str) -> dict[str, Any]:
        """Adds a blob, and returns its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        self._by_path[f"blobs/sha256/{digest}"] = content
        return {"mediaType": f"{LAYOUT}.{media_type}", "digest": f"sha256:{digest}", "size": len(content)}

    def files(self) -> dict[str, bytes]:
        """Returns every blob by its path in the archive."""
        return dict(self._by_path)


def as_json(value: object) -> bytes:
    """Returns it as JSON that is always the same."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def compile_all(tree: Path, known: dict[tuple[str, bytes], bytes]) -> None:
    """Puts bytecode beside every source below `tree`, under the path that it has in the image.

    Nobody checks it (unchecked hash), so it holds no time, and the root file system may be read-only. A source that
    does not compile is an example for another version of Python.
    """
    for source in sorted(tree.rglob("*.py")):
        place = source.relative_to(tree)
        if source.is_symlink() or "tests" in place.parts:
            continue
        path = f"/{place}"
        target = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
        key = (path, source.read_bytes())
        if key not in known:
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            try:
                py_compile.compile(str(source), str(target), path, doraise=True, invalidation_mode=mode)
            except py_compile.PyCompileError:
                continue
            known[key] = target.read_bytes()
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(known[key])


def layer(tree: Path, epoch: int) -> tuple[bytes, str]:
    """Returns the tree as a compressed archive, and the digest of what is compressed. Everything is root's."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(tree.rglob("*")):
            member = archive.gettarinfo(path, str(path.relative_to(tree)))
            if member.islnk():  # a second name of a file: written as a file, so that the order says nothing
                member.type, member.linkname, member.size = tarfile.REGTYPE, "", path.stat().st_size
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = epoch
            member.mode = 0o777 if member.issym() else member.mode & 0o1777  # nothing runs as its owner or group
            content = path.read_bytes() if member.isreg() else b""
            archive.addfile(member, io.BytesIO(content))
    content = plain.getbuffer()
    return gzip.compress(content, COMPRESSION, mtime=0), f"sha256:{hashlib.sha256(content).hexdigest()}"


def image(
    plan: dict[str, Any], one: dict[str, Any], blobs: Blobs, compiled: dict[tuple[str, bytes], bytes]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Adds the image of one architecture. Returns the descriptor of its manifest, and the manifest."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(plan["epoch"]))
    layers, diffs, history = [], [], []
    for part in one["layers"]:
        compile_all(Path(part["tree"]), compiled)
        content, diff = layer(Path(part["tree"]), plan["epoch"])
        layers.append(blobs.add(content, "layer.v1.tar+gzip"))
        diffs.append(diff)
        history.append({"created": created, "created_by": part["holds"]})
    config = {
        "created": created,
        "architecture": one["architecture"],
        "os": "linux",
        "config": plan["config"],
        "rootfs": {"type": "layers", "diff_ids": diffs},
        "history": history,
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{LAYOUT}.manifest.v1+json",
        "config": blobs.add(as_json(config), "config.v1+json"),
        "layers": layers,
        "annotations": plan["config"]["Labels"],
    }
    platform = {"architecture": one["architecture"], "os": "linux"}
    return {**blobs.add(as_json(manifest), "manifest.v1+json"), "platform": platform}, manifest


def archive(files: dict[str, bytes], epoch: int) -> bytes:
    """Returns the files as one archive."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as opened:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o644, epoch
            opened.addfile(member, io.BytesIO(content))
    return plain.getvalue()


def assemble(plan: dict[str, Any]) -> str:
    """Writes the archive to `plan["out"]`. Returns the digest of the image, which a registry will show, too."""
    blobs, compiled = Blobs(), {}
    manifests, for_docker = [], []
    for one in plan["images"]:
        descriptor, manifest = image(plan, one, blobs, compiled)
        manifests.append(descriptor)
        # Docker's own store reads this list, and knows one architecture for each name.
        name = plan["name"] if not for_docker else f"{plan['name']}-{one['architecture']}"
        paths = [f"blobs/{part['digest'].replace(':', '/')}" for part in (manifest["config"], *manifest["layers"])]
        for_docker.append({"Config": paths[0], "RepoTags": [name], "Layers": paths[1:]})
    index = {
        "schemaVersion": 2,
        "mediaType": f"{LAYOUT}.index.v1+json",
        "manifests": manifests,
        "annotations": plan["config"]["Labels"],
    }
    top = blobs.add(as_json(index), "index.v1+json")
    named = {"io.containerd.image.name": plan["name"], "org.opencontainers.image.ref.name": plan["tag"]}
    files = {
        **blobs.files(),
        "oci-layout": as_json({"imageLayoutVersion": "1.0.0"}),
        "index.json": as_json({"schemaVersion": 2, "manifests": [{**top, "annotations": named}]}),
        "manifest.json": as_json(for_docker),
    }
    out = Path(plan["out"])
    partial = out.with_suffix(f".{os.getpid()}")
    partial.write_bytes(archive(files, plan["epoch"]))
    partial.replace(out)
    return str(top["digest"])


if __name__ == "__main__":
    print(assemble(json.load(sys.stdin)))
