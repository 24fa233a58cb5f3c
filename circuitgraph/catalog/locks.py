"""Locks on open files: they end with the process, however it ends, and leave nothing behind.

A library of locks keeps files of its own beside what it locks, which would lie among the results.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from circuitgraph.errors import OutputError

_LOCK_FILE = ".circuitgraph-lock"
_SECONDS_TO_WAIT = 60.0  # for another process, which holds a folder for as long as it writes
_SECONDS_BETWEEN = 0.01

_FAR = 2**30  # Windows locks bytes, not files: one far behind the end of any of ours

if sys.platform == "win32":
    import msvcrt

    def _lock_descriptor(descriptor: int) -> None:
        here = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(error.errno, error.strerror) from error
        finally:
            os.lseek(descriptor, here, os.SEEK_SET)

else:
    import fcntl

    def _lock_descriptor(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_file(descriptor: int) -> bool:
    """Lock an open file until it is closed, which the end of the process does as well.

    Returns:
        False if another process (or another opening of the file) has it locked. True as well on a
        file system that has no locks.
    """
    try:
        _lock_descriptor(descriptor)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep other processes that do the same out of a folder, while the body runs.

    A hidden file in the folder is locked, and removed in the end. A process that is killed leaves
    the file, but no lock.

    Raises:
        OutputError: another process has it for longer than a minute.
        OSError: there is no such folder, or nothing can be written into it.
    """
    path, start = folder / _LOCK_FILE, time.monotonic()
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # The lock of a file that was removed meanwhile keeps nobody out.
            if lock_file(descriptor) and _is_still(descriptor, path):
                try:
                    yield
                finally:
                    with suppress(OSError):  # Windows removes no open file
                        path.unlink()
                return
        finally:
            os.close(descriptor)
        if time.monotonic() - start > _SECONDS_TO_WAIT:
            raise OutputError(
                f"Another process has been writing to {str(folder)!r} for more than a minute: wait "
                "for it, and try again."
            )
        time.sleep(_SECONDS_BETWEEN)


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
