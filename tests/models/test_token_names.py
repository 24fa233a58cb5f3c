"""Names of tokens and output classes, and a tokenizer.json, beside a state dict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from circuitgraph.errors import ModelError
from circuitgraph.models.loading import load_model
from tests.checkpoints import Tiny
from tests.models.test_state_dict_layout import save_toy
from tests.models.toys import SIZES, random_weights, toy_config

TOKENS = [f"t{i}" for i in range(9)]
CLASSES = [f"c{i}" for i in range(7)]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save_toy(tmp_path, random_weights(SIZES))


def write_config(weights: Path, **fields: Any) -> None:
    weights.with_suffix(".json").write_text(json.dumps(toy_config(**fields)))


def write_tokenizer(folder: Path, n_tokens: int) -> None:
    vocabulary = {f"t{i}": i for i in range(n_tokens)}
    tokenizer = FastTokenizer(WordLevel(vocabulary, unk_token="t0"))  # noqa: S106
    tokenizer.pre_tokenizer = WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.save(str(folder / "tokenizer.json"))


def test_names_in_the_configuration(weights: Path) -> None:
    write_config(weights, vocab=TOKENS, output_vocab=CLASSES)
    model = load_model(weights)
    assert (model.vocab, model.output_vocab) == (tuple(TOKENS), tuple(CLASSES))
    unnamed = load_model(weights, config=toy_config())
    assert (unnamed.vocab, unnamed.output_vocab) == (None, None)
    assert model.fingerprint == unnamed.fingerprint


def test_names_of_the_caller_come_first(weights: Path, tiny: Tiny) -> None:
    write_config(weights, vocab=TOKENS, output_vocab=CLASSES)
    others = [f"x{i}" for i in range(7)]
    model = load_model(weights, output_vocab=others)
    assert (model.vocab, model.output_vocab) == (tuple(TOKENS), tuple(others))
    names = [f"w{i}" for i in range(50)]
    assert load_model(tiny.folder, vocab=names).vocab == tuple(names)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (TOKENS[:8], "vocab has 8 names, but the model has 9 tokens"),
        ("abcdefghi", "vocab is a str; it must be a list of names"),
        ({"t0": 0}, "vocab is a dict; it must be a list of names"),
        ([*TOKENS[:8], ""], "8: the name is empty"),
        ([*TOKENS[:8], "two words"], "8: 'two words' holds whitespace"),
        ([*TOKENS[:8], "line\n"], r"8: 'line\n' holds whitespace"),
        ([*TOKENS[:8], "t3"], "8: 't3' is the name of 3 too"),
        ([*TOKENS[:8], 8], "8: 8 is a int, not a string"),
        ([""] * 9, "and 4 more"),
    ],
)
def test_names_that_cannot_be_used(weights: Path, names: Any, problem: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(weights, config=toy_config(vocab=names))
    assert problem in str(caught.value)


def test_names_of_the_caller_are_checked_too(weights: Path) -> None:
    with pytest.raises(ModelError, match="vocab has 8 names, but the model has 9 tokens"):
        load_model(weights, config=toy_config(), vocab=TOKENS[:8])


def test_output_names_are_counted_by_outputs(weights: Path) -> None:
    with pytest.raises(ModelError, match="output_vocab has 9 names, but the model has 7 output cl"):
        load_model(weights, config=toy_config(output_vocab=TOKENS))


def test_the_tokenizer_beside_the_weights(weights: Path) -> None:
    write_config(weights)
    write_tokenizer(weights.parent, 9)
    model = load_model(weights)
    assert model.tokenizer is not None
    assert model.tokenizer.encode("t8 t2 t1") == [8, 2, 1]
    texts, ids = model.logits(["t8 t2 t1"]), model.logits([[8, 2, 1]])
    np.testing.assert_array_equal(texts, ids)


def test_a_tokenizer_of_another_model_is_refused(weights: Path) -> None:
    write_config(weights)
    write_tokenizer(weights.parent, 10)
    with pytest.raises(ModelError, match="has 10 tokens, but the model reads 9: it is another"):
        load_model(weights)
