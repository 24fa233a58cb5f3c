"""Scores of neurons, by their definitions over values that hooks on transformers' model keep."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.readings.knockouts import keep_all, run_knocked_out
from circuitgraph.engine.readings.neuron_inputs import run_neuron_inputs
from circuitgraph.engine.readings.neuron_scores import NeuronScore, neuron_scores
from circuitgraph.engine.readings.neurons import (
    run_attention_neurons,
    run_mlp_neurons,
    run_sublayers,
)
from circuitgraph.engine.readings.query_neurons import Channels, run_query_neurons
from circuitgraph.engine.readings.through_head import run_through_head, transform_rows
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.metrics import metrics
from tests.analysis.hooked_neurons import log_softmax, run_hooked, score_vector, weights
from tests.checkpoints import Tiny, load_tiny, random_prompts
from tests.parity.cases import CASES
from tests.parity.harness import save_random

N = 2
PROMPTS = random_prompts(batch=N, longest=6)
BATCH = make_batch(PROMPTS)
INCREASE = (neuron_scores["log-probability-increase"],)


@pytest.fixture(scope="module")
def hooked(tiny: Tiny) -> dict[str, np.ndarray]:
    return run_hooked(tiny, PROMPTS)


def every_score() -> tuple[NeuronScore, ...]:
    return tuple(neuron_scores[name] for name in neuron_scores.names())


def score_one(
    tiny: Tiny, name: str, row: int, before: Any, value: float, vector: Any, final: Any
) -> float:
    """The oracle's score of one neuron in one prompt."""
    assert PROMPTS.answer is not None
    at, answer = PROMPTS.score_at[row], int(PROMPTS.answer[row])
    return score_vector(tiny, name, before[row, at], value, vector, answer, final[row, at])


def test_there_are_the_increase_and_seven_others() -> None:
    assert len(neuron_scores.names()) == 8


def test_neurons_of_mlps(tiny: Tiny, hooked: dict[str, np.ndarray]) -> None:
    run = run_mlp_neurons(tiny.ours.transformer, BATCH, every_score(), None)
    assert run.scores.shape == (8, 3, N, 40)
    for layer, row, neuron in [(0, 0, 3), (1, 1, 39), (2, 0, 17)]:
        value = float(hooked["hidden"][layer, row, PROMPTS.score_at[row], neuron])
        assert float(run.coefficients[layer, row, neuron]) == pytest.approx(value, abs=1e-4)
        vector = weights(tiny, f"transformer.h.{layer}.mlp.c_proj.weight")[neuron]
        for number, name in enumerate(neuron_scores.names()):
            expected = score_one(
                tiny, name, row, hooked["middle"][layer], value, vector, hooked["final"]
            )
            got = float(run.scores[number, layer, row, neuron])
            assert got == pytest.approx(expected, rel=1e-3, abs=2e-4), name


def test_channels_of_heads_from_each_key(tiny: Tiny, hooked: dict[str, np.ndarray]) -> None:
    model, d_head = tiny.ours.transformer, tiny.ours.spec.d_head
    by_key = np.asarray(run_attention_neurons(model, BATCH, every_score(), by_key=True))
    whole = np.asarray(run_attention_neurons(model, BATCH, INCREASE, by_key=False))
    for layer, row, channel, key in [(0, 0, 3, 1), (1, 1, 20, 0), (2, 0, 11, 4)]:
        at, head = PROMPTS.score_at[row], channel // d_head
        v = hooked["qkv"][layer, row, key, 2 * model.spec.d_model + channel]
        value = float(hooked["pattern"][layer, row, head, at, key] * v)
        vector = weights(tiny, f"transformer.h.{layer}.attn.c_proj.weight")[channel]
        before, final = hooked["before"][layer], hooked["final"]
        for number, name in enumerate(neuron_scores.names()):
            expected = score_one(tiny, name, row, before, value, vector, final)
            got = float(by_key[number, layer, row, channel, key])
            assert got == pytest.approx(expected, rel=1e-3, abs=2e-4), name
        fetched = float(hooked["z"][layer, row, at, channel])
        expected = score_one(tiny, INCREASE[0].name, row, before, fetched, vector, final)
        got = float(whole[0, layer, row, channel, 0])
        assert got == pytest.approx(expected, rel=1e-3, abs=2e-4)


