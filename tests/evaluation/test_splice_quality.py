"""How good a dictionary is, beside transformers' model with hooks that put the same thing in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from circuitgraph.errors import ArgumentError, ModelError
from circuitgraph.evaluation.splice_quality import measure_splice_quality
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec
from circuitgraph.models.dictionaries.hooks import Hook, parse_hook
from circuitgraph.tasks.prompts import Prompts
from tests.checkpoints import Tiny, random_prompts

PROMPTS = random_prompts(batch=4)
SPEC = DictionarySpec(
    layout="test", activation="relu", subtracts_b_dec=False, reads=None, writes=()
)
Run = Callable[[np.ndarray], np.ndarray]


def make_spec(reads: str, *writes: str, **fields: Any) -> DictionarySpec:
    hooks = [parse_hook(name) for name in (reads, *writes)]
    outputs = tuple(hooks[1:]) or (hooks[0],)
    return replace(
        SPEC, reads=hooks[0], writes=outputs, **{"output_scales": (1.0,) * len(outputs), **fields}
    )


def identity(spec: DictionarySpec, width: int) -> Dictionary:
    """Each number in two features: where it is positive, and where it is negative."""
    both = jnp.concatenate([jnp.eye(width), -jnp.eye(width)])
    return Dictionary(both, jnp.zeros(2 * width), both[None], jnp.zeros(width), spec)


def draw_dictionary(spec: DictionarySpec, width: int, seed: int = 0, n: int = 30) -> Dictionary:
    rng = np.random.default_rng(seed)
    shapes = ((n, width), (n,), (len(spec.writes), n, width), (width,))
    w_enc, b_enc, w_dec, b_dec = (rng.normal(size=shape).astype(np.float32) / 3 for shape in shapes)
    w_enc, b_enc, w_dec, b_dec = map(jnp.asarray, (w_enc, b_enc - 0.3, w_dec, b_dec))
    return Dictionary(w_enc, b_enc, w_dec, b_dec, spec)


def run_plainly(dictionary: Dictionary) -> tuple[Run, Run]:
    """Features, and what they write, of a ReLU dictionary, in numpy."""
    w_enc, b_enc, w_dec = (
        np.asarray(a, np.float64) for a in (dictionary.w_enc, dictionary.b_enc, dictionary.w_dec[0])
    )

    def encode(x: np.ndarray) -> np.ndarray:
        return np.maximum(x @ w_enc.T + b_enc, 0)

    return encode, lambda x: encode(x) @ w_dec + np.asarray(dictionary.b_dec)


def ask_for_own_answers(tiny: Tiny) -> Prompts:
    """Prompts whose answers are what the model says, which zeros in it make less likely."""
    logits = tiny.ours.logits(PROMPTS.clean)
    answer = logits[np.arange(len(PROMPTS)), PROMPTS.score_at].argmax(-1).astype(np.int32)
    return replace(PROMPTS, answer=answer)


@pytest.mark.parametrize(
    "hook",
    [
        "hook_embed",
        "blocks.2.hook_resid_pre",
        "blocks.1.hook_resid_mid",
        "blocks.2.hook_resid_post",
        "blocks.1.attn.hook_z",
        "blocks.1.hook_attn_out",
        "transformer.h.0.mlp",
    ],
)
def test_an_identity_dictionary_loses_nothing(tiny: Tiny, hook: str) -> None:
    prompts = ask_for_own_answers(tiny)
    quality = measure_splice_quality(tiny.ours, [identity(make_spec(hook), 24)], prompts, seed=0)
    assert quality.kl.high == 0
    answer, following = quality.answer, quality.next_token
    assert answer is not None
    assert following is not None
    assert answer.recovered is not None
    assert (answer.recovered.low, answer.recovered.mean, answer.recovered.high) == (1, 1, 1)
    for loss in (answer, following):
        assert loss.spliced == loss.model
        assert abs(loss.zeros.mean - loss.model.mean) > 1e-3
    # a random model knows nothing of the next token, so that zeros may well cost nothing
    assert (following.recovered is None) == (following.zeros.mean <= following.model.mean)
    assert quality.variance_explained is not None
    assert quality.variance_explained.mean == pytest.approx(1, abs=1e-6)
    assert quality.l0.mean == pytest.approx(24, abs=0.5), "one of each pair is on"
    assert (quality.n_features, quality.n_tokens) == (48, int(PROMPTS.mask.sum()))


def run_torch(tiny: Tiny, module: Any, replace_output: Callable[[Any, Any], Any]) -> torch.Tensor:
    """transformers' log-probabilities with a module's output replaced."""
    handle = module.register_forward_hook(lambda _, inputs, output: replace_output(inputs, output))
    try:
        with torch.no_grad():
            logits = tiny.hf(torch.tensor(PROMPTS.clean).long()).logits
    finally:
        handle.remove()
    return logits.double().log_softmax(-1)


def expect_losses(log_p: torch.Tensor, prompts: Prompts) -> np.ndarray:
    """Each prompt's mean cross-entropy of its own next tokens."""
    own = -log_p[:, :-1].gather(-1, torch.tensor(prompts.clean[:, 1:, None]).long())[..., 0]
    mask = prompts.mask[:, 1:]
    return np.where(mask, own.numpy(), 0).sum(1) / mask.sum(1)


