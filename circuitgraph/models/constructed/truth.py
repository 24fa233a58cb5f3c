"""The true circuit of a constructed model: what its program says of edges, no model is run.

An edge carries values from the expressions that its writer computes to the uses of these values in
its reader. The edge is *static* if it carries any value. It is *true* on given prompts and under a
given ablation if two things hold. First, the output at the scored position changes, on any of the
prompts, when these uses alone read the values that the ablation puts there. Second, other true
edges lead from there to the output. (Without the second an edge could be true although all that
depends on it may be ablated: half an ablated comparison can say what neither the clean nor the
corrupted run ever says.) Edges that do not matter within the circuit of the edges so selected,
where all other edges are ablated, are left out in turn.

So truth is a statement about prompts too. A variable that does not differ between a clean prompt
and its corrupted prompt makes no true edge under resampling. The positions of tokens never differ,
for both prompts are equally long. So all that is computed from positions only (lengths, in a
program that reverses its input) is missing from every true circuit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.models.constructed.compile import ConstructedModel
from circuitgraph.models.constructed.interpreter import (
    Overrides,
    Values,
    compute_answer,
    run_program,
)
from circuitgraph.models.constructed.layout import LOGITS
from circuitgraph.models.constructed.rasp import Expression
from circuitgraph.models.constructed.rasp_program import OUTPUT, RaspProgram, Use
from circuitgraph.models.constructed.vocabulary import to_sequence


@runtime_checkable
class PromptPair(Protocol):
    """The texts of a pair of prompts."""

    @property
    def clean(self) -> str: ...
    @property
    def corrupted(self) -> str | None: ...


@dataclass(frozen=True)
class Truth:
    """A true circuit.

    Attributes:
        edges: in the graph's order.
        sufficient: whether all outputs stay right when every other edge is ablated at once. If not,
            the program is redundant on these prompts: two edges carry the same value, either edge
            may be removed but not both, and no circuit is the only true one.
        dropped: edges that change an output by themselves, but not once every edge outside the
            circuit is ablated: their values only have to agree with values of an ablated edge. A
            search that tried these edges first would keep them.
    """

    edges: tuple[str, ...]
    sufficient: bool
    dropped: tuple[str, ...]

    @property
    def unique(self) -> bool:
        """Whether there is just one circuit to be found, in whatever order edges are tried."""
        return self.sufficient and not self.dropped


def find_static_edges(constructed: ConstructedModel) -> tuple[str, ...]:
    """Every edge whose writer writes a direction that its reader reads.

    Every true circuit is a part of these edges.
    """
    edges = constructed.model.graph().edges
    return tuple(edge for edge in edges if edge in constructed.uses_by_edge)


def find_true_edges(
    constructed: ConstructedModel, pairs: Iterable[PromptPair], ablation: str = "resample"
) -> tuple[str, ...]:
    """The edges of the true circuit; see `find_truth`."""
    return find_truth(constructed, pairs, ablation).edges


def find_truth(
    constructed: ConstructedModel, pairs: Iterable[PromptPair], ablation: str = "resample"
) -> Truth:
    """The true circuit of a constructed model on these prompts.

    Raises:
        ArgumentError: the program alone does not say what the output is under this ablation.
        DataError: two prompts of a pair are not equally long, or no prompt has a corrupted one.
        ProgramError: a prompt that the program does not take, or on which its output is not
            defined.
    """
    if ablation != "resample":
        raise ArgumentError(
            f"The true circuit under the ablation {ablation!r} is not known: zeros and means are "
            "no values of a program's variables. Use 'resample'."
        )
    runs = [
        _PairOfRuns(constructed.program, to_sequence(pair.clean), to_sequence(pair.corrupted))
        for pair in pairs
        if pair.corrupted is not None
    ]
    if not runs:
        raise DataError("There are no pairs of prompts: the true circuit depends on them.")
    uses_of = {edge: constructed.uses_by_edge[edge] for edge in find_static_edges(constructed)}
    change_output_alone = [edge for edge, uses in uses_of.items() if _change_output(runs, uses)]
    first = edges = _keep_leading_to_output(change_output_alone)
    sufficient = not _change_output(runs, _uses_outside(edges, uses_of))
    while sufficient:
        outside = _uses_outside(edges, uses_of)
        needed = tuple(edge for edge in edges if _change_output(runs, [*outside, *uses_of[edge]]))
        if needed == edges or _change_output(runs, _uses_outside(needed, uses_of)):
            break
        edges = needed
    return Truth(edges, sufficient, tuple(edge for edge in first if edge not in edges))


def _uses_outside(edges: Sequence[str], uses_of: Mapping[str, tuple[Use, ...]]) -> list[Use]:
    """All uses that no edge of these serves."""
    return [use for edge, uses in uses_of.items() if edge not in edges for use in uses]


def _keep_leading_to_output(edges: Sequence[str]) -> tuple[str, ...]:
    """The edges from which others of them lead to the output."""
    leading: list[str] = []
    useful = {LOGITS}
    for edge in reversed(edges):  # readers come in the order of the forward pass
        writer, reader = edge.split("->")
        if reader.partition("<")[0] in useful:
            leading.append(edge)
            useful.add(writer)
    return tuple(reversed(leading))


@dataclass(frozen=True)
class _PairOfRuns:
    """A program on a clean and on a corrupted prompt."""

    program: RaspProgram
    clean: Sequence[str]
    corrupted: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.clean) != len(self.corrupted):
            raise DataError(
                f"{' '.join(self.clean)!r} and {' '.join(self.corrupted)!r} must be equally long, "
                f"but have {len(self.clean)} and {len(self.corrupted)} symbols."
            )
        compute_answer(self.program, self.clean)

    @cached_property
    def values(self) -> tuple[dict[Expression, Values], dict[Expression, Values]]:
        """Every expression's values in the two runs."""
        return run_program(self.program, self.clean), run_program(self.program, self.corrupted)

    def change_output(self, uses: Iterable[Use]) -> bool:
        """Whether the output changes when these uses read the corrupted run's values."""
        clean, corrupted = self.values
        sources = {use: self.program.source_of(use) for use in uses}
        if all(corrupted[e] == clean[e] for e in sources.values()):
            return False
        patched = self._compute_output({use: corrupted[e] for use, e in sources.items()})
        return patched != clean[self.program.output][-1]

    def _compute_output(self, overrides: Overrides) -> Any:
        if OUTPUT in overrides:
            return overrides[OUTPUT][-1]
        return run_program(self.program, self.clean, overrides)[self.program.output][-1]


def _change_output(runs: Iterable[_PairOfRuns], uses: Iterable[Use]) -> bool:
    uses = tuple(uses)
    return any(pair.change_output(uses) for pair in runs)
