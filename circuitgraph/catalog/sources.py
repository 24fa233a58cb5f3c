"""Where a catalog's files are: a folder here, or whatever fsspec opens. Only bytes are read here.

Names come from strangers: a file is read only if it lies inside the catalog (no link leads out of
it), is an ordinary file, and is not larger than the caller allows.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from circuitgraph.catalog.entry_names import CIRCUITS, EntryName
from circuitgraph.catalog.folders import CIRCUIT_FILE, DATA_FOLDER, SCORES_FILE
from circuitgraph.errors import ArgumentError, DataError, MissingExtraError, first_line
from circuitgraph.foreign import LARGEST_FILE

Names = tuple[list[EntryName], dict[str, str]]


@runtime_checkable
class CatalogSource(Protocol):
    """What a catalog needs of the place it is in."""

    place: str

    def list_names(self) -> Names:
        """All entries, sorted; and of what looks like one and is none, the reason."""
        ...

    def list_files(self, name: EntryName, folder: str = "") -> list[str]:
        """Names of the ordinary files of an entry, or of a folder in it; none where it is not."""
        ...

    def read_file(self, name: EntryName, file: str, largest: int = LARGEST_FILE) -> bytes:
        """The content of an entry's file; DataError if it is not there or must not be read."""
        ...

    def open_folder(self, name: EntryName) -> Any:
        """A context manager of a folder here, with the circuit's files in it."""
        ...


def open_source(place: str | Path) -> CatalogSource:
    """The source of a folder or of a URL such as ``hf://datasets/ORG/NAME``.

    Raises:
        MissingExtraError: a URL whose protocol needs a package that is not installed.
        ArgumentError: a URL that nothing here can open.
    """
    return UrlSource(str(place)) if is_url(place) else FolderSource(Path(place))


def is_url(place: str | Path) -> bool:
    """Whether a place is a URL, which fsspec reads."""
    return "://" in str(place)


class FolderSource:
    """A catalog in a folder of this machine, which may not be there yet.

    Attributes:
        place: the folder, as it was given.
        root: the folder that holds the folders of models: ``circuits`` in it, if there is one.
    """

    def __init__(self, folder: Path) -> None:
        self.place, folder = str(folder), folder.expanduser()
        self.root = folder / CIRCUITS if os.path.isdir(folder / CIRCUITS) else folder
        self._inside = os.path.join(os.path.realpath(self.root), "")

    def find_folder(self, name: EntryName) -> Path:
        """Where an entry is, or would be."""
        return self.root / name.model / name.task / name.slug

    def list_names(self) -> Names:
        if os.path.exists(self.root) and not os.path.isdir(self.root):
            raise DataError(f"{self.place!r} is no folder, and so no catalog: name its folder.")
        texts = [
            f"{model}/{task}/{slug}"
            for model in _list_folders(self.root)
            for task in _list_folders(self.root / model)
            for slug in _list_folders(self.root / model / task)
        ]
        return sort_names(texts)

    def list_files(self, name: EntryName, folder: str = "") -> list[str]:
        inside = self.find_folder(name) / folder
        try:
            with os.scandir(inside) as files:
                return sorted(file.name for file in files if file.is_file())
        except OSError:
            return []

    def read_file(self, name: EntryName, file: str, largest: int = LARGEST_FILE) -> bytes:
        with self._check_file(name, file, largest).open("rb") as opened:
            content = opened.read(largest + 1)
        if len(content) > largest:
            raise DataError(_describe_size(file, largest))
        return content

    @contextmanager
    def open_folder(self, name: EntryName) -> Iterator[Path]:
        self._check_file(name, CIRCUIT_FILE, LARGEST_FILE)
        if os.path.lexists(self.find_folder(name) / SCORES_FILE):
            self._check_file(name, SCORES_FILE, LARGEST_FILE)
        yield self.find_folder(name)

    def _check_file(self, name: EntryName, file: str, largest: int) -> Path:
        """The path of a file that may be read."""
        path = self.find_folder(name) / file
        try:
            real = os.path.realpath(path, strict=True)
            mode = os.stat(real)
        except (OSError, ValueError) as error:
            raise DataError(f"it has no {file} that can be read") from error
        if not real.startswith(self._inside):
            raise DataError(f"its {file} is a link that leads out of the catalog")
        if not stat.S_ISREG(mode.st_mode):
            raise DataError(f"its {file} is no ordinary file")
        if mode.st_size > largest:
            raise DataError(_describe_size(file, largest))
        return Path(real)


