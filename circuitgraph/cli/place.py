"""Where a run goes: its folder, and beside it the journal while it is under way."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from circuitgraph.cli.output import Output
from circuitgraph.errors import OutputError

RUNS = Path("runs")
_ENDING = ".journal.jsonl"


@dataclass(frozen=True)
class Place:
    """A folder for results, made when the search is over, and the journal of the search until then.

    Attributes:
        resume: go on with the journal that is there.
        overwrite: replace the circuit that is there; and the journal, unless it is resumed.
    """

    target: Path
    resume: bool = False
    overwrite: bool = False

    @property
    def journal(self) -> Path:
        """``runs/ioi.journal.jsonl`` for ``runs/ioi``."""
        return self.target.parent / f"{self.target.name}{_ENDING}"

    @property
    def anew(self) -> bool:
        """Whether a journal that is there is to be forgotten."""
        return self.overwrite and not self.resume

    def check(self) -> None:
        """Refuse what exists already or is missing.

        Raises:
            OutputError: the folder is taken, a search is unfinished, or none is where one is to be
                resumed.
        """
        if os.path.exists(self.target) and not self.overwrite:
            raise OutputError(
                f"{str(self.target)!r} exists already. Choose another --out, or add --overwrite."
            )
        there = os.path.exists(self.journal)
        if self.resume and not there:
            raise OutputError(
                f"There is nothing to resume: no journal {str(self.journal)!r}. Leave --resume out."
            )
        if there and not self.resume and not self.overwrite:
            raise OutputError(
                f"A search for {str(self.target)!r} was begun and not finished: "
                f"{str(self.journal)!r}. Add --resume to go on with it, or --overwrite to begin "
                "again."
            )

    @contextmanager
    def under_way(self, output: Output) -> Iterator[None]:
        """Whatever ends the body before its time, the message says how to go on."""
        try:
            yield
        except BaseException as error:
            if not os.path.exists(self.journal):
                raise
            advice = (
                f"What was decided so far is kept in {str(self.journal)!r}. To go on, give the same "
                f"command with --resume --out {self.target}"
            )
            if not isinstance(error, KeyboardInterrupt):
                error.add_note(advice)
                raise
            output.err.print(f"Stopped. {advice}", highlight=False, soft_wrap=True)
            raise typer.Exit(130) from error

    def keep_journal(self, inside: Path, name: str) -> None:
        """Copy the journal to the results; `finished` removes it where it was."""
        if os.path.exists(self.journal):
            shutil.copyfile(self.journal, inside / name)

    def finished(self) -> None:
        """The results are where they belong, the journal among them."""
        self.journal.unlink(missing_ok=True)


def choose(out: Path | None, name: str, *, resume: bool, overwrite: bool) -> Place:
    """The folder asked for; else the one named after the task that is free, or unfinished if it is
    to be resumed.

    Args:
        name: of the task or data file; only its letters and digits count.

    Raises:
        OutputError: as `Place.check` says.
    """
    if out is None:
        stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
        out = _unfinished(stem) if resume else _free(stem, overwrite)
    place = Place(out, resume, overwrite)
    place.check()
    return place


def _free(stem: str, overwrite: bool) -> Path:
    folder, number = RUNS / stem, 2
    while folder.exists() and not overwrite:
        folder, number = RUNS / f"{stem}-{number}", number + 1
    return folder


def _unfinished(stem: str) -> Path:
    """The first folder of that name whose search was not finished."""
    pattern = re.compile(re.escape(stem) + r"(?:-(\d+))?" + re.escape(_ENDING))
    names = os.listdir(RUNS) if RUNS.is_dir() else []
    numbered = sorted(
        (int(match[1] or 1), name) for name in names if (match := pattern.fullmatch(name))
    )
    if not numbered:
        raise OutputError(
            f"There is nothing to resume: no unfinished search {str(RUNS / stem) + _ENDING!r}. Name "
            "its folder with --out, or leave --resume out."
        )
    return RUNS / numbered[0][1].removesuffix(_ENDING)
