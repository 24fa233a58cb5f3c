"""Files of pairs as they are written: JSON lines, a table with columns (CSV), or texts alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from circuitgraph.errors import DataError, list_problems
from circuitgraph.foreign import parse_json, read_text

SUFFIXES = (".jsonl", ".csv", ".txt")
Text = str | list[int]  # text, or token ids
Answer = str | int
Position = int | str  # a token's number, a role, or a text that stands in the prompt once
_IDS = {
    "correct_idx": "answer",
    "incorrect_idx": "distractor",
}  # EAP-IG's names (Hanna et al. 2024)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Header(_Strict):
    """The first line of a file, if it has no ``clean``: what holds for all lines.

    Attributes:
        words: groups of words that the task treats alike; see `Source`.
        metric, bos, chat, score_at: defaults for this file.
    """

    words: dict[str, list[str | list[str]]] = Field(default_factory=dict)
    metric: str | None = None
    bos: Literal["auto", "yes", "no"] | None = None
    chat: bool | None = None
    score_at: Position | list[Position] | None = None


class PairLine(_Strict):
    """One pair as it is written."""

    clean: Text
    corrupted: Text | None = None
    answer: Answer | list[Answer] | None = None
    distractor: Answer | list[Answer] | None = None
    roles: dict[str, Position] = Field(default_factory=dict)
    score_at: Position | list[Position] | None = None


@dataclass
class PairFile:
    """What a file says.

    Attributes:
        sha256_of: the text that the hash of the file is taken of.
        lines: each with its number in the file.
        problems: lines that cannot be read.
        notes: what a user should know, such as columns that are not used.
    """

    sha256_of: str
    header: Header = field(default_factory=Header)
    lines: list[tuple[int, PairLine]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse_problems(self, path: Path, problems: list[str], more: str = "") -> None:
        """Raise `DataError` with all of these problems, if there are any; ``more`` is a sentence
        about the file.
        """
        if problems:
            title = (
                f"The data file {str(path)!r} cannot be used. Expected one object a line, such as "
                '{"clean": "...", "corrupted": "...", "answer": " one-token", '
                f'"distractor": " one-token"}}.{more}'
            )
            raise DataError(list_problems(title, problems))


def read_pair_file(path: Path) -> PairFile:
    """Read a file; lines that are not as expected are its ``problems``.

    Raises:
        DataError: there is no such file, or it is no text.
    """
    try:
        content = read_text(path, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"The data file {str(path)!r} cannot be read: {error}") from error
    file = PairFile(content)
    if path.suffix == ".csv":
        _read_table(file, content)
    elif path.suffix == ".txt":  # a prompt on each line, of which nothing else is known
        texts = enumerate(content.split("\n"), 1)
        file.lines = [(i, PairLine(clean=text)) for i, text in texts if text.strip()]
    else:
        _read_json_lines(file, content)
    if not file.lines and not file.problems:
        file.problems = ["the file is empty"]
    return file


def _read_json_lines(file: PairFile, content: str) -> None:
    lines = [(i, line) for i, line in enumerate(content.split("\n"), 1) if line.strip()]
    for place, (number, line) in enumerate(lines):
        try:
            fields = parse_json(line)
            if not isinstance(fields, dict):
                file.problems.append(f"line {number}: Input should be an object")
            elif place == 0 and _is_header(fields):
                file.header = Header.model_validate(fields)
            else:
                file.lines.append((number, PairLine.model_validate(fields)))
        except ValidationError as error:
            file.problems += _format_errors(number, error)
        except DataError as error:
            file.problems.append(f"line {number}: Invalid JSON: {error}")


def _is_header(fields: Mapping[str, Any]) -> bool:
    return bool(fields) and set(fields) <= set(Header.model_fields)


def _read_table(file: PairFile, content: str) -> None:
    rows = csv.DictReader(io.StringIO(content, newline=""))
    columns = list(rows.fieldnames or [])
    known = {*PairLine.model_fields, *_IDS} - {"roles"}
    if unused := [column for column in columns if column not in known]:
        file.notes.append(f"Columns that are not used: {', '.join(unused)}.")
    for row in _iterate_rows(file, rows):
        try:
            fields = {name: _read_cell(name, row[name]) for name in columns if name in known}
            line = PairLine.model_validate({_IDS.get(name, name): v for name, v in fields.items()})
            file.lines.append((rows.line_num, line))
        except ValidationError as error:
            file.problems += _format_errors(rows.line_num, error)


def _iterate_rows(file: PairFile, rows: csv.DictReader) -> Iterator[dict[Any, Any]]:
    """The rows of a table, up to what is no table."""
    try:
        yield from rows
    except csv.Error as error:
        file.problems.append(f"line {rows.line_num + 1}: {error}")


def _read_cell(column: str, cell: str | None) -> Any:
    """A cell's value: a token id, or a list of them in JSON, where the column holds ids."""
    if not cell:
        return None
    if column not in (*_IDS, "score_at"):
        return cell
    try:
        return parse_json(cell)
    except ValueError:
        return cell


def _format_errors(number: int, error: ValidationError) -> list[str]:
    """One problem for each field; of a field that may be several things, all of them at once."""
    problems: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        location: tuple[Any, ...] = detail["loc"]
        # ("answer", "list[union[str,int]]", 0, "str"): the name, and 0 where it is an index
        names = [str(part) for part in location if not _is_type_name(part)]
        problems.setdefault(".".join(names[:2]), []).append(detail["msg"])
    return [
        f"line {number}: " + (f"{where}: " if where else "") + " or ".join(dict.fromkeys(messages))
        for where, messages in problems.items()
    ]


def _is_type_name(part: int | str) -> bool:
    return isinstance(part, str) and (part in ("str", "int") or part.startswith("list["))
