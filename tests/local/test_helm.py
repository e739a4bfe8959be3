"""The ways to helm, in their order, and that nobody waits for it who wants a control plane."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from local.website import Website
from localcluster import pins
from localcluster.assets import AssetsMissing
from localcluster.helm import HelmFinder

FakeBinary = Callable[[Path, str], Path]


@pytest.fixture
def finder(world: Path, site: Website, said: list[str]) -> HelmFinder:
    return HelmFinder(
        cache=world / "cache" / "key",
        say=said.append,
        platform="linux-amd64",
        url=site.url + "/helm-{version}-{platform}.tar.gz",
    )


@pytest.fixture
def published(site: Website, finder: HelmFinder) -> bytes:
    """An archive on the site whose helm says its version, pinned by its true checksum."""
    body = f"#!/bin/sh\necho '{pins.HELM_VERSION}+g1234567'\n".encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        member = tarfile.TarInfo("linux-amd64/helm")
        member.size = len(body)
        tar.addfile(member, io.BytesIO(body))
    site.pages[f"/helm-{pins.HELM_VERSION}-linux-amd64.tar.gz"] = out.getvalue()
    finder.sha256 = {"linux-amd64": hashlib.sha256(out.getvalue()).hexdigest()}
    return body


@pytest.mark.parametrize("version", ["v3.8.0+gd141386", "v4.3.1"])
def test_one_on_path_is_used(world: Path, finder: HelmFinder, fake_binary: FakeBinary, version: str) -> None:
    on_path = fake_binary(world / "path" / "helm", version)
    fake_binary(world / "cache/key/helm", "v4.3.0")
    assert finder.ensure() == on_path


@pytest.mark.parametrize("version", ["v2.17.0", "v5.0.0"])
def test_one_of_another_major_version_is_passed_over(
    world: Path, finder: HelmFinder, fake_binary: FakeBinary, version: str
) -> None:
    fake_binary(world / "path" / "helm", version)
    cached = fake_binary(world / "cache/key/helm", "v4.3.0")
    assert finder.ensure() == cached
    assert f"{world / 'path/helm'}: version {version[1:]}, wanted 3.x or 4.x" in finder.tried


def test_the_published_archive_fills_the_cache(finder: HelmFinder, published: bytes, site: Website) -> None:
    assert finder.ensure().read_bytes() == published
    assert HelmFinder(cache=finder.cache, say=finder.say).ensure() == finder.cache / "helm"
    assert len(site.asked) == 1, "a filled cache asks nobody"


def test_an_archive_with_a_wrong_checksum_is_not_used_and_helm_is_built_from_its_own_module(
    finder: HelmFinder, published: bytes, go: Path, said: list[str]
) -> None:
    finder.sha256 = {"linux-amd64": "0" * 64}
    assert finder.ensure().read_bytes() != published
    assert any("checksum" in line for line in said)
    [built] = [line for line in go.read_text().splitlines() if line.startswith("build")]
    assert built.endswith(" helm.sh/helm/v4/cmd/helm")
    assert f"version.version={pins.HELM_VERSION} " in built
    assert Path(Path(f"{go}.where").read_text().strip()) == pins.HELM_MODULE


def test_when_every_way_fails_each_is_named_with_a_remedy(finder: HelmFinder) -> None:
    with pytest.raises(AssetsMissing) as caught:
        finder.ensure()
    message = str(caught.value)
    assert message.startswith("no helm could be found or made")
    for part in ("published archive: http://127.0.0.1", "building from source: no go on PATH", "helm 3 or 4 on PATH"):
        assert part in message


def test_a_control_plane_waits_for_no_helm() -> None:
    assert "helm" not in pins.NAMES


def test_the_pins_agree_with_the_module() -> None:
    module = (pins.HELM_MODULE / "go.mod").read_text()
    assert f"helm.sh/helm/v4 {pins.HELM_VERSION}\n" in module
    assert re.search(rf"^go {pins.GO_OLDEST[0]}\.{pins.GO_OLDEST[1]}\.", module, re.MULTILINE)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in pins.HELM_SHA256.values())
    assert pins.HELM_SHA256.keys() == pins.ENVTEST_SHA512.keys()
