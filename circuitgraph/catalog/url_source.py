"""A catalog at a URL, read by fsspec: on a hub, in a bucket, in a zip file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from circuitgraph.catalog.entry_names import CIRCUITS, EntryName
from circuitgraph.catalog.folders import (
    CERTAINTY_FILE,
    CIRCUIT_FILE,
    DATA_FOLDER,
    JUDGEMENT_FILE,
    SCORES_FILE,
)
from circuitgraph.catalog.sources import Names, describe_size, sort_names
from circuitgraph.errors import ArgumentError, DataError, MissingExtraError, first_line
from circuitgraph.foreign import LARGEST_FILE

_BESIDE = {SCORES_FILE, JUDGEMENT_FILE, CERTAINTY_FILE}


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
            raise DataError(describe_size(file, largest))
        with (
            _explain_errors(self.place),
            self._files.open("/".join(filter(None, (self._root, str(name), file))), "rb") as opened,
        ):
            content: bytes = opened.read(largest + 1)
        if len(content) > largest:
            raise DataError(describe_size(file, largest))
        return content

    @contextmanager
    def open_folder(self, name: EntryName) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            files = [CIRCUIT_FILE, *(_BESIDE & {*self.list_files(name)})]
            files += [f"{DATA_FOLDER}/{file}" for file in self.list_files(name, DATA_FOLDER)]
            (folder / DATA_FOLDER).mkdir()
            for file in files:
                (folder / file).write_bytes(self.read_file(name, file))
            yield folder


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
