"""Temporary files and folders beside a result, and how those of a killed run are recognised.

Beside ``runs/ioi`` they are ``.ioi.circuitgraph-1f0c93aa`` and, while an older result makes place,
``.ioi.circuitgraph-1f0c93aa-old``. Whoever writes a file holds a lock on it; whoever writes a
folder on a file beside it, ``.ioi.circuitgraph-1f0c93aa-lock``, which is there before the folder
and after it. So what nobody has locked is of a process that has ended.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from circuitgraph.catalog.locks import lock_file

_OLD, _LOCK = "-old", "-lock"
_TOKEN = re.compile(r"[0-9a-f]{8}")
# Neither of the last two is there on every system.
PLAIN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def name_temporary(target: Path) -> Path:
    """A free name beside ``target`` that `remove_leftovers` recognises."""
    return target.with_name(f"{_begin_name(target)}{secrets.token_hex(4)}")


def name_old(temporary: Path) -> Path:
    """Where the result that ``temporary`` replaces stays until it is replaced."""
    return temporary.with_name(f"{temporary.name}{_OLD}")


def is_temporary(name: str) -> bool:
    """Whether a name is that of a temporary file of any target."""
    return name.startswith(".") and bool(_TOKEN.fullmatch(name.rpartition(".circuitgraph-")[2]))


@contextmanager
def make_file(path: Path) -> Iterator[int]:
    """A new file, open and locked; nothing that is there is ever opened.

    Raises:
        OSError: it exists, or cannot be made.
    """
    descriptor = os.open(path, PLAIN | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        lock_file(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def make_temporary_folder(target: Path) -> Iterator[Path]:
    """A new folder beside ``target``, locked while the body runs; what is left of it vanishes then.

    Raises:
        OSError: it cannot be made.
    """
    folder = name_temporary(target)
    with make_file(_name_lock(folder)):
        try:
            folder.mkdir(0o700)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # Windows removes no open file: the next run does
                _name_lock(folder).unlink()


def write_all(descriptor: int, content: bytes) -> None:
    """Write to an open file; a system may take less at a time than it is given."""
    view = memoryview(content)
    while len(view):
        view = view[os.write(descriptor, view) :]


def remove_leftovers(target: Path, is_result: Callable[[Path], bool]) -> None:
    """Remove what killed runs left beside ``target``; a result that was being replaced comes back.

    Args:
        is_result: whether something in a temporary folder is ours. A folder that holds anything
            else is left alone.
    """
    with suppress(OSError):
        for path in sorted(target.parent.iterdir()):
            token = path.name.removeprefix(_begin_name(target))
            bare = token.removesuffix(_OLD).removesuffix(_LOCK)
            if token == path.name or not _TOKEN.fullmatch(bare):
                continue
            if token.endswith(_OLD) and not os.path.lexists(target) and not path.is_symlink():
                path.rename(target)
            else:
                _remove_leftover(path, is_result)


def _begin_name(target: Path) -> str:
    return f".{target.name}.circuitgraph-"


def _remove_leftover(path: Path, is_result: Callable[[Path], bool]) -> None:
    """Remove a temporary file or folder, unless a process still writes it."""
    with suppress(OSError):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            if not _is_locked(path):
                path.unlink()
        elif stat.S_ISDIR(mode) and not _is_in_use(path) and _is_ours(path, is_result):
            shutil.rmtree(path)


def _is_ours(folder: Path, is_result: Callable[[Path], bool]) -> bool:
    return all(is_temporary(path.name) or is_result(path) for path in folder.iterdir())


def _name_lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name.removesuffix(_OLD)}{_LOCK}")


def _is_in_use(folder: Path) -> bool:
    lock = _name_lock(folder)
    return os.path.lexists(lock) and _is_locked(lock)


def _is_locked(path: Path) -> bool:
    descriptor = os.open(path, PLAIN)
    try:
        return not lock_file(descriptor)
    finally:
        os.close(descriptor)
