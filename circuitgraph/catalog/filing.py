"""What an entry is written from: a circuit, a run's folder, and records about the circuit."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from circuitgraph.catalog.card import write_card
from circuitgraph.catalog.entry_names import EntryName, make_part
from circuitgraph.catalog.evidence_files import (
    EvidenceFile,
    check_about,
    gather_evidence,
    name_file,
)
from circuitgraph.catalog.files import load_circuit, load_record, make_circuit_record, write_circuit
from circuitgraph.catalog.folders import (
    CARD_FILE,
    DATA_FOLDER,
    EVIDENCE_FOLDER,
    JUDGEMENT_FILE,
    PICTURES,
    TABLE_FILE,
    find_path,
    new_folder,
)
from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.catalog.records import CircuitRecord, EvaluationRecord, Record
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit

_SHOWN_FIRST = ("circuit.svg", "circuit.png", "circuit.pdf", "circuit.dot")


@dataclass(frozen=True)
class EntryContent:
    """All of an entry, before it is written.

    Attributes:
        files: what is copied as it is, by its name in the entry.
    """

    circuit: Circuit
    record: CircuitRecord
    judgement: JudgementRecord | None
    evidence: tuple[EvidenceFile, ...]
    files: dict[str, Path]


def gather_content(
    circuit: Circuit | str | Path,
    given: Iterable[Record | str | Path],
    pictures: Sequence[str | Path],
) -> EntryContent:
    """A circuit, or a run's folder, with records; nothing is written.

    Raises:
        DataError: a file is damaged, or a record is about another model.
        ArgumentError: a picture of another name than ``circuit.svg`` and the like.
    """
    folder = None if isinstance(circuit, Circuit) else _find_folder(Path(circuit))
    loaded = circuit if isinstance(circuit, Circuit) else load_circuit(circuit)
    evaluation = None if isinstance(circuit, Circuit) else load_record(circuit).evaluation
    records = [*_gather_own(folder), *gather_evidence(given)]
    judgements = [each.record for each in records if isinstance(each.record, JudgementRecord)]
    judgement = next((each for each in judgements if type(each) is JudgementRecord), None)
    if evaluation is None and judgement is not None:
        names = EvaluationRecord.model_fields
        evaluation = EvaluationRecord(**{name: getattr(judgement, name) for name in names})
    loaded, data = _take_data(loaded, folder)
    record = make_circuit_record(loaded, evaluation)
    for each in records:
        check_about(each, record)
    rest = _name_files(each for each in records if each.record is not judgement)
    files = {**_find_own(folder), **_check_pictures(pictures), **data}
    return EntryContent(loaded, record, judgement, rest, files)


def write_content(content: EntryContent, target: Path, *, overwrite: bool) -> None:
    """Write an entry; either all of it appears or nothing.

    Raises:
        OutputError: the folder is taken, or cannot be written.
    """
    with new_folder(target, overwrite=overwrite) as inside:
        write_circuit(content.circuit, inside, content.record.evaluation)
        if content.judgement is not None:
            _write_record(content.judgement, inside / JUDGEMENT_FILE)
        for name, path in content.files.items():
            (inside / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, inside / name)
        for each in content.evidence:
            (inside / EVIDENCE_FOLDER).mkdir(exist_ok=True)
            _write_record(each.record, inside / EVIDENCE_FOLDER / each.file)
        pictures = sorted(PICTURES & set(content.files), key=_SHOWN_FIRST.index)
        table = content.files.get(TABLE_FILE)
        card = write_card(
            content.record,
            content.judgement,
            content.evidence,
            picture=next(iter(pictures), None),
            table=table and table.read_text(encoding="utf-8"),
        )
        (inside / CARD_FILE).write_text(card, encoding="utf-8")


def name_circuit(record: CircuitRecord) -> EntryName:
    """The name of an entry after its circuit's model, task and algorithm.

    Raises:
        ArgumentError: it names no model or no task.
    """
    if record.model is None or record.task is None:
        raise ArgumentError(
            "This circuit names no model and task, after which its entry could be named: give a "
            "name, MODEL/TASK/SLUG."
        )
    slug = "by-hand" if record.algorithm is None else record.algorithm.name
    return EntryName(
        make_part(record.model.name, "model"),
        make_part(record.task.name, "task"),
        make_part(slug, "algorithm"),
    )


def _find_folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _gather_own(folder: Path | None) -> list[EvidenceFile]:
    """The judgement and evidence that lie in a folder."""
    if folder is None:
        return []
    paths = [folder / JUDGEMENT_FILE, *sorted((folder / EVIDENCE_FOLDER).glob("*.json"))]
    return gather_evidence(path for path in paths if path.is_file() and not path.is_symlink())


def _find_own(folder: Path | None) -> dict[str, Path]:
    """The pictures, and the table of a curve, that lie in a folder."""
    names = sorted({*PICTURES, TABLE_FILE}) if folder is not None else []
    paths = {name: Path(folder or ".") / name for name in names}
    return {n: path for n, path in paths.items() if path.is_file() and not path.is_symlink()}


def _check_pictures(pictures: Sequence[str | Path]) -> dict[str, Path]:
    paths = {Path(picture).name: Path(picture) for picture in pictures}
    for name, path in paths.items():
        if name not in PICTURES or not path.is_file():
            raise ArgumentError(
                f"{str(path)!r} is no picture of a circuit: expected a file "
                f"{' or '.join(sorted(PICTURES))}."
            )
    return paths


def _take_data(circuit: Circuit, folder: Path | None) -> tuple[Circuit, dict[str, Path]]:
    """The file of pairs that a circuit was searched for on goes into its entry, if it is here.

    A record that is shared must not name a folder that only its maker has.
    """
    task = circuit.provenance.get("task") or {}
    data = task.get("arguments", {}).get("data")
    path = None if data is None else find_path(data, folder or Path.cwd(), Path.is_file)
    if path is None or not _is_same_data(path, task["arguments"]):
        return circuit, {}
    name = f"{DATA_FOLDER}/{path.name}"
    arguments = {**task["arguments"], "data": name}
    provenance = {**circuit.provenance, "task": {**task, "arguments": arguments}}
    return replace(circuit, provenance=provenance), {name: path}


def _is_same_data(path: Path, arguments: dict) -> bool:
    digest = arguments.get("sha256")
    if path.suffix not in {".jsonl", ".csv"} or digest is None:
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    return hashlib.sha256(text.encode()).hexdigest() == digest


def _name_files(evidence: Iterable[EvidenceFile]) -> tuple[EvidenceFile, ...]:
    """Evidence with names; the same record twice counts once."""
    named: dict[str, EvidenceFile] = {}
    for each in evidence:
        # as it is written: a list is a tuple's equal there
        file = name_file(each, [other.file for other in named.values()])
        named.setdefault(each.record.model_dump_json(), replace(each, file=file))
    return tuple(named.values())


def _write_record(record: Record, path: Path) -> None:
    path.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
