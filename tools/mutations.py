"""Changes of a file at random: of bytes, of values of JSON, of numbers that say sizes."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from circuitgraph.discovery.journal_lines import encode_line

Change = Callable[[bytes, random.Random], bytes]

HOSTILE: tuple[Any, ...] = (
    *(None, True, 0, -1, 5, 1.5, 10**6, 10**9, 10**18, 10**30, 10**400, float("inf"), float("nan")),
    *("", "x", "\x1b[2J", "a\nb", "|", "\0", "\ufffe", "\ud800", "../../x", "x" * 16_384),
    *([], {}, [[]], [0] * 1000, {"name": "x", "seed": "y", "data": 5, "threshold": "z"}),
)
TOKENS = (
    *(b"NaN", b"Infinity", b"1e400", b"9" * 5000, b"[" * 5000, b'{"a":' * 5000, b'"\\ud800"'),
    *(b"\xff\xfe", b"\0", b"\xef\xbb\xbf", b"\x1b[31m", b'"a":1,"a":2,', b"\r\n", b"null"),
)


def mutate(content: bytes, rng: random.Random, own: Change | None = None) -> bytes:
    """The content with one to three changes: of bytes, or of values where it is JSON.

    Args:
        own: a change that knows this kind of file, which then is every second one.
    """
    general: tuple[Change, ...] = (change_value, change_value, change_bytes, insert_token)
    for _ in range(rng.randint(1, 3)):
        change = own if own is not None and rng.random() < 0.5 else rng.choice(general)
        content = change(content, rng)
    return content


def change_value(content: bytes, rng: random.Random) -> bytes:
    """One value of JSON exchanged, added or removed; bytes, if it is no JSON."""
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        return change_bytes(content, rng)
    places = list(_iterate_places(whole))
    if not places:
        return json.dumps(rng.choice(HOSTILE)).encode()
    holder, key = rng.choice(places)
    if isinstance(holder, dict) and rng.random() < 0.2:
        name = rng.choice([value for value in HOSTILE if isinstance(value, str)])
        holder[name] = rng.choice(HOSTILE)
    elif isinstance(holder, dict) and rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = rng.choice(HOSTILE)
    return json.dumps(whole).encode()


def _iterate_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each holder with one of its keys; of a long list only its beginning."""
    if not isinstance(value, dict | list):
        return
    for key in list(value) if isinstance(value, dict) else range(min(len(value), 5)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _iterate_places(value[key])


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """Some bytes exchanged, cut out or repeated."""
    changed = bytearray(content or b"x")
    # Headers, at the beginning, decide more than the rest.
    most = rng.choice((64, 1024, len(changed)))
    start = rng.randrange(min(most, len(changed)))
    end = min(len(changed), start + rng.choice((1, 4, 64, len(changed))))
    kind = rng.randrange(4)
    if kind == 0:
        changed[start] = rng.randrange(256)
    elif kind == 1:
        del changed[start:end]
    elif kind == 2:
        changed[start:start] = changed[start : start + 64]
    else:
        changed[start : start + 8] = rng.randbytes(8)
    return bytes(changed)


def insert_token(content: bytes, rng: random.Random) -> bytes:
    """Something put in that parsers stumble over."""
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice(TOKENS) + content[place:]


def change_header(content: bytes, rng: random.Random) -> bytes:
    """A value in the header of a safetensors file, whose length stays right."""
    length = int.from_bytes(content[:8], "little")
    header = change_value(content[8 : 8 + length], rng)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def change_entry(content: bytes, rng: random.Random) -> bytes:
    """A value in a line of a journal, or lines cut, doubled or moved; all checks are made right."""
    try:
        entries = [json.loads(line) for line in content.splitlines()]
    except (ValueError, RecursionError):
        return change_bytes(content, rng)
    first, second = rng.randrange(len(entries)), rng.randrange(len(entries))
    kind = rng.randrange(6)
    if kind == 0:
        del entries[first]
    elif kind == 1:
        entries[first], entries[second] = entries[second], entries[first]
    elif kind == 2:
        entries.insert(first, entries[second])
    else:
        entries[first] = json.loads(change_value(json.dumps(entries[first]).encode(), rng))
    lines, check = [], 0
    for entry in entries:
        if not isinstance(entry, dict):
            return change_bytes(content, rng)
        entry.pop("check", None)
        try:
            line, check = encode_line(entry, check)
        except ValueError:  # what a journal never writes
            return change_bytes(content, rng)
        lines.append(line)
    return b"".join(lines)


def change_gguf(content: bytes, rng: random.Random) -> bytes:
    """A number of a GGUF file that says how many, how long, where or of what type something is."""
    places = _find_gguf_numbers(content)
    if not places:
        return change_bytes(content, rng)
    place, width = rng.choice(places)
    now = int.from_bytes(content[place : place + width], "little")
    most = 2 ** (8 * width) - 1
    near = (now + 1, now - 1, now * 2, now // 2, rng.randrange(20))
    number = rng.choice((*near, 2**16, 2**20, 2**31, 2**31 - 1, most // 2, most, most - 7, 0))
    return (
        content[:place] + (number % (most + 1)).to_bytes(width, "little") + content[place + width :]
    )


@lru_cache(maxsize=8)
def _find_gguf_numbers(content: bytes) -> list[tuple[int, int]]:
    """Place and width of the numbers of the header; of a list only those of its beginning."""
    from gguf import GGUFReader

    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        try:
            reader = GGUFReader(file.name)
        except Exception:  # it raises whatever comes
            return []
        start = reader.data.ctypes.data
        fields = [*reader.fields.values(), *(tensor.field for tensor in reader.tensors)]
        parts = [part for field in fields for part in field.parts[:12]]
        return [
            (part.ctypes.data - start, part.itemsize)
            for part in parts
            if part.itemsize > 1 and len(part) <= 4 and part.dtype.kind in "ui"
        ]
