"""Training finds the directions that data were made of, and goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from circuitgraph.errors import ArgumentError
from circuitgraph.models.dictionaries.hooks import Hook
from circuitgraph.models.dictionaries.training import (
    TrainingSettings,
    start_training,
    train_steps,
)
from circuitgraph.models.dictionaries.training_file import load_training, save_training

OUT, IN = Hook("mlp_output", 0), Hook("mlp_input", 0)
N_DIRECTIONS, WIDTH, N_ACTIVE = 40, 24, 3


def plant(seed: int = 0, n: int = 6000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions, how much of which is in each sample, and the samples, away from the origin."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(N_DIRECTIONS, WIDTH))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    shares = np.zeros((n, N_DIRECTIONS))
    for row in shares:
        row[rng.choice(N_DIRECTIONS, N_ACTIVE, replace=False)] = rng.uniform(0.5, 1.5, N_ACTIVE)
    return directions, shares, (shares @ directions + 0.2).astype(np.float32)


def count_matches(rows: np.ndarray, directions: np.ndarray) -> float:
    """The share of directions that some row has, at cosine 0.9."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float(((directions @ rows.T).max(axis=1) > 0.9).mean())


def test_planted_directions_are_recovered() -> None:
    directions, _, x = plant()
    settings = TrainingSettings(n_features=64, k=N_ACTIVE, steps=800, batch=256, dead_after=5000)
    state = start_training(x, x, OUT, OUT, settings)
    assert count_matches(np.asarray(state.dictionary.w_dec[0]), directions) < 0.2
    state = train_steps(state, jnp.asarray(x), jnp.asarray(x), settings, settings.steps)
    dictionary = state.dictionary
    assert count_matches(np.asarray(dictionary.w_dec[0]), directions) >= 0.9
    reconstruction = np.asarray(dictionary.reconstruct(jnp.asarray(x)))
    left = np.square(reconstruction - x).sum() / np.square(x - x.mean(0)).sum()
    assert left < 0.15
    assert float(state.loss) == pytest.approx(left, rel=0.3)
    n_active = (dictionary.encode(jnp.asarray(x)) > 0).sum(-1).mean()
    assert float(n_active) == pytest.approx(N_ACTIVE, rel=0.2)
    assert dictionary.spec.can_be_nodes


def test_dead_features_come_alive() -> None:
    """Features that start far from all data are on at the end, where they are trained as dead."""
    _, _, x = plant(n=1000)
    alive = []
    for dead_after in (500, 10**9):
        settings = TrainingSettings(64, N_ACTIVE, steps=200, batch=100, dead_after=dead_after)
        state = start_training(x, x, OUT, OUT, settings)
        far = state.dictionary.b_enc.at[:20].set(-3.0)
        state = state._replace(dictionary=eqx.tree_at(lambda d: d.b_enc, state.dictionary, far))
        state = train_steps(state, jnp.asarray(x), jnp.asarray(x), settings, settings.steps)
        alive.append(int((state.idle[:20] < 2000).sum()))
    assert alive[0] > 2 * alive[1], alive


def test_a_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """A transcoder of a linear map: bit for bit the same, saved in between or not."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)).astype(np.float32)
    y = (x @ rng.normal(size=(6, 4))).astype(np.float32)
    settings = TrainingSettings(n_features=10, k=4, steps=40, batch=50)
    start = start_training(x, y, IN, OUT, settings)
    data = jnp.asarray(x), jnp.asarray(y)
    half = train_steps(start, *data, settings, 20)
    save_training(tmp_path / "state", half, "this")
    again = load_training(tmp_path / "state", start, "this")
    whole, resumed = (train_steps(s, *data, settings, 20) for s in (half, again))
    assert int(resumed.step) == 40
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert whole.dictionary.spec.kind == "transcoder"
    with pytest.raises(ArgumentError, match=r"is of another training \(this\), not of this one"):
        load_training(tmp_path / "state", start, "that")
    with pytest.raises(ArgumentError, match="no training to go on with"):
        load_training(tmp_path / "nowhere", start, "this")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": 9}, "k is 9, but must be at most 8"),
        ({"steps": 0}, "steps is 0, but must be at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, but must be above 0"),
    ],
)
def test_settings_that_train_nothing(fields: dict[str, Any], message: str) -> None:
    settings = TrainingSettings(**{"n_features": 8, "k": 2, **fields})
    with pytest.raises(ArgumentError, match=message):
        settings.check()
    zeros = np.zeros((5, 3), np.float32)
    with pytest.raises(ArgumentError, match="there is nothing to take apart"):
        start_training(zeros, zeros, OUT, OUT, TrainingSettings(n_features=8, k=2))
