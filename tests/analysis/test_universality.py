"""Universality: a model beside itself with its neurons in another order, and beside others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from circuitgraph.analysis import universal_neurons
from circuitgraph.analysis.universal_heads import match_heads, read_universal_heads
from circuitgraph.analysis.universal_neurons import read_universal_neurons
from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.prompts import Pair, PairTokens, Prompts
from tests.checkpoints import Tiny, random_prompts


def numbered_prompts(n: int = 6) -> Prompts:
    """Prompts whose texts are their tokens' numbers, as models without a tokenizer read them."""
    prompts = random_prompts(batch=n)
    texts = [row[seen].tolist() for row, seen in zip(prompts.clean, prompts.mask, strict=True)]
    pairs = tuple(Pair(" ".join(map(str, ids)), None, None) for ids in texts)
    object.__setattr__(prompts, "pairs", pairs)
    return prompts


@pytest.fixture
def shuffled(tiny: Tiny, tmp_path: Path) -> tuple[str, np.ndarray]:
    """The tiny model with the neurons of layer 1 in another order, and where each of them went."""
    order = np.random.default_rng(5).permutation(40)
    hf = type(tiny.hf)(tiny.hf.config)
    hf.load_state_dict(tiny.hf.state_dict())
    mlp = hf.transformer.h[1].mlp
    with torch.no_grad():
        mlp.c_fc.weight.copy_(mlp.c_fc.weight[:, order].clone())
        mlp.c_fc.bias.copy_(mlp.c_fc.bias[order].clone())
        mlp.c_proj.weight.copy_(mlp.c_proj.weight[order].clone())
    hf.save_pretrained(tmp_path)
    return str(tmp_path), np.argsort(order)


def test_neurons_are_found_in_another_order(tiny: Tiny, shuffled: tuple[str, np.ndarray]) -> None:
    folder, where = shuffled
    reading = read_universal_neurons(
        tiny.ours, numbered_prompts(), other=folder, layers=(1,), top=40
    )
    summary, matches = reading.tables
    assert {str(a): str(b) for a, b, _ in matches.rows} == {
        f"m1.n{i}": f"m1.n{where[i]}" for i in range(40)
    }
    layer, mean, chance, same_place, above = summary.rows[0]
    assert layer == 1
    assert mean == pytest.approx(1, abs=1e-4)
    assert isinstance(chance, float)
    assert isinstance(same_place, float)
    assert chance < 0.8
    assert same_place < 0.9
    assert above == 1.0
    assert "tokens" in reading.notes[0]


def run_first_mlp(hf: Any, tokens: np.ndarray) -> np.ndarray:
    """Hidden values of the first layer as transformers has them, [batch, pos, d_mlp]."""
    values: list[np.ndarray] = []
    handle = hf.transformer.h[0].mlp.act.register_forward_hook(
        lambda module, args, output: values.append(output.detach().numpy())
    )
    with torch.no_grad():
        hf(torch.tensor(tokens).long())
    handle.remove()
    return values[0].reshape(*tokens.shape, -1)


def test_correlations_are_those_of_numpy(tiny: Tiny, shuffled: tuple[str, np.ndarray]) -> None:
    """Over all tokens but the first of each prompt."""
    prompts = numbered_prompts()
    hidden = run_first_mlp(tiny.hf, prompts.clean)[:, 1:][prompts.mask[:, 1:]]
    table = np.corrcoef(hidden.T)
    rows = read_universal_neurons(
        tiny.ours, prompts, other=shuffled[0], layers=(0,), top=40
    ).tables[1]
    for neuron, match, value in rows.rows:
        one, other = (str(name) for name in (neuron, match))
        if other.startswith("m0"):
            i, j = (int(name.partition("n")[2]) for name in (one, other))
            assert value == pytest.approx(table[i, j], abs=1e-3)


