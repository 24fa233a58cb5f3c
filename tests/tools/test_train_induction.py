"""The training script of the shipped induction models: a few steps learn something, and the same
things each time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

TRAIN = Path(__file__).resolve().parents[2] / "tools" / "train"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    sys.path.insert(0, str(TRAIN))
    try:
        import induction_2l  # pyright: ignore[reportMissingImports]  (found through sys.path)

        yield induction_2l
    finally:
        sys.path.remove(str(TRAIN))


def test_targets_are_given_only_where_the_context_settles_them(script: ModuleType) -> None:
    ids = np.array([[5, 6, 7, 5, 6, 8, 5, 6, 7]])
    ignore = script.IGNORE
    # 5 -> 6 is settled from its second time on; 6 was followed by 7, then by 8, so that it never is
    assert script.mask_targets(ids).tolist() == [
        [ignore, ignore, ignore, 6, ignore, ignore, 6, ignore]
    ]


def test_every_row_of_training_data_is_in_the_vocabulary_and_has_a_target(
    script: ModuleType,
) -> None:
    ids, targets = script.make_training_batch(np.random.default_rng(0), 64)
    assert ids.shape == (64, script.CONTEXT)
    assert int(ids.min()) >= script.FIRST_WORD
    assert int(ids.max()) < script.FIRST_WORD + len(script.WORDS)
    assert (targets != script.IGNORE).any(dim=1).all()


def losses_of(script: ModuleType, steps: int) -> list[float]:
    settings = script.Settings(steps=steps, heads=4, width=64)
    torch.manual_seed(settings.seed)
    return script.train_model(script.build_model(settings), settings)


@pytest.mark.slow
def test_some_steps_learn_more_than_the_words_frequencies(script: ModuleType) -> None:
    """Guessing evenly among the words costs log(96); being below that means reading the context."""
    assert np.mean(losses_of(script, 250)[-20:]) < np.log(len(script.WORDS)) - 0.05


def test_training_is_reproducible(script: ModuleType) -> None:
    assert losses_of(script, 10) == losses_of(script, 10)
