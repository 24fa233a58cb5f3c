"""What a tokenizer.json may cost, estimated from its rules before any of them runs.

Its steps may make a text longer, each by a factor, and its patterns may go through a text in many
ways: a hundred bytes of rules then ask for terabytes or years. The library that runs them cannot be
stopped. So what no tokenizer in use comes near to is refused.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from circuitgraph.errors import ModelError
from circuitgraph.foreign import refuse_repeated_keys
from circuitgraph.printable import NAME, make_printable

_parser: Any = import_module("re._parser")  # Python's own reader of patterns, without stubs

_LARGEST_FACTOR = 4096  # ALBERT's steps, the longest known, come to about 1,100
_MOST_STEPS = 100
_TEXT = 100  # letters of a text by which the cost of a pattern is judged
_LARGEST_COST = 10**6  # ways through such a text from one place; GPT-4o's patterns have 400,000
_FEW = 16  # a repetition that varies by more counts as one without end
_STEPS = ("normalizer", "pre_tokenizer", "decoder")
# The most letters that one letter becomes, in a step without settings that matter.
_FACTORS = {"ByteLevel": 4.0, "Metaspace": 2.0, "Lowercase": 3.0, "BertNormalizer": 3.0}
_FACTORS |= {"NFC": 3.0, "NFD": 4.0, "NFKC": 18.0, "NFKD": 18.0}
Ways = tuple[float, int]  # how many at each place, and how often places are chosen


def check_rules(path: Path) -> None:
    """Refuse a tokenizer.json by which a short text could take minutes or gigabytes.

    Raises:
        ModelError: says which step.
        ValueError: the file is no JSON.
    """
    content = json.loads(path.read_bytes(), object_pairs_hook=refuse_repeated_keys)
    parts = [content.get(part) for part in _STEPS] if isinstance(content, dict) else []
    steps = [step for part in parts for step in _iterate_steps(part)]
    if len(steps) > _MOST_STEPS:
        raise _make_error(f"it has {len(steps):,} steps, more than the {_MOST_STEPS} allowed")
    factor = math.prod(map(_estimate_factor, steps))
    if factor > _LARGEST_FACTOR:
        raise _make_error(
            f"its steps may make a text {factor:.3g} times as long; at most {_LARGEST_FACTOR:,} "
            "times is allowed"
        )
    patterns = [pattern for step in steps if (pattern := _find_pattern(step)) is not None]
    cost = sum(map(estimate_cost, patterns))
    if cost > _LARGEST_COST:
        worst = make_printable(max(patterns, key=estimate_cost), NAME)
        raise _make_error(f"there may be very many ways to match its pattern {worst!r}")


def _make_error(reason: str) -> ModelError:
    return ModelError(
        f"its tokenizer.json may take minutes or gigabytes for a short text: {reason}. If you know "
        "where the tokenizer comes from, say so: --trust-remote-code, or trust_remote_code=True"
    )


def _iterate_steps(part: Any) -> Iterator[Mapping[str, Any]]:
    """All steps within a part, those of sequences one by one."""
    waiting = [part]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            if value.get("type") not in (None, "Sequence"):
                yield value
            waiting += [inner for inner in value.values() if isinstance(inner, dict | list)]


def _estimate_factor(step: Mapping[str, Any]) -> float:
    """How many times as long a step can make a text, at most."""
    kind, content = step.get("type"), step.get("content")
    if kind == "Replace" and isinstance(content, str):
        shortest = _find_shortest(step)
        return max(1.0, len(content) / shortest) if shortest else 1.0 + len(content)
    if kind == "Prepend" and isinstance(step.get("prepend"), str):
        return 1.0 + len(step["prepend"])
    if kind == "Precompiled" and isinstance(step.get("precompiled_charsmap"), str):
        return _find_longest(step["precompiled_charsmap"])
    return _FACTORS.get(kind, 1.0) if isinstance(kind, str) else 1.0


def _find_shortest(step: Mapping[str, Any]) -> int:
    """Letters of the shortest text that a step replaces."""
    pattern = _find_pattern(step)
    if pattern is not None:
        parsed = _parse_pattern(pattern)
        return 0 if parsed is None else parsed.getwidth()[0]
    text = step.get("pattern", {})
    return len(text.get("String", "")) if isinstance(text, dict) else 0


def _find_longest(charsmap: str) -> float:
    """Bytes of the longest replacement in sentencepiece's table: an index, then texts."""
    content = base64.b64decode(charsmap)
    texts = content[4 + int.from_bytes(content[:4], "little") :]
    return float(max(1, *map(len, texts.split(b"\0"))))


