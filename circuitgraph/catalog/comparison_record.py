"""The record of a comparison of circuits: what they share, beside what chance would give."""

from __future__ import annotations

from pydantic import Field

from circuitgraph.catalog.records import SCHEMA_VERSION, Interval, Record


class ComparedCircuit(Record):
    """One of the circuits; ``nodes`` are its heads and MLPs (or parts of them)."""

    name: str
    model: str
    task: str
    n_edges: int
    nodes: list[str]


class Overlap(Record):
    """How much two sets share: their Jaccard overlap, and that of random sets.

    ``p``: share of the random pairs that overlap as much or more, themselves counted as one.
    """

    n_shared: int
    jaccard: float
    chance: Interval
    p: float


class MatchedHead(Record):
    """Two heads of two models that are in both circuits and look alike; ``type``: what both do."""

    one: str
    other: str
    type: str | None


class CircuitPair(Record):
    """Two circuits side by side.

    Of one graph: ``edges`` beside random circuits of whole paths of the same sizes;
    ``edges_by_degree`` beside circuits whose nodes have as many edges, dealt out otherwise;
    ``nodes`` beside as many random heads and MLPs. Of two models: ``heads`` are matched one to one
    by their type scores, beside random matches; ``problem`` says why they could not be.
    """

    one: str
    other: str
    edges: Overlap | None = None
    edges_by_degree: Overlap | None = None
    nodes: Overlap | None = None
    heads: Overlap | None = None
    shared_nodes: list[str] = Field(default_factory=list)
    matched_heads: list[MatchedHead] = Field(default_factory=list)
    problem: str | None = None


class ComparisonRecord(Record):
    """Circuits of one graph, or of one task, two by two.

    ``in_all``: for each model the nodes that are in all of its circuits, where it has several.
    """

    schema_version: int = SCHEMA_VERSION
    seed: int
    n_draws: int
    circuits: list[ComparedCircuit]
    pairs: list[CircuitPair]
    in_all: dict[str, list[str]]
