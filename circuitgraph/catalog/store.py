"""A catalog of circuits: plain files, one folder for each entry, made to be read in git.

``circuits/<model>/<task>/<slug>/`` holds ``circuit.json``, ``scores.safetensors``,
``judgement.json``, ``card.md``, a picture, and ``evidence/``. A folder that has no ``circuits`` in
it is itself the folder of models. An entry appears whole or not at all; processes that write to one
catalog wait for each other. There is no index that could be wrong: a listing reads the records.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuitgraph.catalog.entries import Entry
from circuitgraph.catalog.entry_names import EntryName
from circuitgraph.catalog.sources import FolderSource, open_source
from circuitgraph.catalog.summaries import Summary
from circuitgraph.errors import DataError, OutputError, unknown_name

if TYPE_CHECKING:
    from circuitgraph.catalog.records import Record
    from circuitgraph.catalog.searching import Query
    from circuitgraph.graph.circuit import Circuit


@dataclass(frozen=True)
class Listing:
    """What a catalog holds.

    Attributes:
        entries: what could be read, sorted by name.
        problems: by name, why an entry was left out.
    """

    entries: tuple[Summary, ...]
    problems: dict[str, str]

    def __iter__(self) -> Iterator[Summary]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def select(self, query: Query) -> Listing:
        """The entries that a query asks for; problems stay."""
        return Listing(tuple(filter(query.matches, self.entries)), self.problems)


class Catalog:
    """The circuits in a folder, or at a URL that fsspec opens (``hf://``, ``s3://``, ``zip://``).

    Attributes:
        place: the folder or URL. A folder need not be there before something is added.
    """

    def __init__(self, place: str | Path) -> None:
        self._source = open_source(place)
        self.place = self._source.place

    def __repr__(self) -> str:
        return f"Catalog({self.place!r})"

    def list(self) -> Listing:
        """All entries; one that is damaged is left out and reported, and hides no other."""
        names, problems = self._source.list_names()
        entries = []
        for name in names:
            try:
                entries.append(Entry(name, self._source).summarise())
            except DataError as error:
                problems[str(name)] = str(error)
        return Listing(tuple(entries), dict(sorted(problems.items())))

    def search(self, **conditions: Any) -> Listing:
        """The entries for which all conditions hold, which are those of `Query`: ``model``,
        ``task``, ``nodes``, ``edges``, ``size`` and ``score``.
        """
        from circuitgraph.catalog.searching import Query

        return self.list().select(Query(**conditions))

    def get(self, name: str) -> Entry:
        """The entry ``model/task/slug``.

        Raises:
            DataError: no such name can be.
            UnknownNameError: it is not in this catalog; near names are suggested.
        """
        parsed, names = EntryName.parse(name), self._source.list_names()[0]
        if parsed not in names:
            raise unknown_name(f"entry of {self.place!r}", name, map(str, names))
        return Entry(parsed, self._source)

    def add(
        self,
        circuit: Circuit | str | Path,
        *,
        name: str | None = None,
        evidence: Iterable[Record | str | Path] = (),
        pictures: Sequence[str | Path] = (),
        overwrite: bool = False,
    ) -> Entry:
        """File a circuit with what is known of it; all of the entry appears, or nothing.

        Args:
            circuit: a circuit, or the folder of a run. The picture and the judgement in the folder
                come along.
            name: ``model/task/slug``; by default after the circuit's model, task and algorithm, and
                with a number where that is taken.
            evidence: records (of `judge`, `evaluate`, `scrub`, `analyze`, ...), or files that hold
                what the commands print with ``--json``. The first judgement becomes
                ``judgement.json``.
            pictures: drawings of it, ``circuit.svg`` or the like (`render`).
            overwrite: replace an entry of that name, evidence and all.

        Raises:
            DataError: a record is damaged, or about another model.
            ArgumentError: the circuit names no model or task, and no name was given.
            OutputError: the name is taken, or the catalog cannot be written.
        """
        from circuitgraph.catalog.filing import gather_content, name_circuit, write_content

        source = self._require_folder()
        content = gather_content(circuit, evidence, pictures)
        wanted = EntryName.parse(name) if name else name_circuit(content.record)
        with self._hold():
            chosen = wanted if name else _number_name(wanted, self._is_free)
            if name:
                self._check_name(chosen, overwrite)
            write_content(content, source.find_folder(chosen), overwrite=overwrite and bool(name))
        return Entry(chosen, source)

    def add_evidence(self, name: str, evidence: Iterable[Record | str | Path]) -> Entry:
        """Add records to an entry that is there; its card is written again.

        Raises:
            DataError, OutputError: as `add`.
        """
        from circuitgraph.catalog.filing import gather_content, write_content

        source, evidence = self._require_folder(), tuple(evidence)
        with self._hold():
            entry = self.get(name)
            folder = source.find_folder(entry.name)
            with entry.open_folder():  # which refuses links that lead out of the catalog
                content = gather_content(folder, evidence, ())
            write_content(content, folder, overwrite=True)
        return entry

    def remove(self, name: str) -> None:
        """Remove an entry, and the folders of its task and model if they are empty then.

        Raises:
            UnknownNameError: it is not there.
            OutputError: it holds files that are no part of an entry, or cannot be removed.
        """
        from circuitgraph.catalog.folders import remove_folder

        source = self._require_folder()
        with self._hold():
            folder = source.find_folder(self.get(name).name)
            remove_folder(folder)
            for parent in (folder.parent, folder.parent.parent):
                if not any(parent.iterdir()):
                    parent.rmdir()

    def _require_folder(self) -> FolderSource:
        if not isinstance(self._source, FolderSource):
            raise OutputError(
                f"{self.place!r} is a URL, which is only read: add to a folder, and copy that."
            )
        return self._source

    @contextmanager
    def _hold(self) -> Iterator[None]:
        """Keep other processes from writing to this catalog."""
        from circuitgraph.catalog.locks import hold_folder

        root = self._require_folder().root
        try:
            root.mkdir(parents=True, exist_ok=True)
            with hold_folder(root):
                yield
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            reason = error.strerror or error
            raise OutputError(
                f"The catalog {self.place!r} cannot be written: {reason}. Choose another folder."
            ) from error

    def _is_free(self, name: EntryName) -> bool:
        taken = {str(each).casefold() for each in self._source.list_names()[0]}
        folder = self._require_folder().find_folder(name)
        return str(name).casefold() not in taken and not os.path.lexists(folder)

    def _check_name(self, name: EntryName, overwrite: bool) -> None:
        """Refuse a name that is taken, or that differs from a taken one in capitals only."""
        for each in self._source.list_names()[0]:
            same = each == name
            if str(each).casefold() == str(name).casefold() and not (same and overwrite):
                raise OutputError(
                    f"There is an entry {str(each)!r} in {self.place!r} already: choose another "
                    "name" + (", or overwrite it." if same else ".")
                )


def _number_name(wanted: EntryName, is_free: Callable[[EntryName], bool]) -> EntryName:
    name, number = wanted, 2
    while not is_free(name):
        name = EntryName(wanted.model, wanted.task, f"{wanted.slug}-{number}")
        number += 1
    return name
