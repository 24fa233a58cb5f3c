"""Traces: a run keeps what transformers' own run holds there, and edits do what they say."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from circuitgraph.engine.batch import Inputs, make_inputs, unpadded_inputs
from circuitgraph.engine.grid import join_layers
from circuitgraph.engine.masked.forward import compute_full_logits, compute_writer_values
from circuitgraph.engine.trace import KEEPABLE, Trace, check_keep, trace_model
from circuitgraph.errors import ArgumentError, UnknownNameError
from circuitgraph.models.loading import load_model
from tests.checkpoints import Tiny, random_prompts
from tests.parity.cases import CASES
from tests.parity.harness import save_random

PROMPTS = random_prompts(batch=3, longest=6)
INPUTS = make_inputs(PROMPTS.clean, PROMPTS.mask, PROMPTS.score_at)


@jax.jit
def run_everything(model: Any, inputs: Inputs) -> Trace:
    return trace_model(model, inputs, KEEPABLE)


@pytest.fixture(scope="module")
def trace(tiny: Tiny) -> Trace:
    return run_everything(tiny.ours.transformer, INPUTS)


@pytest.fixture(scope="module")
def theirs(tiny: Tiny) -> dict[str, Any]:
    """Streams, patterns and hidden values of transformers' own run."""
    hidden: list[torch.Tensor] = []
    hooks = [
        block.mlp.act.register_forward_hook(lambda _, __, value: hidden.append(value))
        for block in tiny.hf.transformer.h
    ]
    with torch.no_grad():
        output = tiny.hf(
            torch.tensor(PROMPTS.clean).long(),
            attention_mask=torch.tensor(PROMPTS.mask).long(),
            output_hidden_states=True,
            output_attentions=True,
        )
    for hook in hooks:
        hook.remove()
    return {
        "stream": torch.stack(output.hidden_states[:-1]).numpy(),
        "pattern": torch.stack(output.attentions).numpy(),
        "hidden": torch.stack(hidden).numpy(),
    }


def real(values: Any, axis: int) -> np.ndarray:
    """Values at the real tokens only; ``axis`` is the prompts', the next one the positions'."""
    moved = np.moveaxis(np.asarray(values), (axis, axis + 1), (0, 1))
    return moved[PROMPTS.mask]


@pytest.mark.parametrize(("name", "axis"), [("stream", 1), ("hidden", 1)])
def test_streams_and_hidden_values_are_those_of_transformers(
    trace: Trace, theirs: dict[str, Any], name: str, axis: int
) -> None:
    np.testing.assert_allclose(
        real(getattr(trace, name), axis), real(theirs[name], axis), atol=2e-5
    )


def test_patterns_are_those_of_transformers(trace: Trace, theirs: dict[str, Any]) -> None:
    ours = np.moveaxis(np.asarray(trace.pattern), 2, 0)  # [batch, layers, heads, queries, keys]
    expected = np.moveaxis(theirs["pattern"], 1, 0)
    for row, length in enumerate(PROMPTS.mask.sum(axis=1)):
        np.testing.assert_allclose(
            ours[row][..., :length, :length], expected[row][..., :length, :length], atol=1e-6
        )


def test_the_writers_and_the_constants_add_up_to_the_stream(tiny: Tiny, trace: Trace) -> None:
    assert trace.writers is not None
    assert trace.stream is not None
    after = jnp.concatenate([trace.stream[1:], trace.final[None]])
    constant = tiny.ours.transformer.blocks.attention.constant[:, None, None]
    added = trace.writers.sum(1) + constant
    np.testing.assert_allclose(after - trace.stream, added, atol=1e-5)
    joined = join_layers(trace.embed, trace.writers)
    alone = jax.jit(compute_writer_values)(tiny.ours.transformer, INPUTS)
    np.testing.assert_allclose(joined, alone.nodes, atol=1e-6)


def test_heads_are_the_pattern_times_values_through_the_output_weights(
    tiny: Tiny, trace: Trace
) -> None:
    assert trace.z is not None
    assert trace.heads is not None
    assert trace.raw_heads is not None
    w_o = np.asarray(tiny.ours.transformer.blocks.attention.w_o)  # [layers, heads, d, d_head]
    expected = np.einsum("lhbpe,lhde->lhbpd", np.asarray(trace.z), w_o)
    np.testing.assert_allclose(trace.heads, expected, atol=1e-5)
    np.testing.assert_allclose(trace.raw_heads, expected, atol=1e-5)  # there is no post-norm


