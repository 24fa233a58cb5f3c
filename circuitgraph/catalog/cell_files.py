"""Cells of a table in a folder: a JSON file for each as soon as it is measured, to resume from."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from circuitgraph.catalog.records import Record
from circuitgraph.catalog.single_files import check_file, write_file
from circuitgraph.errors import DataError
from circuitgraph.foreign import read_json

_FOREIGN = re.compile(r"[^\w.=+-]+|^\.+")  # what no file is named with, or hides it, or leads out


class CellQuestion(Record):
    """What a cell answers; its three parts name the cell's file."""

    @property
    @abstractmethod
    def parts(self) -> tuple[str, str, str]:
        """The names of two folders and of the file in them."""


CellRecord = TypeVar("CellRecord", bound=Record)


@dataclass(frozen=True)
class CellFiles(Generic[CellRecord]):
    """Cells of one kind, each in the file of its question.

    Attributes:
        kind: the record, whose ``question`` is a `CellQuestion`.
        table: what the cells are of, for messages.
    """

    kind: type[CellRecord]
    table: str

    def locate(self, folder: Path, question: CellQuestion) -> Path:
        """The file of a question's cell."""
        first, second, third = (_FOREIGN.sub("-", part) for part in question.parts)
        return folder / first / second / f"{third}.json"

    def read(self, folder: Path, question: CellQuestion) -> CellRecord | None:
        """The cell of exactly this question; None if the cell was not measured yet.

        Raises:
            DataError: the file is damaged.
        """
        file = self.locate(folder, question)
        cell: Any = self._parse(file) if file.is_file() else None
        return cell if cell is not None and cell.question == question else None

    def write(self, folder: Path, cell: Any) -> None:
        """Write a cell's file, which appears whole or not at all.

        Raises:
            OutputError: the folder cannot be written, or something else than a cell is there.
        """
        file = self.locate(folder, cell.question)
        write_file(file, (cell.model_dump_json(indent=2) + "\n").encode(), is_own=self._is_cell)

    def check_folder(self, folder: Path) -> None:
        """Refuse a folder into which no cell could be written.

        Raises:
            OutputError: it cannot be made or written.
        """
        check_file(folder / "cell.json", is_own=self._is_cell)

    def read_all(self, folder: Path) -> list[CellRecord]:
        """All cells of a folder, sorted by name."""
        files = sorted(folder.glob("*/*/*.json"), key=lambda file: file.with_suffix("").parts)
        return [self._parse(file) for file in files]

    def _is_cell(self, content: bytes) -> bool:
        try:
            self.kind.model_validate_json(content)
        except ValidationError:
            return False
        return True

    def _parse(self, file: Path) -> CellRecord:
        try:
            return self.kind.model_validate(read_json(file))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{str(file)!r} is no cell of a {self.table}: remove it, and it will be measured "
                "again."
            ) from error
