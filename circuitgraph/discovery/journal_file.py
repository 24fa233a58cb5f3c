"""The file of a journal: opened for one process alone, and only if it is one or new."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from circuitgraph.catalog.leftovers import PLAIN, write_all
from circuitgraph.catalog.locks import lock_file
from circuitgraph.discovery.journal_lines import describe_foreign_file, is_journal
from circuitgraph.errors import ArgumentError, OutputError


def name_unit_journal(journal: Path) -> Path:
    """``runs/ioi.journal.units.jsonl``: where a search that goes on among neurons writes, beside
    the journal of the search before it.
    """
    return journal.with_suffix(f".units{journal.suffix}")


class JournalFile:
    """An open, locked file that holds a journal, or nothing yet.

    Nothing is kept back in a buffer: what `append` was given is with the system when it returns.

    Raises:
        ArgumentError: another process writes the file now.
        OutputError: it cannot be opened, or is a link, a folder, a device or of several names.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_plain(path)
        with report_failure(path):
            # O_NONBLOCK: if the name became a pipe a moment ago, opening it waits for nobody.
            flags = PLAIN | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
            self._descriptor = os.open(path, flags, 0o666)
        try:
            # One that was removed after it was opened is of a search that has just ended.
            if not lock_file(self._descriptor) or not os.fstat(self._descriptor).st_nlink:
                raise ArgumentError(
                    f"Another process is writing the journal {str(path)!r}: choose another place."
                )
            _check_mode(os.fstat(self._descriptor), path)
        except BaseException:
            self.close()
            raise

    def read_all(self) -> bytes:
        """The content."""
        with report_failure(self.path):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            parts = []
            while part := os.read(self._descriptor, 2**20):
                parts.append(part)
            return b"".join(parts)

    def count_bytes(self) -> int:
        """The size of the file."""
        with report_failure(self.path):
            return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        """Forget all but the first ``size`` bytes."""
        with report_failure(self.path):
            os.ftruncate(self._descriptor, size)

    def append(self, content: bytes, sync: bool) -> None:
        """Add to the end; all of it or, on a full disk, nothing.

        Args:
            sync: wait until it would outlast a loss of power too.
        """
        with report_failure(self.path):
            size = os.lseek(self._descriptor, 0, os.SEEK_END)
            try:
                write_all(self._descriptor, content)
                if sync:
                    os.fsync(self._descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, size)
                raise

    def close(self, *, remove: bool = False) -> None:
        """Close the file, which ends the lock; remove it, if wished."""
        # It goes while it is still locked, so that nobody else can have begun to write it; but
        # Windows removes no open file.
        with suppress(OSError):
            if remove and os.name != "nt":
                self.path.unlink()
        with suppress(OSError):
            os.close(self._descriptor)
            if remove and os.name == "nt":
                self.path.unlink()


def check_plain(path: Path) -> None:
    """Refuse a name at which there is anything else than an ordinary file, or nothing.

    Raises:
        OutputError: a link, a folder, a device, or a file of several names.
    """
    with report_failure(path):
        try:
            state = path.lstat()
        except FileNotFoundError:
            return
    _check_mode(state, path)


def check_journal(path: Path) -> None:
    """Refuse a file that is there and no journal, which no search may write.

    Raises:
        OutputError: says what is there.
    """
    check_plain(path)
    if not path.exists():
        return
    with report_failure(path):
        content = path.read_bytes()
    if not is_journal(content):
        raise OutputError(describe_foreign_file(path))


def _check_mode(state: os.stat_result, path: Path) -> None:
    reason = None
    if stat.S_ISLNK(state.st_mode):
        reason = "it is a symbolic link, which is not followed"
    elif not stat.S_ISREG(state.st_mode):
        reason = "it is no ordinary file"
    elif state.st_nlink > 1:
        reason = "it has another name too (a hard link)"
    if reason is not None:
        raise OutputError(
            f"The journal {str(path)!r} cannot be written: {reason}. Choose another place."
        )


@contextmanager
def report_failure(path: Path) -> Iterator[None]:
    """Turn an error of the system into one that names the journal."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"The journal {str(path)!r} cannot be written: {error.strerror or error}. What it "
            "holds of the search so far stays good."
        ) from error
