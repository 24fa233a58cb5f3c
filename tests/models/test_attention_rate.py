"""A fixed blend of attention with looking at every key alike, as in the models of Zhong et al."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

from circuitgraph.engine.batch import Inputs, unpadded_inputs
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.masked.programs import run_streams
from circuitgraph.errors import ModelError
from circuitgraph.evaluation.parity import measure_residual_errors
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import Transformer
from tests.checkpoints import random_prompts
from tests.models.checkpoint_files import gate
from tests.models.test_state_dict_layout import TOKENS, assert_same_logits, save_toy
from tests.models.toys import SIZES, Toy, random_weights, toy_config
from tests.parity.harness import unpolished

RATE = 0.3


def make_toy(folder: Path, **changes: Any) -> tuple[LanguageModel, Toy]:
    """A toy with an attention rate, loaded and as it is."""
    config = toy_config(**{"attn_coeff": RATE, **changes})
    toy = Toy(
        random_weights(SIZES, mlp_bias=True),
        config,
        rate=config["attn_coeff"],
        causal=config.get("attention_dir") != "bidirectional",
        masked=config.get("masked_token"),
    )
    return load_model(save_toy(folder, toy.weights), config=config), toy


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention_dir": "bidirectional"},
        {"attention_dir": "bidirectional", "masked_token": 4},
        {"attn_coeff": 0},
    ],
    ids=str,
)
def test_logits_are_the_toys(tmp_path: Path, changes: dict[str, Any]) -> None:
    model, toy = make_toy(tmp_path, **changes)
    assert (TOKENS == 4).any(), "a masked token that is nowhere would test nothing"
    assert_same_logits(model, toy)


def test_the_weights_of_a_query_sum_to_more_than_one(tmp_path: Path) -> None:
    """The constant is not divided by the number of keys."""
    model, _ = make_toy(tmp_path, attention_dir="bidirectional")
    pattern = read_first_pattern(model.transformer, unpadded_inputs(TOKENS.numpy()))
    np.testing.assert_allclose(pattern.sum(-1), RATE + 6 * (1 - RATE), rtol=1e-5)


@unpolished
def read_first_pattern(network: Transformer, inputs: Inputs) -> jax.Array:
    """The attention of the first layer's heads, [1, heads, batch, queries, keys]."""
    block, settings = network.select_layer(0)
    positions = network.positions_of(inputs.tokens, inputs.mask, inputs.positions)
    x = network.embed(inputs.tokens, inputs.positions)[None]
    q, k = (
        project(x, positions, settings)
        for project in (block.attention.project_queries, block.attention.project_keys)
    )
    return block.attention.attention_pattern(q, k, positions, settings)


def test_writers_add_up_to_the_stream(tmp_path: Path) -> None:
    model, _ = make_toy(tmp_path)
    inputs = unpadded_inputs(TOKENS.numpy())
    streams = np.asarray(run_streams(model.transformer, inputs))
    assert max(measure_residual_errors(model, inputs, streams)) <= 1e-5


def test_padding_changes_nothing(tmp_path: Path) -> None:
    model, _ = make_toy(tmp_path, attention_dir="bidirectional")
    alone, beside = model.logits([[1, 2, 3]]), model.logits([[1, 2, 3], [5, 6, 7, 8, 1]])
    np.testing.assert_allclose(beside[0, :3], alone[0], atol=1e-5)
    assert np.isnan(beside[0, 3:]).all()
    assert np.isfinite(beside[1]).all()


@pytest.mark.parametrize("frontier", [False, True])
def test_circuits_are_the_toys(tmp_path: Path, frontier: bool) -> None:
    """Every edge absent in turn, and the whole model: an absent edge carries the other prompt."""
    model, toy = make_toy(tmp_path)
    prompts = random_prompts(vocab=7, batch=2, longest=5)
    prompts = replace(prompts, mask=np.ones_like(prompts.mask), score_at=np.full(2, 4))
    experiment = Experiment(model, prompts, metric="logit", frontier=frontier)
    names = [str(edge) for edge in experiment.graph.edges]
    chosen = np.random.default_rng(1).choice(len(names), 25, replace=False)
    masks = np.ones((26, len(names)), bool)
    masks[np.arange(25), chosen] = False
    ours = experiment.values(masks)
    clean, corrupted = (torch.tensor(x).long() for x in (prompts.clean, prompts.corrupted))
    other = toy.run(corrupted)
    for row, mask in enumerate(masks):
        absent = {names[i]: other[names[i].split("->")[0]] for i in np.flatnonzero(~mask)}
        logits = toy.run(clean, absent)["logits"][:, -1]
        theirs = logits[torch.arange(2), torch.tensor(prompts.answer).long()]
        np.testing.assert_allclose(ours[row], theirs.numpy(), atol=gate(logits.numpy()))
    assert (np.abs(ours - ours[-1]).max(1) > 1e-2).sum() > 12, "edges without effect test nothing"


def test_ends_and_liveness(tmp_path: Path) -> None:
    """The full mask is the clean run, the empty one the corrupted run; every node has effect."""
    model, _ = make_toy(tmp_path)
    prompts = random_prompts(vocab=7, batch=3, longest=5)
    experiment, rows = Experiment(model, prompts, metric="logit"), np.arange(3)
    dst, src = experiment.graph.ends
    nodes = [dst != i for i in range(len(experiment.graph.readers))]
    nodes += [src != i for i in range(len(experiment.graph.writers))]
    full, empty, *cut = experiment.values(np.stack([dst >= 0, dst < 0, *nodes]))
    for values, tokens in ((full, prompts.clean), (empty, prompts.corrupted)):
        ends = model.logits(np.asarray(tokens))[rows, prompts.score_at, prompts.answer]
        np.testing.assert_allclose(values, ends, atol=1e-4)
    assert (np.abs(np.stack(cut) - full).max(axis=1) > 1e-5).all()


def test_every_edge_name_is_known_to_the_toy(tmp_path: Path) -> None:
    model, toy = make_toy(tmp_path)
    written = set(toy.run(TOKENS)) - {"logits"}
    assert {writer.name for writer in model.graph().writers} == written


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_a_rate_beyond_its_range_is_refused(tmp_path: Path, rate: float) -> None:
    with pytest.raises(ModelError, match=rf"attn_coeff = {rate}; it lies between 0 and 1"):
        make_toy(tmp_path, attn_coeff=rate)


def test_fingerprints_tell_rates_apart_and_are_those_of_before_without(tmp_path: Path) -> None:
    model, _ = make_toy(tmp_path)
    others = [make_toy(tmp_path, attn_coeff=rate)[0].fingerprint for rate in (0.4, 1.0)]
    assert len({model.fingerprint, *others}) == 3
    assert "attn_rate" not in repr(model.spec)
    assert Spec.__dataclass_fields__["attn_rate"].default == 1.0
