"""What an experiment refuses, how it plans memory, and what the ablations are by hand."""

from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from circuitgraph.engine.ablation import ablations
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.memory import choose_batch_sizes, estimate_row_bytes
from circuitgraph.errors import ArgumentError, DataError, SearchError, UnknownNameError
from circuitgraph.graph.graph import Graph
from circuitgraph.models.spec import NormSpec, Spec
from tests.checkpoints import Tiny, random_prompts

GPT2_SMALL = Spec(
    n_layers=12,
    n_heads=12,
    n_kv_heads=12,
    d_model=768,
    d_head=64,
    d_mlp=3072,
    d_vocab=50257,
    d_vocab_out=50257,
    n_ctx=1024,
    norm=NormSpec("layer", 1e-5, bias=True),
    final_norm=NormSpec("layer", 1e-5, bias=True),
    attn_scales=(0.125,) * 12,
)


def test_masks_of_the_wrong_shape_are_refused(tiny: Tiny) -> None:
    experiment = Experiment(tiny.ours, random_prompts())
    with pytest.raises(ArgumentError, match=r"\(2, 7\); expected \(n, 262\)"):
        experiment.values(np.ones((2, 7), bool))


def test_unknown_metric_and_ablation_get_suggestions(tiny: Tiny) -> None:
    with pytest.raises(UnknownNameError, match="'logit_difference'"):
        Experiment(tiny.ours, random_prompts(), metric="logit_diff")
    with pytest.raises(UnknownNameError, match="'resample'"):
        Experiment(tiny.ours, random_prompts(), ablation="resampel")


def test_a_metric_without_its_distractors_is_refused(tiny: Tiny) -> None:
    prompts = replace(random_prompts(), distractor=None)
    with pytest.raises(DataError, match=r"needs a distractor.*log_probability"):
        Experiment(tiny.ours, prompts, metric="logit_difference")
    Experiment(tiny.ours, prompts, metric="kl")


def test_prompts_beyond_the_context_are_refused(tiny: Tiny) -> None:
    with pytest.raises(DataError, match="14 tokens, but the model's context is 13"):
        Experiment(tiny.ours, random_prompts(longest=14))


def test_tokens_beyond_the_vocabulary_are_refused(tiny: Tiny) -> None:
    prompts = random_prompts()
    prompts.clean[0, 0] = 50
    with pytest.raises(
        DataError, match=r"Token 50 stands in .* but the model knows only 50 tokens.*clean 0"
    ):
        Experiment(tiny.ours, prompts)


def test_what_cannot_fit_alone_is_refused_with_its_size() -> None:
    with pytest.raises(ArgumentError, match=r"needs about \d+ MiB, but the limit is 1 MiB"):
        choose_batch_sizes(GPT2_SMALL, GPT2_SMALL.graph(), 16, 16, limit=2**20)


@pytest.mark.parametrize("limit", [30 * 2**20, 2**28, 2**30, 2**33])
def test_plans_respect_the_limit(limit: int) -> None:
    cut = choose_batch_sizes(GPT2_SMALL, GPT2_SMALL.graph(), 100, 16, limit)
    row = estimate_row_bytes(GPT2_SMALL, GPT2_SMALL.graph(), 16)
    assert cut.bytes_needed <= limit
    assert cut.bytes_needed >= cut.prompts * cut.lanes * row
    assert 1 <= cut.prompts <= 100


def test_memory_counts_the_writers_at_least_once() -> None:
    """157 writers of 768 numbers are 0.46 MiB a token."""
    assert estimate_row_bytes(GPT2_SMALL, GPT2_SMALL.graph(), 16) > 16 * 0.46 * 2**20


def test_ablations_by_hand() -> None:
    """Two prompts of lengths 2 and 1, one writer, one dimension; the padding holds a value that
    must not count.
    """
    written = jnp.array([[[[1.0], [3.0]], [[5.0], [100.0]]]])
    mask = jnp.array([[True, True], [True, False]])
    by_name = {
        name: np.asarray(ablations[name].function(written, mask)) for name in ablations.names()
    }
    np.testing.assert_array_equal(by_name["resample"], written)
    np.testing.assert_array_equal(by_name["zero"], [[[[0.0]]]])
    np.testing.assert_array_equal(by_name["mean"], [[[[3.0]]]])
    np.testing.assert_array_equal(by_name["mean-positional"], [[[[3.0], [3.0]]]])
    assert set(by_name) == {"resample", "zero", "mean", "mean-positional"}


def test_a_graph_of_another_model_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ArgumentError, match="n_layers"):
        Experiment(tiny.ours, random_prompts(), graph=Graph(2, 4))


def test_removal_losses_are_losses_of_growing_removals(tiny: Tiny) -> None:
    """An edge that is not going is missing in its own row only."""
    experiment = Experiment(tiny.ours, random_prompts())
    mask = np.ones(experiment.graph.n_edges, bool)
    edges, going = np.array([5, 7, 3]), np.array([True, False, True])
    masks = np.repeat(mask[None], 4, axis=0)
    masks[1, 5] = masks[2, [5, 7]] = masks[3, [5, 3]] = False
    losses = experiment.removal_losses(mask, edges, going, include_unchanged=True)
    np.testing.assert_array_equal(losses, experiment.losses(masks))
    np.testing.assert_array_equal(experiment.removal_losses(mask, edges, going), losses[1:])


