"""Circuits of one head between tokens: scores and logits by independent models, known pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.analysis.head_circuits import (
    find_tops,
    read_head_circuits,
    read_vectors,
)
from circuitgraph.analysis.named_nodes import find_head
from circuitgraph.analysis.skip_trigrams import read_skip_trigrams
from circuitgraph.errors import ArgumentError, UnknownNameError
from circuitgraph.models.constructed.compile import compile_program
from circuitgraph.models.constructed.rasp import Aggregate, Select, tokens
from circuitgraph.models.constructed.rasp_program import RaspProgram
from circuitgraph.models.language_model import LanguageModel
from tests.analysis.test_copying import gpt2_circuit
from tests.checkpoints import Tiny, load_tiny
from tests.parity.cases import CASES
from tests.parity.harness import save_random


@pytest.mark.parametrize("family", ["llama", "qwen3", "olmo2"])
def test_scores_are_those_of_patterns_of_the_first_layer(tmp_path: Path, family: str) -> None:
    """Rotary positions, grouped keys, and norms of queries and keys, also over their full width.

    Of prompts (A, x, B) with other A each, the odds between A and x at B differ by A's score.
    """
    tiny = load_tiny(save_random(tmp_path, family, **CASES[family]))
    a, b = np.array([3, 11, 7, 20]), 5
    with torch.no_grad():
        prompts = torch.tensor([[token, 9, b] for token in a])
        pattern = tiny.hf.double()(prompts, output_attentions=True).attentions[0][:, 1, 2]
    theirs = torch.log(pattern[:, 0] / pattern[:, 1]).numpy()
    vectors = read_vectors(tiny.ours, find_head(tiny.ours, "a0.h1"), 2, "embedding")
    ours = np.asarray(vectors.keys)[a] @ np.asarray(vectors.queries)[b]
    np.testing.assert_allclose(ours - ours.mean(), theirs - theirs.mean(), atol=1e-4)
    scores, _ = find_tops(vectors.queries, vectors.keys, tiny.ours.spec.d_vocab)
    np.testing.assert_allclose(scores.sum(1), 0, atol=1e-2)


def test_logits_are_those_of_the_whole_circuit(tiny: Tiny) -> None:
    vectors = read_vectors(tiny.ours, find_head(tiny.ours, "a2.h3"), 1, "embedding")
    with torch.no_grad():
        whole = gpt2_circuit(tiny.hf, 2, 3).numpy()
    whole = whole - whole.mean(1, keepdims=True)
    whole = whole - whole.mean(0)
    ours, index = find_tops(vectors.values, vectors.raises, 2)
    np.testing.assert_array_equal(index[:, 0], whole.argmax(1))
    np.testing.assert_allclose(ours[:, 0], whole.max(1), rtol=1e-4, atol=1e-5)


def test_an_induction_head_raises_what_it_looks_at(shipped: LanguageModel) -> None:
    record = cg.analyze(shipped, None, "head-circuits", head="a1.h6", top=4)
    looks, raises = record.reading.tables
    assert [row[0] == row[1] for row in raises.rows] == [True] * 4
    sizes = [row[2] for row in looks.rows]
    assert sizes == sorted(sizes, reverse=True)  # pyright: ignore[reportArgumentType]
    assert "98.0% raise themselves most" in record.reading.notes[0]


def test_skip_trigrams_of_a_program_are_its_rule() -> None:
    """At d the head looks back at a, at c at b, and says what it saw."""
    rule = {"d": "a", "c": "b"}
    seen = Aggregate(Select(tokens, tokens, lambda key, query: rule.get(query) == key), tokens)
    model = compile_program(RaspProgram(seen, tuple("abcd"), 5, 2)).model
    (table,) = read_skip_trigrams(model, n_each=1, top=2).tables
    triples = {tuple(row[:3]) for row in table.rows}
    assert triples == {("'a'", "'d'", "'a'"), ("'b'", "'c'", "'b'")}


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"head": "m0"}, ArgumentError, "head is 'm0', which is no head"),
        ({"head": "a9.h0"}, UnknownNameError, "a9.h0"),
        ({"head": "a0.h0", "offset": 13}, ArgumentError, "offset is 13, but must be at most 12"),
        ({"head": "a0.h0", "top": 51}, ArgumentError, "top is 51, but must be at most 50"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tiny: Tiny, settings: dict[str, object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        read_head_circuits(tiny.ours, **settings)  # pyright: ignore[reportArgumentType]


def test_skip_trigrams_are_of_one_layer(tiny: Tiny) -> None:
    with pytest.raises(ArgumentError, match="has 3 layers, and skip trigrams are of models with"):
        read_skip_trigrams(tiny.ours)
