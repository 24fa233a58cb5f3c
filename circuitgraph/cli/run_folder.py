"""The folder of a run, and beside it the journal while the search is going on."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from circuitgraph.catalog.folders import (
    JOURNAL_FILE,
    UNIT_JOURNAL_FILE,
    check_new_folder,
    new_folder,
)
from circuitgraph.cli.interrupts import repeat_command
from circuitgraph.discovery.journal_file import check_journal, name_unit_journal
from circuitgraph.errors import DataError, OutputError, SearchError

RUNS = Path("runs")
_ENDING = ".journal.jsonl"


@dataclass(frozen=True)
class RunFolder:
    """A folder for results, made when the search is over, and the journal of the search until then.

    Attributes:
        target: the folder.
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
    def unit_journal(self) -> Path:
        """The journal of a search that goes on among neurons."""
        return name_unit_journal(self.journal)

    @property
    def anew(self) -> bool:
        """Whether to forget a journal that is there."""
        return self.overwrite and not self.resume

    def check_target(self) -> None:
        """Refuse a folder that exists already, and a journal that is there or missing.

        Raises:
            OutputError: the folder is taken; a search for it is unfinished; there is no journal to
                resume; or what stands in the journal's place is none.
        """
        if os.path.lexists(self.target) and not self.overwrite:
            raise OutputError(
                f"{str(self.target)!r} exists already. Choose another --out, or add --overwrite."
            )
        has_journal = os.path.lexists(self.journal)
        if has_journal:
            check_journal(self.journal)
        if os.path.lexists(self.unit_journal):
            check_journal(self.unit_journal)
        if self.resume and not has_journal:
            raise OutputError(
                f"There is nothing to resume: no journal {str(self.journal)!r}. Leave --resume out."
            )
        if has_journal and not self.resume and not self.overwrite:
            raise OutputError(
                f"A search for {str(self.target)!r} was begun and not finished: "
                f"{str(self.journal)!r}. Add --resume to go on with it, or --overwrite to begin "
                "again."
            )

    @contextmanager
    def explain_resuming(self) -> Iterator[None]:
        """If Ctrl-C ends the search, or an error that may not come again, say how to go on with it.

        A search that met a value it cannot decide on would meet it again.
        """
        try:
            yield
        except BaseException as error:
            if os.path.exists(self.journal) and not isinstance(error, SearchError | DataError):
                options = {"--resume": ["--resume"], "-o/--out": ["--out", str(self.target)]}
                error.add_note(
                    f"What was decided so far is kept in {str(self.journal)!r}. To go on: "
                    f"{repeat_command(options)}"
                )
            elif isinstance(error, KeyboardInterrupt) and self._is_done():
                error.add_note(f"All results are in {str(self.target)!r}.")
            raise

    def _is_done(self) -> bool:
        """Whether the results are there, and no older ones that look like them."""
        return not self.overwrite and os.path.exists(self.target)

    @contextmanager
    def write_results(self) -> Iterator[Path]:
        """A new folder for the results, to which the journal is moved when the body has ended."""
        journals = {self.journal: JOURNAL_FILE, self.unit_journal: UNIT_JOURNAL_FILE}
        with new_folder(self.target, overwrite=self.overwrite) as folder:
            yield folder
            for journal, name in journals.items():
                if os.path.exists(journal):
                    shutil.copyfile(journal, folder / name)
        # Only now, when the folder has its name, are the journals' copies safe.
        for journal in journals:
            journal.unlink(missing_ok=True)


def choose_run_folder(out: Path | None, name: str, *, resume: bool, overwrite: bool) -> RunFolder:
    """The folder ``out``; if None, a folder named after the task.

    That is the first folder that is free or, to resume a search, the first unfinished one.

    Args:
        name: of the task or data file; only its letters and digits count.

    Raises:
        OutputError: as `RunFolder.check_target` says; no search can be resumed; or the folder
            cannot be made.
    """
    if out is None:
        stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
        out = _find_unfinished(stem) if resume else _find_free(stem, overwrite)
    folder = RunFolder(out, resume, overwrite)
    folder.check_target()
    check_new_folder(folder.target, overwrite=overwrite)
    return folder


def _find_free(stem: str, overwrite: bool) -> Path:
    folder, number = RUNS / stem, 2
    while os.path.lexists(folder) and not overwrite:
        folder, number = RUNS / f"{stem}-{number}", number + 1
    return folder


def _find_unfinished(stem: str) -> Path:
    """The first folder of that name whose search was not finished."""
    pattern = re.compile(re.escape(stem) + r"(?:-(\d+))?" + re.escape(_ENDING))
    names = os.listdir(RUNS) if RUNS.is_dir() else []
    numbered = sorted(
        (int(match[1] or 1), name) for name in names if (match := pattern.fullmatch(name))
    )
    if not numbered:
        raise OutputError(
            f"There is nothing to resume: no unfinished search {str(RUNS / stem) + _ENDING!r}. "
            "Name its folder with --out, or leave --resume out."
        )
    return RUNS / numbered[0][1].removesuffix(_ENDING)
