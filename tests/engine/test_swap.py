"""Swaps against hooks in Hugging Face's own model, at their two ends, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from circuitgraph.engine.tree.activations import Activations
from circuitgraph.engine.tree.run import run_tree
from circuitgraph.engine.tree.swap import read_attention, swap_sites
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.site import Site, embed, logits, mlp
from circuitgraph.graph.tree import TreeNode
from tests.checkpoints import Tiny, load_tiny, random_prompts
from tests.engine.trees import ROLES, Case, Growth, compilations, head_at, neuron_at, readings
from tests.oracle.tree import swapped_logits
from tests.parity.cases import CASES
from tests.parity.harness import save_random

METRICS = ["log_probability", "kl"]
ROOT = TreeNode(("logits",), "", logits)


@pytest.fixture(scope="module")
def case(tiny: Tiny) -> Case:
    return Case.of(tiny)


def drawn(case: Case, rng: np.random.Generator, n: int) -> dict[Site, np.ndarray]:
    """Donors for a few different nodes, some at all positions."""
    grow = Growth(case.pool.graph, rng, neurons=40)
    sites = {str(site.node): site for site in (grow.site(99) for _ in range(rng.integers(1, 7)))}
    whole = [s for s in sites.values() if not (s.kind == "neuron" and f"m{s.layer}" in sites)]
    return {site: rng.integers(0, len(case.prompts), n) for site in whole}


def test_it_is_hugging_faces_model_with_hooks(case: Case) -> None:
    oracle, rng = case.oracle(), np.random.default_rng(0)
    for _ in range(12):
        base = rng.integers(0, len(case.prompts), 10)
        donors = drawn(case, rng, len(base))
        outcome = swap_sites(case.pool, base, donors, ["log_probability"])
        for row, prompt in enumerate(base):
            given = {(str(site.node), site.roles): int(rows[row]) for site, rows in donors.items()}
            own = swapped_logits(oracle.family.model, oracle, int(prompt), given)
            expected, top = readings(own, case.prompts, prompt)
            assert outcome.values[0, row] == pytest.approx(expected, abs=1e-4, rel=1e-4), (
                donors,
                prompt,
            )
            assert outcome.top[row] == top


def test_nothing_swapped_is_the_model(case: Case) -> None:
    base = np.array([3, 1, 1, 5])
    outcome, plain = (
        swap_sites(case.pool, base, {}, METRICS),
        run_tree(case.pool, ROOT, base, {ROOT.path: base}, METRICS),
    )
    np.testing.assert_array_equal(outcome.values, plain.values)
    np.testing.assert_array_equal(outcome.top, plain.top)


@pytest.mark.parametrize("family", ["gpt_neox: parallel", "gemma2"])
def test_all_writers_swapped_is_the_donor_and_ones_own_change_nothing(
    family: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In families that differ in structure: a parallel MLP, and a norm after each sublayer."""
    folder = save_random(tmp_path_factory.mktemp("m"), family.partition(":")[0], **CASES[family])
    prompts = random_prompts(batch=6)
    pool = Activations(load_tiny(folder).ours, prompts, np.zeros((6, 0), int), (), launch=8)
    length = prompts.mask.sum(1)
    base, donor = next(
        (i, j) for i in range(6) for j in range(6) if i != j and length[i] == length[j]
    )
    rows, donors = np.array([base]), np.array([donor])
    sites = [Site(w.node) for w in pool.graph.writers]
    theirs = run_tree(pool, ROOT, rows, {ROOT.path: donors}, METRICS)
    outcome = swap_sites(pool, rows, dict.fromkeys(sites, donors), METRICS)
    np.testing.assert_allclose(outcome.values, theirs.values, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(outcome.top, theirs.top)
    plain = swap_sites(pool, rows, {}, METRICS)
    own = swap_sites(pool, rows, dict.fromkeys(sites[3:8], rows), METRICS)
    np.testing.assert_allclose(own.values, plain.values, rtol=1e-4, atol=1e-4)
    assert np.abs(outcome.values - plain.values).max() > 1e-3


def test_where_sites_meet_the_first_counts(case: Case) -> None:
    at = next(i for i, row in enumerate(case.role_positions) if row[0] == row[1])
    one, two = np.array([0]), np.array([1])
    both = swap_sites(case.pool, np.array([at]), {mlp(0) @ "A": one, mlp(0) @ "B": two}, METRICS)
    alone = swap_sites(case.pool, np.array([at]), {mlp(0) @ "A": one}, METRICS)
    np.testing.assert_array_equal(both.values, alone.values)


def test_patterns_are_hugging_faces(case: Case) -> None:
    p = case.prompts
    with torch.no_grad():
        theirs = case.tiny.hf(
            torch.tensor(p.clean).long(),
            attention_mask=torch.tensor(p.mask),
            output_attentions=True,
        )
    for layer, index in ((0, 1), (2, 3)):
        outcome = read_attention(case.pool, head_at(layer, index))
        real = p.mask[:, :, None] & p.mask[:, None, :]
        np.testing.assert_allclose(
            outcome[real], theirs.attentions[layer][:, index].numpy()[real], atol=1e-5
        )


def test_other_swaps_compile_nothing(case: Case) -> None:
    rng = np.random.default_rng(1)
    every = {
        head_at(0, 0): np.zeros(2, int),
        neuron_at(0, 1): np.zeros(2, int),
        mlp(1): np.zeros(2, int),
        embed: np.ones(2, int),
    }
    swap_sites(case.pool, np.arange(2), every, METRICS)
    with compilations() as compiled:
        for n in (1, 9, 20):
            swap_sites(case.pool, rng.integers(0, 6, n), drawn(case, rng, n), METRICS)
    assert compiled == []


def test_all_that_is_wrong_is_said_at_once(case: Case) -> None:
    rows = np.zeros(2, int)
    bad = {
        head_at(7, 0): rows,
        mlp(1): rows,
        neuron_at(1, 2): rows,
        logits: rows,
        embed @ "D": rows,
        embed @ "A": np.array([0, 9]),
        embed @ "B": np.array([0]),
    }
    with pytest.raises(ArgumentError) as caught:
        swap_sites(case.pool, rows, bad, METRICS)
    for message in (
        "a7.h0: the model has 3 layers",
        "m1.n2 is part of m1, which is swapped as well",
        "logits writes nothing that could be swapped",
        f"Unknown role 'D'. Known: {', '.join(ROLES)}",
        "the donor of embed@A names prompt 9, but the pool has 0 to 5",
        "the donor of embed@B has 1 entries",
    ):
        assert message in str(caught.value)
    with pytest.raises(ArgumentError, match="m1 is no head"):
        read_attention(case.pool, mlp(1))
