"""Where a program's parts go in a transformer: which head or MLP computes what, and which
directions hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from circuitgraph.graph.node import Node
from circuitgraph.models.constructed.language import (
    Aggregate,
    Expression,
    Indices,
    NumericalMap,
    Program,
    Read,
    Share,
    Tokens,
)
from circuitgraph.models.constructed.values import Domain, Domains

EMBED = "embed"
LOGITS = "logits"


@dataclass(frozen=True)
class Layout:
    """The places of a program's expressions.

    Attributes:
        writers: the node that computes each expression; several share ``embed`` or an MLP, none a
            head.
        directions: where in the residual stream each lies: one direction for each value of a
            categorical, one for a numerical. The first direction of the stream marks the beginning
            of the sequence.
        n_layers, n_heads, d_model: how much of each the program needs.
    """

    program: Program
    domains: Domains
    writers: Mapping[Expression, str]
    directions: Mapping[Expression, range]
    n_layers: int
    n_heads: int
    d_model: int

    def readers(self, read: Read) -> str:
        """The input through which a value is used."""
        if read.consumer is None:
            return LOGITS
        node = self.writers[read.consumer]
        return f"{node}<{read.slot[0]}>" if is_attention(read.consumer) else node

    def carried(self) -> dict[str, tuple[Read, ...]]:
        """For each edge over which a reader finds a direction that it reads: the places whose
        values come that way.

        An edge that only carries where the sequence begins, which is the same in every run, has
        none.
        """
        found: dict[str, list[Read]] = {}
        for e in self.program.expressions:
            if self.reads_bos(e):
                reader = f"{self.writers[e]}<k>" if is_attention(e) else self.writers[e]
                found.setdefault(f"{EMBED}->{reader}", [])
            if isinstance(e, Share):
                found.setdefault(f"{EMBED}->{self.writers[e]}<v>", [])
        for read in self.program.reads:
            edge = f"{self.writers[self.program.source(read)]}->{self.readers(read)}"
            found.setdefault(edge, []).append(read)
        return {edge: tuple(reads) for edge, reads in found.items()}

    def reads_bos(self, e: Expression) -> bool:
        """Whether its node must know where the sequence begins: to look there, or to write nothing
        there.
        """
        return is_attention(e) or isinstance(e, NumericalMap)


def is_attention(e: Expression) -> bool:
    """Whether it is a head; else it is part of an MLP or of the embedding."""
    return isinstance(e, Aggregate | Share)


def lay_out(program: Program, found: Domains) -> Layout:
    """Every expression as early as it can be computed: a head in the attention, a map in the MLP
    after its inputs.
    """
    stages: dict[Expression, int] = {}  # 0: embedding; then attention and MLP in turn
    writers: dict[Expression, str] = {}
    heads: dict[int, int] = {}
    for e in program.expressions:
        if isinstance(e, Tokens | Indices):
            stages[e], writers[e] = 0, EMBED
            continue
        first = 1 + max(stages[source] for source in e.slots.values())
        odd = is_attention(e)
        stages[e] = stage = first + (first % 2 != odd)
        layer = (stage - 1) // 2
        if odd:
            writers[e] = str(Node("head", layer, heads.setdefault(layer, 0)))
            heads[layer] += 1
        else:
            writers[e] = str(Node("mlp", layer))
    directions, start = {}, 1
    for e in program.expressions:
        width = n_directions(e, found[e])
        directions[e] = range(start, start + width)
        start += width
    n_layers = max(1, (max(stages.values()) + 1) // 2)
    return Layout(program, found, writers, directions, n_layers, max([1, *heads.values()]), start)


def n_directions(e: Expression, domain: Domain) -> int:
    """How many directions hold its values."""
    return 1 if e.kind == "numerical" else len(domain.values)
