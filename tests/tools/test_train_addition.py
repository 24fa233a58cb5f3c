"""The training script of `addition` and `arithmetic`: what is taught is right, of one split, and
can be learned.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import entropy

from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.base import GrammarTask, tasks
from circuitgraph.tasks.prompts import assign_split

TRAIN = Path(__file__).resolve().parents[2] / "tools" / "train"
SMALL: dict[str, Any] = {"layers": 1, "batch": 64, "operators": "-"}
PROMPT = re.compile(r"(\d+)([-+*/])(\d+)=(\d*)")


@pytest.fixture(scope="module")
def scripts() -> Iterator[Any]:
    sys.path.insert(0, str(TRAIN))
    try:
        yield SimpleNamespace(
            **{name: importlib.import_module(name) for name in ("addition", "supervised")}
        )
    finally:
        sys.path.remove(str(TRAIN))


@pytest.fixture(scope="module")
def tokenizer(scripts: Any) -> Tokenizer:
    s = scripts.addition.SETTINGS
    return Tokenizer(
        scripts.supervised.build_tokenizer(
            scripts.addition.WORDS, s.context, scripts.supervised.DIGITS
        )
    )


def prepared(scripts: Any, tokenizer: Tokenizer, steps: int) -> tuple[Any, Any]:
    """Settings that take little time, and their batches."""
    settings = replace(scripts.addition.SETTINGS, steps=steps, **SMALL)
    return settings, scripts.addition.make_batches(tokenizer, len(tokenizer), settings)


def losses_of(scripts: Any, tokenizer: Tokenizer, steps: int) -> list[float]:
    settings, batches = prepared(scripts, tokenizer, steps)
    return scripts.supervised.train_model(
        scripts.supervised.build_model(settings, len(tokenizer)), batches, settings
    )


def test_some_steps_learn_more_than_how_frequent_the_answers_are(
    scripts: Any, tokenizer: Tokenizer
) -> None:
    """Saying each digit as often as it is right costs the entropy of the answers; less means
    reading the prompt.
    """
    batches = prepared(scripts, tokenizer, 1)[1]
    share = np.mean(
        [batches(np.random.default_rng(i))[0].probabilities.numpy().mean(0) for i in range(20)],
        axis=0,
    )
    losses = losses_of(scripts, tokenizer, 150)
    assert losses[0] > entropy(share) > np.mean(losses[-20:])


def test_training_is_reproducible(scripts: Any, tokenizer: Tokenizer) -> None:
    assert losses_of(scripts, tokenizer, 3) == losses_of(scripts, tokenizer, 3)


@pytest.mark.parametrize("operator", "+-*/")
def test_every_digit_of_every_result_is_asked_once_in_one_of_the_splits(
    scripts: Any, tokenizer: Tokenizer, operator: str
) -> None:
    asked: dict[str, str] = {}
    for split in ("discovery", "evaluation"):
        found = [
            p
            for n in ((1, 1), (1, 2), (2, 1))
            for p in scripts.addition.list_pairs(tokenizer, operator, n, split)
        ]
        assert all(assign_split(tokenizer.encode(p.clean)) == split for p in found)
        assert asked.keys().isdisjoint(p.clean for p in found)
        asked |= {p.clean: p.answer for p in found}
    results: dict[str, str] = {}
    for text, answer in asked.items():
        found = PROMPT.fullmatch(text)
        assert found is not None
        a, b = int(found[1]), int(found[3])
        value = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if operator == "/" else 0}[operator]
        results[text.partition("=")[0]] = digits = str(int(value))
        assert value == int(value) >= 0
        assert digits.startswith(found[4] + answer)
    assert len(asked) == sum(map(len, results.values()))


def test_what_is_taught_and_what_the_task_asks_are_the_same_prompts(
    scripts: Any, tokenizer: Tokenizer
) -> None:
    sizes = ((1, 1), (1, 2), (2, 1), (2, 2))
    taught = {
        p.clean: p.answer
        for o in "-/"
        for n in sizes
        for p in scripts.addition.list_pairs(tokenizer, o, n, "discovery")
    }
    task = GrammarTask(tasks["addition"], tokenizer, 0, {"operators": "-/"})
    assert all(taught[pair.clean] == pair.answer for pair in task.pairs(200, "discovery"))
    assert all(pair.clean not in taught for pair in task.pairs(200, "evaluation"))


def test_a_batch_has_every_operator_and_number_of_digits(
    scripts: Any, tokenizer: Tokenizer
) -> None:
    settings = replace(scripts.addition.SETTINGS, operators="-/", batch=256)
    (batch,) = scripts.addition.make_batches(tokenizer, len(tokenizer), settings)(
        np.random.default_rng(0)
    )
    texts = [
        tokenizer.decode(row[: at + 1].tolist())
        for row, at in zip(batch.tokens, batch.position, strict=True)
    ]
    parts = [PROMPT.fullmatch(text.replace(" ", "")) for text in texts]
    kinds = {(p[2], len(p[1]), len(p[3])) for p in parts if p is not None}
    assert None not in parts
    assert kinds == {(o, a, b) for o in "-/" for a, b in ((1, 1), (2, 1), (2, 2))}
