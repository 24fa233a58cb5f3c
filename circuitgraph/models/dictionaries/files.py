"""The files of a dictionary: in a folder here, or in one of the hub's repositories."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from circuitgraph.catalog.folders import find_beside
from circuitgraph.errors import ModelError, first_line
from circuitgraph.models.checkpoint import Checkpoint, open_checkpoint
from circuitgraph.models.dictionaries.config_reader import ConfigReader, read_config_file
from circuitgraph.models.hub import fetch_file
from circuitgraph.models.shipped import list_shipped

EXPECTED = (
    "Give a folder, a file of weights, a shipped dictionary (circuitgraph list dictionaries), or a "
    "name on the hub, with the folder in the repository behind it: owner/repository/folder."
)
_MOST_FILES = 100_000


@dataclass(frozen=True)
class DictionaryFiles:
    """Where files are, and how to get them.

    Attributes:
        name: as given by the user.
        location: a folder here, or ``owner/repository``.
        folder: within the repository; empty for a folder here.
        only: the one file that was named; None where a folder was.
        options: ``revision`` and ``local_files_only``, as huggingface_hub has them.
    """

    name: str
    location: str
    folder: str
    only: str | None
    options: Mapping[str, Any]

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all files, relative to the folder."""
        listed = _list_here(Path(self.location)) if self.is_here else self._list_hub()
        prefix = f"{self.folder}/" if self.folder else ""
        return frozenset(n.removeprefix(prefix) for n in listed if n.startswith(prefix))

    @property
    def is_here(self) -> bool:
        """Whether the files are in a folder here."""
        return Path(self.location).is_dir()

    @property
    def full_name(self) -> str:
        """Where the files are, with all folders: names in it can say what the files do not."""
        here = str(Path(self.location).resolve()) if self.is_here else self.location
        return "/".join(filter(None, [here, self.folder, self.only]))

    def has(self, file: str) -> bool:
        """Whether there is a file of that name, and no other file was named."""
        return file in self.names and self.only in (None, file)

    def match(self, pattern: str) -> dict[int, str]:
        """The files that match a pattern, by the number in them."""
        matches = [(re.fullmatch(pattern, name), name) for name in sorted(self.names)]
        return {int(match[1]): name for match, name in matches if match}

    def fetch(self, file: str) -> Path:
        """One file, fetched from the hub if need be.

        Raises:
            ModelError: it is not there, or the hub does not give it.
        """
        inner = f"{self.folder}/{file}" if self.folder else file
        try:
            return fetch_file(self.location, inner, self.options)
        except Exception as error:
            raise ModelError(
                f"The file {file} of {self.name!r} is not to be had: {first_line(error)}."
            ) from error

    def read_config(self, file: str) -> ConfigReader:
        """The settings in a JSON or YAML file."""
        return read_config_file(self.name, file, self.fetch(file))

    def open_weights(self, file: str, described_by: str | None = None) -> Checkpoint:
        """The tensors of one file, by its header.

        Args:
            described_by: what says their sizes, for messages.
        """
        checkpoint = open_checkpoint(self.name, [self.fetch(file)])
        if described_by is not None:
            checkpoint.described_by = described_by
        return checkpoint

    def _list_hub(self) -> list[str]:
        """The files of a repository, or those in the hub's cache where the hub is not asked."""
        import huggingface_hub
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        revision, error = self.options["revision"], None
        if not self.options["local_files_only"]:
            try:
                return huggingface_hub.list_repo_files(self.location, revision=revision)
            except (RepositoryNotFoundError, RevisionNotFoundError) as refusal:
                raise self._explain_missing(refusal) from refusal
            except Exception as unreachable:
                error = unreachable
        try:
            snapshot = huggingface_hub.snapshot_download(
                self.location, revision=revision, local_files_only=True
            )
        except Exception as missing:
            raise self._explain_missing(error or missing) from missing
        return _list_here(Path(snapshot))

    def _explain_missing(self, error: Exception) -> ModelError:
        at = self.options["revision"]
        where = "" if at == "main" else f" at revision {at!r}"
        return ModelError(
            f"There is no dictionary {self.name!r}. It is no folder here, and the hub did not "
            f"provide it{where}: {first_line(error)}. {EXPECTED}"
        )


def shipped_dictionaries() -> dict[str, Path]:
    """The trained dictionaries that come with circuitgraph, by name."""
    return list_shipped("dictionaries", "cfg.json")


def find_dictionary(name: str, file: str | Path) -> str:
    """The dictionary that a file names: shipped, or else a path as `find_beside` has it."""
    return name if name in shipped_dictionaries() else find_beside(name, file)


def locate_files(name: str, *, revision: str | None, local_only: bool) -> DictionaryFiles:
    """Where the files of a name are: shipped, a folder or file here, or a place on the hub.

    Raises:
        ModelError: there is no such folder, and the name is none that a hub could have.
    """
    options = {"revision": revision or "main", "local_files_only": local_only}
    try:
        path = shipped_dictionaries().get(name, Path(name).expanduser())
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"{name!r} cannot be looked up: {first_line(error)}. {EXPECTED}"
        ) from error
    if is_folder or is_file:
        folder = path if is_folder else path.parent
        only = None if is_folder else path.name
        return DictionaryFiles(name, str(folder), "", only, options)
    parts = name.split("/")
    if len(parts) < 2 or not all(re.fullmatch(r"[\w.-]+", part) for part in parts) or ".." in parts:
        raise ModelError(f"There is no folder or file {name!r}. {EXPECTED}")
    *folder, last = parts[2:] or [""]
    only = last if re.search(r"\.(pt|pth|npz|safetensors)$", last) else None
    inner = folder if only else [*folder, last]
    return DictionaryFiles(name, "/".join(parts[:2]), "/".join(filter(None, inner)), only, options)


def _list_here(folder: Path) -> list[str]:
    """The files in a folder and its folders, as a repository lists them."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return [path.relative_to(folder).as_posix() for path, _ in zip(paths, range(_MOST_FILES))]  # noqa: B905