@pytest.mark.parametrize(
    ("reads", "writes", "module"),
    [
        ("blocks.1.hook_mlp_out", (), "mlp"),
        ("blocks.1.mlp.hook_in", ("blocks.1.hook_mlp_out",), "mlp"),
        ("blocks.1.hook_resid_post", (), ""),
    ],
)
def test_measures_are_those_of_transformers_with_a_hook(
    tiny: Tiny, reads: str, writes: tuple[str, ...], module: str
) -> None:
    dictionary = draw_dictionary(make_spec(reads, *writes), 24)
    encode, reconstruct = run_plainly(dictionary)
    block = tiny.hf.transformer.h[1]
    seen: dict[str, np.ndarray] = {}

    def put(make: Run, inputs: Any, output: Any) -> Any:
        value = output if isinstance(output, torch.Tensor) else output[0]
        source = inputs[0] if writes else value
        seen["x"], seen["value"] = source.double().numpy(), value.double().numpy()
        new = torch.tensor(make(seen["x"])).to(value.dtype)
        return new if isinstance(output, torch.Tensor) else (new, *output[1:])

    where = getattr(block, module) if module else block
    spliced = run_torch(tiny, where, lambda i, o: put(reconstruct, i, o))
    zeros = run_torch(tiny, where, lambda i, o: put(np.zeros_like, i, o))
    clean = run_torch(tiny, where, lambda _, output: output)
    quality = measure_splice_quality(tiny.ours, [dictionary], PROMPTS, seed=0)
    losses = [expect_losses(log_p, PROMPTS).mean() for log_p in (clean, spliced, zeros)]
    loss = quality.next_token
    assert loss is not None
    assert [loss.model.mean, loss.spliced.mean, loss.zeros.mean] == pytest.approx(losses, rel=1e-4)
    if losses[2] > losses[0]:
        assert loss.recovered is not None
        share = (losses[2] - losses[1]) / (losses[2] - losses[0])
        assert loss.recovered.mean == pytest.approx(share, rel=1e-3)
    else:
        assert loss.recovered is None
    kl = np.where(PROMPTS.mask, (clean.exp() * (clean - spliced)).sum(-1).numpy(), 0).sum(1)
    assert quality.kl.mean == pytest.approx((kl / PROMPTS.mask.sum(1)).mean(), rel=1e-3)
    x, value, mask = seen["x"], seen["value"], PROMPTS.mask[..., None]
    is_on = (encode(x) > 0) & mask
    n_tokens = PROMPTS.mask.sum(1)
    assert quality.l0.mean == pytest.approx((is_on.sum((1, 2)) / n_tokens).mean())
    assert quality.n_dead == int((~is_on.any((0, 1))).sum())
    error = (((reconstruct(x) - value) ** 2) * mask).sum((1, 2)) / n_tokens
    centre = value[PROMPTS.mask].mean(0)
    spread = (((value - centre) ** 2) * mask).sum((1, 2)) / n_tokens
    assert quality.variance_explained is not None
    assert quality.variance_explained.mean == pytest.approx(
        1 - error.mean() / spread.mean(), rel=1e-4
    )


