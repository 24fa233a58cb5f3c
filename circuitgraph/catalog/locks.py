"""Locks on open files: they end with the process, however it ends, and leave nothing behind.

A library of locks keeps files of its own beside what it locks, which would lie among the results.
"""

from __future__ import annotations

import os
import sys

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
