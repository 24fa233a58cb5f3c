"""What a step of fine-tuning chosen nodes costs, beside a step of fine-tuning the whole model.

    python tools/bench/fine_tuning.py  # about two minutes on two idle cores

A random model of GPT-2 small's shape and the prompts of the searches' benchmark. The steps are
taken in turn, so that what else the machine does slows all of them alike; the ratio is that of the
medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import jax
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.fine_tuning import (
    Numbers,
    Tunable,
    open_model,
    open_nodes,
    run_tuning_step,
    start_optimiser,
)
from circuitgraph.jobs.fine_tune import choose_layers
from circuitgraph.models.loading import load_model
from circuitgraph.models.node_weights import parse_nodes
from tools.bench.search_cases import list_cases

_RATE = 1e-4
_CHOICES = {  # all in the upper half, where name movers and the like are; and reaching to the foot
    "3 heads and an MLP, layers 7 to 10": ("a7.h3", "a9.h6", "a9.h9", "m10"),
    "a head of each layer": tuple(f"a{layer}.h0" for layer in range(12)),
    "the lowest MLP": ("m0",),
}
_TINY = {"a head and an MLP": ("a0.h1", "m1")}


def measure_steps(work: Path, tiny: bool, n_steps: int = 7) -> Table:
    """A row for each choice of nodes, below the one of the whole model."""
    case = list_cases(tiny)["gpt2"]
    model, batch = load_model(str(case.folder(work))), make_batch(case.random_prompts())
    runs: dict[str, tuple[Tunable, Numbers]] = {"all parameters": open_model(model.transformer)}
    for name, nodes in (_TINY if tiny else _CHOICES).items():
        choices = choose_layers(model.spec, parse_nodes(model.spec, nodes))
        runs[name] = open_nodes(model.transformer, choices)
    states = {name: start_optimiser(numbers, _RATE) for name, (_, numbers) in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(1 + n_steps):
        for name, (network, numbers) in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(
                run_tuning_step(network, numbers, states[name], batch.inputs, batch.targets, _RATE)
            )
            seconds[name].append(time.perf_counter() - start)
    table = Table("tuned", "parameters", "s, first time", "s of a step", "ratio")
    whole = statistics.median(seconds["all parameters"][1:])
    for name, (_, numbers) in runs.items():
        step, n = statistics.median(seconds[name][1:]), sum(array.size for array in numbers)
        table.add_row(
            name, f"{n:,}", f"{seconds[name][0]:.1f}", f"{step:.3f}", f"{whole / step:.1f}"
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="only show that the tool works")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        table = measure_steps(Path(work), arguments.tiny)
    Console().print(table)


if __name__ == "__main__":
    main()
