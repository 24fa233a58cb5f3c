"""Folders of results: they appear whole or not at all; only results are ever overwritten."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from circuitgraph.catalog.leftovers import (
    make_temporary_folder,
    name_old,
    remove_leftovers,
)
from circuitgraph.errors import OutputError

CIRCUIT_FILE = "circuit.json"
SCORES_FILE = "scores.safetensors"
JOURNAL_FILE = "journal.jsonl"
UNIT_JOURNAL_FILE = "journal.units.jsonl"
CURVE_FILE = "curve.json"
TABLE_FILE = "curve.csv"
JUDGEMENT_FILE = "judgement.json"
CARD_FILE = "card.md"
EVIDENCE_FOLDER = "evidence"  # of an entry of a catalog: records about its circuit
DATA_FOLDER = "data"  # likewise: the file of pairs that it was searched for on
CERTAINTY_FILE = "certainty.json"
CERTAINTY_JOURNAL_FILE = "certainty.journal.jsonl"  # while it is being measured
CIRCUIT_FOLDER = "threshold-"  # how the folders of a curve's circuits begin

PICTURES = {"circuit.dot", "circuit.svg", "circuit.pdf", "circuit.png", "circuit.html"}
_RESULT_FILES = {
    *(CIRCUIT_FILE, SCORES_FILE, JOURNAL_FILE, UNIT_JOURNAL_FILE, CURVE_FILE, TABLE_FILE),
    *(JUDGEMENT_FILE, CARD_FILE),
    *(CERTAINTY_FILE, CERTAINTY_JOURNAL_FILE),
    *PICTURES,
}
_RESULT_SUFFIXES = {EVIDENCE_FOLDER: {".json"}, DATA_FOLDER: {".jsonl", ".csv"}}
_VERSION = re.compile(rb'"schema_version"\s*:\s*\d')


@contextmanager
def new_folder(folder: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder that takes the name ``folder`` if the body ends well, and else vanishes.

    Raises:
        OutputError: the name is taken (and not to be overwritten), or the disk read-only or full.
    """
    target, made = _prepare_place(folder, overwrite)
    try:
        with make_temporary_folder(target) as inside:
            yield inside
            inside.chmod(0o755)
            _put_in_place(inside, target, folder, overwrite)
    except (OSError, SafetensorError) as error:
        raise _make_error(folder, error) from error
    finally:
        if not target.exists():
            remove_empty(made)


def _put_in_place(inside: Path, target: Path, folder: str | Path, overwrite: bool) -> None:
    """Give a finished folder its name; an old one keeps its content until then."""
    old = name_old(inside)
    if target.exists():
        _check_free(target, folder, overwrite)  # much may have happened since the first look
        target.rename(old)
    try:
        inside.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_new_folder(folder: str | Path, *, overwrite: bool = False) -> None:
    """Refuse a folder that `new_folder` could not make; nothing is left of the trial."""
    target, made = _prepare_place(folder, overwrite)
    try:
        with make_temporary_folder(target):
            pass
    except OSError as error:
        raise _make_error(folder, error) from error
    finally:
        remove_empty(made)


def _prepare_place(folder: str | Path, overwrite: bool) -> tuple[Path, list[Path]]:
    """The folder's full path, and the parents that were made; leftovers beside it are removed."""
    made: list[Path] = []
    try:
        if Path(folder).is_symlink():
            raise OutputError(
                f"{str(folder)!r} is a symbolic link, which is not followed: name the folder "
                "itself, or choose another."
            )
        target = Path(folder).resolve()
        remove_leftovers(target, _is_result)
        _check_free(target, folder, overwrite)
        made += make_parents(target)
        return target, made
    except OSError as error:
        remove_empty(made)
        raise _make_error(folder, error) from error


