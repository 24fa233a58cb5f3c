"""The reader of others' JSON and TOML: what it refuses, and that it reads all else as json does."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.foreign import convert_setting, parse_json, parse_toml, read_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(-(2**100), 2**100) | TEXTS
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
@settings(max_examples=60, deadline=None)
def test_what_json_writes_is_read_back(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


@given(st.text(max_size=40) | st.text('[]{},:"\\u0de19a ', max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_json, parse_toml):
        with suppress(DataError):
            parse(text)


BAD = {
    "depth": ("[" * 40 + "]" * 40, "nested more than 32 levels"),
    "depth beyond Python's": ("[" * 200_000, "nested more than 32 levels"),
    "twice": ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' is there twice"),
    "nan": ('{"a": [0, NaN]}', r"a\.1 is nan"),
    "infinity": ('{"a": -Infinity}', "a is -inf"),
    "too large for a float": ('{"a": 1e400}', "a is inf"),
    "many digits": (f'{{"a": {"9" * 60}}}', r"a is a number of \d+ bits"),
    "too many digits": (f'{{"a": {"9" * 5000}}}', "integer string conversion"),
    "half a character": (r'{"a": "\ud800"}', "surrogate"),
    "half a character in a name": (r'{"\udfff": 1}', "surrogate"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_nothing_can_take_is_refused(case: str) -> None:
    text, phrase = BAD[case]
    with pytest.raises(DataError, match=phrase):
        parse_json(text)


def test_toml_is_bounded_too() -> None:
    with pytest.raises(DataError, match="nested"):
        parse_toml("a = " + "[" * 5000)
    with pytest.raises(DataError, match="262,144"):
        parse_toml("a = '" + "x" * 300_000 + "'")
    with pytest.raises(DataError, match="bits"):
        parse_toml("a = 0x" + "f" * 5000)


def test_a_file_is_not_read_beyond_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(["x" * 100]))
    assert read_json(file, 104) == ["x" * 100]
    with pytest.raises(DataError, match="more than 103 bytes"):
        read_json(file, 103)


@pytest.mark.parametrize(
    ("value", "hint", "phrase"),
    [
        ("x", int, "x is 'x', but must be a whole number"),
        (True, int, "must be a whole number"),
        (1, str, "must be a word"),
        (2**63, int, "64 bits"),
        (float("nan"), float | None, "must be a finite number"),
        ([], float | None, "must be a number"),
    ],
)
def test_a_setting_has_the_type_of_what_it_is_given_to(value: Any, hint: Any, phrase: str) -> None:
    with pytest.raises(ArgumentError, match=phrase):
        convert_setting("x", value, hint)


def test_a_huge_number_is_not_printed() -> None:
    with pytest.raises(ArgumentError, match="a number of 24001 bits"):
        convert_setting("x", 16**6000, float)


def test_a_setting_that_fits_is_taken() -> None:
    assert convert_setting("x", 1, float | None) == 1.0
    assert convert_setting("x", None, float | None) is None
    assert convert_setting("x", [1], list[int]) == [1]
