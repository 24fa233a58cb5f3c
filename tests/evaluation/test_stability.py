"""Stability: the overlap of discoveries on other samples of the prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from circuitgraph.errors import ArgumentError
from circuitgraph.evaluation.faithfulness import count_seen
from circuitgraph.evaluation.stability import measure_overlaps, measure_stability, resample_prompts
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.tasks.prompts import Prompts
from tests.checkpoints import random_prompts

GRAPH = Graph(1, 2, mlp=False)
A, B, C = "embed->a0.h0<q>", "embed->a0.h1<v>", "embed->logits"
PROMPTS = random_prompts(batch=12)


def test_a_search_that_never_changes_its_mind() -> None:
    found = measure_stability(lambda prompts: Circuit.of(GRAPH, [A, B]), PROMPTS, seed=0, n=4)
    assert (found.overlap.mean, found.overlap.low, found.overlap.high) == (1.0, 1.0, 1.0)
    assert found.frequency == {A: 1.0, B: 1.0}
    assert (found.n_edges, found.n_discoveries) == ([2] * 4, 4)


def test_overlap_and_frequency_by_hand() -> None:
    circuits = iter([Circuit.of(GRAPH, edges) for edges in ([A], [A, B], [A, B, C])])
    found = measure_stability(lambda prompts: next(circuits), PROMPTS, seed=0, n=3)
    assert found.overlap.mean == pytest.approx((1 / 2 + 1 / 3 + 2 / 3) / 3)
    assert found.frequency == pytest.approx({A: 1, B: 2 / 3, C: 1 / 3})
    assert found.n_edges == [1, 2, 3]


def test_empty_circuits_overlap_fully_and_with_nothing_else() -> None:
    empty, other = Circuit.empty(GRAPH), Circuit.of(GRAPH, [A])
    assert measure_overlaps([empty, empty, other]) == [1.0, 0.0, 0.0]


def test_each_search_sees_another_sample_of_the_same_prompts() -> None:
    seen: list[Prompts] = []
    measure_stability(
        lambda prompts: seen.append(prompts) or Circuit.empty(GRAPH), PROMPTS, seed=5, n=3
    )
    assert len({prompts.fingerprint for prompts in seen}) == 3
    again: list[Prompts] = []
    measure_stability(
        lambda prompts: again.append(prompts) or Circuit.empty(GRAPH), PROMPTS, seed=5, n=3
    )
    assert [p.fingerprint for p in seen] == [p.fingerprint for p in again]
    assert all(count_seen(prompts, PROMPTS) == len(PROMPTS) for prompts in seen)


def test_samples_keep_shapes_and_belonging() -> None:
    prompts = replace(PROMPTS, right=np.arange(24, dtype=np.int32).reshape(12, 2), distractor=None)
    found = resample_prompts(prompts, np.random.default_rng(0))
    rows = [prompts.pairs.index(pair) for pair in found.pairs]
    assert len(set(rows)) < len(rows), "drawn with replacement"
    assert found.distractor is None
    assert found.right is not None
    assert prompts.right is not None
    for one, all_of_them in (
        (found.clean, prompts.clean),
        (found.mask, prompts.mask),
        (found.right, prompts.right),
    ):
        assert np.array_equal(one, all_of_them[rows])
        assert one.dtype == all_of_them.dtype
    assert np.array_equal(np.asarray(found.answer), np.asarray(prompts.answer)[rows])


def test_one_discovery_has_nothing_to_overlap_with() -> None:
    with pytest.raises(ArgumentError, match="number of discoveries is 1, but must be at least 2"):
        measure_stability(lambda prompts: Circuit.empty(GRAPH), PROMPTS, seed=0, n=1)


def test_prompts_are_told_apart_by_their_tokens_and_padding_is_none() -> None:
    short = random_prompts(batch=1, longest=3)
    padded = replace(
        short,
        clean=np.pad(short.clean, ((0, 0), (0, 2))),
        corrupted=np.pad(np.asarray(short.corrupted), ((0, 0), (0, 2))),
        mask=np.pad(short.mask, ((0, 0), (0, 2))),
    )
    assert count_seen(padded, short) == 1
    longer = replace(padded, mask=np.ones_like(padded.mask))
    assert count_seen(longer, short) == 0, "token 0 that is there is not padding"
    assert count_seen(replace(short, corrupted=np.asarray(short.corrupted) + 1), short) == 1
    assert count_seen(PROMPTS, random_prompts(batch=12, seed=1)) == 0