# Patterns


def _find_pattern(step: Mapping[str, Any]) -> str | None:
    pattern = step.get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, dict) else None
    return regex if isinstance(regex, str) else None


def estimate_cost(pattern: str) -> float:
    """In how many ways a pattern may go through a text of a hundred letters from one place.

    Infinite where a repetition is repeated, where one place depends on another (references), and
    where the pattern is of a kind that is not known here.
    """
    parsed = _parse_pattern(pattern)
    if parsed is None or parsed.state.flags & re.VERBOSE:  # which has comments too
        return math.inf
    whole = list(parsed)
    # Alternatives of the whole pattern are tried one after the other, never combined.
    is_choice = len(whole) == 1 and str(whole[0][0]) == "BRANCH"
    choices = whole[0][1][1] if is_choice else [whole]
    try:
        ways = [_count_ways(choice) for choice in choices]
    except (ValueError, RecursionError):
        return math.inf
    return sum(n * float(_TEXT) ** degree for n, degree in ways)


def _parse_pattern(pattern: str) -> Any:
    """Python's view of a pattern; None if it has none. Sets and properties count as a letter."""
    # A comment may hold half of a set.
    usual = None if "(?#" in pattern else _drop_sets(pattern)
    if usual is None:
        return None
    usual = re.sub(r"\\[pP]\{\^?[\w ]+\}", r"\\w", usual).replace(r"\z", r"\Z")
    try:
        return _parser.parse(usual)
    except (re.error, OverflowError, RecursionError):
        return None


def _drop_sets(pattern: str) -> str | None:
    """The pattern with a letter for each set, which may hold others; None if one does not end."""
    parts, depth = [], 0
    for part in re.findall(r"\\.|\[\^?\]?|.", pattern, re.DOTALL):
        if part.startswith("["):
            parts += [r"\w"] * (not depth)
            depth += 1
        elif part == "]" and depth:
            depth -= 1
        elif not depth:
            parts.append(part)
    return None if depth else "".join(parts)


def _count_ways(parts: Any) -> Ways:
    """The ways of parts in a row. Raises ValueError where they are not bounded by a power."""
    total, degree = 1.0, 0
    for name, argument in parts:
        count = _COUNTERS.get(str(name), _count_letter)
        n, more = count(argument)
        total, degree = total * n, degree + more
    return total, degree


def _count_letter(argument: Any) -> Ways:
    del argument
    return 1.0, 0


def _count_repeat(argument: Any) -> Ways:
    least, most, inner = argument
    n, degree = _count_ways(inner)
    if most <= 1:
        return n + 1, degree
    if n > 1 or degree:
        raise ValueError("a repetition within a repetition")
    return (most - least + 1.0, 0) if most - least <= _FEW else (1.0, 1)


def _count_possessive(argument: Any) -> Ways:
    # In the library's own syntax a{2,3}+ is a repetition of a repetition.
    if argument[1] not in (1, _parser.MAXREPEAT):
        raise ValueError("a repetition of a repetition")
    return _count_repeat(argument)


def _count_choice(argument: Any) -> Ways:
    ways = [_count_ways(choice) for choice in argument[1]]
    return sum(n for n, _ in ways), max(degree for _, degree in ways)


def _count_group(argument: Any) -> Ways:
    _, added_flags, _, inner = argument
    if added_flags & re.VERBOSE:
        raise ValueError("a pattern with comments")
    return _count_ways(inner)


def _refuse_reference(argument: Any) -> Ways:
    raise ValueError(f"a reference to {argument}")


_COUNTERS: dict[str, Callable[[Any], Ways]] = {
    "MAX_REPEAT": _count_repeat,
    "MIN_REPEAT": _count_repeat,
    "POSSESSIVE_REPEAT": _count_possessive,
    "BRANCH": _count_choice,
    "SUBPATTERN": _count_group,
    "ATOMIC_GROUP": _count_ways,
    "ASSERT": lambda argument: _count_ways(argument[1]),
    "ASSERT_NOT": lambda argument: _count_ways(argument[1]),
    "GROUPREF": _refuse_reference,
    "GROUPREF_EXISTS": _refuse_reference,
}
