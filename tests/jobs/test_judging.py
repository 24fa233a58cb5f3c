"""What a judgement knows of a circuit: its scores, its prompts, its search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import circuitgraph as cg
from circuitgraph.errors import ArgumentError, UnknownNameError
from circuitgraph.evaluation.measures import MEASURES, Known, choose_measures
from circuitgraph.evaluation.size_curve import SHARES, count_edges
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.selection import rank_edges
from circuitgraph.jobs import judge as judging
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.loading import load_task

GRAPH = Graph(1, 2, mlp=False)


@pytest.fixture(scope="module")
def task(shipped: LanguageModel) -> Task:
    return load_task("induction", shipped, max_words=10)


@pytest.fixture(scope="module")
def found(shipped: LanguageModel, task: Task) -> Circuit:
    return cg.discover(shipped, task, algorithm="random", n_edges=60, n_prompts=6)


def of(algorithm: str | None, tested: np.ndarray | None = None) -> Circuit:
    scores = np.array([-5.0, 1, 2, 0.5, -1, 0, 3, -2, 1])
    known: Mapping[str, Any] = {} if algorithm is None else {"algorithm": {"name": algorithm}}
    return Circuit(GRAPH, scores > 0.9, scores, tested, known)


@pytest.mark.parametrize(
    ("circuit", "raw"),
    [
        (of("eap"), True),
        (of("exact", np.ones(9, bool)), True),
        (of("acdc"), False),
        (of("hybrid"), False),
        (of("edge-pruning"), False),
        (of("not-registered-here"), False),
        (of("eap", np.arange(9) < 5), False),
        (of(None), True),
    ],
)
def test_scores_that_can_be_compared_are_taken_as_they_are(circuit: Circuit, raw: bool) -> None:
    found = judging.choose_ranking_scores(circuit)
    assert found is not None
    assert circuit.scores is not None
    assert np.array_equal(found, circuit.scores if raw else rank_edges(circuit))


def test_a_circuit_without_scores_has_none() -> None:
    assert judging.choose_ranking_scores(Circuit.full(GRAPH)) is None


@pytest.mark.parametrize(
    ("algorithm", "ablation", "prune"),
    [
        ({"name": "acdc", "arguments": {}}, "resample", True),
        ({"name": "acdc", "arguments": {}}, "mean", False),
        ({"name": "eap", "arguments": {"prune": True}}, "mean", True),
        ({"name": "eap", "arguments": {"prune": False}}, "zero", False),
    ],
)
def test_a_curve_is_pruned_as_the_search_prunes(algorithm: Any, ablation: str, prune: bool) -> None:
    circuit = Circuit.full(GRAPH).without(["embed->a0.h0<q>"])
    named = Circuit(GRAPH, circuit.mask, provenance={"algorithm": algorithm})
    assert judging.choose_pruning(named, ablation) is prune


def test_a_curve_is_pruned_as_a_circuit_of_no_search_is() -> None:
    whole, hanging = Circuit.full(GRAPH), Circuit.of(GRAPH, ["a0.h0->logits"])
    assert judging.choose_pruning(whole, "mean")
    assert not judging.choose_pruning(hanging, "mean")
    assert judging.choose_pruning(hanging, "resample")


def test_one_circuit_has_one_value_under_mean_ablation(shipped: LanguageModel, task: Task) -> None:
    """The strongest 2 % of edges, as the curve and as the evaluation see them: heads that nothing
    of the circuit feeds, the induction head among them.
    """
    graph = shipped.graph()
    n_edges = count_edges(graph, 0.02)
    hanging = [f"a1.h{head}->logits" for head in range(7 - n_edges + 1, 8)]
    scores = Circuit.of(graph, hanging).mask.astype(float)
    search = {"algorithm": {"name": "not-registered-here", "arguments": {}}}
    circuit = Circuit(graph, scores > 0, scores, provenance=search)
    judgement = judging.judge(
        shipped, task, circuit, measures=["curve"], ablation="mean", n_prompts=8
    )
    assert judgement.curve is not None
    assert judgement.faithfulness is not None
    point = judgement.curve.points[SHARES.index(0.02)]
    assert point.n_edges == len(circuit)
    assert point.absolute.mean == pytest.approx(judgement.faithfulness.mean, abs=1e-5)
    assert abs(judgement.faithfulness.mean) > 1e-3, "pruned, it would be nothing at all"


def test_which_measures_are_taken() -> None:
    circuit = Circuit.full(GRAPH)
    everything = Known(np.ones(9), circuit, lambda prompts: circuit, None)
    assert choose_measures(["quick"], Known(), circuit, 10**9) == (
        "faithfulness",
        "completeness",
        "minimality",
    )
    assert choose_measures(["quick", "truth"], everything, circuit, 10**12) == (
        "faithfulness",
        "truth",
    ), "too slow"
    assert choose_measures(["minimality"], Known(), circuit, 10**12) == (
        "faithfulness",
        "minimality",
    ), "asked for by name"
    assert choose_measures(["all"], everything, circuit, 10**12) == MEASURES[:-1], (
        "the prompts of the search are not known"
    )
    assert choose_measures(["faithfulness"], Known(), circuit, 1) == ("faithfulness",)
    with pytest.raises(UnknownNameError, match=r"Unknown measure 'truht'\. Did you mean 'truth'"):
        choose_measures(["truht"], everything, circuit, 1)
    with pytest.raises(
        ArgumentError, match=r"(?s)curve: the circuit has no scores.*truth: no true circuit"
    ):
        choose_measures(["truth", "curve"], Known(), circuit, 1)


def test_prompts_of_the_search_are_drawn_again(
    shipped: LanguageModel, task: Task, found: Circuit
) -> None:
    same = task.prompts(6, "discovery").fingerprint
    for asked in (task, load_task("induction", shipped, seed=9)):
        again = judging.draw_search_prompts(shipped, asked, found)
        assert again is not None
        assert again.fingerprint == same
    assert judging.draw_search_prompts(shipped, task, Circuit.full(found.graph)) is None


def test_prompts_of_a_file_that_is_gone_are_not(
    shipped: LanguageModel, task: Task, found: Circuit
) -> None:
    record = {
        **found.provenance["task"],
        "name": "gone",
        "arguments": {"data": str(Path("gone.jsonl"))},
    }
    lost = Circuit(found.graph, found.mask, provenance={**found.provenance, "task": record})
    assert judging.draw_search_prompts(shipped, task, lost) is None


def test_judgement_by_prompts_of_the_search(
    shipped: LanguageModel, task: Task, found: Circuit
) -> None:
    """Of eight discovery prompts the search saw the six that are drawn first."""
    with pytest.raises(
        ArgumentError, match=r"The search saw 6 of these 8 prompts.*force_seen=True"
    ):
        judging.judge(shipped, task, found, split="discovery", n_prompts=8)
    forced = judging.judge(
        shipped,
        task,
        found,
        split="discovery",
        n_prompts=8,
        force_seen=True,
        measures=("stability",),
    )
    assert (forced.seen, forced.n_prompts, forced.split) == (6, 8, "discovery")
    assert forced.stability is not None
    assert forced.stability.overlap.mean == 1.0, "random scores of one seed do not look at prompts"
    assert forced.stability.frequency == dict.fromkeys(found.edges, 1.0)
    kl, accuracy = forced.metrics
    assert (kl.metric, kl.full.mean, accuracy.metric) == (
        "kl",
        pytest.approx(0, abs=1e-6),
        "accuracy",
    )
    assert kl.circuit.mean > 1
    assert accuracy.full.mean == 1
    assert accuracy.circuit.mean < 0.5


def test_unseen_prompts_give_what_evaluate_gives(
    shipped: LanguageModel, task: Task, found: Circuit
) -> None:
    short = cg.evaluate(shipped, task, found, n_prompts=8)
    long = judging.judge(shipped, task, found, n_prompts=8, measures=("faithfulness",))
    assert short.model_dump().items() <= long.model_dump().items()
    assert short.seen == 0
