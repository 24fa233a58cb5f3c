"""The one reader of JSON, TOML and YAML that others wrote, and of the settings in them.

A file may be cut, damaged or made to do harm. So what is read is bounded in size and depth, says
each key once, and holds no number that is not finite or does not fit into 128 bits, and no text
that cannot be written again.
"""

from __future__ import annotations

import io
import json
import math
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from circuitgraph.errors import (
    ArgumentError,
    DataError,
    check_choice,
    check_finite,
    unknown_name,
)
from circuitgraph.printable import NAME, make_printable, shorten_text

LARGEST_FILE = 2**28  # bytes: the record of a circuit with all edges of a model of 20 layers
LARGEST_CONFIG = 2**24  # a model's configuration, with the names of its tokens
LARGEST_TOML = 2**18
DEEPEST = 32  # lists and objects within each other
_LARGEST_INT = 2**127  # tokenizers write 10**30 for "no limit"


def read_text(path: Path, largest: int = LARGEST_FILE, encoding: str = "utf-8") -> str:
    """The text of a file; newlines are ``\\n``.

    Raises:
        OSError: the file cannot be read.
        DataError: it is too large.
        UnicodeDecodeError: it is not text.
    """
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise DataError(f"it has more than {largest:,} bytes, the most that is read")
    return io.TextIOWrapper(io.BytesIO(content), encoding=encoding).read()


def read_json(path: Path, largest: int = LARGEST_FILE) -> Any:
    """What a JSON file holds; raises as `read_text` and `parse_json` do: OSError or ValueError."""
    return parse_json(read_text(path, largest))


def parse_json(text: str) -> Any:
    """What a JSON text says.

    Raises:
        DataError: it is no JSON, nested too deeply, says a key twice, or holds a number or text
            that nothing here can take.
    """
    return _parse_text(text, lambda text: json.loads(text, object_pairs_hook=refuse_repeated_keys))


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML text says, which may hold numbers that are not finite; raises as `parse_json`."""
    if len(text) > LARGEST_TOML:
        raise DataError(f"it has {len(text):,} characters, more than the {LARGEST_TOML:,} allowed")
    return _parse_text(text, tomllib.loads, finite=False)


def parse_yaml(text: str) -> Any:
    """What a YAML text says, in plain types only; raises as `parse_json`, and of aliases, by which
    a short text can hold a very long list.
    """
    import yaml

    def load_plain(text: str) -> Any:
        try:
            if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
                raise DataError("it holds an alias (*name)")
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise DataError(str(error)) from error

    return _parse_text(text, load_plain)


def _parse_text(text: str, parse: Callable[[str], Any], *, finite: bool = True) -> Any:
    try:
        content = parse(text)
    except RecursionError as error:
        raise DataError(f"it is nested more than {DEEPEST} levels deep") from error
    except ValueError as error:
        raise DataError(make_printable(str(error))) from error
    _check_values(content, finite)
    return content


def refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs, for ``json.loads``; DataError if a key is there twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise DataError(f"the key {make_printable(twice, NAME)!r} is there twice")
    return content


def _check_values(content: Any, finite: bool) -> None:
    """Refuse what is nested too deeply, and values that nothing here can take."""
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), content)]
    while waiting:
        path, value = waiting.pop()
        if len(path) > DEEPEST:
            raise DataError(f"it is nested more than {DEEPEST} levels deep")
        if isinstance(value, dict):
            waiting += [((*path, key), inner) for key, inner in value.items()]
            problem = next(filter(None, map(_find_problem, value)), None)
        elif isinstance(value, list):
            waiting += [((*path, i), inner) for i, inner in enumerate(value)]
            continue
        else:
            problem = _find_problem(value, finite)
        if problem:
            where = make_printable(".".join(map(str, path)), NAME)
            raise DataError(f"{where + ' ' if where else ''}{problem}")


def _find_problem(value: Any, finite: bool = True) -> str | None:
    """What is wrong with one number or text; None if nothing is."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            return "holds half of a character (a surrogate), which is no text"
    elif isinstance(value, float):
        if finite and not math.isfinite(value):
            return f"is {value}, but must be a finite number"
    elif isinstance(value, int) and abs(value) > _LARGEST_INT:
        return f"is a number of {value.bit_length()} bits"
    return None


# Settings

_KIND_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
}


def convert_settings(
    kind: str, known: Iterable[str], hints: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings in the types of their hints.

    Args:
        kind: what they are settings of, for messages.

    Raises:
        UnknownNameError: one that is not known.
        ArgumentError: as `convert_setting`.
    """
    known = list(known)
    for name in given:
        if name not in known:
            raise unknown_name(kind, name, known)
    return {
        name: convert_setting(name, value, hints.get(name, Any)) for name, value in given.items()
    }


def convert_setting(setting: str, value: Any, hint: Any) -> Any:
    """A setting's value in the type of what it is for: a whole number where a float is wanted is
    one, and so is one value where a tuple is wanted.

    Args:
        hint: the type; a value of another than bool, int, float, str, a choice (`Literal`), a tuple
            of one of these, and unions with None, is taken as it is.

    Raises:
        ArgumentError: another type, no such choice, a number that is not finite, or one beyond 64
            bits.
    """
    union = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if value is None and type(None) in union:
        return value
    kinds = [kind for kind in union if kind is not type(None)]
    if get_origin(kinds[0]) is tuple:
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(convert_setting(setting, each, get_args(kinds[0])[0]) for each in values)
    if get_origin(kinds[0]) is Literal:
        return check_choice(setting, str(value), get_args(kinds[0]))
    if not all(kind in _KIND_NAMES for kind in kinds):
        return value
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ArgumentError(f"{setting} is {_quote(value)}, but must be a number of 64 bits.")
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    fits = isinstance(value, tuple(kinds)) and (not isinstance(value, bool) or bool in kinds)
    if not fits:
        wanted = " or ".join(_KIND_NAMES[kind] for kind in kinds)
        raise ArgumentError(f"{setting} is {_quote(value)}, but must be {wanted}.")
    return check_finite(setting, value) if isinstance(value, float) else value


def _quote(value: Any) -> str:
    is_long = isinstance(value, int) and value.bit_length() > 256
    return f"a number of {value.bit_length()} bits" if is_long else shorten_text(repr(value), NAME)
