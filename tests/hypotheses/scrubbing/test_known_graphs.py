"""Scrubbing of graphs whose answer is known: two independent digits differ by 3.3 on average."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.language import Unclaimed
from circuitgraph.hypotheses.program import number_classes
from circuitgraph.hypotheses.scrubbing.sampling import Sampler, TreeDonors
from tests.hypotheses.arithmetic import (
    Data,
    Graph,
    Part,
    Values,
    claim,
    list_digits,
    make_rooted,
    run_plain,
    run_scrubbed,
)

N = 40_000
APART = 3.3  # E|u - v| of two independent uniform digits: 99/30
STANDARD_ERRORS = 4

Label = Callable[[Data], Values]


def make_sampler(data: Data, unclaimed: Unclaimed = "joint") -> Sampler:
    codes = {
        name: number_classes(values) for name, values in {**data, "out": np.zeros(N, int)}.items()
    }
    return Sampler(
        codes, 0, unclaimed, edges=lambda _: [("x", name) for name in ("A", "B", "x0", "x1")]
    )


def measure_errors(
    graph: Graph, root: TreeNode, data: Data, donors: TreeDonors, label: Label
) -> Values:
    return np.abs(run_scrubbed(graph, root, donors.inputs, data) - label(data))


def measure_losses(
    graph: Graph,
    tree: TreeNode,
    data: Data,
    label: Label,
    *,
    tie: bool = False,
    unclaimed: Unclaimed = "joint",
    more: Data | None = None,
) -> Values:
    """The error of each reference under a tree of claims."""
    root = make_rooted(tree, tie=tie)
    donors = make_sampler({**data, **(more or {})}, unclaimed=unclaimed).draw_donors(
        root, np.arange(N)
    )
    return measure_errors(graph, root, data, donors, label)


def is_near(losses: Values, expected: float) -> bool:
    return abs(losses.mean() - expected) <= STANDARD_ERRORS * losses.std() / np.sqrt(len(losses))


@pytest.fixture(scope="module")
def two() -> Data:
    return list_digits(N, columns=2)


@pytest.fixture(scope="module")
def three() -> Data:
    return list_digits(N, columns=3)


SEPARATE = {
    "C": Part(("A", "B"), lambda a, b: a + b),
    "A": Part(("x0",), lambda x: 2 * x),
    "B": Part(("x1",), lambda x: 3 * x),
}
TWICE = {"C": Part(("A", "x1"), lambda a, x: a + x), "A": Part(("x0", "x1"), lambda x, y: x + y)}


def label_separate(data: Data) -> Values:
    return 2 * data["x0"] + 3 * data["x1"]


def label_twice(data: Data) -> Values:
    return data["x0"] + 2 * data["x1"]


def test_the_digits_are_as_uniform_as_the_expected_values_assume(two: Data) -> None:
    assert np.abs(np.subtract.outer(np.arange(10), np.arange(10))).mean() == APART
    assert len(two["x0"]) == N
    assert set(np.bincount(number_classes(zip(*two.values(), strict=True)))) == {N // 100}


def test_each_part_of_a_sum_carries_its_own_input(two: Data) -> None:
    tree = claim("C", "out", claim("A", "x0"), claim("B", "x1"))
    assert not measure_losses(SEPARATE, tree, two, label_separate).any()


@pytest.mark.parametrize("unclaimed", ["joint", "everywhere", "separate"])
def test_a_part_that_is_not_claimed_is_random(two: Data, unclaimed: Unclaimed) -> None:
    losses = measure_losses(
        SEPARATE, claim("C", "out", claim("A", "x0")), two, label_separate, unclaimed=unclaimed
    )
    assert is_near(losses, 3 * APART)


def test_a_part_that_is_not_claimed_stays_if_it_is_to_be_kept(two: Data) -> None:
    assert not measure_losses(
        SEPARATE, claim("C", "out", claim("A", "x0")), two, label_separate, unclaimed="keep"
    ).any()


def test_an_input_on_two_paths_is_resampled_on_each_by_itself(two: Data) -> None:
    tree = claim("C", "out", claim("A", "x0", claim("x0", "x0")), claim("x1", "x1"))
    assert is_near(measure_losses(TWICE, tree, two, label_twice), APART)


def test_without_treeification_that_would_come_out_as_0_or_as_twice_too_much(two: Data) -> None:
    root = make_rooted(claim("C", "out", claim("A", "x0", claim("x0", "x0")), claim("x1", "x1")))
    donors = make_sampler(two).draw_donors(root, np.arange(N))
    a, x1 = root.children
    one_copy = {**donors.inputs, a.path: donors.inputs[x1.path]}
    other_copy = {**donors.inputs, x1.path: donors.inputs[a.path]}
    assert not measure_errors(
        TWICE, root, two, TreeDonors(donors.datum, one_copy), label_twice
    ).any()
    assert is_near(
        measure_errors(TWICE, root, two, TreeDonors(donors.datum, other_copy), label_twice),
        2 * APART,
    )


def test_claiming_one_of_two_ways_makes_the_other_random(two: Data) -> None:
    graph = {**SEPARATE, "B": Part(("x0",), lambda x: 3 * x)}
    assert is_near(
        measure_losses(graph, claim("C", "out", claim("A", "x0")), two, lambda d: 5 * d["x0"]),
        3 * APART,
    )


@pytest.mark.parametrize(("shared", "expected"), [(False, APART), (True, 0.0)])
def test_what_cancels_between_two_parts_shows_only_with_donors_of_their_own(
    three: Data, shared: bool, expected: float
) -> None:
    graph = {
        "C": SEPARATE["C"],
        "A": Part(("x0", "x2"), lambda x, y: x + y),
        "B": Part(("x1", "x2"), lambda x, y: x - y),
    }
    both = 10 * three["x0"] + three["x1"]
    own = claim("C", "out", claim("A", "x0"), claim("B", "x1"))
    together = claim("C", "out", claim("A", "both"), claim("B", "both"))
    label: Label = lambda d: d["x0"] + d["x1"]  # noqa: E731
    assert is_near(
        measure_losses(graph, together, three, label, tie=shared, more={"both": both}), expected
    )
    assert is_near(measure_losses(graph, own, three, label), APART)


def test_an_input_that_another_determines_makes_an_impossible_pair(two: Data) -> None:
    data = {"x0": two["x0"], "x1": 2 * two["x0"]}
    graph = {"C": Part(("x0", "x1"), lambda x, y: x + y)}
    tree = claim("C", "out", claim("x0", "x0"))
    assert is_near(measure_losses(graph, tree, data, lambda d: d["x0"] + d["x1"]), 2 * APART)


def test_a_small_part_that_is_not_claimed_costs_little(two: Data) -> None:
    graph = {**SEPARATE, "A": Part(("x0", "x1"), lambda x, y: 2 * x + 0.001 * y)}
    losses = measure_losses(
        graph, claim("C", "out", claim("A", "x0"), claim("B", "x1")), two, label_separate
    )
    assert is_near(losses, 0.0045)
    assert losses.max() <= 0.009 + 1e-12


def test_claims_that_two_parts_carry_each_others_sums(two: Data) -> None:
    graph = {
        "C": SEPARATE["C"],
        "A": Part(("x0", "x1"), lambda x, y: 2 * x + y),
        "B": Part(("x0", "x1"), lambda x, y: x + 2 * y),
    }
    sums = {"s": two["x0"] + 2 * two["x1"], "t": 2 * two["x0"] + two["x1"]}
    tree = claim("C", "out", claim("A", "s"), claim("B", "t"))
    losses = measure_losses(graph, tree, two, lambda d: 3 * d["x0"] + 3 * d["x1"], more=sums)
    assert is_near(losses, _swapped_sums())
    assert _swapped_sums() == pytest.approx(4.6, abs=0.05)


def _swapped_sums() -> float:
    """The last graph's loss by going through all pairs of donors of all references."""
    pairs = [(x, y) for x in range(10) for y in range(10)]
    total = 0.0
    for x, y in pairs:
        a = np.array([2 * u + v for u, v in pairs if u + 2 * v == x + 2 * y])
        b = np.array([u + 2 * v for u, v in pairs if 2 * u + v == 2 * x + y])
        total += np.abs(np.add.outer(a, b) - 3 * x - 3 * y).mean()
    return total / len(pairs)


