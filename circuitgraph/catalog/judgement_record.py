"""The record of a judgement: what ``evaluate --json`` prints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from circuitgraph.catalog.records import EvaluationRecord, Interval, Record


class MetricRecord(Record):
    """Means of one more metric: of the whole model, of the circuit, of no edge."""

    metric: str
    full: Interval
    empty: Interval
    circuit: Interval


class Knockout(Record):
    """A part K of a circuit C that was taken out of it and out of the whole model M.

    ``circuit`` is m(C - K), ``model`` m(M - K); ``incompleteness`` is the absolute difference of
    the two as a share of that between whole model and no edge. ``nodes`` are the nodes whose edges
    K is made of, if K was made so.
    """

    kind: Literal["random", "nodes"]
    nodes: list[str]
    edges: list[str]
    circuit: Interval
    model: Interval
    incompleteness: Interval


class CompletenessRecord(Record):
    """Whether a circuit answers to knockouts as the model does (Wang et al. 2022): 0 is complete.

    ``worst``: the K that decides it, of all ``n_sets`` that were tried, chosen on these very
    prompts, so that its mean errs towards the high side; None where the circuit has no edges, or
    full and empty do not differ. ``random``: the mean over random K. ``nodes``: the incompleteness
    where K is all edges into and out of one node.
    """

    worst: Knockout | None
    random: Interval | None
    nodes: dict[str, float]
    n_random: int
    n_sets: int


class EdgeEffect(Record):
    """What the metric loses when one edge goes, as a share of full minus empty."""

    edge: str
    effect: Interval


MinimalityLevel = Literal["none", "some", "single", "pairs", "subsets"]


class MinimalityRecord(Record):
    """Whether a circuit needs each of its edges, taken out alone.

    ``least``: the edge whose effect is smallest in size, which decides it. ``unneeded``: the edges
    whose 95 % interval holds 0, so that these prompts do not show that the edges matter. ``least``
    is None for a circuit without edges, or where full and empty do not differ.

    ``level``: how minimal the circuit is. A set of its edges can go if taking all of it out at once
    moves the mean metric by less than ``tolerance``. ``none``: every edge can go alone; ``some``:
    some can; ``single``: none can (local minimality); ``pairs``: nor any of the ``n_pairs`` pairs
    that were tried, those whose own effects cancel best; ``subsets``: nor any set of edges, all of
    which were tried. ``removable``: edges that can go alone; if there are none, a pair that can,
    else the smallest set that can. None in records of before.
    """

    least: EdgeEffect | None
    n_edges: int
    unneeded: list[str]
    level: MinimalityLevel | None = None
    tolerance: float | None = None
    removable: list[str] = Field(default_factory=list)
    n_pairs: int = 0


class SizePoint(Record):
    """Faithfulness of the strongest edges: ``share`` of all edges, ``n_edges`` in number, pruned.

    ``signed`` ranks edges by their scores, ``absolute`` by the size of their scores; ``kept_*`` is
    the number of edges that pruning left.
    """

    share: float
    n_edges: int
    kept_signed: int
    kept_absolute: int
    signed: Interval
    absolute: Interval


class SizeCurveRecord(Record):
    """Faithfulness over size, and its two areas as MIB computes them (Mueller et al. 2025).

    ``cpr``: area under the faithfulness of signed selection, over shares from 0.001 to 1 on a
    linear axis by the trapezoid rule; ``cmd``: area of |1 - faithfulness| of absolute selection. A
    perfect ranking has 0.999 and 0. ``random_*``: mean and range of the same for ``n_random``
    random rankings. Nothing is defined where full and empty do not differ.
    """

    points: list[SizePoint]
    cpr: Interval | None
    cmd: Interval | None
    random_cpr: Interval | None
    random_cmd: Interval | None
    n_random: int
    size_95: int | None = Field(
        description="edges of the smallest circuit tried that reaches a faithfulness of 0.95"
    )


class TruthLevel(Record):
    """Agreement with a true circuit, counted in edges, in pairs of nodes or in nodes.

    Of ``n`` candidates, ``n_true`` are true and ``n_found`` were found. A field that is not defined
    is None: ``auroc`` where nothing or everything is true, or there are no scores; ``precision``
    where nothing was found, ``recall`` where nothing is true, ``f1`` where both hold.
    """

    n: int
    n_true: int
    n_found: int
    auroc: float | None
    precision: float | None
    recall: float | None
    f1: float | None


class TruthRecord(Record):
    """Agreement with a true circuit.

    ``promoted``: pairs of a writer and a node, whichever of its inputs; ``nodes``: heads and MLPs.
    """

    edges: TruthLevel
    promoted: TruthLevel
    nodes: TruthLevel


class StabilityRecord(Record):
    """How much of a circuit is found again when the search sees other samples of its prompts.

    ``overlap``: mean Jaccard overlap of all pairs of circuits, with the range that holds 95 % of
    the pairs. ``frequency``: in which share of the discoveries each edge was found; edges that
    were never found are left out.
    """

    n_discoveries: int
    seed: int
    overlap: Interval
    n_edges: list[int]
    frequency: dict[str, float]


class JudgementRecord(EvaluationRecord):
    """An evaluation with all other measures on the same prompts; None where one was not taken."""

    metrics: list[MetricRecord] = Field(default_factory=list)
    completeness: CompletenessRecord | None = None
    minimality: MinimalityRecord | None = None
    curve: SizeCurveRecord | None = None
    truth: TruthRecord | None = None
    stability: StabilityRecord | None = None