def test_layers_of_a_cross_layer_transcoder_are_summed(tiny: Tiny) -> None:
    """Two dictionaries of layers 1 and 2, the first of which writes to both layers."""
    outputs = ["blocks.1.hook_mlp_out", "blocks.2.hook_mlp_out"]
    lower = draw_dictionary(make_spec("blocks.1.mlp.hook_in", *outputs), 24)
    upper = draw_dictionary(make_spec("blocks.2.mlp.hook_in", outputs[1]), 24, seed=1)
    encode, write_own = run_plainly(lower)
    _, write_upper = run_plainly(upper)
    across = np.asarray(lower.w_dec[1], np.float64)
    kept: dict[str, np.ndarray] = {}

    def put_lower(_: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        kept["x"] = inputs[0].double().numpy()
        return torch.tensor(write_own(kept["x"])).to(output.dtype)

    def put_upper(_: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        written = encode(kept["x"]) @ across + write_upper(inputs[0].double().numpy())
        return torch.tensor(written).to(output.dtype)

    handles = [
        tiny.hf.transformer.h[layer].mlp.register_forward_hook(put)
        for layer, put in ((1, put_lower), (2, put_upper))
    ]
    try:
        with torch.no_grad():
            log_p = tiny.hf(torch.tensor(PROMPTS.clean).long()).logits.double().log_softmax(-1)
    finally:
        for handle in handles:
            handle.remove()
    quality = measure_splice_quality(tiny.ours, [upper, lower], PROMPTS, seed=0)
    assert quality.next_token is not None
    assert quality.next_token.spliced.mean == pytest.approx(
        expect_losses(log_p, PROMPTS).mean(), rel=1e-4
    )
    with pytest.raises(
        ArgumentError, match=r"blocks\.2\.hook_mlp_out is written, but .* all layers"
    ):
        measure_splice_quality(tiny.ours, [lower], PROMPTS, seed=0)
    with pytest.raises(ArgumentError, match=r"blocks\.2\.hook_mlp_out is written by several"):
        measure_splice_quality(tiny.ours, [upper, upper], PROMPTS, seed=0)


@pytest.mark.parametrize(
    ("spec", "width", "problem"),
    [
        (SPEC, 24, "do not say where it reads and writes"),
        (make_spec("blocks.3.hook_mlp_out"), 24, "is in layer 3, but the model's last layer is 2"),
        (make_spec("blocks.1.hook_mlp_out"), 23, "reads 23 numbers at .*, where the model has 24"),
    ],
)
def test_dictionaries_of_another_model_are_refused(
    tiny: Tiny, spec: DictionarySpec, width: int, problem: str
) -> None:
    with pytest.raises(ModelError, match=problem):
        measure_splice_quality(tiny.ours, [draw_dictionary(spec, width)], PROMPTS, seed=0)


def test_what_can_be_nodes() -> None:
    """A node adds a number times a fixed row in place of what an MLP or the heads add."""
    out, mid = "blocks.1.hook_mlp_out", "blocks.1.hook_resid_mid"
    for spec in (make_spec(out), make_spec(mid, out), make_spec("blocks.1.hook_attn_out")):
        assert (spec.can_be_nodes, spec.node_problem) == (True, None)
    for spec, reason in (
        (SPEC, "name the hook"),
        (make_spec("blocks.1.hook_resid_post"), "takes the residual stream apart"),
        (make_spec("blocks.1.attn.hook_z"), "before their output weights"),
        (make_spec(out, normalisation="norm"), "no fixed row"),
        (make_spec("blocks.1.hook_attn_out", out), "reads blocks.1.hook_attn_out"),
    ):
        assert not spec.can_be_nodes
        assert reason in str(spec.node_problem)
    assert str(Hook("mlp_output", 7)) == "blocks.7.hook_mlp_out"
