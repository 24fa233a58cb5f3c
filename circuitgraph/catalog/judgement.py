"""The record of a judgement: what ``evaluate --json`` prints. Like all records, it only ever grows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from circuitgraph.catalog.records import EvaluationRecord, Interval, Record


class MetricRecord(Record):
    """Means of one more metric: of the whole model, of the circuit, of nothing."""

    metric: str
    full: Interval
    empty: Interval
    circuit: Interval


class Knockout(Record):
    """A part K of a circuit C that was taken out of it and out of the whole model M.

    ``circuit`` is m(C - K), ``model`` m(M - K); ``incompleteness`` is the absolute difference of
    the two as a share of that between whole model and nothing. ``nodes`` are those whose edges K is
    made of, if it was made so.
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
        prompts, so that its mean
    errs towards the high side; None where K has nothing to be taken from, or full and empty do not
    differ. ``random``: the mean over random K. ``nodes``: the incompleteness where K is all that
        one node reads and writes.
    """

    worst: Knockout | None
    random: Interval | None
    nodes: dict[str, float]
    n_random: int
    n_sets: int


class EdgeEffect(Record):
    """What the metric loses when one edge goes, as a share of what lies between whole model and
    nothing.
    """

    edge: str
    effect: Interval


class MinimalityRecord(Record):
    """Whether a circuit needs each of its edges, taken out alone.

    ``least``: the edge whose effect is smallest in size, which decides it. ``unneeded``: the edges
        whose 95 % interval
    holds 0, so that these prompts do not show that they matter. ``least`` is None for a circuit
    without edges, or where full and empty do not differ.
    """

    least: EdgeEffect | None
    n_edges: int
    unneeded: list[str]


class SizePoint(Record):
    """Faithfulness of the strongest edges: ``share`` of all, which are ``n_edges``, less those on
    no path.

    ``signed`` ranks edges by their scores, ``absolute`` by the size of these; ``kept_*`` is what
    pruning left.
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
        linear axis by the
    trapezoid rule; ``cmd``: area of |1 - faithfulness| of absolute selection. A perfect ranking has
    0.999 and 0. ``random_*``: mean and range of the same for ``n_random`` random rankings.
        ``size_95``: see `size_reaching`.
    Nothing is defined where whole model and nothing do not differ.
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

    ``n`` candidates, of which ``n_true`` are true and ``n_found`` were found. None is what is not
    defined: ``auroc`` where nothing or everything is true, or there are no scores; ``precision``
        where nothing was found, ``recall`` where
    nothing is true, ``f1`` where neither.
    """

    n: int
    n_true: int
    n_found: int
    auroc: float | None
    precision: float | None
    recall: float | None
    f1: float | None


class TruthRecord(Record):
    """Agreement with a true circuit. ``promoted``: writer to node, whichever input of it;
    ``nodes``: heads and MLPs.
    """

    edges: TruthLevel
    promoted: TruthLevel
    nodes: TruthLevel


class StabilityRecord(Record):
    """How much of a circuit is found again when the search sees other samples of its prompts.

    ``overlap``: mean Jaccard overlap of all pairs of circuits, with the range that holds 95 % of
        the pairs.
    ``frequency``: in which share of the discoveries each edge was found, those never found left
        out.
    """

    n_discoveries: int
    seed: int
    overlap: Interval
    n_edges: list[int]
    frequency: dict[str, float]


class JudgementRecord(EvaluationRecord):
    """An evaluation with everything else that was measured on the same prompts; None is what was
    not asked for.
    """

    metrics: list[MetricRecord] = Field(default_factory=list)
    completeness: CompletenessRecord | None = None
    minimality: MinimalityRecord | None = None
    curve: SizeCurveRecord | None = None
    truth: TruthRecord | None = None
    stability: StabilityRecord | None = None
