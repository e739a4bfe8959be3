"""The ways to Prometheus and promtool, in their order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from localcluster.assets import AssetsMissing
from localcluster.prometheus import PrometheusFinder

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
def finder(world: Path, said: list[str]) -> PrometheusFinder:
    return PrometheusFinder(cache=world / "cache" / "prometheus", say=said.append)


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
