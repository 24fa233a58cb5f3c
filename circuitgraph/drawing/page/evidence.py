"""Records beside a circuit, read from the files that commands printed them into."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from circuitgraph.catalog.analysis_record import AnalysisRecord
from circuitgraph.catalog.records import Record, describe_fields
from circuitgraph.catalog.scrub_record import ScrubRecord
from circuitgraph.errors import DataError, list_problems
from circuitgraph.foreign import read_json

R = TypeVar("R", bound=Record)


def load_analysis(file: Path) -> AnalysisRecord:
    """What ``analyze --json`` printed.

    Raises:
        DataError: no such file, or no such record.
    """
    return read_record(file, AnalysisRecord, "what `circuitgraph analyze --json` prints")


def load_scrub(file: Path) -> ScrubRecord:
    """What ``scrub --json`` printed of one hypothesis.

    Raises:
        DataError: no such file, or no such record.
    """
    return read_record(file, ScrubRecord, "what `circuitgraph scrub --json` prints")


def read_record(file: Path, kind: type[R], expected: str) -> R:
    """The record in a file of JSON.

    Args:
        expected: what the file should be, for the message.

    Raises:
        DataError: the file cannot be read, or holds another thing.
    """
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{str(file)!r} cannot be read as JSON: {error}. Give a file with {expected}."
        ) from error
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        title = f"{str(file)!r} is not {expected}:"
        raise DataError(list_problems(title, describe_fields(error))) from error
