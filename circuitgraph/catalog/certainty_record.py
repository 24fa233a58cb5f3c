"""The record of how sure each edge of a circuit is: ``certainty.json`` beside ``circuit.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from circuitgraph.catalog.folders import CERTAINTY_FILE
from circuitgraph.catalog.records import (
    SCHEMA_VERSION,
    Interval,
    Record,
    Seed,
    describe_fields,
    format_lines,
)
from circuitgraph.catalog.single_files import write_file
from circuitgraph.errors import DataError, list_problems
from circuitgraph.foreign import read_json

EdgeKind = Literal["core", "contingent", "noise"]


class RepeatedSearchRecord(Record):
    """One of the searches: by what metric, at what multiple of the threshold, on what sample."""

    metric: str
    factor: float
    sample: int
    n_edges: int


class EdgeCertainty(Record):
    """In which share of the searches an edge was kept.

    ``frequency``: over all searches, with its 95 % interval over samples of the prompts. ``runs``:
    a 1 for each search that kept the edge, else a 0, in the order of the record's searches.
    ``in_circuit``: whether the stored circuit has the edge.
    """

    edge: str
    kind: EdgeKind
    frequency: Interval
    in_circuit: bool
    runs: str


class CertaintyRecord(Record):
    """Which edges a search keeps whatever its threshold, sample of prompts and metric.

    An edge is ``core`` where its frequency is at least ``core``, ``noise`` where it is at most
    ``noise``, else ``contingent``. ``edges``: those of the circuit and all others that a search
    kept, the most frequent first. ``chance``: the frequency of an edge in random circuits of these
    sizes. ``overlap_*``: mean Jaccard overlap of two circuits that differ in that alone, with the
    range that holds 95 % of such pairs; None where there are none.
    """

    schema_version: int = SCHEMA_VERSION
    metrics: list[str]
    factors: list[float] = Field(description="of the search's own threshold, or one over its size")
    n_samples: int = Field(ge=2)
    n_prompts: int
    prompts_sha256: str
    seed: Seed
    core: float
    noise: float
    chance: float
    overlap_samples: Interval | None
    overlap_factors: Interval | None
    overlap_metrics: Interval | None
    seconds: float
    searches: list[RepeatedSearchRecord]
    edges: list[EdgeCertainty]

    def to_json(self) -> str:
        """JSON made to be compared in git: sorted keys, a search and an edge a line."""
        return format_lines(self.model_dump(mode="json"), ("searches", "edges"))

    def count_kinds(self, *, in_circuit: bool) -> dict[EdgeKind, int]:
        """How many edges of each kind the circuit has, or lacks."""
        counts: dict[EdgeKind, int] = {"core": 0, "contingent": 0, "noise": 0}
        for edge in self.edges:
            counts[edge.kind] += edge.in_circuit == in_circuit
        return counts


def save_certainty(record: CertaintyRecord, folder: Path) -> Path:
    """Write ``certainty.json`` beside a circuit; an older one is replaced.

    Raises:
        OutputError: the file cannot be written, or something else has its name.
    """
    file = folder / CERTAINTY_FILE
    write_file(file, record.to_json().encode(), is_own=is_certainty)
    return file


def load_certainty(folder: Path) -> CertaintyRecord:
    """Read ``certainty.json`` from the folder of a circuit.

    Raises:
        DataError: missing, not JSON, or not as the record says.
    """
    file = folder / CERTAINTY_FILE
    if not file.is_file():
        raise DataError(
            f"{str(folder)!r} holds no {CERTAINTY_FILE}: make it with `circuitgraph stability "
            f"{folder}`."
        )
    try:
        return CertaintyRecord.model_validate(read_json(file))
    except ValidationError as error:
        title = f"{str(file)!r} is not the record of certainty about edges:"
        raise DataError(list_problems(title, describe_fields(error))) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{str(file)!r} cannot be read as JSON: {error}.") from error


def is_certainty(content: bytes) -> bool:
    """Whether the content of a file is such a record."""
    try:
        return {"schema_version", "chance", "edges"} <= set(json.loads(content))
    except (ValueError, TypeError):
        return False
