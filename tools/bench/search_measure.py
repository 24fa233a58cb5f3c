"""The measurements of the search benchmark by name; those of attribution and of single evaluations
are made here.
"""

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
from tools.bench.search_acdc import frontier, jit, masked, torch_hooks
from tools.bench.search_cases import median_seconds, peak_bytes, timed
from tools.bench.search_job import Found, Job, save
from tools.bench.search_watch import random_paths

IG_STEPS = 5
_AGREE = 1e-3  # of the largest number: how far ours and torch's may differ


def attribution(job: Job) -> Found:
    """EAP and EAP-IG inputs of all edges, from the prompts on; the first run compiles, the second
    does not.
    """
    model, found, scores = job.model, {}, {}
    for name, settings in (("eap", {}), ("eap-ig-inputs", {"steps": IG_STEPS})):
        algorithm = make_algorithm(name, **settings)

        def run(algorithm: Any = algorithm) -> Circuit:
            return run_search(algorithm, Experiment(model, job.prompts, metric=job.metric))

        circuit, first = timed(run)
        scores[name] = circuit.scores
        found[name] = {
            "first": first,
            "seconds": float(np.median([timed(run)[1] for _ in range(job.repeats)])),
        }
    save(job.file("attribution", "npz"), scores)
    return {**found, "peak": peak_bytes()}


def attribution_torch(job: Job) -> Found:
    """The same from explicit caches: torch's gradient at every reader's input, then one product
    with all differences.

    The product is of the form that is fast in torch, so that what is compared is not Python's loop
    over edges.
    """
    tiny, found = load_tiny(job.case.folder(job.work)), {}
    ours = np.load(job.file("attribution", "npz"))

    def run(shares: list[float]) -> Float[np.ndarray, " edges"]:
        run = oracle_run(tiny, job.prompts, "resample")
        far, near = run.corrupted["embed"], run.clean["embed"]
        starts = [{"embed": far + share * (near - far)} for share in shares]
        return _torch_scores(run, job.torch_loss(run), starts, job.model.graph())

    for name, shares in (
        ("eap", [1.0]),
        ("eap-ig-inputs", [k / IG_STEPS for k in range(IG_STEPS)]),
    ):
        scores, first = timed(lambda shares=shares: run(shares))
        apart = np.abs(scores - ours[name]).max() / np.abs(scores).max()
        if not apart <= _AGREE:
            raise SystemExit(
                f"the scores of {name} differ by {apart:.1e} of the largest; a speed means nothing "
                "then"
            )
        second = timed(lambda shares=shares: run(shares))[1] if job.tiny or first < 60 else first
        found[name] = {"first": first, "seconds": min(first, second), "apart": float(apart)}
    return {**found, "peak": peak_bytes()}


def _torch_scores(
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


def evaluation(job: Job) -> Found:
    """One evaluation of a sparse circuit: by the frontier (settled from the clean run each time)
    and masked.
    """
    sparse, whole = job.experiment(True), job.experiment(False)
    found, mask = _circuit(job, sparse.graph)
    other = random_paths(sparse.graph, int(mask.sum()), seed=1)

    def settled() -> tuple[np.ndarray, float]:
        sparse.values(other[None])  # so that nothing is known of ``mask``
        return timed(lambda: sparse.values(mask[None]))

    values, _ = settled()  # compiles
    runs = [settled()[1] for _ in range(job.repeats)]
    save(job.file("evaluation", "npz"), {"mask": mask, "values": values[0]})
    plain = median_seconds(lambda: whole.values(mask[None]), job.repeats)
    return {
        "found": found,
        "kept": int(mask.sum()),
        "seconds": float(np.median(runs)),
        "masked": plain,
        "peak": peak_bytes(),
    }


def _circuit(job: Job, graph: Graph) -> tuple[bool, Bool[np.ndarray, " edges"]]:
    """The circuit of a search that came to its end here, and is sparse; else one of random paths."""
    held, most = job.file("frontier", "json"), graph.n_edges // 20
    if held.exists() and json.loads(held.read_text())["complete"]:
        mask = np.load(job.file("frontier", "npz"))["end"]
        if 0 < mask.sum() <= most:
            return True, mask
    return False, random_paths(graph, min(300, most // 2))


def evaluation_torch(job: Job) -> Found:
    run, ours = job.torch_run(), np.load(job.file("evaluation", "npz"))
    names = job.model.graph().edges
    kept, loss = {names[i] for i in np.flatnonzero(ours["mask"])}, job.torch_loss(run)
    sign = -1 if job.metric == "logit_difference" else 1
    values = sign * loss(run.run(kept)).numpy()
    apart = np.abs(values - ours["values"]).max() / max(1.0, np.abs(values).max())
    if not apart <= _AGREE:
        raise SystemExit(f"the circuit's values differ by {apart:.1e}; a speed means nothing then")
    return {
        "seconds": median_seconds(lambda: loss(run.run(kept)), job.repeats),
        "peak": peak_bytes(),
    }


MEASURES: dict[str, Callable[[Job], Found]] = {
    "frontier": frontier,
    "masked": masked,
    "torch_hooks": torch_hooks,
    "attribution": attribution,
    "attribution_torch": attribution_torch,
    "evaluation": evaluation,
    "evaluation_torch": evaluation_torch,
    "jit_cold": jit,
    "jit_warm": jit,
}


def measure(job: Job) -> None:
    """Do one, and leave the numbers in its file."""
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    found, seconds = timed(lambda: MEASURES[job.measure](job))
    job.file(job.measure, "json").write_text(
        json.dumps({"model": job.case.title, **found, "measurement_seconds": seconds})
    )
