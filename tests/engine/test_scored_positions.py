"""Several scored positions: each route gives what the same prompts give, one position at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import DataError
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Pair, Prompts
from circuitgraph.tasks.tokenise import tokenise_pairs

METRICS = ("kl", "cross_entropy", "log_probability", "accuracy")


@pytest.fixture(scope="module")
def pairs(shipped: LanguageModel) -> list[Pair]:
    """Prompts of different lengths, and thus with different numbers of scored positions."""
    return load_task("induction", shipped, min_words=4, max_words=7).pairs(3, "discovery")


def masks_of(experiment: Experiment, n: int = 2) -> np.ndarray:
    """The whole model, nothing, and some edges at random."""
    n_edges = experiment.graph.n_edges
    random = np.random.default_rng(0).random((n, n_edges)) < 0.6
    return np.concatenate([np.ones((1, n_edges), bool), np.zeros((1, n_edges), bool), random])


def tokenise(model: LanguageModel, pairs: list[Pair]) -> Prompts:
    assert model.tokenizer is not None
    return tokenise_pairs(pairs, model.tokenizer)


def next_word(pair: Pair, at: int) -> str:
    return f" {pair.clean.split()[at + 1]}"


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("frontier", [False, True])
def test_positions_count_by_their_mean(
    shipped: LanguageModel, pairs: list[Pair], metric: str, frontier: bool
) -> None:
    lengths = [len(pair.clean.split()) for pair in pairs]
    several = [
        replace(pair, answer=None, distractor=None, score_at=tuple(range(n - 1)))
        for pair, n in zip(pairs, lengths, strict=True)
    ]
    experiment = Experiment(shipped, tokenise(shipped, several), metric=metric, frontier=frontier)
    masks = masks_of(experiment)
    values = experiment.values(masks)
    for i, (pair, n) in enumerate(zip(pairs, lengths, strict=True)):
        single = [
            replace(pair, answer=next_word(pair, at), distractor=None, score_at=(at,))
            for at in range(n - 1)
        ]
        alone = Experiment(shipped, tokenise(shipped, single), metric=metric, frontier=False)
        np.testing.assert_allclose(
            values[:, i], alone.values(masks).mean(axis=1), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("frontier", [False, True])
@pytest.mark.parametrize("metric", ["log_probability", "logit_difference", "accuracy"])
def test_the_tokens_of_an_answer_are_scored_one_after_the_other(
    shipped: LanguageModel, pairs: list[Pair], metric: str, frontier: bool
) -> None:
    """The model reads the first token of the answer before the second is scored."""
    second, wrong = " dog", " moon"
    long = [
        replace(pair, answer=f"{pair.answer}{second}", distractor=f"{pair.distractor}{wrong}")
        for pair in pairs
    ]
    experiment = Experiment(shipped, tokenise(shipped, long), metric=metric, frontier=frontier)
    masks = masks_of(experiment)
    first = Experiment(shipped, tokenise(shipped, pairs), metric=metric).values(masks)
    longer = [
        replace(
            pair,
            clean=f"{pair.clean}{pair.answer}",
            corrupted=f"{pair.corrupted}{pair.answer}",
            answer=second,
            distractor=wrong,
        )
        for pair in pairs
    ]
    then = Experiment(shipped, tokenise(shipped, longer), metric=metric).values(masks)
    together = first * then if metric == "accuracy" else first + then
    np.testing.assert_allclose(experiment.values(masks), together, rtol=1e-4, atol=1e-4)


def test_gradients_are_the_means_of_the_positions_gradients(
    shipped: LanguageModel, pairs: list[Pair]
) -> None:
    """EAP's scores from activations and the mask's own gradient agree, and both are means."""
    n = len(pairs[0].clean.split())
    several = [replace(pairs[0], answer=None, distractor=None, score_at=(0, 2, n - 2))]
    single = [
        replace(pairs[0], answer=next_word(pairs[0], at), distractor=None, score_at=(at,))
        for at in (0, 2, n - 2)
    ]
    together, apart = (
        Experiment(shipped, tokenise(shipped, some), metric="cross_entropy")
        for some in (several, single)
    )
    full = np.ones(together.graph.n_edges, bool)
    np.testing.assert_allclose(together.gradient(full), apart.gradient(full), atol=1e-5)
    scores = together.attribution.at_interpolated_embedding(1.0)
    np.testing.assert_allclose(scores, -together.gradient(full), atol=1e-5)


def test_what_a_metric_or_an_ablation_needs_is_said(
    shipped: LanguageModel, pairs: list[Pair]
) -> None:
    bare = tokenise(shipped, [Pair(pair.clean, None, None) for pair in pairs])
    with pytest.raises(DataError, match=r"needs an answer for every pair.*use: kl"):
        Experiment(shipped, bare, metric="log_probability", ablation="zero")
    with pytest.raises(DataError, match=r"'resample' needs a corrupted prompt.*mean, mean-pos"):
        Experiment(shipped, bare, metric="kl")
    assert np.isfinite(
        Experiment(shipped, bare, metric="kl", ablation="mean").values(
            np.zeros((1, shipped.graph().n_edges), bool)
        )
    ).all()
    long = [replace(pair, answer=f"{pair.answer} dog", distractor=None) for pair in pairs]
    with pytest.raises(DataError, match="says nothing of answers of several tokens"):
        Experiment(shipped, tokenise(shipped, long), metric="rank")
