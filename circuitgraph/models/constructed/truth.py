"""The true circuit of a constructed model: what its program says of edges, without running the
model.

An edge carries values from the expressions that its writer computes to the places of a program
where its reader uses
them. It is *static* if it carries any. It is *true* on given prompts and under a given ablation if
the output at the
scored position is another, on any of the prompts, when these places alone read what the ablation
puts there, and if
other true edges lead from there to the output. (Without the latter an edge could be true although
all that depends on
it may be ablated: half an ablated comparison can say what neither the clean nor the corrupted run
    ever says.) What
does not matter within the circuit so found, where all the rest is ablated, is left out in turn.

So truth is a statement about prompts too. A variable that does not differ between a clean prompt
and its corrupted
one makes no true edge under resampling: the positions of tokens never do, for both are equally
    long, and so all that
is computed from positions only (lengths, in a program that reverses its input) is missing from
every true circuit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.models.constructed.compile import Constructed
from circuitgraph.models.constructed.interpreter import Overrides, Row, answer, run
from circuitgraph.models.constructed.language import OUTPUT, Expression, Program, Read
from circuitgraph.models.constructed.layout import LOGITS
from circuitgraph.models.constructed.vocabulary import sequence_of


@runtime_checkable
class PromptPair(Protocol):
    """What is needed of a pair of prompts: their texts."""

    @property
    def clean(self) -> str: ...
    @property
    def corrupted(self) -> str: ...


@dataclass(frozen=True)
class Truth:
    """A true circuit.

    Attributes:
        edges: in the graph's order.
        sufficient: whether all outputs stay right when every other edge is ablated at once. If not,
            the program is redundant on these prompts: two edges carry the same, either may go but
            not both, and no circuit is the only true one.
        dropped: edges that change an output by themselves, but not once every edge outside the
            circuit is ablated: they only have to agree with one that is ablated too. A search that
                met them first would keep them.
    """

    edges: tuple[str, ...]
    sufficient: bool
    dropped: tuple[str, ...]

    @property
    def unique(self) -> bool:
        """Whether there is just one circuit to be found, in whatever order edges are tried."""
        return self.sufficient and not self.dropped


def static_edges(constructed: Constructed) -> tuple[str, ...]:
    """Every edge whose writer writes a direction that its reader reads: an upper bound of every
    true circuit.
    """
    return tuple(edge for edge in constructed.model.graph().edges if edge in constructed.carried)


def true_edges(
    constructed: Constructed, pairs: Iterable[PromptPair], ablation: str = "resample"
) -> tuple[str, ...]:
    """The edges of the true circuit; see `truth`."""
    return truth(constructed, pairs, ablation).edges


def truth(
    constructed: Constructed, pairs: Iterable[PromptPair], ablation: str = "resample"
) -> Truth:
    """The true circuit of a constructed model on these prompts.

    Raises:
        ArgumentError: an ablation for which the program alone does not say what becomes of the
            output.
        DataError: two prompts of a pair are not equally long, or there are no pairs.
        ProgramError: a prompt that the program does not take, or on which its output is not
            defined.
    """
    if ablation != "resample":
        raise ArgumentError(
            f"The true circuit under the ablation {ablation!r} is not known: zeros and means are no "
            "values of a program's variables. Use 'resample'."
        )
    runs = [
        _Pair(constructed.program, sequence_of(p.clean), sequence_of(p.corrupted)) for p in pairs
    ]
    if not runs:
        raise DataError("There are no prompts: the true circuit depends on them.")
    carried = {edge: constructed.carried[edge] for edge in static_edges(constructed)}
    alone = _leading_to_output(
        constructed, [edge for edge, reads in carried.items() if _matters(runs, reads)]
    )
    edges, sufficient = alone, not _matters(runs, _without(carried, alone))
    while sufficient:
        outside = _without(carried, edges)
        needed = tuple(edge for edge in edges if _matters(runs, [*outside, *carried[edge]]))
        if needed == edges or _matters(runs, _without(carried, needed)):
            break
        edges = needed
    return Truth(edges, sufficient, tuple(edge for edge in alone if edge not in edges))


def _without(carried: Mapping[str, tuple[Read, ...]], edges: Sequence[str]) -> list[Read]:
    """All places that are not read over these edges."""
    return [read for edge, reads in carried.items() if edge not in edges for read in reads]


def _leading_to_output(constructed: Constructed, edges: Sequence[str]) -> tuple[str, ...]:
    """Those of the edges from which others of them lead to the output."""
    found: list[str] = []
    useful = {LOGITS}
    for edge in reversed(edges):  # readers come in the order of the forward pass
        writer, reader = edge.split("->")
        if reader.partition("<")[0] in useful:
            found.append(edge)
            useful.add(writer)
    return tuple(reversed(found))


@dataclass(frozen=True)
class _Pair:
    """One pair of prompts, to be asked what the output becomes where some places read the corrupted
    run's values.
    """

    program: Program
    clean: Sequence[str]
    corrupted: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.clean) != len(self.corrupted):
            raise DataError(
                f"{' '.join(self.clean)!r} and {' '.join(self.corrupted)!r} must be equally long, "
                f"but have {len(self.clean)} and {len(self.corrupted)} symbols."
            )
        answer(self.program, self.clean)

    @cached_property
    def both(self) -> tuple[dict[Expression, Row], dict[Expression, Row]]:
        """Every value in the two runs."""
        return run(self.program, self.clean), run(self.program, self.corrupted)

    def moves(self, reads: Iterable[Read]) -> bool:
        """Whether the output is another when these places read what the corrupted run has there."""
        ours, theirs = self.both
        sources = {read: self.program.source(read) for read in reads}
        if all(theirs[e] == ours[e] for e in sources.values()):
            return False
        return (
            self._output({read: theirs[e] for read, e in sources.items()})
            != ours[self.program.output][-1]
        )

    def _output(self, overrides: Overrides) -> Any:
        if OUTPUT in overrides:
            return overrides[OUTPUT][-1]
        return run(self.program, self.clean, overrides)[self.program.output][-1]


def _matters(runs: Iterable[_Pair], reads: Iterable[Read]) -> bool:
    reads = tuple(reads)
    return any(pair.moves(reads) for pair in runs)