class UrlSource:
    """A catalog at a URL that fsspec opens, to be read only.

    Attributes:
        place: the URL.
    """

    def __init__(self, url: str) -> None:
        self.place = url
        self._files, path = _open_url(url)
        self._root = path.rstrip("/")
        self._sizes: dict[str, int] | None = None

    def _list_sizes(self) -> dict[str, int]:
        """All files below the root, by their paths from there, with their sizes; asked for once."""
        if self._sizes is None:
            with _explain_errors(self.place):
                detailed: dict[str, Any] = self._files.find(self._root, detail=True)
            if not detailed:
                raise DataError(f"There is nothing at {self.place!r}: name a folder of circuits.")
            start = len(self._root.lstrip("/"))
            below = {
                path.lstrip("/")[start:].lstrip("/"): int(each.get("size") or 0)
                for path, each in detailed.items()
            }
            inner = f"{CIRCUITS}/"
            if any(path.startswith(inner) for path in below):
                self._root = f"{self._root}/{CIRCUITS}" if self._root else CIRCUITS
                below = {p[len(inner) :]: n for p, n in below.items() if p.startswith(inner)}
            self._sizes = below
        return self._sizes

    def list_names(self) -> Names:
        folders = {tuple(path.split("/")[:3]) for path in self._list_sizes() if path.count("/") > 2}
        visible = ("/".join(parts) for parts in folders if not any(p[:1] == "." for p in parts))
        return sort_names(visible)

    def list_files(self, name: EntryName, folder: str = "") -> list[str]:
        inside = f"{name}/{folder}/" if folder else f"{name}/"
        return sorted(
            path[len(inside) :]
            for path in self._list_sizes()
            if path.startswith(inside) and "/" not in path[len(inside) :]
        )

    def read_file(self, name: EntryName, file: str, largest: int = LARGEST_FILE) -> bytes:
        size = self._list_sizes().get(f"{name}/{file}")
        if size is None:
            raise DataError(f"it has no {file} that can be read")
        if size > largest:
            raise DataError(_describe_size(file, largest))
        with (
            _explain_errors(self.place),
            self._files.open("/".join(filter(None, (self._root, str(name), file))), "rb") as opened,
        ):
            content: bytes = opened.read(largest + 1)
        if len(content) > largest:
            raise DataError(_describe_size(file, largest))
        return content

    @contextmanager
    def open_folder(self, name: EntryName) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            files = [CIRCUIT_FILE, *({SCORES_FILE} & {*self.list_files(name)})]
            files += [f"{DATA_FOLDER}/{file}" for file in self.list_files(name, DATA_FOLDER)]
            (folder / DATA_FOLDER).mkdir()
            for file in files:
                (folder / file).write_bytes(self.read_file(name, file))
            yield folder


def sort_names(texts: Any) -> Names:
    """Names that can be entries, and the reasons why others cannot."""
    names, problems, taken = [], {}, {}
    for text in sorted(texts):
        try:
            name = EntryName.parse(text)
        except DataError as error:
            problems[text] = str(error)
            continue
        if (other := taken.setdefault(text.casefold(), name)) is not name:
            problems[text] = (
                f"its name differs from {str(other)!r} in capitals only, which is one name on many "
                "file systems: rename one of the two"
            )
            continue
        names.append(name)
    return names, problems


def _list_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder that are not hidden; links to folders are among them."""
    with suppress(OSError), os.scandir(folder) as content:
        return [each.name for each in content if not each.name.startswith(".") and each.is_dir()]
    return []


def _describe_size(file: str, largest: int) -> str:
    return f"its {file} has more than {largest:,} bytes, the most that is read"


def _open_url(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtraError(
            f"{url!r} is read by the package fsspec, which is not installed: pip install fsspec"
        ) from error
    try:
        files, path = url_to_fs(url)
    except ImportError as error:
        raise MissingExtraError(
            f"{url!r} needs a package that is not installed ({first_line(error)}): install it with "
            "pip."
        ) from error
    except ValueError as error:
        raise ArgumentError(
            f"{url!r} cannot be opened as a catalog: {first_line(error)}. Give a folder, or a URL "
            "such as hf://datasets/ORG/NAME or s3://BUCKET/FOLDER."
        ) from error
    except Exception as error:
        raise DataError(f"{url!r} cannot be opened: {first_line(error)}.") from error
    return files, str(path)


@contextmanager
def _explain_errors(url: str) -> Iterator[None]:
    """Every provider raises errors of its own."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{url!r} cannot be read: {first_line(error)}") from error
