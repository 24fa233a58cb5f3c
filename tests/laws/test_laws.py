"""Laws 1 to 5 of the design, on random models loaded through the real path."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.masked.forward import (
    Background,
    Grid,
    Inputs,
    compute_masked_logits,
    compute_writer_values,
)
from circuitgraph.graph.circuit import Circuit
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import metrics
from tests.checkpoints import Tiny, oracle_run, random_prompts, save_tiny
from tests.oracle import explicit_eap, losses
from tests.parity.harness import gate, unpolished

VARIANTS = {
    "odd": {},
    "plain": {
        "activation_function": "gelu_new",
        "n_inner": None,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": True,
        "layer_norm_epsilon": 1e-5,
    },
    "unscaled relu": {
        "scale_attn_weights": False,
        "activation_function": "relu",
        "reorder_and_upcast_attn": True,
    },
    "one layer, one head": {"n_layer": 1, "n_head": 1, "activation_function": "silu"},
    "attention only": {"silent_mlp": True, "n_layer": 2},
}


run_masked, run_writers, run_background = map(
    unpolished, (compute_masked_logits, compute_writer_values, Background.of)
)


@unpolished
def run_plain(network: Transformer, inputs: Inputs) -> jax.Array:
    return network(inputs.tokens, inputs.mask, inputs.positions)


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return save_tiny(tmp_path_factory.mktemp("model"), **VARIANTS[request.param])


def inputs_of(tokens: np.ndarray, mask: np.ndarray) -> Inputs:
    positions = np.broadcast_to(np.arange(mask.shape[1]), mask.shape)
    return Inputs(*(jnp.asarray(array) for array in (tokens, mask, positions, mask.sum(1) - 1)))


def hf_logits(model: Tiny, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    positions = torch.arange(mask.shape[1]).expand(*mask.shape)
    with torch.no_grad():
        out = model.hf(
            input_ids=torch.tensor(tokens).long(),
            attention_mask=torch.tensor(mask).long(),
            position_ids=positions,
        )
    return out.logits.numpy()


def test_law_1_contributions_add_up_to_the_residual_stream(model: Tiny) -> None:
    """In each layer, embedding + constants + writers so far is transformers' residual stream."""
    prompts = random_prompts()
    network, graph = model.ours.transformer, model.ours.graph()
    written = np.asarray(run_writers(network, inputs_of(prompts.clean, prompts.mask)).nodes)
    constants = np.cumsum(np.asarray(network.blocks.attention.constant), axis=0)
    with torch.no_grad():
        tokens = torch.tensor(prompts.clean).long()
        streams = list(model.hf.transformer(tokens, output_hidden_states=True).hidden_states[:-1])
        hook = model.hf.transformer.ln_f.register_forward_pre_hook(
            lambda _, args: streams.append(args[0])
        )
        model.hf.transformer(tokens)
        hook.remove()
    assert len(streams) == graph.n_layers + 1
    for layer, stream in enumerate(streams):
        ours = sum(written[i] for i, w in enumerate(graph.writers) if w.node.layer < layer)
        ours = ours + (constants[layer - 1] if layer else 0)
        difference = np.abs(ours - stream.numpy())[prompts.mask].max()
        assert difference <= 1e-5 * np.abs(stream.numpy()).max()


def test_law_2_parity_with_transformers(model: Tiny) -> None:
    prompts = random_prompts(longest=13)
    theirs = hf_logits(model, prompts.clean, prompts.mask)
    ours = np.asarray(run_plain(model.ours.transformer, inputs_of(prompts.clean, prompts.mask)))
    assert np.abs(theirs).max() > 0.5, "logits so small that agreement would mean nothing"
    assert np.abs(theirs - ours)[prompts.mask].max() <= gate(theirs)


def test_law_3_ends_at_every_position(model: Tiny) -> None:
    """Full mask = clean run; empty mask with resampling = corrupted run."""
    prompts = random_prompts()
    network, graph = model.ours.transformer, model.ours.graph()
    grid, inputs = Grid.of(graph), inputs_of(prompts.clean, prompts.mask)
    background = run_background(
        network, run_writers(network, inputs_of(np.asarray(prompts.corrupted), prompts.mask))
    )
    for mask, tokens in (
        (Circuit.full(graph).mask, prompts.clean),
        (Circuit.empty(graph).mask, prompts.corrupted),
    ):
        theirs = hf_logits(model, np.asarray(tokens), prompts.mask)
        for position in range(prompts.mask.shape[1]):
            here = inputs._replace(score_at=jnp.full((len(prompts), 1), position))
            ours = np.asarray(
                run_masked(network, jnp.asarray(mask, jnp.float32), grid, background, here)
            )[:, 0]
            real = prompts.mask[:, position]
            assert np.abs(ours - theirs[:, position])[real].max() <= gate(theirs)


def test_law_4_every_reader_and_writer_is_live(model: Tiny) -> None:
    """Removing the edges of any one node, in or out, moves the logits."""
    graph = model.ours.graph()
    experiment = Experiment(model.ours, random_prompts())
    dst, src = graph.ends
    masks = [dst != reader for reader in range(len(graph.readers))]
    masks += [src != writer for writer in range(len(graph.writers))]
    values = experiment.values(np.stack([np.ones(graph.n_edges, bool), *masks]))
    moved = np.abs(values[1:] - values[0]).max(axis=1)
    names = [f"into {r.name}" for r in graph.readers] + [f"out of {w.name}" for w in graph.writers]
    assert not [name for name, size in zip(names, moved, strict=True) if size < 1e-5]


