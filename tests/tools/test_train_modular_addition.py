"""The training script of `modular-addition`: the pairs are shared out between the splits, and can
be learned.
"""

from __future__ import annotations

import importlib
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


@pytest.fixture(scope="module")
def scripts() -> Iterator[Any]:
    sys.path.insert(0, str(TRAIN))
    try:
        yield SimpleNamespace(
            **{name: importlib.import_module(name) for name in ("modular_addition", "supervised")}
        )
    finally:
        sys.path.remove(str(TRAIN))


@pytest.fixture(scope="module")
def tokenizer(scripts: Any) -> Tokenizer:
    script = scripts.modular_addition
    return Tokenizer(scripts.supervised.build_tokenizer(script.WORDS, script.SETTINGS.context))


def losses_of(scripts: Any, tokenizer: Tokenizer, steps: int) -> list[float]:
    settings = replace(scripts.modular_addition.SETTINGS, steps=steps, batch=256)
    model = scripts.supervised.build_model(settings, len(tokenizer))
    batches = scripts.modular_addition.make_batches(tokenizer, len(tokenizer), settings)
    return scripts.supervised.train_model(model, batches, settings)


def test_some_steps_learn_more_than_how_frequent_the_answers_are(
    scripts: Any, tokenizer: Tokenizer
) -> None:
    """Saying each number as often as it is right costs the entropy of the answers; less means
    reading the prompt.
    """
    taught = [
        int(pair.answer) for pair in scripts.modular_addition.list_pairs(tokenizer, "discovery")
    ]
    losses = losses_of(scripts, tokenizer, 200)
    assert losses[0] > entropy(np.bincount(taught)) > np.mean(losses[-20:])


def test_training_is_reproducible(scripts: Any, tokenizer: Tokenizer) -> None:
    assert losses_of(scripts, tokenizer, 3) == losses_of(scripts, tokenizer, 3)


def test_each_pair_is_in_one_split_with_its_sum(scripts: Any, tokenizer: Tokenizer) -> None:
    script = scripts.modular_addition
    found = {
        split: list(script.list_pairs(tokenizer, split)) for split in ("discovery", "evaluation")
    }
    everything = [pair for pairs in found.values() for pair in pairs]
    assert len({pair.clean for pair in everything}) == len(everything) == script.MODULUS**2
    for split, pairs in found.items():
        for pair in pairs:
            a, b = (int(number) for number in pair.clean.removesuffix(" =").split(" + "))
            assert int(pair.answer) == (a + b) % script.MODULUS
            assert assign_split(tokenizer.encode(pair.clean)) == split


def test_the_task_asks_of_the_shipped_vocabulary_what_was_not_taught(
    scripts: Any, tokenizer: Tokenizer
) -> None:
    script = scripts.modular_addition
    task = GrammarTask(tasks["modular-addition"], tokenizer, 0, {})
    assert task.arguments["modulus"] == script.MODULUS
    unseen = {pair.clean: pair.answer for pair in script.list_pairs(tokenizer, "evaluation")}
    assert all(unseen[pair.clean] == pair.answer for pair in task.pairs(200, "evaluation"))
