"""The lines of a journal: JSON objects, each with the CRC-32 of all lines up to it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from circuitgraph.errors import ArgumentError, DataError, list_problems
from circuitgraph.foreign import parse_json

FORMAT = 1
Entry = dict[str, Any]  # of JSON values
_DEEPEST = 20  # levels of a header that are named one by one
_BEGINNING = b'{"journal": '  # of every header


def encode_entry(entry: Entry) -> bytes:
    """An entry as its check is computed of it."""
    return json.dumps(entry, allow_nan=False).encode()


def encode_line(entry: Entry, before: int) -> tuple[bytes, int]:
    """An entry as a line, and the running check after it."""
    body = encode_entry(entry)
    check = zlib.crc32(body, before)
    return body[:-1] + b', "check": "%08x"}\n' % check, check


def is_journal(content: bytes) -> bool:
    """Whether a file is a journal: its first line is a header, or the beginning of one."""
    line, end, _ = content.partition(b"\n")
    if not end:
        return line.startswith(_BEGINNING) or _BEGINNING.startswith(line)
    header, _ = _parse_line(line, 0)
    return header is not None and "journal" in header


def parse_lines(lines: Sequence[bytes], path: Path) -> list[Entry]:
    """The entries of all lines; a last one that is damaged is left out, as if torn.

    Raises:
        DataError: any other line is damaged, or the file is no journal.
    """
    entries: list[Entry] = []
    check = 0
    for number, line in enumerate(lines, 1):
        entry, check = _parse_line(line, check)
        if entry is None:
            if number == 1 or number < len(lines):
                raise make_damage_error(number, path)
            break
        if number > 1 and not _has_seconds(entry):
            raise make_damage_error(number, path)
        entries.append(entry)
    if not entries or "journal" not in entries[0]:
        raise make_damage_error(1, path)
    return entries


def _parse_line(line: bytes, before: int) -> tuple[Entry | None, int]:
    """A line as an entry, with the running check after it; None if it is damaged."""
    try:
        entry = parse_json(line.decode())
        written_check = entry.pop("check")
        check = zlib.crc32(encode_entry(entry), before)
    except (ValueError, KeyError, AttributeError, TypeError):
        return None, before
    return (entry, check) if written_check == f"{check:08x}" else (None, before)


def _has_seconds(entry: Entry) -> bool:
    """Whether the seconds of an entry, if it has any, are a time."""
    seconds = entry.get("seconds", 0.0)
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return is_number and 0 <= seconds < 1e12


def make_damage_error(number: int, path: Path) -> DataError:
    """The error for a file whose line of that number, from 1, is damaged."""
    if number == 1:
        return DataError(describe_foreign_file(path))
    return DataError(
        f"The journal {str(path)!r} is damaged at line {number}: it, or a line before it, was "
        f"changed, moved or lost. To go on from there, cut the file off before line {number}; or "
        "begin again without it."
    )


def describe_foreign_file(path: Path) -> str:
    """What to say of a file that is no journal."""
    return (
        f"{str(path)!r} is not the journal of a search: its first line is none that circuitgraph "
        "wrote. It was left as it is: choose another place, or remove it."
    )


def check_header(then: Entry, now: Entry, path: Path) -> None:
    """Refuse a journal of anything else than this search.

    Raises:
        ArgumentError: lists all differences.
    """
    old, new = _flatten_object(then), _flatten_object(now)
    differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if not differing:
        return
    differences = [
        f"{key}: {_format_value(old, key)} in the journal, {_format_value(new, key)} now"
        for key in differing
    ]
    advice = (
        "Go on with what the journal has, or begin again: with --overwrite, or in another place."
    )
    if all(key.startswith("environment.") for key in differing):
        advice = (
            "Other versions and devices can give other last digits, so that the result would be "
            "that of neither. Go on with those of the journal, or begin again: with --overwrite, "
            "or in another place."
        )
    title = f"The journal {str(path)!r} is of another search and was left as it is:"
    raise ArgumentError(f"{list_problems(title, differences)}\n{advice}")


def _flatten_object(value: Any, name: str = "") -> dict[str, Any]:
    """Nested objects as one, with dotted names."""
    if not isinstance(value, dict) or name.count(".") > _DEEPEST:
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flatten_object(inner, f"{name}.{key}" if name else key)
    return flat


def _format_value(values: Mapping[str, Any], key: str) -> str:
    text = json.dumps(values[key]) if key in values else "nothing"
    return text if len(text) <= 80 else text[:77] + "..."