def test_an_edit_goes_on_through_the_run(tiny: Tiny) -> None:
    """The attention of one layer silenced: as transformers says when a hook does the same."""
    model, layer = tiny.ours.transformer, 1
    silenced = jnp.arange(model.spec.n_layers) == layer

    def silence(own: Any, name: str, value: jax.Array) -> jax.Array:
        return jnp.where(own, 0.0, value) if name == "attention" else value

    trace = jax.jit(
        lambda m: trace_model(m, INPUTS, ["mlp_input"], edit=silence, layer_data=silenced)
    )(model)
    logits = np.asarray(model.unembed(trace.final))
    block: Any = tiny.hf.transformer.h[layer]
    hook = block.attn.register_forward_hook(lambda _, __, out: (torch.zeros_like(out[0]), *out[1:]))
    with torch.no_grad():
        expected = tiny.hf(
            torch.tensor(PROMPTS.clean).long(), attention_mask=torch.tensor(PROMPTS.mask).long()
        ).logits.numpy()
    hook.remove()
    np.testing.assert_allclose(real(logits, 0), real(expected, 0), atol=5e-5)


def test_a_run_may_start_from_another_embedding(tiny: Tiny) -> None:
    model = tiny.ours.transformer
    other = unpadded_inputs(PROMPTS.clean[:, ::-1].copy())
    start = model.embed(other.tokens, other.positions)
    plain = jax.jit(lambda m: trace_model(m, other).final)(model)
    moved = jax.jit(lambda m: trace_model(m, unpadded_inputs(PROMPTS.clean), start=start).final)(
        model
    )
    np.testing.assert_array_equal(plain, moved)


def test_nothing_kept_is_the_model(tiny: Tiny) -> None:
    model = tiny.ours.transformer
    trace = jax.jit(lambda m: trace_model(m, INPUTS))(model)
    assert all(getattr(trace, name) is None for name in KEEPABLE)
    rows = np.arange(len(PROMPTS))
    logits = model.unembed(trace.final[rows, PROMPTS.score_at])
    np.testing.assert_allclose(logits, compute_full_logits(model, INPUTS)[:, 0], atol=1e-5)


@pytest.mark.parametrize("name", ["gemma2", "gpt_neox: parallel"])
def test_raw_heads_and_mlp_inputs_of_other_layers(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """A post-norm divides what all heads write; a parallel MLP reads what its layer reads."""
    family = name.partition(":")[0]
    model = load_model(str(save_random(tmp_path_factory.mktemp("m"), family, **CASES[name])))
    inputs = unpadded_inputs(np.random.default_rng(0).integers(0, 40, (2, 5)))
    trace = run_everything(model.transformer, inputs)
    if model.spec.parallel:
        np.testing.assert_array_equal(trace.mlp_input, trace.stream)
        np.testing.assert_allclose(trace.raw_heads, trace.heads, atol=1e-6)
    else:
        assert trace.raw_heads is not None
        assert trace.heads is not None
        assert not np.allclose(trace.raw_heads, trace.heads)
        norm = model.transformer.blocks.attention.post_norm
        assert norm is not None
        together = np.asarray(trace.raw_heads.sum(1), np.float64)
        scale = np.sqrt((together**2).mean(-1, keepdims=True) + norm.spec.eps)
        weight = np.asarray(norm.weight)[:, None, None] + norm.spec.offset
        np.testing.assert_allclose(
            trace.heads.sum(1), together / scale * weight, rtol=2e-4, atol=1e-5
        )


def test_what_cannot_be_kept_is_refused(
    tmp_path_factory: pytest.TempPathFactory, tiny: Tiny
) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'stream'"):
        check_keep(tiny.ours.spec, ["steam"])
    folder = save_random(tmp_path_factory.mktemp("moe"), "mixtral", **CASES["mixtral"])
    with pytest.raises(ArgumentError, match="once for each expert"):
        check_keep(load_model(str(folder)).spec, ["hidden"])