@pytest.mark.parametrize("longest", [6, 9])
@pytest.mark.parametrize("ablation", ["mean", "mean-positional"])
def test_means_come_from_the_reference_prompts(tiny: Tiny, ablation: str, longest: int) -> None:
    """The same experiment as if the reference prompts were the corrupted side, whatever the two
    lengths.
    """
    prompts, reference = random_prompts(longest=6), random_prompts(longest=longest, seed=7)
    experiment = Experiment(tiny.ours, prompts, ablation=ablation, reference=reference)
    empty = np.zeros((1, experiment.graph.n_edges), bool)
    values = experiment.values(empty)
    assert not np.allclose(values, Experiment(tiny.ours, prompts, ablation=ablation).values(empty))
    other_prompts = replace(prompts, corrupted=random_prompts(longest=6, seed=9).corrupted)
    same = Experiment(tiny.ours, other_prompts, ablation=ablation, reference=reference)
    np.testing.assert_array_equal(same.values(empty), values)


def test_a_positional_mean_knows_the_position_only(tiny: Tiny) -> None:
    """Under mean-positional ablation, no kept edge means equal logits for prompts of one length."""
    prompts = random_prompts(longest=6)
    assert len(set(prompts.score_at.tolist())) < len(prompts), (
        "no two prompts of one length would test nothing"
    )
    same = replace(
        prompts, answer=np.zeros_like(prompts.answer), distractor=np.ones_like(prompts.answer)
    )
    experiment = Experiment(tiny.ours, same, ablation="mean-positional")
    values = experiment.values(np.zeros((1, experiment.graph.n_edges), bool))[0]
    for length in set(prompts.score_at.tolist()):
        group = values[prompts.score_at == length]
        np.testing.assert_allclose(group, group[0], atol=1e-5)


def test_a_reference_too_short_for_positional_means_is_refused(tiny: Tiny) -> None:
    with pytest.raises(DataError, match="at most 4 tokens, the prompts up to 6"):
        Experiment(
            tiny.ours,
            random_prompts(longest=6),
            ablation="mean-positional",
            reference=random_prompts(longest=4),
        )


def test_reference_prompts_are_checked_as_prompts_are(tiny: Tiny) -> None:
    with pytest.raises(DataError, match="14 tokens, but the model's context is 13"):
        Experiment(
            tiny.ours, random_prompts(), ablation="mean", reference=random_prompts(longest=14)
        )


def test_other_reference_prompts_are_on_record(tiny: Tiny) -> None:
    reference = random_prompts(seed=3)
    experiment = Experiment(tiny.ours, random_prompts(), ablation="mean", reference=reference)
    assert experiment.reference_sha256 == reference.fingerprint
    assert Experiment(tiny.ours, random_prompts(), ablation="mean").reference_sha256 is None


@pytest.mark.parametrize(
    "metric", ["accuracy", "rank", "reciprocal_rank", "kl", "logit_difference"]
)
def test_a_model_that_computes_nan_is_no_success(tiny: Tiny, metric: str) -> None:
    """Nothing is greater than NaN, so that a careless rank would be the best there is."""
    network = eqx.tree_at(
        lambda m: m.final_norm.weight, tiny.ours.transformer, jnp.full(24, jnp.nan, jnp.float32)
    )
    experiment = Experiment(
        replace(tiny.ours, transformer=network), random_prompts(), metric=metric
    )
    with pytest.raises(SearchError, match=f"{metric} of prompt 1 is nan"):
        experiment.losses(np.ones((1, experiment.graph.n_edges), bool))


def test_what_is_not_kept_is_made_anew_with_the_same_values(tiny: Tiny) -> None:
    prompts = random_prompts(batch=8)
    roomy = Experiment(tiny.ours, prompts)
    tight = Experiment(
        tiny.ours, prompts, memory=estimate_row_bytes(tiny.ours.spec, roomy.graph, 9) * 3 // 2
    )
    assert (roomy.sizes.keeps, tight.sizes.keeps) == (True, False)
    masks = np.random.default_rng(0).random((3, roomy.graph.n_edges)) < 0.7
    np.testing.assert_allclose(tight.values(masks), roomy.values(masks), atol=1e-5)


def test_other_metrics_from_one_run_are_what_experiments_by_them_answer(tiny: Tiny) -> None:
    prompts = random_prompts(batch=5)
    mask = np.random.default_rng(0).random(tiny.ours.graph().n_edges) < 0.7
    names = ["kl", "accuracy", "logit"]
    # frontier=False: one program less to compile
    values = Experiment(tiny.ours, prompts, frontier=False).metric_values(mask, names)
    alone = [
        Experiment(tiny.ours, prompts, metric=name, frontier=False).values(mask[None])[0]
        for name in names[:1]
    ]
    assert values[:1] == pytest.approx(np.array(alone), rel=1e-4, abs=1e-5)
    assert set(values[1]) <= {0.0, 1.0}
    assert values.shape == (3, 5)
