"""The journal of a search: every decision in a file, so that a killed search can be resumed.

One JSON object a line. The first line, the header, is everything that a search depends on; then
comes a line for each entry of the search. The last line of a step also has the seconds spent so
far: a step counts as a whole or not at all. Every line ends with the CRC-32 of all lines up to it,
so that a damaged, lost or moved line is noticed.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from circuitgraph.catalog.folders import make_parents, remove_empty
from circuitgraph.errors import ArgumentError, DataError, OutputError, list_problems

try:
    import fcntl
except ImportError:  # Windows: two processes on one journal go unnoticed there
    fcntl = None

FORMAT = 1
Entry = dict[str, Any]  # of JSON values

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
            OutputError: the file cannot be read or written.
        """
        header = json.loads(json.dumps({"journal": FORMAT, **self.facts, **question}))
        with _report_failure(self.path):
            made = make_parents(self.path)
            file = open(self.path, "a+b")  # noqa: SIM115 # outlives this block
        with file:
            _lock_file(file, self.path)
            writer = JournalWriter(self.path, file)
            try:
                writer.read_or_begin(header, self.anew)
                yield writer
            finally:
                if not writer.n_steps and (writer.ours or not os.fstat(file.fileno()).st_size):
                    with suppress(OSError):
                        self.path.unlink()
                    remove_empty(made)


class JournalWriter:
    """An open journal.

    Attributes:
        entries: entries of the whole steps that the file held when it was opened.
        seconds: how long these steps took, in all processes that wrote them.
        n_steps: number of steps in the file now.
        ours: whether the file is known to be a journal of this search.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self._file = path, file
        self.entries: list[Entry] = []
        self.seconds, self.n_steps, self.ours = 0.0, 0, False
        self._check, self._start, self._synced = 0, time.perf_counter(), 0.0

    def read_or_begin(self, header: Entry, anew: bool) -> None:
        """Read the entries of the file; write the header into an empty one."""
        with _report_failure(self.path):
            self._file.seek(0)
            content = b"" if anew else self._file.read()
        first, _ = _encode_line(header, 0)
        if first.startswith(content):  # an empty file, or a torn first line
            self.ours = True
            with _report_failure(self.path):
                self._file.truncate(0)
            self._write_entries([header])
            return
        lines = content.split(b"\n")[:-1]  # the last one is torn, or empty
        parsed = _parse_lines(lines, self.path)
        _check_header(parsed[0], header, self.path)
        self.ours = True
        self._keep_whole_steps(parsed, lines)

    def _keep_whole_steps(self, parsed: Sequence[Entry], lines: Sequence[bytes]) -> None:
        """Cut off the entries of a last step that did not end."""
        ends = [i for i, entry in enumerate(parsed) if i and "seconds" in entry]
        whole = ends[-1] + 1 if ends else 1
        self.n_steps, self.seconds = len(ends), float(parsed[ends[-1]]["seconds"]) if ends else 0.0
        self.entries = [
            {k: v for k, v in entry.items() if k != "seconds"} for entry in parsed[1:whole]
        ]
        with _report_failure(self.path):
            self._file.truncate(sum(len(line) + 1 for line in lines[:whole]))
        self._check = zlib.crc32(b"".join(_encode_entry(entry) for entry in parsed[:whole]))

    def write_step(self, entries: Sequence[Entry]) -> None:
        """Add a step. When this returns, killing the process does not lose it."""
        if not entries:
            return
        self.n_steps += 1
        spent = self.seconds + time.perf_counter() - self._start
        self._write_entries([*entries[:-1], {**entries[-1], "seconds": round(spent, 3)}])

    def _write_entries(self, entries: Sequence[Entry]) -> None:
        lines = []
        for entry in entries:
            line, self._check = _encode_line(entry, self._check)
            lines.append(line)
        with _report_failure(self.path):
            self._file.write(b"".join(lines))
            self._file.flush()
            if time.perf_counter() - self._synced > _SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.perf_counter()


def _encode_entry(entry: Entry) -> bytes:
    return json.dumps(entry, allow_nan=False).encode()


def _encode_line(entry: Entry, before: int) -> tuple[bytes, int]:
    """An entry as a line, and the running check after it."""
    body = _encode_entry(entry)
    check = zlib.crc32(body, before)
    return body[:-1] + b', "check": "%08x"}\n' % check, check


def _parse_lines(lines: Sequence[bytes], path: Path) -> list[Entry]:
    """The entries of all lines; a last one that is damaged is left out, as if torn."""
    entries: list[Entry] = []
    check = 0
    for number, line in enumerate(lines, 1):
        entry, check = _parse_line(line, check)
        if entry is None:
            if number == 1 or number < len(lines):
                raise _make_error(number, path)
            break
        entries.append(entry)
    if not entries:
        raise _make_error(1, path)
    return entries


def _parse_line(line: bytes, before: int) -> tuple[Entry | None, int]:
    """A line as an entry, with the running check after it; None if it is damaged."""
    try:
        entry = json.loads(line)
        written_check = entry.pop("check")
        check = zlib.crc32(_encode_entry(entry), before)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None, before
    return (entry, check) if written_check == f"{check:08x}" else (None, before)


def _make_error(number: int, path: Path) -> DataError:
    if number == 1:
        return DataError(
            f"{str(path)!r} is not the journal of a search: its first line is none that "
            "circuitgraph wrote."
        )
    return DataError(
        f"The journal {str(path)!r} is damaged at line {number}: it, or a line before it, was "
        f"changed, moved or lost. To go on from there, cut the file off before line {number}; or "
        "begin again without it."
    )


def _check_header(then: Entry, now: Entry, path: Path) -> None:
    """Refuse a journal of anything else than this search."""
    old, new = _flatten_object(then), _flatten_object(now)
    differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if not differing:
        return
    differences = [
        f"{key}: {_format_value(old, key)} in the journal, {_format_value(new, key)} now"
        for key in differing
    ]
    advice = (
        "Go on with what the journal has, or begin again: with --overwrite, or in another place."
    )
    if all(key.startswith("environment.") for key in differing):
        advice = (
            "Other versions and devices can give other last digits, so that the result would be "
            "that of neither. Go on with those of the journal, or begin again: with --overwrite, "
            "or in another place."
        )
    title = f"The journal {str(path)!r} is of another search and was left as it is:"
    raise ArgumentError(f"{list_problems(title, differences)}\n{advice}")


def _flatten_object(value: Any, name: str = "") -> dict[str, Any]:
    """Nested objects as one, with dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flatten_object(inner, f"{name}.{key}" if name else key)
    return flat


def _format_value(values: Mapping[str, Any], key: str) -> str:
    text = json.dumps(values[key]) if key in values else "nothing"
    return text if len(text) <= 80 else text[:77] + "..."


def _lock_file(file: BinaryIO, path: Path) -> None:
    """Lock a file until it is closed, which the end of the process does as well."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ArgumentError(
            f"Another process is writing the journal {str(path)!r}: choose another place."
        ) from error
    except OSError:
        return  # this file system has no locks


@contextmanager
def _report_failure(path: Path) -> Iterator[None]:
    """Turn an error of the system into one that names the journal."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"The journal {str(path)!r} cannot be written: {error.strerror or error}. What it "
            "holds of the search so far stays good."
        ) from error
