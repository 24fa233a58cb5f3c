"""The ACDC reference's edges: receiver and sender as TransformerLens's hooks with an index.

Read from ArthurConmy/Automatic-Circuit-Discovery (``TLACDCExperiment.save_edges``, ``TLACDCEdge``):
an entry is ``((receiver, index, sender, index), effect)``. There it is pickled, which is never read
here; ``json.dump`` of the list, or its ``repr`` line by line, is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
from circuitgraph.graph.node import edge_name
from circuitgraph.printable import NAME, shorten_text

_HOOK = r"(?:blocks\.\d+\.)?[a-z_]+(?:\.[a-z_]+)*"
_INDEX = r"[\[(][:\s,NoneCOL\d]*[\])]"
_LINE = re.compile(
    rf"\W*(?P<receiver>{_HOOK})['\"]?,?\s*(?P<at>{_INDEX})['\"]?\W+?"
    rf"(?P<sender>{_HOOK})['\"]?,?\s*(?P<by>{_INDEX})[\s'\"\),:]*(?P<score>[-+\d.eEnaif]*)[\s\)\],]*"
)
_LONGEST = 500  # letters of a line
_NUMBER = re.compile(r"\d+")
_HEAD_INPUT = re.compile(r"blocks\.(\d+)\.attn\.hook_([qkv])")
_LAST = re.compile(r"blocks\.(\d+)\.hook_resid_post")
# From a head's q, k and v to its result, and through an MLP: no edges, but what a node is.
_INSIDE = re.compile(r"blocks\.\d+\.(?:attn\.hook_result|hook_mlp_out)")


@decoder("acdc", suffix=".txt")
def decode_acdc(path: Path, graph: Graph | None) -> Decoded:
    """The ACDC reference: kept edges by hooks, receiver first, with their effects or without.

    Its graph has direct edges from each q, k and v to its head. Where the list has none of them, it
    is taken as of the graph without.
    """
    graph = need_graph(graph)
    with path.open("rb") as file:
        if file.read(1) == b"\x80":
            raise DataError(
                "it is a pickle, which could run code and is never read: write the list as JSON or "
                "line by line where it comes from"
            )
    text = read_text(path)
    hooks = list(_parse_content(text) if text.lstrip().startswith("[[") else _parse_lines(text))
    last = f"blocks.{graph.n_layers - 1}.hook_resid_post"
    entries = [
        NamedEdge(edge.where, _name_edge(edge, last), edge.score)
        for edge in hooks
        if not _INSIDE.fullmatch(edge.receiver)
    ]
    is_direct = any(_HEAD_INPUT.fullmatch(edge.receiver) for edge in hooks)
    notes = [] if is_direct else ["The list has no direct q, k and v edges: it is read without."]
    whole = replace(graph, direct=is_direct, n_kv_heads=None)
    return Decoded(make_circuit(whole, entries), tuple(notes))


@dataclass(frozen=True)
class HookEdge:
    """One entry: its place in the file, receiver and sender, each with its index."""

    where: str
    receiver: str
    at: str
    sender: str
    by: str
    score: float | None


def _name_edge(edge: HookEdge, last: str) -> str:
    """The edge by names that a graph understands."""
    if match := _HEAD_INPUT.fullmatch(edge.receiver):
        head = f"a{match[1]}.h{_read_head(edge.at)}"
        return edge_name(f"{head}<{match[2]}>", head)
    return edge_name(
        _name_node(edge.sender, edge.by, last), _name_node(edge.receiver, edge.at, last)
    )


def _name_node(hook: str, index: str, last: str) -> str:
    if hook == last:
        return "logits"
    return f"{hook}[{_read_head(index)}]" if _NUMBER.search(index) else hook


def _read_head(index: str) -> str:
    """The head of ``[:, :, 3]``; nothing of ``[:]``."""
    numbers = _NUMBER.findall(index)
    return numbers[-1] if numbers else ""


def _parse_lines(text: str) -> Iterator[HookEdge]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"line {number}"
        match = _LINE.fullmatch(line) if len(line) <= _LONGEST else None
        if match is None:
            raise DataError(
                f"{where} is {shorten_text(line, NAME)!r}, but must name a receiver and a sender "
                "with their indices, as in blocks.1.hook_q_input[:, :, 0] <- "
                "blocks.0.attn.hook_result[:, :, 3]"
            )
        ends = (match[part] for part in ("receiver", "at", "sender", "by"))
        yield HookEdge(where, *ends, score=read_score(match["score"], where))


def _parse_content(text: str) -> Iterator[HookEdge]:
    for number, entry in enumerate(parse_json(text), start=1):
        where, score = f"entry {number}", None
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], list):
            entry, score = entry
        if not isinstance(entry, list) or len(entry) != 4:
            raise DataError(f"{where} must be receiver, index, sender, index, and may have a score")
        if not all(isinstance(hook, str) for hook in entry[::2]):
            raise DataError(f"{where} names no hooks")
        ends = (entry[0], str(entry[1]), entry[2], str(entry[3]))
        yield HookEdge(where, *ends, score=check_score(score, where))
