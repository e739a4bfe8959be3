"""Puts files of the repository that pages link to into the site, and the version into its footer.

On a code host such a link leads to the file; on the site it would lead nowhere.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
#: A link out of docs/: its text, the way up, and where it leads.
LINK = re.compile(
    r"\[([^\]]*)\]\(((?:\.\./)+)((?:deploy|benchmarks|operator|tests|pyproject|[A-Z]+\.md)[^)#]*)(?:#[^)]*)?\)"
)


def on_config(config: Any) -> Any:
    """Show in the footer of which version the pages speak."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    config.copyright = f"Version {version}"
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add every file of the repository that some page links to, under `repository/`."""
    linked = {
        match[3]
        for page in Path(config.docs_dir).rglob("*.md")
        for match in LINK.finditer(page.read_text(encoding="utf-8"))
    }
    for name in sorted(linked):
        path = ROOT / name
        if path.is_file():
            files.append(File.generated(config, f"repository/{name}.txt", content=path.read_bytes()))
    return files


#: How much a hit on a page counts in the search, by the beginning of its name. People search for what they see, and for
#: what they want to do; they seldom look for why it was decided.
WEIGHTS = {
    "troubleshooting": 4,
    "console": 2,
    "reference/conditions": 2,
    "tasks": 2,
    "decisions/": 0.2,
    "reference/mutants": 0.1,
}


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Weigh the page for the search, and point links out of the documentation to those copies. A link to a directory
    becomes plain text.
    """
    for beginning, weight in WEIGHTS.items():
        if page.file.src_uri.startswith(beginning):
            page.meta.setdefault("search", {"boost": weight})

    def inward(match: re.Match[str]) -> str:
        up = "../" * page.file.src_uri.count("/")
        return f"[{match[1]}]({up}repository/{match[3]}.txt)" if (ROOT / match[3]).is_file() else match[1]

    return LINK.sub(inward, markdown)
