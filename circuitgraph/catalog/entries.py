"""One entry of a catalog: a circuit with all that is known of it, read as it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circuitgraph.catalog.entry_names import EntryName
from circuitgraph.catalog.folders import (
    CARD_FILE,
    CIRCUIT_FILE,
    EVIDENCE_FOLDER,
    JUDGEMENT_FILE,
)
from circuitgraph.catalog.sources import CatalogSource
from circuitgraph.catalog.summaries import Summary, read_summary_line
from circuitgraph.errors import CircuitGraphError, DataError

if TYPE_CHECKING:
    from circuitgraph.catalog.evidence_files import EvidenceFile
    from circuitgraph.catalog.judgement_record import JudgementRecord
    from circuitgraph.catalog.records import CircuitRecord
    from circuitgraph.graph.circuit import Circuit


@dataclass(frozen=True)
class Entry:
    """A circuit in a catalog. Nothing is read before it is asked for.

    Every method raises DataError, which names the entry, where a file is missing or damaged.
    """

    name: EntryName
    source: CatalogSource

    def __str__(self) -> str:
        return str(self.name)

    def summarise(self) -> Summary:
        """The entry in a line, by a glance at its record."""
        with name_entry(self.name):
            content = self.source.read_file(self.name, CIRCUIT_FILE)
            return read_summary_line(content, str(self.name), self.source.place)

    def read_record(self) -> CircuitRecord:
        """The whole ``circuit.json``, checked."""
        from circuitgraph.catalog.files import load_record

        with name_entry(self.name), self.source.open_folder(self.name) as folder:
            return load_record(folder)

    def read_circuit(self) -> Circuit:
        """The circuit with its scores."""
        from circuitgraph.catalog.files import load_circuit

        with name_entry(self.name), self.source.open_folder(self.name) as folder:
            return load_circuit(folder)

    def read_judgement(self) -> JudgementRecord | None:
        """The judgement of the circuit; None if there is none."""
        from circuitgraph.catalog.judgement_record import JudgementRecord

        records = [each.record for each in self._read_evidence_file(JUDGEMENT_FILE)]
        return next((each for each in records if isinstance(each, JudgementRecord)), None)

    def read_evidence(self) -> list[EvidenceFile]:
        """All else that is known of it: scrubs, claims, readings, further judgements."""
        files = self.source.list_files(self.name, EVIDENCE_FOLDER)
        return [
            each
            for file in files
            if file.endswith(".json")
            for each in self._read_evidence_file(f"{EVIDENCE_FOLDER}/{file}")
        ]

    def read_card(self) -> str | None:
        """The text of the card; None if there is none."""
        if CARD_FILE not in self.source.list_files(self.name):
            return None
        with name_entry(self.name):
            content = self.source.read_file(self.name, CARD_FILE)
            try:
                return content.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"its {CARD_FILE} is no text") from error

    def open_folder(self) -> AbstractContextManager[Path]:
        """A folder of this machine that holds the circuit's files, while the body runs."""
        return self.source.open_folder(self.name)

    def _read_evidence_file(self, file: str) -> list[EvidenceFile]:
        from circuitgraph.catalog.evidence_files import parse_evidence_bytes

        folder, _, name = file.rpartition("/")
        if name not in self.source.list_files(self.name, folder):
            return []
        with name_entry(self.name):
            return parse_evidence_bytes(self.source.read_file(self.name, file), file)


@contextmanager
def name_entry(name: EntryName | str) -> Iterator[None]:
    """Have errors of an entry say which entry it is."""
    try:
        yield
    except CircuitGraphError as error:
        raise DataError(f"Entry {str(name)!r}: {error}") from error
