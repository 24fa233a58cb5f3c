"""Heads cut into parts by where they fetch: one writer for each named source, and the rest."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from circuitgraph.errors import ArgumentError
from circuitgraph.graph.node import REST, Node

_NO_NAME = re.compile(r"[\[\]<>@\s]|->")  # what names of nodes, edges and sites are put together of


@dataclass(frozen=True)
class HeadSplit:
    """A head cut into what it fetches at some source positions, each a writer, and the rest.

    A part is ``sum over its positions of attention times value times output weights``; the parts
    sum to what the head writes. All of them read what the head reads, through its q, k and v.

    Attributes:
        sources: names of roles, each one position of every prompt, or numbers of positions from the
            first token, such as ``"0"``.
    """

    layer: int
    head: int
    sources: tuple[str, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The parts, in their order in the graph."""
        names = (*self.sources, REST)
        return tuple(Node("source", self.layer, self.head, name) for name in names)

    @property
    def whole(self) -> Node:
        """The head."""
        return Node("head", self.layer, self.head)


def check_sources(head: Node, sources: Sequence[str]) -> None:
    """Raise `ArgumentError` unless these can be the sources that a head is cut into."""
    if not sources or len(set(sources)) < len(sources):
        raise ArgumentError(f"The sources of {head} are {list(sources)}: at least one, each once.")
    for name in sources:
        if name == REST or not name or _NO_NAME.search(name):
            raise ArgumentError(
                f"{name!r} cannot name a source of {head}: expected the name of a role without "
                "brackets, arrows, '@' or spaces, or the number of a position; 'rest' is what "
                "no name stands for."
            )


def check_head_splits(splits: Collection[HeadSplit], n_layers: int, n_heads: int) -> None:
    """Raise `ArgumentError` unless these are heads of such a model, each once, in their order."""
    places = [(split.layer, split.head) for split in splits]
    inside = all(0 <= layer < n_layers and 0 <= head < n_heads for layer, head in places)
    if places != sorted(set(places)) or not inside:
        listed = [str(split.whole) for split in splits]
        raise ArgumentError(
            f"The heads {listed} are split: expected heads of {n_layers} layers of {n_heads}, each "
            "once, in their order."
        )
    for split in splits:
        check_sources(split.whole, split.sources)
