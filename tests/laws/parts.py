"""What holds of every graph in which MLPs are cut into parts, neurons or features.

The metric is the answer's logit wherever it may be any: one program of masked runs then serves
all laws of a model.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import numpy as np

from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.grid import group_writers
from circuitgraph.graph.graph import Graph
from circuitgraph.tasks.prompts import Prompts
from tests.checkpoints import Tiny, oracle_run
from tests.laws.agreement import Sources, loss_of
from tests.oracle import eap
from tests.oracle.units import Parts


def assert_explicit_scores(
    model: Tiny,
    prompts: Prompts,
    graph: Graph,
    parts: Parts,
    own: Collection[int] = (),
    sources: Sources | None = None,
) -> None:
    """EAP, EAP-IG of activations and information flow are those of the oracle's caches."""
    experiment = Experiment(model.ours, prompts, graph=graph)
    run = oracle_run(model, prompts, "resample", double=True, parts=parts, own=own, sources=sources)
    loss = loss_of("logit_difference", prompts, run)
    attribution, groups = experiment.attribution, group_writers(graph)
    scores = [
        (attribution.at_interpolated_embedding(1.0), eap.explicit_eap(run, loss)),
        (attribution.flow(), eap.explicit_information_flow(run)),
    ]
    if not any(split.frozen for split in graph.splits):  # refused by searches
        held = [attribution.at_interpolated_group(g, s) for g in groups for s in (0.5, 1.0)]
        scores.append((np.mean(held, axis=0), eap.explicit_eap_ig_activations(run, loss, 2)))
    for ours, theirs in scores:
        expected = np.array([theirs[edge] for edge in graph.edges])
        assert len(theirs) == len(expected)
        np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max())


def assert_gradient_of_small_steps(model: Tiny, prompts: Prompts, graph: Graph) -> None:
    """The gradient by the mask, of edges from and into parts, under a mask of fractions."""
    experiment = Experiment(model.ours, prompts, graph=graph, metric="logit", frontier=False)
    rng = np.random.default_rng(0)
    mask = rng.random(graph.n_edges).astype(np.float32)
    gradient = experiment.gradient(mask)
    of_parts = [
        edge
        for edge, (reader, writer) in enumerate(zip(*graph.ends, strict=True))
        if {"neuron", "feature", "rest", "error", "source"}
        & {graph.readers[reader].kind, graph.writers[writer].kind}
    ]
    edges = rng.choice(of_parts, 20, replace=False)
    steps = np.eye(graph.n_edges, dtype=np.float32)[edges] / 64
    above, below = (experiment.losses(mask + sign * steps) for sign in (1, -1))
    slopes = (above - below) * 32
    np.testing.assert_allclose(gradient[edges], slopes, atol=2e-2 * np.abs(slopes).max())


def assert_parts_are_the_whole(model: Tiny, prompts: Prompts, graph: Graph) -> None:
    """A mask that keeps all parts of an MLP or none is a mask of the graph of whole MLPs."""
    whole = model.ours.graph()
    masks = np.random.default_rng(1).random((6, whole.n_edges)) < 0.6
    masks[0], masks[1] = True, False
    parent = [
        whole.edge_index(f"{graph.writers[writer].node.whole}->{graph.readers[reader].whole_name}")
        for reader, writer in zip(*graph.ends, strict=True)
    ]
    run = partial(Experiment, model.ours, prompts, metric="logit")
    expected = run(frontier=False).values(masks)
    for frontier in (False, True):
        refined = run(graph=graph, frontier=frontier)
        values = refined.values(masks[:, parent])
        np.testing.assert_allclose(values, expected, atol=1e-5 * max(2, np.abs(expected).max()))
        assert refined.frontier is None or frontier
