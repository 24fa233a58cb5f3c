"""`LanguageModel.logits`: the call for logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from circuitgraph.errors import DataError
from circuitgraph.models.loading import load_model
from tests.checkpoints import Tiny
from tests.models.checkpoint_files import gate


def test_logits_are_those_of_transformers(tiny: Tiny) -> None:
    tokens = np.random.default_rng(0).integers(0, 50, (3, 7))
    with torch.no_grad():
        theirs = tiny.hf(torch.tensor(tokens)).logits.numpy()
    ours = tiny.ours.logits(tokens)
    assert (ours.dtype, ours.shape) == (np.float32, (3, 7, 50))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=gate(theirs))


def test_prompts_of_different_lengths(tiny: Tiny) -> None:
    short, long = [1, 2, 3], [4, 5, 6, 7, 8]
    both = tiny.ours.logits([short, long])
    assert np.isnan(both[0, 3:]).all()
    np.testing.assert_allclose(both[0, :3], tiny.ours.logits([short])[0], atol=1e-5)
    np.testing.assert_allclose(both[1], tiny.ours.logits([long])[0], atol=1e-5)


def test_texts_and_lower_precision() -> None:
    model = load_model("induction-2l", dtype="bfloat16")
    assert model.tokenizer is not None
    text = model.tokenizer.decode(model.tokenizer.vocabulary()[:4])
    ids = model.tokenizer.encode(text)
    logits = model.logits([text])
    assert (logits.dtype, logits.shape[:2]) == (np.float32, (1, len(ids)))
    np.testing.assert_array_equal(logits, model.logits([ids]))


@pytest.mark.parametrize(
    ("prompts", "problem"),
    [
        ("a b", "The prompts are one text"),
        ([], "There are no prompts"),
        ([[1], []], "Prompt 1 is no list of token ids, or empty"),
        ([[1, 50]], "Prompt 0 holds the id 50; the model reads ids from 0 to 49"),
        ([[-1]], "Prompt 0 holds the id -1"),
        ([[0] * 14], "Prompt 0 has 14 tokens; the model's context is 13"),
        (["3 b"], "Prompt 0, '3 b', holds a token that is not known"),
    ],
)
def test_prompts_that_cannot_be_run(tiny: Tiny, prompts: Any, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        replace(tiny.ours, tokenizer=None).logits(prompts)
    assert problem in str(caught.value)
