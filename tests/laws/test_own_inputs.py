"""Laws 3, 5 and 6 on graphs in which neurons and features of transcoders have inputs of their own.

Plain and gated MLPs, beside the attention and after it, and under a post-norm, whose divisor is
then that of the whole MLP at what the one neuron reads; beside an MLP whose parts share an input.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import UNITS
from circuitgraph.models.attaching import attach_dictionaries
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


@pytest.fixture(scope="module", params=list(OWN))
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


@pytest.mark.parametrize("ablation", ["resample", "mean"])
def test_random_circuits_have_the_oracles_logits(
    case: tuple[Tiny, Parts, tuple[int, ...]], ablation: str
) -> None:
    model, parts, own = case
    assert_same_logits(model, PROMPTS, ablation, parts=parts, own=own)


def test_acdc_decides_as_the_oracle(case: tuple[Tiny, Parts, tuple[int, ...]]) -> None:
    model, parts, own = case
    if model.ours.family != "gpt2":
        pytest.skip("the logits of its circuits are compared in another test")
    circuit = compare(model, PROMPTS, "kl", "resample", parts=parts, own=own, share=0.6)
    assert 0 < len(circuit) < circuit.graph.n_edges
    assert circuit.scores is not None
    graph = circuit.graph
    into_units = np.array([graph.readers[reader].kind in UNITS for reader in graph.ends[0]])
    assert np.abs(circuit.scores[into_units]).max() > 1e-4


def test_scores_are_those_of_explicit_caches(
    case: tuple[Tiny, Parts, tuple[int, ...]], graph: Graph
) -> None:
    model, parts, own = case
    assert_explicit_scores(model, PROMPTS, graph, parts, own)


def test_the_gradient_by_the_mask_is_that_of_small_steps(
    case: tuple[Tiny, Parts, tuple[int, ...]], graph: Graph
) -> None:
    assert_gradient_of_small_steps(case[0], PROMPTS, graph)


def test_parts_taken_together_are_the_whole(
    case: tuple[Tiny, Parts, tuple[int, ...]], graph: Graph
) -> None:
    assert_parts_are_the_whole(case[0], PROMPTS, graph)
