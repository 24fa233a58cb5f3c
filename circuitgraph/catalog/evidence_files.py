"""Evidence about a circuit: records of other commands that lie beside it in a catalog.

Which record a file holds is seen by its fields. None is executed; a hypothesis is kept as data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from circuitgraph.catalog.analysis_record import AnalysisRecord
from circuitgraph.catalog.claims_record import ClaimsRecord
from circuitgraph.catalog.entry_names import make_part
from circuitgraph.catalog.interchange_record import InterchangeRecord
from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.catalog.records import (
    CircuitRecord,
    EvaluationRecord,
    Interval,
    Record,
    describe_fields,
)
from circuitgraph.catalog.scrub_record import ScrubRecord
from circuitgraph.catalog.steering_record import SteeringRecord
from circuitgraph.errors import ArgumentError, DataError, list_problems
from circuitgraph.foreign import parse_json, read_json

_SOURCES = "evaluate, scrub, test, interchange, analyze or steer"


@dataclass(frozen=True)
class EvidenceFile:
    """One record about a circuit.

    Attributes:
        kind: which command it is of.
        title: of the hypothesis, or of the method.
        verdict: held, refuted or not shown, where it is about a hypothesis.
        text: what it says, in one sentence.
        record: the whole of it.
        file: its name in the entry; empty before it is filed.
    """

    kind: str
    title: str
    verdict: str | None
    text: str
    record: Record
    file: str = ""


def format_interval(interval: Interval | None) -> str:
    """A mean with its interval; a dash where there is none."""
    if interval is None:
        return "-"
    # Adding 0.0 makes "0.000" of "-0.000".
    mean, low, high = (
        f"{round(x, 3) + 0.0:.3f}" for x in (interval.mean, interval.low, interval.high)
    )
    return f"{mean} [{low}, {high}]"


Told = tuple[str, str | None, str]  # title, verdict, text


def _tell_judgement(record: Any) -> Told:
    text = (
        f"faithfulness {format_interval(record.faithfulness)} ({record.metric}) on "
        f"{record.n_prompts} prompts"
    )
    return record.metric, None, text


def _tell_scrub(record: Any) -> Told:
    outcome = record.outcome or ("held" if record.held else "refuted")
    text = (
        f"{format_interval(record.recovered)} of the loss recovered on {record.n} prompts "
        f"({record.metric}); {record.verdict}"
    )
    return record.hypothesis, outcome, text


def _tell_interchange(record: Any) -> Told:
    swaps = [
        f"{' and '.join(swap.variables)} {format_interval(swap.accuracy)}" for swap in record.swaps
    ]
    return (
        record.hypothesis,
        None,
        f"interchange accuracy on {record.n} prompts: {'; '.join(swaps)}",
    )


def _tell_claims(record: Any) -> Told:
    names = dict.fromkeys(claim.hypothesis for claim in record.claims)
    counts = ", ".join(f"{n} {word}" for word, n in record.counts.items() if n)
    refuted = [claim.claim for claim in record.claims if claim.verdict == "refuted"]
    verdicts = {claim.verdict for claim in record.claims}
    verdict = "refuted" if refuted else "held" if verdicts == {"held"} else "not shown"
    text = f"{len(record.claims)} claims: {counts or 'none'}"
    return " and ".join(names), verdict, text + (f" ({', '.join(refuted)})" if refuted else "")


def _tell_analysis(record: Any) -> Told:
    rows = sum(len(table.rows) for table in record.reading.tables)
    return record.method, None, f"a reading with {rows} rows; cannot tell: {record.cannot_tell}"


def _tell_steering(record: Any) -> Told:
    n = len(record.interventions)
    return record.metric, None, f"{n} interventions on units, {record.n_prompts} prompts"


class _Kind(NamedTuple):
    name: str
    record: type[Record]
    fields: frozenset[str]  # that no other kind has all of
    tell: Callable[[Any], Told]


_KINDS = (
    _Kind("judgement", JudgementRecord, frozenset({"faithfulness", "empty"}), _tell_judgement),
    _Kind("scrub", ScrubRecord, frozenset({"loss_scrubbed"}), _tell_scrub),
    _Kind("interchange", InterchangeRecord, frozenset({"swaps", "necessity"}), _tell_interchange),
    _Kind("claims", ClaimsRecord, frozenset({"claims", "counts"}), _tell_claims),
    _Kind("analysis", AnalysisRecord, frozenset({"method", "reading"}), _tell_analysis),
    _Kind("steering", SteeringRecord, frozenset({"interventions"}), _tell_steering),
)


def describe_record(record: Record, file: str = "") -> EvidenceFile:
    """What a record says of a circuit.

    Raises:
        DataError: it is no record that is evidence.
    """
    if isinstance(record, EvaluationRecord) and not isinstance(record, JudgementRecord):
        record = JudgementRecord.model_validate(dict(record))
    for kind in _KINDS:
        if isinstance(record, kind.record):
            title, verdict, text = kind.tell(record)
            return EvidenceFile(kind.name, title, verdict, text, record, file)
    raise DataError(
        f"A {type(record).__name__} is no evidence about a circuit: expected the record of "
        f"{', '.join(kind.name for kind in _KINDS)}."
    )


def parse_evidence(content: Any, file: str) -> list[EvidenceFile]:
    """The records that the JSON of a file holds: one, or a list of several.

    Raises:
        DataError: it holds none, or one that is not as its schema says.
    """
    contents = content if isinstance(content, list) else [content]
    return [describe_record(_validate_record(each, file), file) for each in contents]


def _validate_record(content: Any, file: str) -> Record:
    names = set(content) if isinstance(content, dict) else set()
    kind = next((kind for kind in _KINDS if kind.fields <= names), None)
    if kind is None:
        raise DataError(
            f"{file!r} is no evidence about a circuit: expected what {_SOURCES} print with --json."
        )
    try:
        return kind.record.model_validate(content)
    except ValidationError as error:
        title = f"{file!r} is not the record of a {kind.name}:"
        raise DataError(list_problems(title, describe_fields(error))) from error


def parse_evidence_bytes(content: bytes, file: str) -> list[EvidenceFile]:
    """As `parse_evidence`, of what a file holds."""
    try:
        return parse_evidence(parse_json(content.decode("utf-8")), file)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{file!r} cannot be read as JSON: {error}") from error


def gather_evidence(given: Iterable[Record | str | Path]) -> list[EvidenceFile]:
    """Records, and those that files hold.

    Raises:
        DataError: a file that cannot be read, or holds no evidence.
    """
    gathered: list[EvidenceFile] = []
    for each in given:
        if isinstance(each, Record):
            gathered.append(describe_record(each))
            continue
        try:
            content = read_json(Path(each))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{str(each)!r} cannot be read as JSON: {error}. Give a file of what {_SOURCES} "
                "print with --json."
            ) from error
        gathered += parse_evidence(content, str(each))
    return gathered


def check_about(evidence: EvidenceFile, circuit: CircuitRecord) -> None:
    """Refuse a record about another model than the circuit's.

    Raises:
        DataError: the hashes of the weights differ, or the number of edges.
    """
    about = getattr(evidence.record, "model", None)
    if circuit.model and about and about.weights_sha256 != circuit.model.weights_sha256:
        raise DataError(
            f"The {evidence.kind} {evidence.title!r} is about other weights "
            f"({about.name!r}, SHA-256 {about.weights_sha256[:12]}) than the circuit's "
            f"({circuit.model.name!r}, {circuit.model.weights_sha256[:12]}): give a record of the "
            "same model."
        )
    minimality = getattr(evidence.record, "minimality", None)
    if minimality is not None and minimality.n_edges != len(circuit.edges):
        raise DataError(
            f"The judgement is of a circuit of {minimality.n_edges} edges, but this one has "
            f"{len(circuit.edges)}: judge this circuit (circuitgraph evaluate --json)."
        )


def name_file(evidence: EvidenceFile, taken: Iterable[str]) -> str:
    """A free name for a record in an entry's folder of evidence."""
    try:
        stem = f"{evidence.kind}-{make_part(evidence.title.replace('/', '-'), 'evidence')[:60]}"
    except ArgumentError:
        stem = evidence.kind
    names, number, name = set(taken), 2, f"{stem}.json"
    while name in names:
        name, number = f"{stem}-{number}.json", number + 1
    return name
