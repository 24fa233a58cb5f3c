"""Laws 1, 3, 5 and 6 on graphs in which some heads are cut by where they fetch.

Whole and grouped key-value heads, rotated keys, parallel blocks, and post-norms, whose divisor the
parts share; roles that stand elsewhere in each prompt, and positions by their numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.masked.programs import run_writers
from circuitgraph.errors import ArgumentError, DataError, UnknownNameError
from circuitgraph.tasks.prompts import Prompts
from tests.checkpoints import Tiny, load_tiny, random_prompts, save_tiny
from tests.laws.agreement import assert_same_logits, compare, split_graph
from tests.laws.parts import (
    assert_explicit_scores,
    assert_gradient_of_small_steps,
)
from tests.parity.cases import CASES
from tests.parity.harness import save_random

SOURCES = {"a0.h1": ["A", "B"], "a1.h0": ["0"], "a1.h1": ["B", "0"]}
NEURONS = {1: [0, 2]}


def place_roles(prompts: Prompts) -> Prompts:
    """``A`` and ``B`` at other positions in each prompt, never at the same, never at the first."""
    places = [{"A": 1 + i % 2, "B": 3 if i < 2 else 2 - i % 2} for i in range(len(prompts))]
    pairs = (replace(p, roles=at) for p, at in zip(prompts.pairs, places, strict=True))
    return replace(prompts, pairs=tuple(pairs))


PROMPTS = place_roles(random_prompts(batch=4, longest=7))


FAMILIES = ["gpt2", "llama", "gemma2"]
Load = Callable[[str], Tiny]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    @cache
    def load(name: str) -> Tiny:
        folder, family = tmp_path_factory.mktemp("m"), name.partition(":")[0]
        if family == "gpt2":
            return save_tiny(folder, n_layer=2)
        return load_tiny(save_random(folder, family, **CASES[name]))

    return load


@pytest.fixture(scope="module")
def gpt2(load: Load) -> Tiny:
    return load("gpt2")


@pytest.mark.parametrize("family", FAMILIES)
def test_random_circuits_have_the_oracles_logits(load: Load, family: str) -> None:
    model, ablation = load(family), "mean" if family == "llama" else "resample"
    grouped = model.ours.spec.n_kv_heads < model.ours.spec.n_heads
    parts = NEURONS if family == "gpt2" else None
    assert_same_logits(model, PROMPTS, ablation, kv=grouped, parts=parts, sources=SOURCES)


def test_scores_are_those_of_explicit_caches(load: Load) -> None:
    model = load("gpt_neox: parallel")
    graph = split_graph(model.ours.graph(), None, sources=SOURCES)
    assert_explicit_scores(model, PROMPTS, graph, {}, sources=SOURCES)


def test_the_gradient_by_the_mask_is_that_of_small_steps(load: Load) -> None:
    model = load("gemma2")
    graph = split_graph(model.ours.graph(), NEURONS, sources=SOURCES)
    assert_gradient_of_small_steps(model, PROMPTS, graph)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_parts_sum_to_what_the_head_writes_and_others_stay(load: Load, family: str) -> None:
    model = load(family)
    whole = model.ours.graph()
    graph = split_graph(whole, None, sources=SOURCES)
    batch = make_batch(PROMPTS, sources=("A", "B", "0"))
    expected, values = (
        np.asarray(run_writers(model.ours.transformer.with_units(g), batch.inputs).nodes)
        for g in (whole, graph)
    )
    columns, wholes = Grid.of(graph).column, Grid.of(whole).column
    sums = np.zeros_like(expected)
    for number, writer in enumerate(graph.writers):
        sums[wholes[whole.writer_index(str(writer.node.whole))]] += values[columns[number]]
    np.testing.assert_allclose(sums, expected, atol=1e-6 * np.abs(expected).max())
    first = values[columns[graph.writer_index("a1.h0[0]")]]
    assert np.abs(first).max() > 1e-3 * np.abs(expected).max()
    if graph.coupled:  # the divisor of a sum in another order
        return
    same = [w for w in whole.writers if w.name in {other.name for other in graph.writers}]
    for name in [writer.name for writer in same]:
        ours = values[columns[graph.writer_index(name)]]
        assert np.array_equal(ours, expected[wholes[whole.writer_index(name)]]), name


def test_all_positions_leave_no_rest_and_beyond_the_prompt_there_is_nothing(gpt2: Tiny) -> None:
    longest = PROMPTS.mask.shape[1]
    every = [str(n) for n in range(longest)]
    graph = gpt2.ours.graph().refine_head("a1.h1", every)
    inputs = make_batch(PROMPTS, sources=tuple(every)).inputs
    values = run_writers(gpt2.ours.transformer.with_units(graph), inputs).nodes
    column = Grid.of(graph).column
    assert not jnp.any(values[column[graph.writer_index("a1.h1[rest]")]])
    last = values[column[graph.writer_index(f"a1.h1[{longest - 1}]")]]
    shorter = PROMPTS.mask.sum(1) < longest
    assert shorter.any()
    real = jnp.where(PROMPTS.mask[..., None], last, 0)
    assert not jnp.any(real[shorter])
    assert jnp.any(real)


def test_acdc_decides_as_the_oracle(gpt2: Tiny) -> None:
    circuit = compare(gpt2, PROMPTS, "kl", "resample", sources=SOURCES)
    assert 0 < len(circuit) < circuit.graph.n_edges
    assert any("[" in edge for edge in circuit.edges)


def test_what_cannot_be_is_refused(gpt2: Tiny) -> None:
    graph = gpt2.ours.graph()
    with pytest.raises(UnknownNameError, match=r"role of these prompts 'C'"):
        Experiment(gpt2.ours, PROMPTS, graph=graph.refine_head("a0.h1", ["C"]))
    with pytest.raises(DataError, match=r"'A' and '1', sources of a0\.h1, are the same token"):
        Experiment(gpt2.ours, PROMPTS, graph=graph.refine_head("a0.h1", ["A", "1"]))
    with pytest.raises(DataError, match=r"at position 7, but the prompts have 7 tokens"):
        Experiment(gpt2.ours, PROMPTS, graph=graph.refine_head("a0.h1", ["7"]))
    split = graph.refine_head("a0.h1", ["A"])
    with pytest.raises(ArgumentError, match="knows no heads that are split"):
        Experiment(gpt2.ours, PROMPTS, graph=split, frontier=True)
