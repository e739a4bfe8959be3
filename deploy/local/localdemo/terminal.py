"""Shows the demo to a person: short narration, each command as it was run, its output, and the ledger's answer.

Apart from the story, which decides what is shown. This module decides how it looks on a terminal and in a transcript.
"""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Sequence
from typing import TextIO

WIDTH = 110  # columns; longer lines are folded
BOLD, DIM, GREEN, RED, CYAN = "1", "2", "32", "31", "36"


class Terminal:
    """`Terminal` writes to `out`, in colour when that is a terminal and NO_COLOR is not set, and plainly to
    `transcript`.
    """

    def __init__(self, out: TextIO, transcript: TextIO | None = None) -> None:
        self._out, self._transcript = out, transcript
        self._has_colours = out.isatty() and "NO_COLOR" not in os.environ

    def heading(self, text: str) -> None:
        """Shows the title of a chapter."""
        self._write(f"\n== {text} ==\n", BOLD)

    def say(self, text: str) -> None:
        """Shows a sentence of narration."""
        for line in folded(text, WIDTH - 2):
            self._write(f"# {line}", DIM)

    def command(self, *words: str) -> None:
        """Shows a command."""
        for line in pasteable(words):
            self._write(line, CYAN)

    def output(self, text: str) -> None:
        """Shows the output of a command."""
        for line in text.rstrip("\n").split("\n") if text else ():
            for part in folded(line, WIDTH) or [""]:
                self._write(part)

    def proved(self, text: str) -> None:
        """Shows a sentence that the ledger has proved."""
        self._marked("✓", text, GREEN)

    def failed(self, text: str) -> None:
        """Shows what did not come true."""
        self._marked("✗", text, RED)

    def _marked(self, mark: str, text: str, style: str) -> None:
        for number, line in enumerate(folded(text, WIDTH - 2)):
            self._write(f"{' ' if number else mark} {line}", style)

    def _write(self, line: str, style: str = "") -> None:
        print(f"\033[{style}m{line}\033[0m" if style and self._has_colours else line, file=self._out, flush=True)
        if self._transcript is not None:
            print(line, file=self._transcript, flush=True)


def pasteable(words: Sequence[str]) -> list[str]:
    """Returns the words as a shell command that can be pasted, on as many lines as WIDTH needs."""
    lines = ["$"]
    for word in map(shlex.quote, words):
        if len(lines[-1]) + len(word) + len(" ") > WIDTH - len(" \\"):
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}"
    return lines


def folded(text: str, width: int) -> list[str]:
    """Returns `text` on lines of at most `width` columns, broken between words where possible."""
    return textwrap.wrap(text, width, break_on_hyphens=False)
