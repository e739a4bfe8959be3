"""The ways to Prometheus and promtool, in their order."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from local.website import Website
from localcluster.assets import AssetsMissing
from localcluster.prometheus import VERSION, PrometheusFinder

FakeBinary = Callable[[Path, str], Path]
NAMES = ("prometheus", "promtool")

# `apt-get download` leaves a package, which `dpkg-deb --extract` unpacks.
APT_GET = '#!/bin/sh\n[ "$1" = download ] && : > prometheus_2.42.0_amd64.deb\n'
DPKG_DEB = """#!/bin/sh
mkdir=/bin/mkdir; $mkdir -p "$3/usr/bin"
for name in prometheus promtool; do
  printf '#!/bin/sh\\necho "%s, version 2.42.0+ds"\\n' $name > "$3/usr/bin/$name"
done
"""


@pytest.fixture
def finder(world: Path, site: Website, said: list[str]) -> PrometheusFinder:
    url = site.url + "/v{version}/{file}"
    return PrometheusFinder(cache=world / "cache" / "prometheus", say=said.append, platform="linux-amd64", url=url)


@pytest.fixture
def published(site: Website) -> str:
    """A release on the site; the path of its list of checksums."""
    directory = f"prometheus-{VERSION}.linux-amd64"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name in NAMES:
            body = f"#!/bin/sh\necho '{name}, version {VERSION}'\n".encode()
            member = tarfile.TarInfo(f"{directory}/{name}")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    digest = hashlib.sha256(out.getvalue()).hexdigest()
    site.pages[f"/v{VERSION}/{directory}.tar.gz"] = out.getvalue()
    site.pages[f"/v{VERSION}/sha256sums.txt"] = f"{'0' * 64}  other.tar.gz\n{digest}  {directory}.tar.gz\n".encode()
    return f"/v{VERSION}/sha256sums.txt"


def put(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_those_on_path_are_used(world: Path, finder: PrometheusFinder, fake_binary: FakeBinary) -> None:
    on_path = [fake_binary(world / "path" / name, f"{name}, version 3.1.0") for name in NAMES]
    assert list(finder.ensure()) == on_path


def test_the_package_fills_the_cache_and_is_fetched_once(
    world: Path, finder: PrometheusFinder, said: list[str]
) -> None:
    put(world / "path" / "apt-get", APT_GET)
    put(world / "path" / "dpkg-deb", DPKG_DEB)
    assert finder.ensure() == (finder.cache / "prometheus", finder.cache / "promtool")
    assert PrometheusFinder(cache=finder.cache, say=said.append).ensure() == finder.ensure()
    assert said == ["fetching Debian's package prometheus"]


def test_without_apt_the_published_release_fills_the_cache(finder: PrometheusFinder, published: str) -> None:
    assert finder.ensure() == (finder.cache / "prometheus", finder.cache / "promtool")
    assert "Debian's package: there is no apt-get here" in finder.tried


def test_a_release_with_another_checksum_is_not_used(finder: PrometheusFinder, site: Website, published: str) -> None:
    site.pages[published] = site.pages[published].replace(b"a", b"b").replace(b"1", b"2")
    with pytest.raises(AssetsMissing, match=r"published release: .*checksum"):
        finder.ensure()


def test_a_package_that_cannot_be_had_is_told_with_a_remedy(world: Path, finder: PrometheusFinder) -> None:
    put(world / "path" / "apt-get", "#!/bin/sh\necho 'E: Unable to locate package prometheus' >&2; exit 100\n")
    put(world / "path" / "dpkg-deb", DPKG_DEB)
    with pytest.raises(AssetsMissing) as caught:
        finder.ensure()
    assert "apt-get download: E: Unable to locate package prometheus" in str(caught.value)
    assert "prometheus and promtool on PATH" in str(caught.value)


def test_one_that_is_too_old_is_passed_over(world: Path, finder: PrometheusFinder, fake_binary: FakeBinary) -> None:
    for name in NAMES:
        fake_binary(world / "path" / name, f"{name}, version 2.15.2+ds")
    with pytest.raises(AssetsMissing, match=r"version 2\.15\.2, wanted at least 2\.40"):
        finder.ensure()
