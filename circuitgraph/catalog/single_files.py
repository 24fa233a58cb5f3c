"""Single files: they appear whole or not at all, and replace only what circuitgraph wrote."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from circuitgraph.catalog.folders import make_parents, remove_empty
from circuitgraph.catalog.leftovers import (
    make_file,
    name_temporary,
    remove_leftovers,
    write_all,
)
from circuitgraph.errors import OutputError


def write_file(path: str | Path, content: bytes, *, is_own: Callable[[bytes], bool]) -> None:
    """Write one file, which appears whole or not at all; folders are made.

    Args:
        is_own: whether the content of a file that is there says that circuitgraph wrote it. Only
            such a file is replaced.

    Raises:
        OutputError: the file cannot be written, or something else is there.
    """
    path = Path(path)
    partial = name_temporary(path)
    made: list[Path] = []
    try:
        check_replaceable(path, is_own)
        made += make_parents(path)
        remove_leftovers(path, lambda _: False)
        with make_file(partial) as descriptor:
            write_all(descriptor, content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        remove_empty(made)
        raise _make_error(path, error) from error


def check_file(path: str | Path, *, is_own: Callable[[bytes], bool]) -> None:
    """Refuse a file that `write_file` could not write; nothing is left of the trial.

    Raises:
        OutputError: as `write_file` says.
    """
    path = Path(path)
    trial = name_temporary(path)
    made: list[Path] = []
    try:
        check_replaceable(path, is_own)
        made += make_parents(path)
        with make_file(trial):
            pass
        trial.unlink()
    except OSError as error:
        raise _make_error(path, error) from error
    finally:
        remove_empty(made)


def check_replaceable(path: Path, is_own: Callable[[bytes], bool]) -> None:
    """Refuse to replace anything but a file of ours.

    Raises:
        OutputError: a link, a folder, a device or the like is there, or a file of somebody else.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise OutputError(
            f"{str(path)!r} is a symbolic link, which is not followed: name the file itself, or "
            "choose another."
        )
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OutputError(f"{str(path)!r} is no ordinary file: choose another.")
    if not is_own(path.read_bytes()):
        raise OutputError(
            f"{str(path)!r} exists already and was not written by circuitgraph, so that it is not "
            "replaced: choose another name, or remove it."
        )


def _make_error(path: Path, error: OSError) -> OutputError:
    if isinstance(error, OutputError):
        return error
    return OutputError(
        f"{str(path)!r} cannot be written: {error.strerror or error}. Choose another file."
    )
