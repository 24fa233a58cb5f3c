"""How engine and search are held against the oracle.

Thresholds are placed in the middle of gaps between the effects that the oracle measures, so that a
decision is a
matter of being right and not of the last bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.tasks.prompts import Prompts
from tests import oracle
from tests.checkpoints import Tiny, oracle_run
from tests.oracle import losses
from tests.oracle.units import FeatureParts, Parts

Sources = Mapping[str, Sequence[str]]  # of heads that are split by them
ABLATIONS = ["resample", "mean", "mean-positional", "zero"]


def loss_of(name: str, prompts: Prompts, run: oracle.OracleRun) -> losses.Loss:
    answer, distractor = (
        torch.tensor(prompts.answer).long(),
        torch.tensor(prompts.distractor).long(),
    )
    full = run.at_scored(run.clean_logits)
    return {
        "logit": losses.negative_logit(answer),
        "logit_difference": losses.negative_logit_difference(answer, distractor),
        "log_probability": losses.negative_log_probability(answer),
        "kl": losses.kl_divergence(full),
    }[name]


def gap_threshold(effects: list[float], share: float) -> float:
    """The middle of the widest gap between effects near the given quantile."""
    ordered = np.sort(effects)
    centre = int(share * (len(ordered) - 1))
    near = range(max(0, centre - 8), min(len(ordered) - 1, centre + 8))
    widest = max(near, key=lambda i: ordered[i + 1] - ordered[i])
    return float((ordered[widest] + ordered[widest + 1]) / 2)


def assert_same_decisions(circuit: Circuit, decisions: list[oracle.Decision]) -> None:
    graph = circuit.graph
    assert len(decisions) == graph.n_edges
    theirs = {d.edge: d for d in decisions}
    assert circuit.scores is not None
    assert circuit.tested is not None
    largest = max(abs(d.effect) for d in decisions)
    for i, edge in enumerate(graph.edges):
        decision = theirs[edge]
        assert circuit.mask[i] == decision.kept, (edge, decision)
        assert circuit.tested[i] == decision.tested, (edge, decision)
        assert circuit.scores[i] == pytest.approx(decision.effect, abs=1e-5 * max(1.0, largest)), (
            edge
        )


def compare(
    tiny: Tiny,
    prompts: Prompts,
    metric: str,
    ablation: str,
    threshold: float | None = None,
    *,
    share: float = 0.75,
    grouped: bool = False,
    frontier: bool = False,
    parts: Parts | None = None,
    own: Collection[int] = (),
    sources: Sources | None = None,
    **settings: Any,
) -> Circuit:
    """Search with both, by default at a threshold in a gap of the effects, near the quantile
    ``share`` of them; returns our circuit.

    With ``frontier`` our search is answered by it and, beside, by whole masked runs: both decide as
    the oracle does. ``parts`` are neurons or features that are nodes, with ``own`` inputs in these
    layers.
    """
    mlp = tiny.ours.spec.d_mlp is not None
    run = oracle_run(tiny, prompts, ablation, parts=parts, own=own, sources=sources)
    loss = loss_of(metric, prompts, run)
    if threshold is None:
        threshold = gap_threshold(_effects_of_single_removals(run, loss, mlp, grouped), share)
    settings.setdefault("absolute", False)  # the reference's rule, and the oracle's default
    threshold = abs(threshold) if settings["absolute"] else threshold
    decisions = oracle.oracle_acdc(run, loss, threshold, mlp=mlp, kv=grouped, **settings)
    graph = tiny.ours.graph(direct=settings.get("direct", False), grouped=grouped)
    graph = split_graph(graph, parts, own, sources)
    circuits = []
    for route in (False, True)[: 1 + frontier]:
        experiment = Experiment(
            tiny.ours, prompts, metric=metric, ablation=ablation, graph=graph, frontier=route
        )
        circuits.append(run_search(Acdc(threshold=threshold, **settings), experiment))
        assert_same_decisions(circuits[-1], decisions)
    return circuits[-1]


def _effects_of_single_removals(
    run: oracle.OracleRun, loss: losses.Loss, mlp: bool, kv: bool
) -> list[float]:
    """What each edge costs when it alone is removed: where effects lie, to place thresholds by."""
    edges = run.edge_names(mlp=mlp, kv=kv)
    everything = set(edges)
    full = float(loss(run.run(everything, kv=kv)).double().mean())
    some = edges[:: max(1, len(edges) // 60)]
    return [
        float(loss(run.run(everything - {edge}, kv=kv)).double().mean()) - full for edge in some
    ]


def split_graph(
    graph: Graph, parts: Parts | None, own: Collection[int] = (), sources: Sources | None = None
) -> Graph:
    """The graph with these neurons or features as nodes of their own, and these heads in parts."""
    for head, names in (sources or {}).items():
        graph = graph.refine_head(head, names)
    for layer, chosen in (parts or {}).items():
        mlp, own_inputs = f"m{layer}", layer in own
        if isinstance(chosen, FeatureParts):
            graph = graph.refine(
                mlp, features=chosen.indices, frozen_error=chosen.frozen, own_inputs=own_inputs
            )
        else:
            graph = graph.refine(mlp, neurons=chosen, own_inputs=own_inputs)
    return graph


def assert_same_logits(
    tiny: Tiny,
    prompts: Prompts,
    ablation: str,
    *,
    direct: bool = False,
    kv: bool = False,
    parts: Parts | None = None,
    own: Collection[int] = (),
    sources: Sources | None = None,
) -> None:
    """Values of random masks agree to 1e-5 of the largest logit."""
    graph = split_graph(tiny.ours.graph(direct=direct, grouped=kv), parts, own, sources)
    run = oracle_run(tiny, prompts, ablation, parts=parts, own=own, sources=sources)
    experiment = Experiment(tiny.ours, prompts, metric="logit", ablation=ablation, graph=graph)
    rng = np.random.default_rng(5)
    masks = np.stack([rng.random(graph.n_edges) < share for share in (0.05, 0.3, 0.6, 0.9, 0.99)])
    for mask, values in zip(masks, experiment.values(masks), strict=True):
        logits = run.run(set(Circuit(graph, mask).edges), direct=direct, kv=kv)
        theirs = logits[torch.arange(len(prompts)), torch.tensor(prompts.answer).long()].numpy()
        np.testing.assert_allclose(values, theirs, atol=1e-5 * float(logits.abs().max()))
