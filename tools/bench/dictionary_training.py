"""How much of the machine's matrix-product rate the training of a dictionary reaches.

    python tools/bench/dictionary_training.py  # half a minute on two idle cores

An autoencoder is trained on random values that are in memory already. Counted are the five matrix
products of a step (features, reconstruction, and the gradients of both matrices and of the
features), 2 x tokens x width x features operations each; nothing else. The rate of one plain
product is measured between the launches, so that a busy machine slows both. Quote only the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from circuitgraph.models.dictionaries.hooks import Hook
from circuitgraph.models.dictionaries.training import (
    TrainingSettings,
    TrainingState,
    start_training,
    train_steps,
)
from tools.bench.search_cases import time_call

PRODUCTS = 5
PLACE = Hook("mlp_output", 0)


def measure_rates(
    width: int, settings: TrainingSettings, at_once: int, tiny: bool
) -> tuple[float, float]:
    """Operations a second of the training's products, and of one plain product."""
    rng = np.random.default_rng(0)
    shapes = [(64, 64)] * 2 if tiny else [(2048, 768), (768, 3072)]
    a, b = (jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in shapes)
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision="highest"))
    values = rng.standard_normal((4 * settings.batch, width), np.float32)
    x = jnp.asarray(values)
    state = start_training(values, values, PLACE, PLACE, settings)
    state = _take_launch(state, x, settings, at_once)  # compiles
    product(a, b).block_until_ready()
    of_training, of_product = list[float](), list[float]()
    for _ in range(settings.steps // at_once):
        of_product.append(time_call(lambda: product(a, b).block_until_ready())[1])
        state, seconds = time_call(partial(_take_launch, state, x, settings, at_once))
        of_training.append(seconds)
    operations = at_once * PRODUCTS * 2 * settings.batch * width * settings.n_features
    once = 2 * a.size * b.shape[1]
    return operations / statistics.median(of_training), once / statistics.median(of_product)


def _take_launch(
    state: TrainingState, x: jnp.ndarray, settings: TrainingSettings, n: int
) -> TrainingState:
    state = train_steps(state, x, x, settings, n)
    state.loss.block_until_ready()
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="only show that the tool works")
    options = parser.parse_args()
    cases = [(16, 32)] if options.tiny else [(128, 1024), (768, 3072)]
    table = Table("width", "features", "batch", "operations / s", "of one product", "share")
    for width, n_features in cases:
        batch = 64 if options.tiny else 1024
        settings = TrainingSettings(n_features, k=16, steps=30, batch=batch)
        trained, product = measure_rates(width, settings, 5, options.tiny)
        numbers = f"{trained:.2g}", f"{product:.2g}", f"{trained / product:.0%}"
        table.add_row(*map(str, (width, n_features, batch)), *numbers)
    Console().print(table)


if __name__ == "__main__":
    main()
