"""What a page shows of one circuit: its record, and the judgement that lies beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from circuitgraph.catalog.certainty_record import CertaintyRecord, load_certainty
from circuitgraph.catalog.files import load_circuit, load_record, make_circuit_record
from circuitgraph.catalog.folders import CERTAINTY_FILE
from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.catalog.records import CircuitRecord
from circuitgraph.drawing.page.evidence import read_record
from circuitgraph.graph.circuit import Circuit

JUDGEMENT_FILE = "judgement.json"


@dataclass(frozen=True)
class PageCircuit:
    """A circuit with what is known of it.

    Attributes:
        name: what the page calls it.
        judgement: measures beside the evaluation, such as how often each edge is found again.
        certainty: what repeated searches kept, by other metrics, thresholds and samples.
    """

    name: str
    circuit: Circuit
    record: CircuitRecord
    judgement: JudgementRecord | None = None
    certainty: CertaintyRecord | None = None


def load_entry(path: str | Path) -> PageCircuit:
    """The circuit of a folder, or of its ``circuit.json``, with what lies beside it.

    Raises:
        DataError: a file is missing or damaged.
    """
    path = Path(path)
    circuit, record = load_circuit(path), load_record(path)
    folder = path if path.is_dir() else path.parent
    file, judgement = folder / JUDGEMENT_FILE, None
    if file.is_file():
        judgement = read_record(file, JudgementRecord, "what `circuitgraph evaluate --json` prints")
    certainty = load_certainty(folder) if (folder / CERTAINTY_FILE).is_file() else None
    return PageCircuit(name_record(record, folder.name), circuit, record, judgement, certainty)


def make_entry(circuit: Circuit, name: str) -> PageCircuit:
    """A circuit that lies in no file, or not yet."""
    record = make_circuit_record(circuit)
    return PageCircuit(name_record(record, name), circuit, record)


def name_record(record: CircuitRecord, name: str) -> str:
    """``ioi in multitask``; the given name where the record names no task."""
    task = record.task.name if record.task else name
    return f"{task} in {record.model.name}" if record.model else task
