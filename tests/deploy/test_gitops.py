"""The examples for Flux and Argo CD fit this repository: no cluster here knows their kinds, so they are read."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.manifests import BASE, ROOT, Manifest, in_file, only
from spotcompute import __version__

FLUX = in_file(ROOT / "deploy" / "gitops" / "flux" / "spotcompute.yaml")
ARGO_CD = in_file(ROOT / "deploy" / "gitops" / "argocd" / "applications.yaml")

#: Where the copy of this project lies in the reader's repository, and what is his own.
COPY, OWN = "spotcompute/", "environments"


def paths(manifests: list[Manifest]) -> list[str]:
    specs: list[dict[str, Any]] = [manifest["spec"] for manifest in manifests]
    found = [spec.get("path") or spec.get("source", {}).get("path") for spec in specs]
    return [str(path).removeprefix("./") for path in found if path]


@pytest.mark.parametrize("manifests", [FLUX, ARGO_CD], ids=["flux", "argocd"])
def test_each_installs_the_operator_from_a_kustomization_that_exists_and_then_the_readers_own(
    manifests: list[Manifest],
) -> None:
    operator, own = paths(manifests)
    assert own == OWN
    assert operator.startswith(COPY)
    assert (ROOT / operator.removeprefix(COPY) / "kustomization.yaml").is_file()


def test_flux_names_the_image_that_the_base_has() -> None:
    (image,) = next(manifest["spec"]["images"] for manifest in FLUX if "images" in manifest.get("spec", {}))
    (container,) = only(BASE, "Deployment", "spotcompute-operator")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{image['name']}:{__version__}"
    assert image["newTag"] == __version__


def test_argo_cd_has_to_ignore_nothing_and_releases_what_it_deletes() -> None:
    assert not [application for application in ARGO_CD if "ignoreDifferences" in application["spec"]]
    (environments,) = [item for item in ARGO_CD if item["spec"]["source"]["path"] == OWN]
    assert environments["metadata"]["finalizers"] == ["resources-finalizer.argocd.argoproj.io"]
