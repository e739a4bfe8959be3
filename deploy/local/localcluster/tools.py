"""Finds or builds the tools of a release: crane, which pushes an image, and actionlint, which reads workflows.

Apart from `helm`, because each is built from source in a minute, and no archive is fetched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from localcluster import pins
from localcluster.search import Search, cache_root, go_remedy


@dataclass
class ToolFinder(Search):
    """`ToolFinder` is one search for them. Every argument has its real default; tests use their own."""

    cache: Path = field(default_factory=lambda: cache_root() / pins.tools_cache_key())
    names = tuple(pins.TOOLS)

    def ensure(self) -> dict[str, Path]:
        """Returns each binary by its name, after building what is missing. Raises AssetsMissing.

        Several processes may call it: one works, the others wait for it.
        """
        return self.bring(self._build)

    def fits(self, name: str, version: tuple[int, ...]) -> bool:
        """True when `version` is the pinned one: another would find other mistakes, or send other requests."""
        return version == pins.TOOLS[name]

    def wanted(self, name: str) -> str:
        """Returns the wanted version in words."""
        return ".".join(map(str, pins.TOOLS[name]))

    def explanation(self, missing: list[str]) -> str:
        """Returns the message when every way has failed."""
        return self.report(" or ".join(f"{name} {self.wanted(name)}" for name in missing), go_remedy())


def ensure() -> dict[str, Path]:
    """Returns `crane` and `actionlint`, and reports slow steps on stderr. Raises AssetsMissing."""
    return ToolFinder().ensure()
