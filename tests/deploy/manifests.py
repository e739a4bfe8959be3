"""Manifests as kubectl renders them: what a user would apply, as plain data."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from localcluster import assets
from localcluster.kubectl import Kubectl

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "deploy" / "base"
ALL_SECRETS = ROOT / "deploy" / "overlays" / "all-namespaces-secrets"
SINGLE = ROOT / "deploy" / "overlays" / "single-namespace"
SEVERAL = ROOT / "deploy" / "overlays" / "several-namespaces"
NODES = ROOT / "deploy" / "overlays" / "nodes"
JOBS = ROOT / "deploy" / "overlays" / "jobs"
INSTANCE_ROLE = ROOT / "deploy" / "overlays" / "instance-role"
EXAMPLE = ROOT / "deploy" / "overlays" / "example"
SAMPLES = ROOT / "deploy" / "samples"

Manifest = dict[str, Any]


@cache
def rendered(directory: Path) -> tuple[Manifest, ...]:
    """Every object of a kustomization, in kubectl's order."""
    text = Kubectl(assets.ensure().kubectl, Path("/dev/null")).run("kustomize", str(directory))
    return tuple(yaml.safe_load_all(text))


def of_kind(directory: Path, kind: str) -> list[Manifest]:
    return [manifest for manifest in rendered(directory) if manifest["kind"] == kind]


def only(directory: Path, kind: str, name: str) -> Manifest:
    (found,) = [manifest for manifest in of_kind(directory, kind) if manifest["metadata"]["name"] == name]
    return found


def in_file(path: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(path.read_text()))