def _check_free(target: Path, folder: str | Path, overwrite: bool) -> None:
    """Refuse to overwrite anything but a circuit or a curve with all that belongs to it."""
    if not target.exists():
        return
    if not overwrite:
        raise OutputError(
            f"{str(folder)!r} exists already. Choose another name, or say to overwrite it."
        )
    content = sorted(target.iterdir())
    others = [path.name for path in content if not _is_result(path)]
    if others:
        raise OutputError(
            f"{str(folder)!r} holds other things than a circuit ({', '.join(others[:3])}) and is "
            "not overwritten. Choose another folder."
        )
    if content and not holds_record(target):
        raise OutputError(
            f"{str(folder)!r} holds no {CIRCUIT_FILE} or {CURVE_FILE} that circuitgraph wrote, and "
            "is not overwritten. Choose another folder, or remove it."
        )


def remove_folder(target: Path) -> None:
    """Remove the folder of a result at once: it loses its name first, and its content then.

    Raises:
        OutputError: it holds other things than a result, or is a symbolic link.
        OSError: it cannot be removed.
    """
    if target.is_symlink():
        raise OutputError(f"{str(target)!r} is a symbolic link, which is not followed: remove it.")
    _check_free(target, target, overwrite=True)
    with make_temporary_folder(target) as temporary:
        target.rename(temporary / target.name)


def holds_record(folder: Path) -> bool:
    """Whether a folder has the record of a circuit or of a curve; only a glance at it is taken."""
    for path in (folder / CIRCUIT_FILE, folder / CURVE_FILE):
        if _is_plain_file(path):
            content = path.read_bytes()
            if content.startswith(b"{") and _VERSION.search(content):
                return True
    return False


def _is_result(path: Path) -> bool:
    """Whether a path is a file of a result, the folder of one circuit of a curve, or one of the
    folders of an entry of a catalog.
    """
    if path.is_dir() and not path.is_symlink():
        if path.name in _RESULT_SUFFIXES:
            suffixes = _RESULT_SUFFIXES[path.name]
            return all(_is_plain_file(p) and p.suffix in suffixes for p in path.iterdir())
        return path.name.startswith(CIRCUIT_FOLDER) and all(
            _is_plain_file(p) and p.name in _RESULT_FILES for p in path.iterdir()
        )
    return _is_plain_file(path) and path.name in _RESULT_FILES


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def make_parents(path: Path) -> list[Path]:
    """Make the folders above a path, and return those that were missing, outermost first."""
    missing = [parent for parent in path.resolve().parents if not parent.exists()][::-1]
    made: list[Path] = []
    try:
        for parent in missing:
            parent.mkdir(exist_ok=True)
            made.append(parent)
    except OSError:
        remove_empty(made)
        raise
    return made


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders that were made in vain, unless something else has come into them."""
    for folder in reversed(folders):
        with suppress(OSError):
            folder.rmdir()


def _make_error(folder: str | Path, error: Exception) -> OutputError:
    cause = error.__cause__ if isinstance(error, OutputError) else error
    if isinstance(error, OutputError) and not isinstance(cause, OSError):
        return error
    reason = getattr(cause, "strerror", None) or str(cause)
    return OutputError(f"Nothing was written to {str(folder)!r}: {reason}. Choose another folder.")


def find_path(
    name: str, file: str | Path, accepts: Callable[[Path], bool] = Path.exists
) -> Path | None:
    """The whole path of what a file names: from here, or else from the file's folder or above it.

    The name is what a record says, which may be anything.
    """
    folder = Path(file).absolute()
    try:
        bases = (Path.cwd(), folder, *folder.parents)
        paths = [base / Path(name).expanduser() for base in bases]
        return next((path.resolve() for path in paths if accepts(path)), None)
    except (OSError, RuntimeError, ValueError):  # no name of any file
        return None


def find_beside(name: str, file: str | Path) -> str:
    """A path that a file names: as it is, if it is there, else where `find_path` has it.

    What is nowhere stays as it is: it may be a shipped model or a name on a hub.
    """
    here = find_path(name, Path.cwd())
    is_here = here is not None and here == Path(name).resolve()
    return name if is_here else str(find_path(name, file) or name)
