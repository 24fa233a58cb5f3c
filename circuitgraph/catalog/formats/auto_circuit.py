"""auto-circuit's edges by their names, as its ``Edge.name`` writes them: ``A0.1->A1.0.Q``.

Read from UFO-101/auto-circuit (``types.py``, ``transformer_lens_utils.py``): ``Resid Start``, heads
``A0.1``, their inputs ``A1.0.Q`` (or ``A1.0`` for all three at once), ``MLP 0``, ``Resid End``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from circuitgraph.catalog.formats.base import Decoded, decoder
from circuitgraph.catalog.formats.named_edges import (
    NamedEdge,
    check_score,
    make_circuit,
    need_graph,
    read_score,
)
from circuitgraph.errors import DataError
from circuitgraph.foreign import parse_json, read_text
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import ARROW
from circuitgraph.printable import NAME, make_printable

_HEAD = re.compile(r"\s*A\d+\.\d+\s*", re.IGNORECASE)
_SCORE = re.compile(r"[,:\t]\s*")


@decoder("auto-circuit", suffix=".txt")
def decode_auto_circuit(path: Path, graph: Graph | None) -> Decoded:
    """auto-circuit: a line for each kept edge, with its score or without; or JSON of the same.

    Lines are ``Resid Start->A0.1.Q`` or ``Resid Start->A0.1.Q, 0.25``; JSON is a list of such names
    or an object with a score for each.
    """
    graph, text = need_graph(graph), read_text(path)
    is_json = text.lstrip()[:1] in ("[", "{")
    entries = list(_parse_content(text) if is_json else _parse_lines(text))
    whole = [entry for entry in entries if _HEAD.fullmatch(entry.name.partition(ARROW)[2])]
    notes = []
    if whole:
        notes.append(
            f"{len(whole)} edges lead into whole heads: each stands for one into q, k and v, with "
            "the same score."
        )
    parts = itertools.chain.from_iterable(map(_split_inputs, entries))
    return Decoded(make_circuit(graph, parts), tuple(notes))


def _split_inputs(entry: NamedEdge) -> list[NamedEdge]:
    """The entry itself, or one for each of q, k and v where it leads into a whole head."""
    name = entry.name.strip()
    if not _HEAD.fullmatch(name.partition(ARROW)[2]):
        return [entry]
    return [NamedEdge(entry.where, f"{name}.{letter}", entry.score) for letter in "QKV"]


def _parse_lines(text: str) -> Iterator[NamedEdge]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, *rest = _SCORE.split(line.strip(), maxsplit=1)
        where = f"line {number}"
        yield NamedEdge(where, name, read_score(rest[0], where) if rest else None)


def _parse_content(text: str) -> Iterator[NamedEdge]:
    content = parse_json(text)
    pairs = content.items() if isinstance(content, dict) else [(name, None) for name in content]
    for number, (name, score) in enumerate(pairs, start=1):
        where = f"entry {number}"
        if not isinstance(name, str):
            raise DataError(f"{where} is {make_printable(repr(name), NAME)}, not an edge's name")
        yield NamedEdge(where, name, check_score(score, where))
