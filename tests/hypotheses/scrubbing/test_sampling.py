"""Donors agree with the parent, are uniform in a class, and depend on names and numbers alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from circuitgraph.errors import ArgumentError, HypothesisError
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.scrubbing.sampling import Classes, Sampler, TreeDonors
from tests.hypotheses.arithmetic import claim, make_rooted

N = 600
ROOT = make_rooted(claim("C", "out", claim("A", "a", claim("D", "d")), claim("B", "b")))
A, B = ROOT.children
D = A.children[0]


def make_codes(n: int = N, seed: int = 0) -> dict[str, np.ndarray]:
    """Three variables, no one of which says anything of another."""
    rng = np.random.default_rng(seed)
    return {
        "a": rng.integers(5, size=n),
        "b": rng.integers(7, size=n),
        "d": rng.integers(3, size=n),
        "out": np.zeros(n, int),
    }


def find_fed(drawn: TreeDonors, node: TreeNode) -> np.ndarray:
    """The one prompt for each reference that a node is fed."""
    prompts = drawn.inputs[node.path]
    assert isinstance(prompts, np.ndarray)
    return prompts


def are_same(one: TreeDonors, other: TreeDonors, root: TreeNode = ROOT) -> bool:
    return all(
        np.array_equal(one.datum[node.path], other.datum[node.path])
        and np.array_equal(find_fed(one, node), find_fed(other, node))
        for node in root.walk()
    )


def test_a_childs_donor_agrees_with_its_parents_datum_and_not_with_the_reference() -> None:
    known, references = make_codes(), np.arange(N)
    drawn = Sampler(known).draw_donors(ROOT, references)
    assert np.array_equal(drawn.datum[ROOT.path], references)
    for node, parent in ((A, ROOT), (B, ROOT), (D, A)):
        assert np.array_equal(
            known[node.variable][drawn.datum[node.path]],
            known[node.variable][drawn.datum[parent.path]],
        )
    agree = (known["d"][drawn.datum[D.path]] == known["d"]).mean()
    assert 0.2 < agree < 0.5, "a grandchild agrees with the reference by chance alone, here 1 in 3"


def test_leaves_are_fed_their_own_donor_and_others_one_prompt_more() -> None:
    drawn = Sampler(make_codes()).draw_donors(ROOT, np.arange(N))
    for leaf in (B, D):
        assert find_fed(drawn, leaf) is drawn.datum[leaf.path]
    for node in (ROOT, A):
        assert not np.array_equal(find_fed(drawn, node), drawn.datum[node.path])
    assert not np.array_equal(find_fed(drawn, ROOT), find_fed(drawn, A))


def test_a_donor_is_uniform_in_its_class_the_reference_among_it() -> None:
    root = make_rooted(claim("C", "out", claim("A", "a")))
    known = {"a": np.repeat([0, 1], [4, 6]), "out": np.zeros(10, int)}
    counts = np.zeros((10, 10), int)
    for seed in range(3000):
        drawn = Sampler(known, seed).draw_donors(root, np.arange(10))
        counts[np.arange(10), drawn.datum[root.children[0].path]] += 1
    assert not counts[:4, 4:].any()
    assert not counts[4:, :4].any()
    blocks = [*counts[:4, :4], *counts[4:, 4:]]
    assert min(stats.chisquare(row).pvalue for row in blocks) > 1e-4


def test_siblings_and_seeds_draw_by_themselves() -> None:
    root = make_rooted(claim("C", "out", claim("A", "a"), claim("B", "a")))
    one, other = (Sampler(make_codes(), seed).draw_donors(root, np.arange(N)) for seed in (0, 1))
    a, b = (one.datum[child.path] for child in root.children)
    assert (a == b).mean() < 0.1
    assert (a == other.datum[root.children[0].path]).mean() < 0.1
    assert are_same(one, Sampler(make_codes(), 0).draw_donors(root, np.arange(N)), root)


def test_nodes_of_one_tie_share_their_donors() -> None:
    root = make_rooted(claim("C", "out", claim("A", "a"), claim("B", "a")), tie=True)
    drawn = Sampler(make_codes()).draw_donors(root, np.arange(N))
    a, b = root.children
    assert np.array_equal(drawn.datum[a.path], drawn.datum[b.path])


@given(st.permutations(range(40)))
def test_the_order_of_the_references_changes_no_draw(order: list[int]) -> None:
    drawn = Sampler(make_codes(40)).draw_donors(ROOT, np.arange(40))
    again = Sampler(make_codes(40)).draw_donors(ROOT, np.array(order))
    for node in ROOT.walk():
        assert np.array_equal(drawn.datum[node.path][order], again.datum[node.path])
        assert np.array_equal(find_fed(drawn, node)[order], find_fed(again, node))


@given(st.permutations(range(7)))
def test_the_names_of_values_change_no_draw(names: list[int]) -> None:
    known = make_codes()
    renamed = {name: np.array([*names, 99])[values.astype(int)] for name, values in known.items()}
    drawn, again = (Sampler(each).draw_donors(ROOT, np.arange(N)) for each in (known, renamed))
    assert are_same(drawn, again)


def test_policies_for_what_is_unclaimed() -> None:
    edges = [("q", "embed"), ("k", "embed"), ("k", "a0.h1")]
    drawn = {
        policy: Sampler(make_codes(), unclaimed=policy, edges=lambda _: edges).draw_donors(
            ROOT, np.arange(N)
        )
        for policy in ("joint", "everywhere", "separate", "keep")
    }
    assert np.array_equal(find_fed(drawn["everywhere"], ROOT), find_fed(drawn["everywhere"], A))
    assert all(
        np.array_equal(find_fed(drawn["keep"], node), drawn["keep"].datum[node.path])
        for node in (ROOT, A)
    )
    separate = drawn["separate"].inputs[A.path]
    assert isinstance(separate, dict)
    assert list(separate) == edges
    assert len({prompts.tobytes() for prompts in separate.values()}) == len(edges)
    for policy in drawn:
        assert all(
            np.array_equal(drawn[policy].datum[p], prompts)
            for p, prompts in drawn["joint"].datum.items()
        )


def test_modes_of_single_nodes() -> None:
    fixed = np.arange(N)[::-1]
    drawn = Sampler(make_codes()).draw_donors(
        ROOT, np.arange(N), modes={A.path: fixed, D.path: "exact", B.path: "free"}, keep=[A.path]
    )
    assert np.array_equal(drawn.datum[A.path], fixed)
    assert np.array_equal(drawn.datum[D.path], fixed)
    assert np.array_equal(find_fed(drawn, A), fixed)
    assert (make_codes()["b"][drawn.datum[B.path]] == make_codes()["b"]).mean() < 0.3


def test_with_layouts_all_donors_have_that_of_the_reference() -> None:
    places = np.random.default_rng(3).integers(4, size=N)
    drawn = Sampler(make_codes(), layouts=places).draw_donors(
        ROOT, np.arange(N), modes={B.path: "free"}
    )
    for prompts in drawn.list_inputs():
        assert np.array_equal(places[prompts], places)
    assert np.array_equal(make_codes()["a"][drawn.datum[A.path]], make_codes()["a"])


def test_how_much_a_variable_leaves_open() -> None:
    assert Classes(np.array([4, 4, 4, 4])).effective_donors == pytest.approx(4)
    assert Classes(np.arange(4)).effective_donors == pytest.approx(1)
    mixed = Classes(np.array([7, 1, 1, 7, 7, 7, 2]))
    assert sorted(mixed.sizes) == [1, 2, 4]
    assert mixed.n_singletons == 1
    assert mixed.effective_donors == pytest.approx((4**4 * 2**2 * 1) ** (1 / 7))


def test_a_variable_that_tells_every_prompt_from_every_other_is_refused() -> None:
    with pytest.raises(
        HypothesisError, match=r"'a' has another value on each of the 600 prompts.*coarser"
    ):
        Sampler({**make_codes(), "a": np.arange(N)}).draw_donors(ROOT, np.arange(N))
    with pytest.raises(
        HypothesisError, match=r"'[ab]' and the places of their roles.*align='role'"
    ):
        Sampler(make_codes(), layouts=np.arange(N)).draw_donors(ROOT, np.arange(N))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"references": np.array([0, N])}, "numbers from 0 to 599"),
        ({"references": np.array([-1])}, "numbers from 0 to 599"),
        ({"modes": {("C", "nothing"): "free"}}, "no node 'C > nothing'"),
        ({"modes": {A.path: np.full(N, N)}}, "donors of A > C must be numbers from 0 to 599"),
    ],
)
def test_bad_arguments_are_refused_in_words(given: dict, message: str) -> None:
    arguments = {"references": np.arange(N), **given}
    with pytest.raises(ArgumentError, match=message):
        Sampler(make_codes()).draw_donors(ROOT, **arguments)


def test_separate_prompts_for_every_edge_need_the_edges() -> None:
    with pytest.raises(ArgumentError, match="needs the edges"):
        Sampler(make_codes(), unclaimed="separate")


def test_a_node_by_itself_is_a_tree() -> None:
    leaf = TreeNode(("C",), "out", ROOT.site)
    drawn = Sampler(make_codes()).draw_donors(leaf, np.array([3, 1]))
    assert find_fed(drawn, leaf).tolist() == [3, 1]
