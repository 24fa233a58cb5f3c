"""The journal of a search: every decision in a file, so that a killed search can be resumed.

One JSON object a line. The first line, the header, is everything that a search depends on; then
comes a line for each entry of the search. The last line of a step also has the seconds spent so
far: a step counts as a whole or not at all. Every line ends with the CRC-32 of all lines up to it,
so that a damaged, lost or moved line is noticed.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from circuitgraph.catalog.folders import make_parents, remove_empty
from circuitgraph.discovery.journal_file import JournalFile, report_failure
from circuitgraph.discovery.journal_lines import (
    FORMAT,
    Entry,
    check_header,
    describe_foreign_file,
    encode_entry,
    encode_line,
    is_journal,
    parse_lines,
)
from circuitgraph.errors import OutputError

# A killed process loses nothing that was flushed. A computer that loses its power loses this much.
_SYNC_SECONDS = 0.5


@dataclass(frozen=True)
class Journal:
    """Where a search writes its decisions, and the model and prompts that they hold for.

    Attributes:
        path: the file. If it exists and has the same header, the search goes on where it stopped.
        facts: what a search does not know itself but depends on: model, prompts, precision,
            versions.
        anew: begin again although the file is there.
    """

    path: Path
    facts: Mapping[str, Any] = field(default_factory=dict)
    anew: bool = False

    @contextmanager
    def open_writer(self, question: Mapping[str, Any]) -> Iterator[JournalWriter]:
        """The journal, for this process alone, without a last step that did not end.

        A journal in which nothing is decided when it is closed is removed.

        Args:
            question: what the search itself depends on: algorithm, metric, ablation, graph.

        Raises:
            ArgumentError: the journal is of another search, and all differences are listed; or
                another process writes it now.
            DataError: the file is damaged, or no journal.
            OutputError: the file cannot be read or written, or ``anew`` and it is no journal.
        """
        header = json.loads(json.dumps({"journal": FORMAT, **self.facts, **question}))
        with report_failure(self.path):
            made = make_parents(self.path)
        try:
            file = JournalFile(self.path)
        except BaseException:
            remove_empty(made)
            raise
        writer = JournalWriter(self.path, file)
        try:
            writer.read_or_begin(header, self.anew)
            yield writer
        finally:
            file.close(remove=writer.is_bare())
            remove_empty(made)  # a folder that holds the journal is not


class JournalWriter:
    """An open journal.

    Attributes:
        steps: the entries of each whole step that the file held when it was opened.
        seconds: how long these steps took, in all processes that wrote them.
        ours: whether the file is known to be a journal of this search.
    """

    def __init__(self, path: Path, file: JournalFile) -> None:
        self.path, self._file = path, file
        self.steps: list[list[Entry]] = []
        self.seconds, self.ours, self._header_size = 0.0, False, 0
        self._check, self._start, self._synced = 0, time.perf_counter(), 0.0

    def read_or_begin(self, header: Entry, anew: bool) -> None:
        """Read the entries of the file; write the header into an empty one.

        Raises:
            OutputError: the file is no journal, so that it is not overwritten.
        """
        content = self._file.read_all()
        first, _ = encode_line(header, 0)
        self._header_size = len(first)
        if anew and not is_journal(content):
            raise OutputError(describe_foreign_file(self.path))
        if anew or first.startswith(content):  # an empty file, or a torn first line
            self.ours = True
            self._file.truncate(0)
            self._write_entries([header])
            return
        lines = content.split(b"\n")[:-1]  # the last one is torn, or empty
        parsed = parse_lines(lines, self.path)
        check_header(parsed[0], header, self.path)
        self.ours = True
        self._keep_whole_steps(parsed, lines)

    def _keep_whole_steps(self, parsed: Sequence[Entry], lines: Sequence[bytes]) -> None:
        """Cut off the entries of a last step that did not end."""
        step: list[Entry] = []
        for entry in parsed[1:]:
            step.append({key: value for key, value in entry.items() if key != "seconds"})
            if "seconds" in entry:
                self.seconds = float(entry["seconds"])
                self.steps.append(step)
                step = []
        whole = len(parsed) - len(step)
        self._file.truncate(sum(len(line) + 1 for line in lines[:whole]))
        self._check = zlib.crc32(b"".join(encode_entry(entry) for entry in parsed[:whole]))

    def write_step(self, entries: Sequence[Entry]) -> None:
        """Add a step. When this returns, killing the process does not lose it."""
        if not entries:
            return
        spent = self.seconds + time.perf_counter() - self._start
        self._write_entries([*entries[:-1], {**entries[-1], "seconds": round(spent, 3)}])

    def is_bare(self) -> bool:
        """Whether the file is ours and holds no decision.

        It is asked by its size: Ctrl-C may come when a step is in the file, before that is counted.
        """
        return self.ours and self._file.count_bytes() <= self._header_size

    def _write_entries(self, entries: Sequence[Entry]) -> None:
        lines, check = [], self._check
        for entry in entries:
            line, check = encode_line(entry, check)
            lines.append(line)
        sync = time.perf_counter() - self._synced > _SYNC_SECONDS
        self._file.append(b"".join(lines), sync)
        self._check = check
        if sync:
            self._synced = time.perf_counter()