def test_models_of_other_tokens_are_compared_by_prompts(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same network, which calls its tokens other names, reads the texts as other tokens."""
    prompts, names = numbered_prompts(12), tuple(str(49 - i) for i in range(50))
    other = replace(tiny.ours, name="other", vocab=names, output_vocab=names)
    monkeypatch.setattr(universal_neurons, "load_model", lambda name: other)
    reading = read_universal_neurons(tiny.ours, prompts, other="other", layers=(0,), top=40)
    assert "over 12 prompts" in reading.notes[0]
    means = [
        (run_first_mlp(tiny.hf, tokens)[:, 1:] * prompts.mask[:, 1:, None]).sum(1)
        / prompts.mask[:, 1:, None].sum(1)
        for tokens in (prompts.clean, 49 - prompts.clean)
    ]
    table = np.corrcoef(means[0].T, means[1].T)[:40, 40:]
    for neuron, match, value in reading.tables[1].rows:
        one, other_name = str(neuron), str(match)
        if other_name.startswith("m0"):
            i, j = (int(name.partition("n")[2]) for name in (one, other_name))
            assert value == pytest.approx(table[i, j], abs=1e-3)


def test_shuffling_among_those_of_one_place_keeps_what_the_place_gives() -> None:
    """Of two neurons one counts positions, and one is noise: only the first stays itself."""
    places = np.repeat(np.arange(5), 40)
    noise = np.random.default_rng(0).normal(size=200)
    values = np.stack([places, noise])[None].astype(float)
    matches = universal_neurons._find_matches(values, values, places, seed=1)
    np.testing.assert_allclose(matches.best, 1, atol=1e-5)
    np.testing.assert_array_equal(matches.neurons[0], [[0, 0], [0, 1]])
    assert matches.same_place[0, 0] == pytest.approx(1, abs=1e-5)
    assert matches.same_place[0, 1] < 0.3
    assert matches.shuffled.max() < 0.3


def test_heads_of_a_model_are_like_its_own() -> None:
    reading = read_universal_heads(
        load_model("induction-2l"), others=("induction-2l",), n_sequences=4
    )
    counts, matches = reading.tables
    assert [row[2] for row in counts.rows] == [1, 0, 1] * 2
    assert sorted(str(row[0]) for row in matches.rows) == ["a0.h3", "a1.h6"]
    assert all(row[0] == row[1] for row in matches.rows)
    assert "depths 0.00 apart" in matches.title


def test_heads_are_matched_one_to_one_and_least_apart() -> None:
    first = np.array([[0.9, 0.0], [0.0, 0.8], [0.1, 0.1]])
    second = np.array([[0.0, 0.1], [0.1, 0.9], [0.8, 0.0], [0.9, 0.9]])
    assert match_heads(first, second) == ([0, 1, 2], [2, 1, 0])


def test_what_cannot_be_compared_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ArgumentError, match="others is empty"):
        read_universal_heads(tiny.ours, others=())
    prompts = numbered_prompts()
    with pytest.raises(ArgumentError, match="layers is \\[7\\]"):
        read_universal_neurons(tiny.ours, prompts, other=str(tiny.folder), layers=(7,))
    with pytest.raises(DataError, match="Correlations over 0 tokens say nothing"):
        read_universal_neurons(tiny.ours, prompts, other=str(tiny.folder), skip=20)
    tokens = PairTokens(clean=(60, 1), corrupted=())
    object.__setattr__(prompts, "pairs", (Pair("a", None, None, tokens=tokens),))
    with pytest.raises(DataError, match="does not know all of 'a'"):
        read_universal_neurons(tiny.ours, prompts, other=str(tiny.folder))
    long = PairTokens(clean=(1,) * 14, corrupted=())
    object.__setattr__(prompts, "pairs", (Pair("a", None, None, tokens=long),))
    with pytest.raises(DataError, match=r"has 14 tokens of .*, whose context is 13"):
        read_universal_neurons(tiny.ours, prompts, other=str(tiny.folder))
    with pytest.raises(ArgumentError, match="'ioi' has no MLPs"):
        read_universal_neurons(load_model("ioi"), prompts, other=str(tiny.folder))
