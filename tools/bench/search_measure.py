"""Measurements of the search benchmark: attribution, and single evaluations of a circuit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from circuitgraph.discovery.base import make_algorithm
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from tests import oracle
from tests.checkpoints import load_tiny, oracle_run
from tests.oracle.eap import reader_gradients
from tests.oracle.losses import Loss
from tools.bench.search_acdc import (
    measure_compiling,
    measure_frontier,
    measure_masked,
    measure_torch_hooks,
)
from tools.bench.search_cases import median_seconds, peak_bytes, time_call
from tools.bench.search_job import Job, Numbers, save_arrays
from tools.bench.search_watch import draw_random_paths

IG_STEPS = 5
_AGREE = 1e-3  # of the largest number: how far ours and torch's may differ


def measure_attribution(job: Job) -> Numbers:
    """EAP and EAP-IG inputs of all edges, from the prompts on, without compile time."""
    model, numbers, scores = job.model, {}, {}
    # a size of its own, so that what is timed is scoring alone
    for name, settings in (
        ("eap", {"share": 0.05}),
        ("eap-ig-inputs", {"share": 0.05, "steps": IG_STEPS}),
    ):
        algorithm = make_algorithm(name, **settings)

        def run(algorithm: Any = algorithm) -> Circuit:
            return run_search(algorithm, Experiment(model, job.prompts, metric=job.metric))

        circuit, first = time_call(run)
        scores[name] = circuit.scores
        numbers[name] = {
            "first": first,
            "seconds": float(np.median([time_call(run)[1] for _ in range(job.repeats)])),
        }
    save_arrays(job.file("attribution", "npz"), scores)
    return {**numbers, "peak": peak_bytes()}


def measure_attribution_torch(job: Job) -> Numbers:
    """The same from explicit caches: torch's gradients, then one product with all differences.

    The product is of the form that is fast in torch, so that what is compared is not Python's loop
    over edges.
    """
    tiny, numbers = load_tiny(job.case.folder(job.work)), {}
    ours = np.load(job.file("attribution", "npz"))

    def score_edges(shares: list[float]) -> Float[np.ndarray, " edges"]:
        run = oracle_run(tiny, job.prompts, "resample")
        far, near = run.corrupted["embed"], run.clean["embed"]
        starts = [{"embed": far + share * (near - far)} for share in shares]
        return _score_with_torch(run, job.torch_loss(run), starts, job.model.graph())

    for name, shares in (
        ("eap", [1.0]),
        ("eap-ig-inputs", [k / IG_STEPS for k in range(IG_STEPS)]),
    ):
        scores, first = time_call(lambda shares=shares: score_edges(shares))
        difference = np.abs(scores - ours[name]).max() / np.abs(scores).max()
        if not difference <= _AGREE:
            raise SystemExit(
                f"the scores of {name} differ by {difference:.1e} of the largest; a speed means "
                "nothing then"
            )
        second = first
        if job.tiny or first < 60:
            second = time_call(lambda shares=shares: score_edges(shares))[1]
        numbers[name] = {"first": first, "seconds": min(first, second), "apart": float(difference)}
    return {**numbers, "peak": peak_bytes()}


def _score_with_torch(
    run: oracle.OracleRun, loss: Loss, starts: list[dict[str, torch.Tensor]], graph: Graph
) -> Float[np.ndarray, " edges"]:
    """(replacement - clean) . gradient of every edge, the mean over runs from these embeddings."""
    writers, readers = ([node.name for node in nodes] for nodes in (graph.writers, graph.readers))
    differences = torch.stack(
        [(run.replacement[name] - run.clean[name]).flatten() for name in writers]
    )
    total = torch.zeros(len(readers), len(writers))
    for start in starts:
        gradients = reader_gradients(run, loss, fixed=start)
        total += (
            torch.stack([gradients[name].flatten() for name in readers]).detach() @ differences.T
        )
    return (total / len(starts)).double().numpy()[graph.ends]


def measure_evaluation(job: Job) -> Numbers:
    """One evaluation of a sparse circuit: by the frontier (from the clean run) and masked."""
    sparse, whole = job.experiment(True), job.experiment(False)
    is_found, mask = _choose_circuit(job, sparse.graph)
    other = draw_random_paths(sparse.graph, int(mask.sum()), seed=1)

    def evaluate_anew() -> tuple[np.ndarray, float]:
        sparse.values(other[None])  # so that nothing is known of ``mask``
        return time_call(lambda: sparse.values(mask[None]))

    values, _ = evaluate_anew()  # compiles
    runs = [evaluate_anew()[1] for _ in range(job.repeats)]
    save_arrays(job.file("evaluation", "npz"), {"mask": mask, "values": values[0]})
    plain = median_seconds(lambda: whole.values(mask[None]), job.repeats)
    return {
        "found": is_found,
        "kept": int(mask.sum()),
        "seconds": float(np.median(runs)),
        "masked": plain,
        "peak": peak_bytes(),
    }


def _choose_circuit(job: Job, graph: Graph) -> tuple[bool, Bool[np.ndarray, " edges"]]:
    """A sparse circuit of a search that ended here; else a circuit of random paths."""
    record, max_edges = job.file("frontier", "json"), graph.n_edges // 20
    if record.exists() and json.loads(record.read_text())["complete"]:
        mask = np.load(job.file("frontier", "npz"))["end"]
        if 0 < mask.sum() <= max_edges:
            return True, mask
    return False, draw_random_paths(graph, min(300, max_edges // 2))


def measure_evaluation_torch(job: Job) -> Numbers:
    run, ours = job.torch_run(), np.load(job.file("evaluation", "npz"))
    names = job.model.graph().edges
    kept, loss = {names[i] for i in np.flatnonzero(ours["mask"])}, job.torch_loss(run)
    sign = -1 if job.metric == "logit_difference" else 1
    values = sign * loss(run.run(kept)).numpy()
    difference = np.abs(values - ours["values"]).max() / max(1.0, np.abs(values).max())
    if not difference <= _AGREE:
        raise SystemExit(
            f"the circuit's values differ by {difference:.1e}; a speed means nothing then"
        )
    return {
        "seconds": median_seconds(lambda: loss(run.run(kept)), job.repeats),
        "peak": peak_bytes(),
    }


MEASURES: dict[str, Callable[[Job], Numbers]] = {
    "frontier": measure_frontier,
    "masked": measure_masked,
    "torch_hooks": measure_torch_hooks,
    "attribution": measure_attribution,
    "attribution_torch": measure_attribution_torch,
    "evaluation": measure_evaluation,
    "evaluation_torch": measure_evaluation_torch,
    "jit_cold": measure_compiling,
    "jit_warm": measure_compiling,
}


def run_measurement(job: Job) -> None:
    """Do one, and leave the numbers in its file."""
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    numbers, seconds = time_call(lambda: MEASURES[job.measure](job))
    job.file(job.measure, "json").write_text(
        json.dumps({"model": job.case.title, **numbers, "measurement_seconds": seconds})
    )
