"""What somebody looks for in a catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from circuitgraph.catalog.summaries import Summary
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.node import Node, canonical_edge

Range = tuple[
    float | int | None, float | int | None
]  # at least, at most; None where it does not matter


@dataclass(frozen=True)
class Query:
    """Conditions that all must hold; what is not given does not matter.

    Attributes:
        model, task: names, or patterns such as ``gpt2*``; capitals do not matter. Either the name
            in the record or that of the folder.
        nodes, edges: names (``a5.h1``, ``a5.h1->a7.h3<q>``) that the circuit has, all of them;
            names of papers and other tools are understood.
        size: number of edges.
        score: faithfulness on unseen prompts; what was not judged matches no bound.

    Raises:
        UnknownNameError: what cannot be the name of a node or edge.
    """

    model: str | None = None
    task: str | None = None
    nodes: Sequence[str] = ()
    edges: Sequence[str] = ()
    size: Range = (None, None)
    score: Range = (None, None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(str(Node.parse(name)) for name in self.nodes))
        object.__setattr__(self, "edges", tuple(map(canonical_edge, self.edges)))

    def matches(self, summary: Summary) -> bool:
        """Whether an entry is meant."""
        model, task, _ = summary.entry.split("/")
        score = summary.faithfulness and summary.faithfulness[0]
        return (
            _is_like(self.model, (model, summary.model))
            and _is_like(self.task, (task, summary.task))
            and set(self.nodes) <= summary.nodes
            and set(self.edges) <= set(summary.edges)
            and _is_within(summary.n_edges, self.size)
            and _is_within(score, self.score)
        )


def parse_range(name: str, text: str) -> Range:
    """A range such as ``10:50``, ``:50``, ``0.9:`` or one number.

    Raises:
        ArgumentError: it is none, or its lower end is the higher one.
    """
    low, colon, high = text.partition(":")
    try:
        bounds = (float(low) if low else None, float(high) if high else None)
    except ValueError as error:
        raise _refuse_range(name, text) from error
    if not colon:
        bounds = (bounds[0], bounds[0])
    numbers = [bound for bound in bounds if bound is not None]
    # a number that is not one is not equal to itself
    if not numbers or numbers != sorted(numbers) or any(n != n for n in numbers):
        raise _refuse_range(name, text)
    return bounds


def _refuse_range(name: str, text: str) -> ArgumentError:
    return ArgumentError(
        f"{name} is {text!r}, but must be a range such as 10:50, :50, 0.9: or one number."
    )


def _is_like(pattern: str | None, names: tuple[str | None, ...]) -> bool:
    if pattern is None:
        return True
    return any(name and fnmatchcase(name.casefold(), pattern.casefold()) for name in names)


def _is_within(value: float | int | None, bounds: Range) -> bool:
    low, high = bounds
    if value is None:
        return low is None and high is None
    return (low is None or low <= value) and (high is None or value <= high)
