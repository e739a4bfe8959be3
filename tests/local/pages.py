"""Reads a page as a newcomer does: its commands, the answers it shows, and the files it says to write.

A block marked `console` holds commands, each after `$ `, and below each what it answers. A line `…` stands for any
lines that the page leaves out, `…` within a line for any text. A block marked `yaml` is the content of the file whose
name stands last in front of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w-]+\.yaml)`")
LEFT_OUT = "…"

#: What differs from run to run, and a word in its place.
VARYING = (
    (r"\bins-[a-z0-9]{8}\b", "INSTANCE"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "REQUEST"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r"\b10\.0\.\d+\.\d+\b", "ADDRESS"),
    (r"\b(\d+m)?\d+s\b", "AGE"),
)


#: A line of kubectl's own log, as of a watch that its server ended: kubectl goes on, and it is no answer.
LOG_LINE = re.compile(r"^[IWE]\d{4} \d\d:\d\d:\d\d\.\d+ .*\n?", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """`Command` is what a newcomer types, and what the page shows below it; None when it shows nothing."""

    words: str
    answer: str | None


@dataclass(frozen=True)
class File:
    """`File` is what a newcomer writes into a file."""

    name: str
    content: str


Step = Command | File


def steps(page: str) -> list[Step]:
    """Returns what the page has its reader do, in its order."""
    found: list[Step] = []
    for block in FENCE.finditer(page):
        kind, text = block.groups()
        if kind == "console":
            found += commands(text)
        elif kind == "yaml":
            found.append(File(FILE.findall(page[: block.start()])[-1], text))
    return found


def commands(block: str) -> list[Command]:
    """Returns the commands of a block. A line that ends with a backslash goes on in the next one."""
    found = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        end = next(number for number, line in enumerate(lines, start=1) if not line.endswith("\\"))
        words = "\n".join(lines[:end]).partition("  #")[0].rstrip()
        found.append(Command(words, "\n".join(lines[end:]) or None))
    return found


def is_answer(shown: str, seen: str) -> bool:
    """True when `seen` is what the page shows, apart from what it leaves out and what differs from run to run."""
    pattern = ""
    for line in _alike(shown):
        if line == LEFT_OUT:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(map(re.escape, line.split(LEFT_OUT))) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _alike(LOG_LINE.sub("", seen)))) is not None


def _alike(text: str) -> list[str]:
    for varying, word in VARYING:
        text = re.sub(varying, word, text)
    return [" ".join(line.split()) for line in text.rstrip("\n").split("\n")]
