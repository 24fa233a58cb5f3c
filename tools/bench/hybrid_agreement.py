"""What the hybrid search saves and loses beside the full exact search, at several thresholds.

    python tools/bench/hybrid_agreement.py
    python tools/bench/hybrid_agreement.py --keep 0.1 --scores eap-ig-inputs

Both search the same prompts for the logit difference under resampling; faithfulness is on other
prompts. The random model's prompts are random too, so that there it says only how well the two
agree.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.hybrid import Hybrid
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.circuit import Circuit
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.loading import load_task
from tests.checkpoints import random_prompts, save_tiny

METRIC = "logit_difference"
HEADINGS = (
    "model",
    "threshold",
    "edges",
    "tested: full",
    "hybrid",
    "kept: full",
    "hybrid",
    "Jaccard",
)


def make_experiments(n: int, folder: Path) -> Iterator[tuple[str, Experiment, Experiment]]:
    """Each model's name, with an experiment to search in and one of other prompts to judge on."""
    for name in ("induction-2l", "induction-2l-natural"):
        model = load_model(name)
        task = load_task("induction", model)
        seen, unseen = task.prompts(n), task.prompts(2 * n, "evaluation")
        yield name, Experiment(model, seen, metric=METRIC), Experiment(model, unseen, metric=METRIC)
    random = save_tiny(folder / "random", n_layer=4, n_head=8, n_embd=64, n_positions=32).ours
    seen, unseen = random_prompts(50, n, 12, seed=0), random_prompts(50, 2 * n, 12, seed=1)
    yield (
        "random 4 x 8",
        Experiment(random, seen, metric=METRIC),
        Experiment(random, unseen, metric=METRIC),
    )


def measure_faithfulness(experiment: Experiment, circuits: list[Circuit]) -> list[float]:
    """(m(circuit) - m(empty)) / (m(full) - m(empty)) of each, m being the mean metric."""
    graph = experiment.graph
    ends = [Circuit.full(graph).mask, Circuit.empty(graph).mask]
    full, empty, *values = experiment.values(np.stack([*ends, *(c.mask for c in circuits)])).mean(
        axis=1
    )
    return [float((value - empty) / (full - empty)) for value in values]


def compare_searches(
    name: str,
    searching: Experiment,
    judging: Experiment,
    threshold: float,
    hybrid: Hybrid,
) -> list[str]:
    """One row of the table."""
    circuits = [
        run_search(Acdc(threshold=threshold, absolute=False), searching),
        run_search(hybrid, searching),
    ]
    full, both = circuits[0], circuits[0] & circuits[1]
    either = circuits[0] | circuits[1]
    tested = [f"{circuit.provenance['algorithm']['n_tested']:,}" for circuit in circuits]
    sizes = [str(len(circuit)) for circuit in circuits]
    agreement = f"{len(both) / len(either):.2f}" if len(either) else "-"
    faith = [f"{value:.3f}" for value in measure_faithfulness(judging, circuits)]
    return [name, f"{threshold:g}", f"{full.graph.n_edges:,}", *tested, *sizes, agreement, *faith]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scores", default="eap", help="the algorithm that preselects")
    parser.add_argument("--keep", type=float, default=0.2, help="share of the edges that it keeps")
    parser.add_argument(
        "--prompts", type=int, default=16, help="prompts to search on; judged on twice as many"
    )
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.02, 0.1, 0.5])
    options = parser.parse_args()
    table = Table(
        title=f"ACDC on all edges, and on the top {options.keep:.0%} by {options.scores}",
        title_justify="left",
    )
    for heading in (*HEADINGS, "faithfulness: full", "hybrid"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    with tempfile.TemporaryDirectory() as folder:
        for name, searching, judging in make_experiments(options.prompts, Path(folder)):
            for threshold in options.thresholds:
                hybrid = Hybrid(
                    scores=options.scores, keep=options.keep, threshold=threshold, absolute=False
                )
                table.add_row(*compare_searches(name, searching, judging, threshold, hybrid))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
