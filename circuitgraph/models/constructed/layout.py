"""Where a program's parts go in a transformer: the nodes that compute, the directions that hold.

Each expression is computed by one head or MLP, and lies in directions of the residual stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from circuitgraph.graph.node import Node
from circuitgraph.models.constructed.rasp import (
    Aggregate,
    Expression,
    Indices,
    NumericalMap,
    Share,
    Tokens,
)
from circuitgraph.models.constructed.rasp_program import RaspProgram, Use
from circuitgraph.models.constructed.values import Domain, Domains

EMBED = "embed"
LOGITS = "logits"


@dataclass(frozen=True)
class Layout:
    """The nodes and directions of a program's expressions.

    Attributes:
        writers: the node that computes each expression. Several expressions share ``embed`` or an
            MLP; a head computes one expression only.
        directions: where in the residual stream each expression lies: one direction for each value
            of a categorical, one for a numerical. The first direction of the stream marks the
            beginning of the sequence.
        n_layers, n_heads, d_model: the sizes that the program needs.
    """

    program: RaspProgram
    domains: Domains
    writers: Mapping[Expression, str]
    directions: Mapping[Expression, range]
    n_layers: int
    n_heads: int
    d_model: int

    def reader_of(self, use: Use) -> str:
        """The reader through which a value is used."""
        if use.consumer is None:
            return LOGITS
        node = self.writers[use.consumer]
        return f"{node}<{use.operand[0]}>" if is_attention(use.consumer) else node

    def list_uses_by_edge(self) -> dict[str, tuple[Use, ...]]:
        """For each edge over which a reader finds a direction that it reads: the uses it serves.

        An edge that only carries where the sequence begins, which is the same in every run, serves
        no use.
        """
        uses: dict[str, list[Use]] = {}
        for e in self.program.expressions:
            if reads_bos(e):
                reader = f"{self.writers[e]}<k>" if is_attention(e) else self.writers[e]
                uses.setdefault(f"{EMBED}->{reader}", [])
            if isinstance(e, Share):
                uses.setdefault(f"{EMBED}->{self.writers[e]}<v>", [])
        for use in self.program.uses:
            edge = f"{self.writers[self.program.source_of(use)]}->{self.reader_of(use)}"
            uses.setdefault(edge, []).append(use)
        return {edge: tuple(served) for edge, served in uses.items()}


def reads_bos(e: Expression) -> bool:
    """Whether the node of an expression must know where the sequence begins.

    A head looks at the beginning, and a numerical map must write nothing there.
    """
    return is_attention(e) or isinstance(e, NumericalMap)


def is_attention(e: Expression) -> bool:
    """Whether a head computes the expression; else an MLP or the embedding does."""
    return isinstance(e, Aggregate | Share)


def lay_out_program(program: RaspProgram, domains: Domains) -> Layout:
    """Every expression as early as possible: in a head, or in the MLP after its operands."""
    stages: dict[Expression, int] = {}  # 0: embedding; then attention (odd) and MLP (even) in turn
    writers: dict[Expression, str] = {}
    n_heads: dict[int, int] = {}  # by layer
    for e in program.expressions:
        if isinstance(e, Tokens | Indices):
            stages[e], writers[e] = 0, EMBED
            continue
        earliest = 1 + max(stages[source] for source in e.operands.values())
        is_odd = is_attention(e)
        stages[e] = stage = earliest + (earliest % 2 != is_odd)
        layer = (stage - 1) // 2
        if is_attention(e):
            writers[e] = str(Node("head", layer, n_heads.setdefault(layer, 0)))
            n_heads[layer] += 1
        else:
            writers[e] = str(Node("mlp", layer))
    directions, start = {}, 1  # direction 0 marks the beginning of the sequence
    for e in program.expressions:
        width = count_directions(e, domains[e])
        directions[e] = range(start, start + width)
        start += width
    n_layers = max(1, (max(stages.values()) + 1) // 2)
    most_heads = max([1, *n_heads.values()])
    return Layout(program, domains, writers, directions, n_layers, most_heads, start)


def count_directions(e: Expression, domain: Domain) -> int:
    """How many directions hold the values of an expression."""
    return 1 if e.kind == "numerical" else len(domain.values)
