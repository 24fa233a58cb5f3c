"""Laws 3, 5 and 6 on graphs in which neurons and features of transcoders have inputs of their own.

Plain and gated MLPs, beside the attention and after it, and under a post-norm, whose divisor is
then that of the whole MLP at what the one neuron reads; beside an MLP whose parts share an input.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import UNITS
from circuitgraph.models.attaching import attach_dictionaries
from circuitgraph.models.dictionaries.hooks import Place
from tests.checkpoints import Tiny, load_tiny, random_prompts, save_tiny
from tests.laws.agreement import assert_same_logits, compare, split_graph
from tests.laws.parts import (
    assert_explicit_scores,
    assert_gradient_of_small_steps,
    assert_parts_are_the_whole,
)
from tests.laws.test_features import draw_dictionary, make_parts
from tests.oracle.units import Parts
from tests.parity.cases import CASES
from tests.parity.harness import save_random

PROMPTS = random_prompts(batch=4, longest=7)
NEURONS: Parts = {0: [1, 4, 7], 1: [0, 2]}
# which layers' units have inputs of their own
OWN = {
    "gpt2": (0, 1),
    "llama": (1,),
    "gpt_neox: parallel": (0, 1),
    "gemma2": (0,),
    "features": (0, 1),
}


@pytest.fixture(scope="module")
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tiny, Parts, tuple[int, ...]]:
    folder, own = tmp_path_factory.mktemp("m"), OWN[request.param]
    if request.param == "gpt2":
        return save_tiny(folder, n_layer=2), NEURONS, own
    if request.param == "features":
        tiny = save_tiny(folder, n_layer=2)
        dictionary = draw_dictionary(tiny.ours.spec.d_model, "mlp_normed", 1)
        tiny = replace(tiny, ours=attach_dictionaries(tiny.ours, dictionary))
        return tiny, dict(sorted(make_parts(dictionary, False).items())), own
    family = request.param.partition(":")[0]
    return load_tiny(save_random(folder, family, **CASES[request.param])), NEURONS, own


@pytest.fixture(scope="module")
def graph(case: tuple[Tiny, Parts, tuple[int, ...]]) -> Graph:
    model, parts, own = case
    return split_graph(model.ours.graph(), parts, own)


def test_each_unit_is_a_reader_and_the_mlp_one_of_what_is_left() -> None:
    graph = Graph(2, 1).refine("m1", neurons=[8, 3], own_inputs=True)
    readers = {r.name: [graph.writers[w].name for w in r.feeds] for r in graph.readers}
    assert readers["m1.n3"] == ["m1.n3"]
    assert readers["m1"] == ["m1.rest"]
    assert graph.edge_index("a1.h0->m1.n8") < graph.edge_index("embed->m1")
    assert not any(edge.startswith("m1") and "->m1" in edge for edge in graph.edges)
    assert not graph.with_whole_mlps.has_own_inputs


@pytest.mark.parametrize(
    ("case", "ablation"),
    [(name, "mean" if name == "llama" else "resample") for name in OWN],
    indirect=["case"],
)
def test_random_circuits_have_the_oracles_logits(
    case: tuple[Tiny, Parts, tuple[int, ...]], ablation: str
) -> None:
    model, parts, own = case
    assert_same_logits(model, PROMPTS, ablation, parts=parts, own=own)


@pytest.mark.parametrize(
    ("case", "frontier"), [("gpt2", False), ("features", True)], indirect=["case"]
)
def test_acdc_decides_as_the_oracle(
    case: tuple[Tiny, Parts, tuple[int, ...]], frontier: bool
) -> None:
    """By whole masked runs and, neurons beside features, by the frontier."""
    model, parts, own = case
    asked = {"parts": parts, "own": own, "share": 0.6, "frontier": frontier}
    circuit = compare(model, PROMPTS, "logit", "resample", **asked)
    assert 0 < len(circuit) < circuit.graph.n_edges
    assert circuit.scores is not None
    graph = circuit.graph
    into_units = np.array([graph.readers[reader].kind in UNITS for reader in graph.ends[0]])
    assert np.abs(circuit.scores[into_units]).max() > 1e-4


@pytest.mark.parametrize("case", list(OWN)[1:], indirect=True)
def test_scores_are_those_of_explicit_caches(
    case: tuple[Tiny, Parts, tuple[int, ...]], graph: Graph
) -> None:
    model, parts, own = case
    assert_explicit_scores(model, PROMPTS, graph, parts, own)


@pytest.mark.parametrize("case", ["gpt2", "llama", "features"], indirect=True)
def test_the_gradient_by_the_mask_is_that_of_small_steps(
    case: tuple[Tiny, Parts, tuple[int, ...]], graph: Graph
) -> None:
    assert_gradient_of_small_steps(case[0], PROMPTS, graph)


@pytest.mark.parametrize("case", ["gemma2"], indirect=True)
def test_parts_taken_together_are_the_whole(
    case: tuple[Tiny, Parts, tuple[int, ...]], graph: Graph
) -> None:
    assert_parts_are_the_whole(case[0], PROMPTS, graph)


@pytest.mark.parametrize("case", ["llama"], indirect=True)
def test_the_frontier_answers_as_masked_runs(
    case: tuple[Tiny, Parts, tuple[int, ...]], graph: Graph
) -> None:
    """Under random masks, and of candidates for the input of one unit."""
    run = partial(Experiment, case[0].ours, PROMPTS, metric="logit", graph=graph)
    masked, frontier = run(frontier=False), run(frontier=True).frontier
    assert frontier is not None
    rng = np.random.default_rng(3)
    masks = np.stack([rng.random(graph.n_edges) < share for share in (0.5, 0.95)])
    expected = masked.values(masks)
    scale = max(2, np.abs(expected).max())
    ours = np.stack([frontier.values(mask) for mask in masks])
    np.testing.assert_allclose(ours, expected, atol=1e-5 * scale)
    unit = next(n for n, reader in enumerate(graph.readers) if reader.kind in UNITS)
    candidates, into = np.repeat(masks[1:], 3, axis=0), graph.ends[0] == unit
    candidates[:, into] = rng.random((3, into.sum())) < 0.5
    ours = frontier.candidate_values(unit, candidates)
    np.testing.assert_allclose(ours, masked.values(candidates), atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("place", "activation", "message"),
    [
        ("mlp_output", "relu", "read what the MLP writes, which has one input for all"),
        ("mlp_normed", "top_k", "by the activation 'top_k' they compete"),
    ],
)
def test_features_that_depend_on_all_are_refused_inputs_of_their_own(
    place: Place, activation: Any, message: str, tmp_path: Path
) -> None:
    tiny = save_tiny(tmp_path, n_layer=2)
    drawn = draw_dictionary(tiny.ours.spec.d_model, place, 1)
    spec = replace(drawn.spec, activation=activation, k=4)
    model = attach_dictionaries(tiny.ours, replace(drawn, spec=spec))
    graph = model.graph().refine("m1", features=[2], own_inputs=True)
    with pytest.raises(ArgumentError, match=message):
        Experiment(model, PROMPTS, graph=graph)
