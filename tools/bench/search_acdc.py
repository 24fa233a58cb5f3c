"""Measurements of ACDC: the frontier's search, a masked run, the torch loop, and compile time."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import torch
from jaxtyping import Bool

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.frontier.operations import OperationSizes
from tests import oracle
from tests.oracle.losses import Loss
from tools.bench.search_cases import (
    Compiling,
    Progress,
    matrix_product_rate,
    median_seconds,
    peak_bytes,
    time_call,
)
from tools.bench.search_job import Job, Numbers, save_arrays
from tools.bench.search_watch import Counts, draw_random_paths, watch_search


def measure_frontier(job: Job) -> Numbers:
    """A whole search, or as much of it as fits into the limit."""
    compiling, counts = Compiling(), Counts()
    model, threshold = job.model, job.case.thresholds[job.metric]
    before = peak_bytes()
    experiment, preparing = time_call(lambda: _make_experiment(job))
    columns = 2 if experiment.metric.columns_only else model.spec.d_vocab_out
    graph, tokens = experiment.graph, job.prompts.mask.shape[1]
    counts.count_from_now(
        experiment, OperationSizes(model.spec, graph, len(job.prompts), tokens, columns)
    )
    trace = watch_search(
        Acdc(threshold=threshold, absolute=False), experiment, compiling, job.limit
    )
    peak, state = peak_bytes(), trace.state
    rate = counts.operations / trace.seconds[-1]
    masks = {"start": np.ones(graph.n_edges, bool), "middle": trace.mask_at(0.5), "end": state.mask}
    save_arrays(job.file("frontier", "npz"), {**masks, "tested": state.tested})
    return {
        "threshold": threshold,
        "edges": graph.n_edges,
        "decided": trace.decided,
        "complete": trace.decided == graph.n_edges,
        "tested": trace.tested[-1],
        "kept": int((state.mask & state.tested).sum()),
        "seconds": trace.seconds[-1],
        "per_edge": trace.seconds[-1] / trace.tested[-1],
        "compiling": compiling.seconds,
        "preparing": preparing,
        "programs": compiling.programs,
        "rates": trace.rates(),
        "accepted": trace.tested[-1] / counts.rows,
        "counts": dataclasses.asdict(counts),
        "lanes": experiment.candidate_counts[0],
        "peak": peak,
        "peak_before": before,
        "operations_per_second": rate,
        "share_of_product": rate / matrix_product_rate(job.tiny),
    }


def _make_experiment(job: Job) -> Experiment:
    experiment = job.experiment(True)
    if experiment.frontier is None:
        raise SystemExit("the frontier's state does not fit into memory here")
    return experiment


def measure_masked(job: Job) -> Numbers:
    """One whole masked run, of each of the three masks that the search left behind."""
    experiment = job.experiment(False)
    masks = _load_masks(job)
    seconds = [
        median_seconds(lambda mask=mask: experiment.losses(mask[None]), job.repeats)
        for mask in masks
    ]
    return {"seconds": seconds, "per_edge": float(np.mean(seconds)), "peak": peak_bytes()}


def measure_torch_hooks(job: Job) -> Numbers:
    """The plain torch loop: three masks, and the whole search where that can be awaited."""
    run = job.torch_run()
    loss, names = job.torch_loss(run), job.model.graph().edges

    def forward(mask: np.ndarray) -> float:
        kept = {names[i] for i in np.flatnonzero(mask)}
        return time_call(lambda: loss(run.run(kept)).mean().item())[1]

    masks = _load_masks(job)
    forward(masks[-1])  # torch's first pass is slower
    seconds = [forward(mask) for mask in masks]
    numbers = {
        "seconds": seconds,
        "per_edge": float(np.mean(seconds)),
        "whole": False,
        "peak": peak_bytes(),
    }
    whole = job.case.whole and json.loads(job.file("frontier", "json").read_text())["complete"]
    return numbers | (_search_with_torch(job, run, loss) if whole else {})


def _search_with_torch(job: Job, run: oracle.OracleRun, loss: Loss) -> Numbers:
    """The whole search, edge by edge; ends in an error if a decision is not the frontier's."""
    progress, n_tested = Progress(), 0

    def count_evaluation(logits: torch.Tensor) -> torch.Tensor:
        nonlocal n_tested
        n_tested += 1
        progress.print_now_and_then(f"{n_tested:,} edges tested")
        return loss(logits)

    threshold, mlp = job.case.thresholds[job.metric], job.model.spec.d_mlp is not None
    decisions, seconds = time_call(
        lambda: oracle.oracle_acdc(run, count_evaluation, threshold, mlp=mlp)
    )
    ours = np.load(job.file("frontier", "npz"))
    names = job.model.graph().edges
    for name, theirs in (
        ("end", {d.edge for d in decisions if d.kept}),
        ("tested", {d.edge for d in decisions if d.tested}),
    ):
        differ = sorted(theirs ^ {names[i] for i in np.flatnonzero(ours[name])})
        if differ:
            raise SystemExit(
                f"the two searches disagree about {differ[:5]}; a speed means nothing then"
            )
    tested = sum(decision.tested for decision in decisions)
    return {"whole": True, "search_seconds": seconds, "per_edge": seconds / tested}


def _load_masks(job: Job) -> list[Bool[np.ndarray, " edges"]]:
    arrays = np.load(job.file("frontier", "npz"))
    return [arrays[name] for name in ("start", "middle", "end")]


def measure_compiling(job: Job) -> Numbers:
    """Compile time of a short search that meets most of a whole one's programs.

    It is the first tested edges of the whole search, then a search among some random paths: that
    one comes through all layers with little left, as a search does at its end.
    """
    compiling, search_ = (
        Compiling(),
        Acdc(threshold=job.case.thresholds[job.metric], absolute=False),
    )
    model, start = job.model, time.perf_counter()
    experiment = Experiment(model, job.prompts, metric=job.metric, frontier=True)
    watch_search(search_, experiment, compiling, job.limit, enough=50 if job.tiny else 200)
    some = draw_random_paths(experiment.graph, 20 if job.tiny else 600)
    trace = watch_search(search_, experiment, compiling, job.limit, start=some)
    wall = time.perf_counter() - start
    return {
        "compiling": compiling.seconds,
        "programs": compiling.programs,
        "wall": wall,
        "tested": trace.tested[-1],
    }
