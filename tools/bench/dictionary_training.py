"""How much of the machine's matrix-product rate the training of a dictionary reaches.

    python tools/bench/dictionary_training.py  # about a minute on two idle cores

An autoencoder is trained on random values that are in memory already. Counted are the five matrix
products of a step (features, reconstruction, and the gradients of both matrices and of the
features), 2 x tokens x width x features operations each; nothing else. The rate of one plain
product is measured between the launches, so that a busy machine slows both. Quote only the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

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
from tools.bench.search_cases import matrix_product_rate

PRODUCTS = 5
PLACE = Hook("mlp_output", 0)


def measure_rates(
    width: int, settings: TrainingSettings, at_once: int, tiny: bool
) -> tuple[float, float]:
    """Operations a second of the training's products, and of one plain product."""
    values = np.random.default_rng(0).standard_normal((4 * settings.batch, width), np.float32)
    x = jnp.asarray(values)
    operations = at_once * PRODUCTS * 2 * settings.batch * width * settings.n_features
    state = start_training(values, values, PLACE, PLACE, settings)
    state = _take_launch(state, x, settings, at_once)  # compiles
    seconds, rates = list[float](), list[float]()
    for _ in range(settings.steps // at_once):
        rates.append(matrix_product_rate(tiny))
        start = time.perf_counter()
        state = _take_launch(state, x, settings, at_once)
        seconds.append(time.perf_counter() - start)
    return operations / statistics.median(seconds), statistics.median(rates)


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
    cases = [(16, 32)] if options.tiny else [(128, 1024), (768, 4096)]
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
