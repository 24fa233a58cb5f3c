"""Where the circuit is that a command line names: in a folder, or in a catalog."""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from pathlib import Path

from circuitgraph.catalog.entry_names import is_part
from circuitgraph.errors import DataError, UnknownNameError

_ENTRY_PARTS = 3  # MODEL/TASK/SLUG
# copies of entries that lie elsewhere: commands read them to their end
_copies = ExitStack()
atexit.register(_copies.close)


def find_circuit(path: Path, catalogs: list[str] | None = None) -> Path:
    """The path itself, or the folder of the entry of that name, to be read until the process ends.

    Args:
        catalogs: in which to look for it; those of the environment, or the shipped one, if none.

    Raises:
        DataError: nothing is there, and no entry has that name.
        ArgumentError: several catalogs have one.
    """
    if not catalogs and (os.path.lexists(path) or not can_be_entry(path)):
        return path
    from circuitgraph.catalog.catalogs import find_entry, open_catalogs

    try:
        entry = find_entry(path.as_posix(), open_catalogs(catalogs or ()))
    except UnknownNameError as error:
        raise DataError(
            f"There is no circuit at {str(path)!r}, nor in the catalog. {error}"
        ) from error
    return _copies.enter_context(entry.open_folder())


def can_be_entry(path: Path) -> bool:
    """Whether a path reads as the name of an entry, too."""
    return len(path.parts) == _ENTRY_PARTS and all(map(is_part, path.parts))


def choose_output_folder(path: Path) -> Path:
    """Where what is made of a circuit is written if nothing else is said: beside it, or here if it
    is a catalog's."""
    if not os.path.lexists(path) and can_be_entry(path):
        return Path()
    return path if os.path.isdir(path) else path.parent
