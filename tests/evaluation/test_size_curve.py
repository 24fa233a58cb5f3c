"""Size curves: CPR and CMD by hand, and as MIB counts edges."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from circuitgraph.catalog.curve_files import format_size_table
from circuitgraph.errors import ArgumentError, GraphError
from circuitgraph.evaluation.size_curve import (
    SHARES,
    count_edges,
    count_masks,
    find_smallest_faithful,
    measure_size_curve,
)
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.tasks.metrics import metrics
from tests.evaluation.fake import Formula, linear, weights_of

FIVE = Graph(1, 1, mlp=False)  # embed to q, k, v and logits; the head to logits
ORDER = ["embed->logits", "a0.h0->logits", "embed->a0.h0<v>", "embed->a0.h0<q>", "embed->a0.h0<k>"]


def scores_of(graph: Graph, order: list[str]) -> np.ndarray:
    """Scores that rank the named edges first, in that order."""
    found = np.zeros(graph.n_edges)
    for place, edge in enumerate(order):
        found[graph.edge_index(edge)] = len(order) - place
    return found


def test_areas_by_hand() -> None:
    """With five edges the first seven circuits are empty; the second edge hangs in the air and is
    pruned.

    f = 0 up to 10 %, 0.4 at 20 % and 50 %, 1 at 100 %: areas 0.02 + 0.12 + 0.35, and 0.099 + 0.08 +
    0.18 + 0.15.
    """
    experiment = linear(
        FIVE, weights_of(FIVE, {"embed->logits": 0.4, "a0.h0->logits": 0.6}), base=5
    )
    found = measure_size_curve(experiment, scores_of(FIVE, ORDER), seed=0)
    assert [p.n_edges for p in found.points] == [0] * 7 + [1, 2, 5]
    assert [(p.kept_signed, p.kept_absolute) for p in found.points] == [(0, 0)] * 7 + [
        (1, 1),
        (1, 1),
        (5, 5),
    ]
    assert [p.signed.mean for p in found.points] == pytest.approx([0] * 7 + [0.4, 0.4, 1], abs=1e-6)
    assert found.cpr is not None
    assert found.cmd is not None
    assert (found.cpr.mean, found.cpr.low, found.cpr.high) == pytest.approx((0.49,) * 3, abs=1e-6)
    assert (found.cmd.mean, found.cmd.low, found.cmd.high) == pytest.approx((0.509,) * 3, abs=1e-6)
    assert sum(experiment.asked) <= count_masks() + 2 + 8  # and the search for the size at 0.95


def test_signed_selection_leaves_harmful_edges_to_the_end_and_absolute_takes_them_first() -> None:
    """Signed: f = 1.5 at 20 % and 50 %. Absolute: 0 at 20 %, where the head has no input and is
    pruned, then 1.5.
    """
    effects = {"embed->logits": 1.5, "a0.h0->logits": -1.9, "embed->a0.h0<v>": 1.4}
    weights = weights_of(FIVE, effects)
    found = measure_size_curve(linear(FIVE, weights), weights[:, 0], seed=0)
    assert [p.signed.mean for p in found.points[7:]] == pytest.approx([1.5, 1.5, 1])
    assert [p.absolute.mean for p in found.points[7:]] == pytest.approx([0, 1.5, 1], abs=1e-6)
    assert found.cpr is not None
    assert found.cmd is not None
    assert found.cpr.mean == pytest.approx(0.075 + 0.45 + 0.625)
    assert found.cmd.mean == pytest.approx(0.099 + 0.1 + 0.225 + 0.125)


def test_a_ranking_that_is_perfect_at_every_size() -> None:
    graph = Graph(4, 8, mlp=False)
    assert count_edges(graph, SHARES[0]) == 1
    experiment = linear(graph, weights_of(graph, {"embed->logits": 3.0}), base=-1)
    found = measure_size_curve(experiment, scores_of(graph, ["embed->logits"]), seed=0, n_random=2)
    assert found.cpr is not None
    assert found.cmd is not None
    assert found.random_cpr is not None
    assert found.random_cmd is not None
    assert found.cpr.mean == pytest.approx(0.999)
    assert found.cmd.mean == pytest.approx(0, abs=1e-6)
    assert found.size_95 == 1
    assert found.random_cpr.mean + found.random_cmd.mean == pytest.approx(0.999)
    assert found.random_cmd.low > found.cmd.high


def test_intervals_come_from_the_prompts() -> None:
    rng = np.random.default_rng(0)
    weights = weights_of(FIVE, {"embed->logits": 1.0, "a0.h0->logits": 1.0}, n_prompts=40)
    weights[FIVE.edge_index("embed->logits")] += rng.normal(size=40)
    found = measure_size_curve(linear(FIVE, weights), scores_of(FIVE, ORDER), seed=0)
    assert found.cpr is not None
    assert found.cpr.low < found.cpr.mean < found.cpr.high
    ends = weights.sum(axis=0).mean()
    share = weights[FIVE.edge_index("embed->logits")].mean() / ends
    assert found.cpr.mean == pytest.approx(
        0.05 * share + 0.3 * share + 0.25 * (1 + share), rel=1e-5
    )


def test_numbers_of_edges_are_those_of_mib() -> None:
    graph = Graph(12, 12)
    sizes = [32, 64, 162, 324, 649, 1624, 3249, 6498, 16245, 32491]
    assert [count_edges(graph, share) for share in SHARES] == sizes


def test_size_reaching_counts_what_pruning_leaves_and_takes_the_first() -> None:
    experiment = linear(FIVE, weights_of(FIVE, {"embed->logits": 0.4, "a0.h0->logits": 0.6}))
    scores = scores_of(FIVE, ORDER)
    sizes = [find_smallest_faithful(experiment, scores, level) for level in (-1.0, 0.3, 0.95, 1.5)]
    assert sizes == [1, 1, 3, None], "embed to logits; with the head, once its v is there"
    peak = linear(FIVE, weights_of(FIVE, {"embed->logits": 2.0, "a0.h0->logits": -1.0}))
    assert find_smallest_faithful(peak, scores, 0.95) == 1, "whatever larger circuits do"


def test_sizes_in_a_large_graph_are_tried_in_small_steps() -> None:
    graph = Graph(4, 8, mlp=False)
    order = [f"embed->a0.h{h}<{i}>" for h in range(8) for i in "qkv"] + [
        f"a0.h{h}->logits" for h in range(8)
    ]
    experiment = linear(graph, weights_of(graph, {f"a0.h{h}->logits": 1.0 for h in range(8)}))
    found = find_smallest_faithful(experiment, scores_of(graph, order), 0.5)
    assert found is not None
    assert 4 * 4 <= found <= 6 * 4, (
        "from the 28th edge on half of the heads count; steps are of a tenth"
    )


def test_undefined_where_the_ends_are_one() -> None:
    same = Formula(FIVE, 3, lambda masks: np.ones((len(masks), 3)))
    found = measure_size_curve(same, scores_of(FIVE, ORDER), seed=0)
    assert (found.points, found.cpr, found.cmd, found.size_95) == ([], None, None, None)
    assert find_smallest_faithful(same, scores_of(FIVE, ORDER), 0.9) is None


def test_scores_that_rank_nothing_are_refused() -> None:
    experiment = linear(FIVE, np.ones((5, 3)))
    with pytest.raises(ArgumentError, match="1 of 5 scores are NaN"):
        measure_size_curve(experiment, np.array([1, 2, 3, 4, np.nan]), seed=0)
    with pytest.raises(GraphError, match="scores has shape"):
        measure_size_curve(experiment, np.ones(4), seed=0)


def test_table() -> None:
    experiment = linear(FIVE, weights_of(FIVE, {"embed->logits": 0.4, "a0.h0->logits": 0.6}))
    found = measure_size_curve(experiment, scores_of(FIVE, ORDER), seed=0)
    rows = list(csv.DictReader(io.StringIO(format_size_table(found))))
    assert [float(row["share"]) for row in rows] == list(SHARES)
    assert [int(row["absolute_edges"]) for row in rows] == [p.kept_absolute for p in found.points]
    assert [float(row["signed_faithfulness"]) for row in rows] == [
        p.signed.mean for p in found.points
    ]
    assert [float(row["absolute_faithfulness_high"]) for row in rows] == [
        p.absolute.high for p in found.points
    ]


def test_pruning_is_that_of_circuits() -> None:
    """Whatever the order, the circuit asked about is the pruned one."""
    asked: list[bytes] = []
    experiment = Formula(
        FIVE, 2, lambda m: asked.extend(map(bytes, m)) or np.arange(2) + m.sum(axis=1)[:, None]
    )
    measure_size_curve(experiment, scores_of(FIVE, ORDER), seed=0)
    for mask in asked:
        circuit = Circuit(FIVE, np.frombuffer(mask, bool))
        assert circuit == circuit.pruned()


def test_circuits_of_a_search_that_does_not_prune_are_not_pruned() -> None:
    """Under mean ablation a head without inputs writes something: 0.6 here, by its edge alone."""
    weights = weights_of(FIVE, {"embed->logits": 0.4, "a0.h0->logits": 0.6})
    scores = scores_of(FIVE, ORDER)
    curve = measure_size_curve(linear(FIVE, weights), scores, seed=0, prune=False)
    at_half = curve.points[SHARES.index(0.5)]
    assert (at_half.n_edges, at_half.kept_absolute, at_half.kept_signed) == (2, 2, 2)
    assert at_half.absolute.mean == pytest.approx(1.0)
    assert curve.size_95 == 2
    assert measure_size_curve(linear(FIVE, weights), scores, seed=0).size_95 == 3


def test_a_curve_of_shares_has_intervals_where_all_prompts_agree() -> None:
    experiment = linear(FIVE, weights_of(FIVE, {"embed->logits": 1.0}, n_prompts=20))
    experiment.metric = metrics["accuracy"]
    curve = measure_size_curve(experiment, scores_of(FIVE, ORDER), seed=0)
    assert curve.points[-1].signed.mean == 1
    assert curve.points[-1].signed.low < 0.85
    assert curve.cpr is not None
    assert curve.cpr.low < curve.cpr.mean - 0.05