@pytest.mark.parametrize("ablation", ["resample", "zero", "mean", "mean-positional"])
def test_law_5_batched_is_one_by_one_whatever_the_memory(tiny: Tiny, ablation: str) -> None:
    prompts, rng = random_prompts(batch=6), np.random.default_rng(1)
    wide = Experiment(tiny.ours, prompts, ablation=ablation)
    narrow = Experiment(tiny.ours, prompts, ablation=ablation, memory=wide.sizes.bytes_needed // 3)
    assert narrow.sizes.prompts < len(prompts), (
        "the narrow experiment must be cut into chunks to test anything"
    )
    masks = rng.random((7, wide.graph.n_edges)) < 0.6
    together = wide.values(masks)
    np.testing.assert_allclose(narrow.values(masks), together, atol=1e-5)
    for row, mask in zip(together, masks, strict=True):
        np.testing.assert_allclose(wide.values(mask[None])[0], row, atol=1e-5)


def test_law_5_mask_gradient_is_eap_from_explicit_caches(tiny: Tiny) -> None:
    prompts = random_prompts()
    experiment = Experiment(tiny.ours, prompts)
    loss = losses.negative_logit_difference(
        torch.tensor(prompts.answer).long(), torch.tensor(prompts.distractor).long()
    )
    explicit = explicit_eap(oracle_run(tiny, prompts, "resample", double=True), loss)
    gradient = experiment.gradient(np.ones(experiment.graph.n_edges, bool))
    theirs = np.array([explicit[edge] for edge in experiment.graph.edges])
    np.testing.assert_allclose(-gradient, theirs, atol=1e-5 * np.abs(theirs).max())


def test_law_5_gradient_is_the_slope_of_the_loss(tiny: Tiny) -> None:
    """Central differences at a fractional mask, where nothing is special."""
    experiment = Experiment(tiny.ours, random_prompts(), metric="kl", ablation="mean")
    rng = np.random.default_rng(0)
    mask = rng.uniform(0.3, 0.9, experiment.graph.n_edges)
    gradient = experiment.gradient(mask)
    for edge in np.argsort(-np.abs(gradient))[:5]:
        step = np.zeros_like(mask)
        step[edge] = 0.05
        up, down = experiment.losses(np.stack([mask + step, mask - step]))
        assert (up - down) / 0.1 == pytest.approx(gradient[edge], rel=0.05)


def test_law_5_padding_changes_nothing(tiny: Tiny) -> None:
    """The most padded prompts have the same values in a batch cut to their length.

    The other prompts, which are cut as well, are not compared.

    The other prompts, which are cut as well, are not compared.
    """
    prompts = random_prompts()
    lengths = prompts.mask.sum(1)
    assert len(set(lengths)) > 1, "prompts of one length would test nothing"
    experiment = Experiment(tiny.ours, prompts)
    masks = np.random.default_rng(2).random((3, experiment.graph.n_edges)) < 0.7
    padded = experiment.values(masks)
    n = min(lengths)
    cut = replace(
        prompts,
        clean=prompts.clean[:, :n],
        corrupted=np.asarray(prompts.corrupted)[:, :n],
        mask=prompts.mask[:, :n],
        score_at=np.minimum(prompts.score_at, n - 1),
    )
    unpadded = Experiment(tiny.ours, cut).values(masks)
    np.testing.assert_allclose(unpadded[:, lengths == n], padded[:, lengths == n], atol=1e-5)


def test_parameters_are_arguments_not_constants(tiny: Tiny) -> None:
    """A compiled program that swallowed the weights would answer for the first model ever after."""
    prompts = random_prompts()
    first = Experiment(tiny.ours, prompts)
    halved = jax.tree.map(lambda leaf: leaf * 0.5, tiny.ours.transformer)
    other = Experiment(replace(tiny.ours, transformer=halved), prompts)
    full = np.ones((1, first.graph.n_edges), bool)
    assert not np.allclose(first.values(full), other.values(full))


@pytest.mark.parametrize("name", metrics.names())
def test_metrics_of_the_full_mask_are_those_of_the_model(tiny: Tiny, name: str) -> None:
    prompts = random_prompts()
    experiment = Experiment(tiny.ours, prompts, metric=name)
    logits = torch.tensor(
        hf_logits(tiny, prompts.clean, prompts.mask)[np.arange(len(prompts)), prompts.score_at]
    )
    answer, distractor = (
        torch.tensor(prompts.answer).long(),
        torch.tensor(prompts.distractor).long(),
    )

    theirs = {
        "logit_difference": losses.negative_logit_difference(answer, distractor),
        "logit": losses.negative_logit(answer),
        "log_probability": losses.negative_log_probability(answer),
        "probability": losses.negative_probability(answer),
        "probability_difference": losses.negative_probability_difference(answer, distractor),
        "cross_entropy": losses.cross_entropy(answer),
        "kl": losses.kl_divergence(logits),
        "rank": losses.rank(answer),
        "reciprocal_rank": losses.negative_reciprocal_rank(answer),
        "accuracy": losses.negative_accuracy(answer),
    }[name](logits)
    ours = experiment.losses(np.ones((1, experiment.graph.n_edges), bool))
    assert ours[0] == pytest.approx(float(theirs.double().mean()), abs=1e-5)
