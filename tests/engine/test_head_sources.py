"""What heads fetch from one position, as sites of trees and swaps."""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.engine.tree.run import run_tree
from circuitgraph.engine.tree.swap import swap_sites
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.site import Site, Sites, embed, head, logits
from circuitgraph.graph.tree import Path, TreeNode
from tests.checkpoints import load_tiny, save_tiny
from tests.engine.trees import Case, Growth, claim, head_at, neuron_at, readings
from tests.oracle.tree import TreeOracle, swapped_source_logits
from tests.parity.cases import CASES
from tests.parity.harness import save_random


@pytest.fixture(scope="module", params=["gpt2", "gemma2"])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Case, TreeOracle]:
    """One model with a post-norm, whose divisor a part shares with all else."""
    folder = tmp_path_factory.mktemp("m")
    if request.param == "gpt2":
        own = Case.of(save_tiny(folder, n_layer=2))
    else:
        own = Case.of(load_tiny(save_random(folder, "gemma2", **CASES["gemma2"])))
    return own, own.oracle()


def grow_tree() -> TreeNode:
    """Parts of heads as leaves, with inputs of their own, and at roles."""

    def grow(path: Path, site: Site, feeds: str, *inner: tuple[Site, str]) -> TreeNode:
        own = (*path, f"{site}<{feeds}>")
        children = tuple(TreeNode((*own, f"{s}<{i}>"), "", s, i) for s, i in inner)
        return TreeNode(own, "", site, feeds, children)

    top, part = ("logits",), head_at(0, 1).fetched_from("A")
    children = (
        grow(top, head_at(1, 0).fetched_from("B"), "x", (embed @ "B", "v"), (part, "k")),
        grow(top, head_at(1, 1), "x", (part @ "B", "v"), (head_at(0, 0), "q")),
        grow(top, head_at(0, 0).fetched_from("C") @ "B", "x"),
    )
    return TreeNode(top, "", logits, children=children)


def test_trees_of_parts_are_the_recursion_written_out(case: tuple[Case, TreeOracle]) -> None:
    """With one donor for each node, and with one for each edge."""
    own, oracle = case
    rng, n, root = np.random.default_rng(1), len(own.prompts), grow_tree()
    for separate in (False, True):
        grow = Growth(own.pool.graph, rng, separate=separate)
        references = rng.integers(0, n, 4)
        inputs = grow.inputs(root, len(references), n)
        outcome = run_tree(own.pool, root, references, inputs, ["log_probability"])
        for row, reference in enumerate(references):
            written = oracle.logits(claim(root, inputs, row), reference)
            expected, top = readings(written, own.prompts, reference)
            assert outcome.values[0, row] == pytest.approx(expected, abs=1e-4, rel=1e-4)
            assert outcome.top[row] == top


def test_a_swapped_part_is_exchanged_alone(case: tuple[Case, TreeOracle]) -> None:
    own, oracle = case
    base, donors = np.array([0, 3, 4]), np.array([2, 5, 1])
    plain = swap_sites(own.pool, base, {}, ["log_probability"]).values
    site = head_at(0, 1).fetched_from("A")
    outcome = swap_sites(own.pool, base, {site: donors}, ["log_probability"])
    for row, (prompt, donor) in enumerate(zip(base, donors, strict=True)):
        written = swapped_source_logits(oracle, int(prompt), str(site), int(donor))
        expected, _ = readings(written, own.prompts, prompt)
        assert outcome.values[0, row] == pytest.approx(expected, abs=1e-4, rel=1e-4)
    assert np.abs(outcome.values - plain).max() > 1e-3


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ([head_at(0, 1).fetched_from("D")], "role 'D'"),
        ([head_at(0, 9).fetched_from("A")], r"a0\.h9\[A\]: a layer of the model has"),
        ([head_at(0, 1).fetched_from("A"), head_at(0, 1)], r"is part of a0\.h1, which is swapped"),
        ([head_at(0, 1).fetched_from(r) for r in "AB"], "are fetched from one token in prompt 1"),
    ],
)
def test_parts_that_cannot_be_swapped_are_refused(
    case: tuple[Case, TreeOracle], sites: list[Site], message: str
) -> None:
    rows = np.array([0, 1])
    with pytest.raises(ArgumentError, match=message):
        swap_sites(case[0].pool, rows, dict.fromkeys(sites, rows), ["log_probability"])


def test_only_heads_fetch() -> None:
    with pytest.raises(ArgumentError, match=r"m1\.n5 fetches nothing"):
        neuron_at(1, 5).fetched_from("A")
    each = [head_at(0, index).fetched_from("A") for index in (1, 2)]
    assert head(0, [1, 2]).fetched_from("A") == Sites(each)
    assert Site.parse("a0.h1[A]@B") == head_at(0, 1).fetched_from("A") @ "B"
