"""What all searches by learned masks keep: gradients, same bits from the same seed, resuming,
refusals.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from circuitgraph.discovery.base import make_algorithm
from circuitgraph.discovery.edge_pruning import EdgePruning
from circuitgraph.discovery.learned_masks import SNAPSHOT, LearnedMask
from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.subnetwork_probing import SubnetworkProbing
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError, SearchError, UnknownNameError
from circuitgraph.jobs.evaluate import evaluate
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import shipped_models
from circuitgraph.tasks.loading import load_task
from tests.checkpoints import Tiny, random_prompts
from tests.discovery.learning import with_worthy_edges
from tests.laws.test_agreement import heads_without_which_it_fails

SEARCHES: list[LearnedMask] = [EdgePruning(steps=120), SubnetworkProbing(steps=120)]
both = pytest.mark.parametrize("algorithm", SEARCHES, ids=lambda found: found.name)


@pytest.fixture(scope="module")
def experiment(tiny: Tiny) -> Experiment:
    return Experiment(tiny.ours, random_prompts(batch=3, longest=5), metric="kl")


def test_loss_and_gradient_are_those_of_the_masked_run(experiment: Experiment) -> None:
    mask = np.random.default_rng(0).random(experiment.graph.n_edges).astype(np.float32)
    loss, gradient = experiment.loss_and_gradient(mask)
    assert loss == pytest.approx(experiment.losses(mask[None])[0], rel=1e-6)
    ahead = np.random.default_rng(1).normal(size=len(mask)).astype(np.float32)
    small = 1e-3
    losses = experiment.losses(np.stack([mask + small * ahead, mask - small * ahead]))
    assert (losses[0] - losses[1]) / (2 * small) == pytest.approx(gradient @ ahead, rel=1e-2)


def test_a_loss_that_is_not_finite_is_named(tiny: Tiny) -> None:
    experiment = Experiment(tiny.ours, random_prompts(batch=3, longest=5), metric="kl")
    (batch,) = experiment._masked.batches
    assert batch.targets.full_logits is not None
    broken = batch.targets.full_logits.at[1, 0].set(np.nan)
    targets = batch.targets._replace(full_logits=broken)
    experiment._masked.batches = [batch._replace(targets=targets)]
    with pytest.raises(SearchError, match="kl of prompt 2 is nan"):
        run_search(SubnetworkProbing(steps=2), experiment)


@pytest.mark.parametrize("name", ["edge-pruning", "subnetwork-probing"])
def test_a_real_model_gives_the_same_bits_from_the_same_seed(
    experiment: Experiment, name: str
) -> None:
    one, two, other = (
        run_search(make_algorithm(name, steps=4, seed=seed), experiment) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.scores, two.scores)
    assert one == two
    assert one.scores is not None
    assert other.scores is not None
    assert not np.array_equal(one.scores, other.scores)
    assert one.tested is not None
    assert one.tested.all()


@both
def test_a_search_resumed_from_its_journal_ends_in_the_same_bits(algorithm: LearnedMask) -> None:
    """Wherever it was killed: what lies behind the last snapshot is computed again."""
    experiment = with_worthy_edges(4, 0.5)
    state, written, seen = algorithm.init_state(experiment), [], {}
    start = state
    while len(set(algorithm.count_progress(state))) == 2:
        before, state = state, algorithm.take_step(experiment, state)
        written += json.loads(json.dumps(algorithm.make_entries(experiment, before, state)))
        seen[state.n_steps] = (state, len(written))
    assert [entry["taken"] for entry in written] == [SNAPSHOT, 2 * SNAPSHOT, 120]
    for killed in (SNAPSHOT - 1, SNAPSHOT, SNAPSHOT + 1, 119):
        again = algorithm.resume_state(experiment, start, written[: seen[killed][1]])
        assert again.n_steps == killed // SNAPSHOT * SNAPSHOT
        while len(set(algorithm.count_progress(again))) == 2:
            again = algorithm.take_step(experiment, again)
        for name, values in state.variables.items():
            np.testing.assert_array_equal(again.variables[name], values)
            assert again.variables[name].dtype == values.dtype
        for ours, theirs in zip(again.moments, state.moments, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert algorithm.make_circuit(experiment, again) == algorithm.make_circuit(
            experiment, state
        )


@both
def test_entries_of_another_search_are_refused(algorithm: LearnedMask) -> None:
    experiment = with_worthy_edges(4, 0.5)
    start = algorithm.init_state(experiment)
    before = start
    for _ in range(SNAPSHOT - 1):
        before = algorithm.take_step(experiment, before)
    whole = algorithm.make_entries(experiment, before, algorithm.take_step(experiment, before))[0]
    short = {
        **whole,
        "variables": {name: packed[:8] for name, packed in whole["variables"].items()},
    }
    for entry in ({"edge": "embed->logits"}, short, {**whole, "moments": whole["moments"][:-1]}):
        with pytest.raises(DataError, match=algorithm.name):
            algorithm.resume_state(experiment, start, [entry])


@both
def test_steps_leave_earlier_states_alone(algorithm: LearnedMask) -> None:
    experiment = with_worthy_edges(4, 0.5)
    first = algorithm.init_state(experiment)
    copy = {name: values.copy() for name, values in first.variables.items()}
    algorithm.take_step(experiment, algorithm.take_step(experiment, first))
    for name, values in copy.items():
        np.testing.assert_array_equal(first.variables[name], values)


@both
@pytest.mark.parametrize("metric", ["accuracy", "rank", "reciprocal_rank"])
def test_metrics_without_gradient_are_refused(
    tiny: Tiny, algorithm: LearnedMask, metric: str
) -> None:
    experiment = Experiment(tiny.ours, random_prompts(batch=3, longest=5), metric=metric)
    with pytest.raises(ArgumentError) as error:
        run_search(algorithm, experiment)
    for word in (algorithm.name, metric, "gradient", "Use one of: ", "kl", "logit_difference"):
        assert word in str(error.value)


def test_masks_that_diverge_stop_the_search() -> None:
    with pytest.raises(SearchError, match="lower learning rate"):
        run_search(SubnetworkProbing(steps=3, learning_rate=3e38), with_worthy_edges(4, 0.5))


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("edge-pruning", {"steps": 0}, ["steps", "0", "at least 1"]),
        ("edge-pruning", {"learning_rate": 0.0}, ["learning_rate", "0.0", "above 0"]),
        ("edge-pruning", {"multiplier_rate": -1.0}, ["multiplier_rate", "-1.0", "above 0"]),
        ("edge-pruning", {"weight_decay": -0.1}, ["weight_decay", "-0.1", "negative"]),
        ("edge-pruning", {"warmup": 1.5}, ["warmup", "1.5", "at most 1"]),
        ("edge-pruning", {"sparsity": 1.0}, ["sparsity", "1.0", "below 1", "'mean'"]),
        ("edge-pruning", {"sparsity": 2.5, "rounding": "mean"}, ["sparsity", "2.5", "below 2"]),
        ("edge-pruning", {"sparsity": float("nan")}, ["sparsity", "nan", "finite"]),
        ("edge-pruning", {"rounding": "meen"}, ["meen", "Did you mean 'mean'"]),
        ("edge-pruning", {"n_edges": 0}, ["n_edges", "0", "at least 1"]),
        ("edge-pruning", {"n_edges": 9, "rounding": "mean"}, ["n_edges", "9", "'target'"]),
        ("subnetwork-probing", {"regularisation": -1.0}, ["regularisation", "-1.0", "negative"]),
        ("subnetwork-probing", {"masks": "sigmoyd"}, ["sigmoyd", "Did you mean 'sigmoid'"]),
        ("subnetwork-probing", {"learning_rate": float("inf")}, ["learning_rate", "inf", "finite"]),
        ("subnetwork-probing", {"seed": -1}, ["seed", "-1", "at least 0"]),
        ("subnetwork-probing", {"n_edges": 0}, ["n_edges", "0", "at least 1"]),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    name: str, settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises((ArgumentError, UnknownNameError)) as error:
        make_algorithm(name, **settings)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("name", ["edge-pruning", "subnetwork-probing"])
def test_more_edges_than_the_graph_has_are_refused_before_any_step(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"n_edges is 10000, but the graph has only \d+ edges"):
        make_algorithm(name, n_edges=10_000).check_space(with_worthy_edges(4, 0.5).space)


@pytest.mark.optimised
@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm", [EdgePruning(steps=600), SubnetworkProbing(steps=200)], ids=lambda a: a.name
)
def test_the_circuit_of_the_shipped_model_is_found(
    shipped: LanguageModel, algorithm: LearnedMask
) -> None:
    """The edges between the heads that its card's ablation table shows; on unseen prompts it does
    the task.
    """
    card = (shipped_models()["induction-2l"] / "README.md").read_text(encoding="utf-8")
    previous, induction = sorted(heads_without_which_it_fails(card))
    task = load_task("induction", shipped)
    circuit = run_search(algorithm, Experiment(shipped, task.prompts(4), metric="kl"))
    path = [f"embed->{previous}<v>", f"{previous}->{induction}<k>", f"{induction}->logits"]
    for edge in (*path, f"embed->{induction}<q>", f"embed->{induction}<v>"):
        assert edge in circuit
    assert len(circuit) < 0.1 * circuit.graph.n_edges
    report = evaluate(shipped, task, circuit, metric="logit_difference", n_prompts=20)
    assert report.faithfulness is not None
    assert report.random_faithfulness is not None
    assert report.faithfulness.low > 0.9
    assert report.random_faithfulness.high < 0.1