def test_neurons_without_a_head(tiny: Tiny, hooked: dict[str, np.ndarray]) -> None:
    """Values are those of the run without it, the last norm's divisor that of the run with it."""
    kept, layer, head = keep_all(tiny.ours.spec, N), 0, 2
    kept.z[layer, head] = 0
    run = run_mlp_neurons(tiny.ours.transformer, BATCH, INCREASE, kept)
    width = tiny.ours.spec.d_head

    def silence(z: Any) -> None:
        z[..., head * width : (head + 1) * width] = 0

    other = run_hooked(tiny, PROMPTS, (layer, "z", silence))
    for place, row, neuron in [(0, 1, 5), (2, 0, 30)]:
        value = float(other["hidden"][place, row, PROMPTS.score_at[row], neuron])
        vector = weights(tiny, f"transformer.h.{place}.mlp.c_proj.weight")[neuron]
        name, final = INCREASE[0].name, hooked["final"]
        expected = score_one(tiny, name, row, other["middle"][place], value, vector, final)
        got = float(run.scores[0, place, row, neuron])
        assert got == pytest.approx(expected, rel=1e-3, abs=2e-4)


def test_hidden_neurons_and_channels_are_knocked_out(tiny: Tiny) -> None:
    """As a hook does that zeroes them in each prompt."""
    kept, rows = keep_all(tiny.ours.spec, N), np.arange(N)
    assert kept.hidden is not None
    kept.hidden[1, 0, [4, 7]] = kept.hidden[1, 1, 9] = 0
    assert PROMPTS.answer is not None
    metric = (metrics["log_probability"],)

    def silence_hidden(hidden: Any) -> None:
        hidden[0, :, [4, 7]] = 0
        hidden[1, :, 9] = 0

    def silence_channel(z: Any) -> None:
        z[1, :, 13] = 0

    channel = keep_all(tiny.ours.spec, N)
    channel.z[2, 13 // 6, 1, 13 % 6] = 0
    for own, place in ((kept, (1, "hidden", silence_hidden)), (channel, (2, "z", silence_channel))):
        logits = run_hooked(tiny, PROMPTS, place)["logits"]
        expected = log_softmax(logits[rows, PROMPTS.score_at])[rows, PROMPTS.answer]
        got = run_knocked_out(tiny.ours.transformer, BATCH, metric, own)[0]
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_query_neurons_share_out_what_channels_read(
    tiny: Tiny, hooked: dict[str, np.ndarray]
) -> None:
    spec, rng = tiny.ours.spec, np.random.default_rng(0)
    chosen = (
        np.array([[2, 1], [2, 2]]),  # layers
        np.array([[3, 20], [11, 7]]),  # channels
        np.array([[1, 0], [2, 0]]),  # keys
        rng.random((N, 2)).astype(np.float32),
    )
    run = run_query_neurons(tiny.ours.transformer, BATCH, Channels(*map(jnp.asarray, chosen)))
    d = spec.d_model
    assert run.mlp is not None
    for row, layer, neuron in [(0, 0, 5), (0, 1, 9), (1, 1, 30), (1, 2, 2)]:
        mlp = attention = 0.0
        for value_layer, channel, key, importance in zip(*(a[row] for a in chosen), strict=True):
            if layer >= value_layer:
                continue
            gain = weights(tiny, f"transformer.h.{value_layer}.ln_1.weight")
            column = weights(tiny, f"transformer.h.{value_layer}.attn.c_attn.weight")
            vector = gain * column[:, 2 * d + channel]

            def read(x: np.ndarray, vector: np.ndarray = vector) -> float:
                return float((x - x.mean()) @ vector)  # a layer norm takes the mean away first

            total = read(hooked["before"][value_layer, row, key])
            w = weights(tiny, f"transformer.h.{layer}.mlp.c_proj.weight")[neuron]
            mlp += importance * read(hooked["hidden"][layer, row, key, neuron] * w) / total
            w = weights(tiny, f"transformer.h.{layer}.attn.c_proj.weight")[neuron % d]
            attention += importance * read(hooked["z"][layer, row, key, neuron % d] * w) / total
        assert float(run.mlp[layer, row, neuron]) == pytest.approx(mlp, rel=1e-3, abs=1e-5)
        got = float(run.attention[layer, row, neuron % d])
        assert got == pytest.approx(attention, rel=1e-3, abs=1e-5)


def test_neurons_through_a_head(tiny: Tiny, hooked: dict[str, np.ndarray]) -> None:
    model, layer, head, row, source, neuron = tiny.ours.transformer, 2, 1, 0, 1, 12
    run = run_through_head(model, BATCH, INCREASE, np.int32(layer), np.int32(head))
    d, width, at = model.spec.d_model, model.spec.d_head, PROMPTS.score_at[row]
    columns = slice(head * width, (head + 1) * width)
    prefix = f"transformer.h.{layer}"
    w_v = weights(tiny, f"{prefix}.attn.c_attn.weight")[:, 2 * d : 3 * d][:, columns]
    w_o = weights(tiny, f"{prefix}.attn.c_proj.weight")[columns]
    gain = weights(tiny, f"{prefix}.ln_1.weight")
    own = weights(tiny, f"transformer.h.{source}.mlp.c_proj.weight")[neuron]
    vector = ((own - own.mean()) * gain) @ w_v @ w_o
    np.testing.assert_allclose(
        transform_rows(model, jnp.asarray(own[None], jnp.float32), np.int32(layer), np.int32(head)),
        vector[None],
        atol=1e-4,
    )
    x = hooked["before"][layer, row]
    sigma = np.sqrt(x.var(-1) + tiny.hf.config.layer_norm_epsilon)
    looks = hooked["pattern"][layer, row, head, at] / sigma
    fetched = looks * hooked["hidden"][source, row, :, neuron]
    got = float(run.coefficients[source, row, neuron])
    assert got == pytest.approx(float(fetched.sum()), rel=1e-3, abs=1e-5)
    assert int(run.keys[source, row, neuron]) == int(np.abs(fetched).argmax())
    expected = score_one(
        tiny, INCREASE[0].name, row, hooked["before"][layer], fetched.sum(), vector, hooked["final"]
    )
    got = float(run.scores[0, source, row, neuron])
    assert got == pytest.approx(expected, rel=1e-3, abs=2e-4)
    assert not np.asarray(run.coefficients)[layer:].any()


def test_what_heads_put_into_a_neuron(tiny: Tiny, hooked: dict[str, np.ndarray]) -> None:
    layer, neuron, row = 1, 6, 1
    run = run_neuron_inputs(tiny.ours.transformer, BATCH, np.int32(layer), np.int32(neuron))
    at, width = PROMPTS.score_at[row], tiny.ours.spec.d_head
    x = hooked["middle"][layer, row, at]
    sigma = np.sqrt(x.var() + tiny.hf.config.layer_norm_epsilon)
    gain = weights(tiny, f"transformer.h.{layer}.ln_2.weight")
    column = weights(tiny, f"transformer.h.{layer}.mlp.c_fc.weight")[:, neuron]
    for source, head in [(0, 3), (1, 0)]:
        columns = slice(head * width, (head + 1) * width)
        w_o = weights(tiny, f"transformer.h.{source}.attn.c_proj.weight")[columns]
        written = hooked["z"][source, row, at, columns] @ w_o
        expected = ((written - written.mean()) / sigma * gain) @ column
        got = float(run.up[source, head, row])
        assert got == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert float(run.total_up[row]) == pytest.approx(((x - x.mean()) / sigma * gain) @ column, 1e-3)
    assert not np.asarray(run.up)[2].any()
    assert run.gate is None


@pytest.mark.parametrize("name", ["gemma2", "llama"])
def test_increases_of_sublayers_sum_to_what_the_model_says(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """From the embedding to the answer's log-probability: soft cap, post-norms and all; and a
    gated neuron's score is what its definition says.
    """
    folder = save_random(tmp_path_factory.mktemp("m"), name, **CASES[name])
    model, hf = load_model(str(folder)), load_tiny(folder).hf
    prompts = random_prompts(vocab=model.spec.d_vocab, batch=2)
    at, rows, kept = prompts.score_at, np.arange(2), {}
    assert prompts.answer is not None
    for key, place in (("embed", hf.model.layers[0]), ("final", hf.model.norm)):
        place.register_forward_pre_hook(
            lambda _, args, key=key: kept.__setitem__(key, args[0].double().numpy())
        )
    tokens, mask = torch.tensor(prompts.clean).long(), torch.tensor(prompts.mask).long()
    with torch.no_grad():
        logits = hf(tokens, attention_mask=mask).logits.double().numpy()
    said = log_softmax(logits[rows, at])[rows, prompts.answer]
    final, embed = kept["final"][rows, at], kept["embed"][rows, at]
    divisor = np.sqrt((final**2).mean(-1, keepdims=True) + hf.config.rms_norm_eps)
    gain = hf.model.norm.weight.detach().double().numpy() + (name == "gemma2")
    start = embed / divisor * gain @ hf.lm_head.weight.detach().double().numpy().T
    cap = getattr(hf.config, "final_logit_softcapping", None)
    start = start if cap is None else cap * np.tanh(start / cap)
    expected = said - log_softmax(start)[rows, prompts.answer]
    batch = make_batch(prompts)
    heads, attention, mlp = run_sublayers(model.transformer, batch)
    np.testing.assert_allclose((attention + mlp).sum(0), expected, atol=2e-3)
    assert heads.shape == (model.spec.n_layers, model.spec.n_heads, 2)
    inputs = run_neuron_inputs(model.transformer, batch, np.int32(1), np.int32(0))
    assert inputs.gate is not None
    run = run_mlp_neurons(model.transformer, batch, INCREASE, None)
    assert np.isfinite(np.asarray(run.scores)).all()
