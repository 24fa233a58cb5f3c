"""Head types: shares of the look by an independent model, and heads whose type is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.analysis.head_types import TYPES, measure_types, read_head_types
from circuitgraph.errors import ArgumentError
from circuitgraph.models.constructed.named_programs import load_constructed
from circuitgraph.models.language_model import LanguageModel
from tests.checkpoints import Tiny


def test_shares_are_those_of_transformers_patterns(tiny: Tiny) -> None:
    """The same drawing, written anew: tokens, their repetition, and means of the pattern."""
    length, n = 5, 3
    scores = measure_types(tiny.ours, length, n, seed=4)
    rng = np.random.default_rng(4)
    drawn = np.array([rng.choice(50, 2 * length, replace=False) for _ in range(n)])
    second = drawn[:, length:]
    for first, shares in ((second, scores.repeated), (drawn[:, :length], scores.single)):
        tokens = torch.tensor(np.concatenate([first, second], axis=1))
        with torch.no_grad():
            patterns = tiny.hf(tokens, output_attentions=True).attentions
        for layer, pattern in enumerate(patterns):
            queries = range(length, 2 * length)
            for number, back in enumerate((1, length, length - 1)):
                theirs = sum(pattern[:, :, q, q - back] for q in queries) / length
                np.testing.assert_allclose(
                    shares[layer, :, number], torch.as_tensor(theirs).T, atol=1e-5
                )
    evenly = np.mean([1 / (q + 1) for q in range(length, 2 * length)])
    np.testing.assert_allclose(scores.even, evenly, rtol=1e-6)


def test_heads_of_the_shipped_model_have_the_types_of_its_circuit(shipped: LanguageModel) -> None:
    """The filed circuit of the task is embed -> a0.h3 -> a1.h6<k>, a1.h6 -> logits."""
    scores = measure_types(shipped, n_sequences=8)
    assert scores.length == 25
    assert scores.name_heads() == {"a0.h3": "previous-token", "a1.h6": "induction"}
    assert scores.repeated[1, 6, TYPES.index("induction")].mean() > 0.9
    assert "duplicate-token" in scores.name_heads(threshold=0.3)["a1.h5"]


def test_heads_of_a_compiled_program_look_where_it_selects() -> None:
    """Attention of a program is in both directions: a token sees what follows its other copy, and
    what follows itself; the last token, what follows its copy alone. The vocabulary has a token
    more than the program, which only writes it: sequences with it give less.
    """
    scores = measure_types(load_constructed("induction").model, n_sequences=9, bos="yes")
    (previous, induction), length = scores.repeated[:, 0], scores.length
    assert length == 4
    np.testing.assert_allclose(previous.mean(1), [1, 0, 0], atol=1e-6)
    expected = ((length - 1) / 2 + 1) / length
    assert np.isclose(induction[2], expected, atol=1e-6).sum() == 4
    assert induction[2].max() < expected + 1e-6
    np.testing.assert_allclose(scores.single[1, 0, 2], 0, atol=1e-6)


def test_the_record_ranks_heads_and_has_a_picture_of_each_type(shipped: LanguageModel) -> None:
    record = cg.analyze(shipped, None, "head-types", n_sequences=4, top=2)
    assert record.task is None
    assert [table.rows[0][0] for table in record.reading.tables] == ["a0.h3", "a1.h5", "a1.h6"]
    assert [table.rows[0][-1] for table in record.reading.tables] == [True, False, True]
    assert [len(table.rows) for table in record.reading.tables] == [2, 2, 2]
    assert len(record.reading.pictures) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 7}, "length is 7, but must be at most 6"),
        ({"length": 2}, "length is 2, but must be at least 3"),
        ({"n_sequences": 0}, "n_sequences is 0"),
        ({"top": 0}, "top is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_makes_no_sense_is_refused(tiny: Tiny, settings: dict[str, int], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        read_head_types(tiny.ours, **settings)  # pyright: ignore[reportArgumentType]


def test_models_that_read_too_little_are_refused() -> None:
    with pytest.raises(ArgumentError, match="reads 4 tokens at a time and has 61 ordinary ones"):
        read_head_types(cg.load_model("modular-addition"))
