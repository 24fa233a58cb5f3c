"""Blocks of code in the pages: what each one is, and whether it says why it is not run.

A comment on the line before a block says what becomes of it:

    <!-- not run: WHY -->          it is parsed; shell lines are held to the options that there are
    <!-- run by FILE -->           another test (or .ci/run) runs it
    <!-- excerpt of FILE -->       its lines stand in that file
    <!-- file: NAME -->            it is written to that file, for the blocks below it

Without a comment a block is run, in the order of its page, in a folder of its own.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
KINDS = ("not run", "run by", "excerpt of", "file")
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S
)
_COMMENT = re.compile(r"<!-- (not run|run by|excerpt of|file):? (.+?) -->\n *\Z")


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        line: where it begins, from 1.
        language: as its fence says; empty where it is output, or commands with their output.
        kind: one of `KINDS`, or empty: it is run.
        note: the rest of the comment: a reason, or a file.
    """

    page: Path
    line: int
    language: str
    text: str
    kind: str
    note: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Its shell lines, those that go on joined; of output, only the commands before it."""
        text = self.text.replace("\\\n", " ")
        if self.language == "sh":
            return [line for line in text.splitlines() if line.split("#")[0].strip()]
        starts = ("$ circuitgraph ", "circuitgraph ") if not self.language else ()
        return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith(starts)]


def read_blocks(page: Path) -> list[Block]:
    """All blocks of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for fence in _FENCE.finditer(text):
        comment = _COMMENT.search(text, 0, fence.start())
        kind, note = comment.groups() if comment else ("", "")
        line = text.count("\n", 0, fence.start()) + 1
        blocks.append(Block(page, line, fence["language"], fence["text"], kind, note))
    return blocks


def split_words(command: str) -> list[list[str]]:
    """The words of each command of a shell line, without comments and without ``&&``."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="&;|")
    lexer.whitespace_split, lexer.commenters = True, "#"
    commands: list[list[str]] = [[]]
    for word in lexer:
        if word in {"&&", ";", "|"}:
            commands.append([])
        else:
            commands[-1].append(word)
    return [words for words in commands if words]