# The invariants.


def test_an_exact_sampler_everywhere_is_the_graph_itself(two: Data) -> None:
    root = make_rooted(claim("C", "out", claim("A", "x0", claim("x0", "x0")), claim("x1", "x1")))
    nodes = [node.path for node in root.walk()]
    donors = make_sampler(two).draw_donors(
        root, np.arange(N), modes=dict.fromkeys(nodes, "exact"), keep=nodes
    )
    assert np.array_equal(run_scrubbed(TWICE, root, donors.inputs, two), run_plain(TWICE, "C", two))


def test_all_copies_of_an_input_on_one_datum_give_the_graph_on_that_datum(two: Data) -> None:
    root = make_rooted(claim("C", "out", claim("A", "x0", claim("x0", "x0")), claim("x1", "x1")))
    other = np.random.default_rng(1).permutation(N)
    one = {node.path: other for node in root.walk()}
    assert np.array_equal(run_scrubbed(TWICE, root, one, two), run_plain(TWICE, "C", two)[other])


def test_a_root_without_condition_is_an_output_shuffled_against_the_labels(two: Data) -> None:
    root = make_rooted(claim("C", "out"))
    donors = make_sampler(two).draw_donors(root, np.arange(N), modes={root.path: "free"})
    losses = measure_errors(SEPARATE, root, two, donors, label_separate)
    values = label_separate(two)
    assert is_near(losses, np.abs(np.subtract.outer(values[:100], values[:100])).mean())
    assert np.array_equal(
        np.unique(run_scrubbed(SEPARATE, root, donors.inputs, two)), np.unique(values)
    )
