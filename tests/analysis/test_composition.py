"""Composition scores: the whole matrices written out, the random baseline, and a known circuit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.analysis.composition import (
    _draw_scores,
    _measure_random,
    measure_composition,
    read_composition,
)
from circuitgraph.catalog.analysis_record import HeatmapRecord
from circuitgraph.errors import ArgumentError
from circuitgraph.models.constructed.compile import compile_program
from circuitgraph.models.constructed.rasp import Aggregate, Select, tokens
from circuitgraph.models.constructed.rasp_program import RaspProgram
from circuitgraph.models.language_model import LanguageModel
from tests.checkpoints import load_tiny, save_tiny
from tests.parity.cases import CASES
from tests.parity.harness import save_random


def gpt2_matrices(hf: Any, layer: int, head: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """The query-key and the output-value circuit of a head, [d, d], as rows of vectors meet them:
    ``x_query @ qk @ x_key`` and ``x @ ov``.
    """
    del offset
    block, width = hf.transformer.h[layer], hf.config.n_embd
    weight = (block.attn.c_attn.weight * block.ln_1.weight[:, None]).detach().numpy()
    weight = weight - weight.mean(0)  # what is the same in all dimensions the norm takes away
    part = slice(head * width // 4, (head + 1) * width // 4)
    q, k, v = (weight[:, i * width : (i + 1) * width][:, part] for i in range(3))
    return q @ k.T, v @ block.attn.c_proj.weight.detach().numpy()[part]


def llama_matrices(hf: Any, layer: int, head: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """The same with grouped keys and values and a turned query."""
    block, width = hf.model.layers[layer], hf.config.head_dim
    own = head // (hf.config.num_attention_heads // hf.config.num_key_value_heads)
    norm, attention = block.input_layernorm.weight, block.self_attn
    q, k, v = (
        (matrix.weight[i * width : (i + 1) * width] * norm).detach().numpy().T
        for matrix, i in (
            (attention.q_proj, head),
            (attention.k_proj, own),
            (attention.v_proj, own),
        )
    )
    position = torch.tensor([[offset]])
    cos, sin = (
        t[0, 0].detach().numpy() for t in hf.model.rotary_emb(torch.zeros(1, 1, 1), position)
    )
    turned = q * cos + np.concatenate([-q[:, width // 2 :], q[:, : width // 2]], 1) * sin
    o = attention.o_proj.weight[:, head * width : (head + 1) * width].detach().numpy().T
    return turned @ k.T, v @ o


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_scores_are_those_of_the_whole_matrices(tmp_path: Path, family: str) -> None:
    if family == "gpt2":
        tiny, read_matrices = save_tiny(tmp_path), gpt2_matrices
    else:
        tiny = load_tiny(save_random(tmp_path, family, **CASES[family]))
        read_matrices = llama_matrices
    scores = measure_composition(tiny.ours, offset=3)
    _, ov = read_matrices(tiny.hf, 0, 2, 3)
    qk, own_ov = read_matrices(tiny.hf, 1, 1, 3)
    products = (ov @ qk, ov @ qk.T, ov @ own_ov)
    wholes = (qk, qk, own_ov)
    for number, (product, whole) in enumerate(zip(products, wholes, strict=True)):
        theirs = np.linalg.norm(product) / np.linalg.norm(whole) / np.linalg.norm(ov)
        np.testing.assert_allclose(scores[1, 1, number, 0, 2], theirs, rtol=1e-4)
    assert np.isnan(scores[0]).all()
    assert np.isnan(scores[1, :, :, 1:]).all()


def test_pictures_of_many_heads_are_of_layers() -> None:
    """A score of 5 between a head of layer 1 and one of layer 0, all others are below."""
    scores = np.full((3, 30, 3, 30), np.nan)
    scores[1, :, 0], scores[2, :, :2] = 1.0, 2.0
    scores[1, 7, 0, 9] = 5.0
    picture = _draw_scores(scores, "k")
    assert picture.values == [[5.0, None], [2.0, 2.0]]
    assert (picture.row_labels, picture.column_labels) == (["1", "2"], ["0", "1"])


def test_the_baseline_is_that_of_matrices_turned_at_random() -> None:
    """For two matrices that are turned at random against each other, the mean of the score's square
    is 1/d.
    """
    baseline = _measure_random(8, 50)
    assert baseline.shape == (3, 24 * 23)
    np.testing.assert_allclose((baseline**2).mean(1), 1 / 50, rtol=0.05)


def test_the_induction_head_reads_the_previous_token_head_by_its_key(
    shipped: LanguageModel,
) -> None:
    """As its circuit: a0.h3->a1.h6<k> is the strongest composition by keys."""
    record = cg.analyze(shipped, None, "composition", top=3)
    by_key = record.reading.tables[1]
    assert by_key.rows[0][:2] == ["a0.h3", "a1.h6<k>"]
    picture = record.reading.pictures[1]
    assert isinstance(picture, HeatmapRecord)
    row, column = picture.row_labels.index("a1.h6"), picture.column_labels.index("a0.h3")
    score, over = by_key.rows[0][2:]
    assert picture.values[row][column] == score
    assert isinstance(score, float)
    assert isinstance(over, float)
    assert 0.2 < score < 0.3
    assert score > over > score - 0.1


@pytest.mark.parametrize(
    ("family", "phrase"),
    [
        ("olmo2", "Approximate: queries and keys are divided by their own size, over all heads"),
        ("qwen3", "Approximate: queries and keys are divided by their own size, over each head"),
        ("llama", "Rotary positions: exact for a query that stands 1 after"),
    ],
)
def test_what_a_family_makes_approximate_is_named(tmp_path: Path, family: str, phrase: str) -> None:
    model = load_tiny(save_random(tmp_path, family, **CASES[family])).ours
    assert phrase in " ".join(read_composition(model).notes)


def test_one_layer_is_refused() -> None:
    seen = Aggregate(Select(tokens, tokens, lambda key, query: key == query), tokens)
    model = compile_program(RaspProgram(seen, tuple("ab"), 3, 2)).model
    with pytest.raises(ArgumentError, match="has one layer: no head reads"):
        read_composition(model)
