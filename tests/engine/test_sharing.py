"""Trees run together are trees run alone, and what they have in common is computed once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from circuitgraph.engine.tree.run import run_tree, run_trees
from circuitgraph.engine.tree.sharing import SharedValues, ValueUses
from circuitgraph.graph.site import embed, logits, mlp
from circuitgraph.graph.tree import TreeNode
from tests.checkpoints import Tiny
from tests.engine.trees import Case, Growth, head_at

METRICS = ["log_probability", "kl"]


@pytest.fixture(scope="module")
def case(tiny: Tiny) -> Case:
    return Case.of(tiny)


def related(case: Case, n_trees: int) -> tuple[list[tuple[TreeNode, dict[Any, Any]]], np.ndarray]:
    """Random trees, each also with one node's prompts drawn anew."""
    rng, n, trees = np.random.default_rng(7), len(case.prompts), []
    references = rng.integers(0, n, 9)
    for i in range(n_trees):
        grow = Growth(case.pool.graph, rng, 40, separate=i % 2 == 1)
        root = grow.tree()
        inputs = grow.inputs(root, len(references), n)
        trees.append((root, inputs))
        for node in list(root.walk())[:4]:
            trees.append((root, {**inputs, node.path: grow.donors(node, len(references), n)}))
    return trees, references


@pytest.mark.parametrize("room", [0, 10_000, None], ids=["no room", "little room", "room"])
def test_together_they_are_as_alone_bit_for_bit(
    case: Case, room: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees, references = related(case, 4)
    alone = [run_tree(case.pool, root, references, inputs, METRICS) for root, inputs in trees]
    if room is not None:
        monkeypatch.setattr(type(case.pool), "bytes_free", property(lambda self: room))
    for one, expected in zip(run_trees(case.pool, trees, references, METRICS), alone, strict=True):
        np.testing.assert_array_equal(one.values, expected.values)
        np.testing.assert_array_equal(one.top, expected.top)


def tree(*children: TreeNode) -> TreeNode:
    return TreeNode(("logits",), "", logits, children=children)


def node(name: str, site: Any, *children: TreeNode, feeds: str = "x") -> TreeNode:
    return TreeNode(("logits", name), "", site, feeds, children)


def test_a_value_is_the_same_only_if_everything_below_it_is() -> None:
    leaf = TreeNode(("logits", "m", "e"), "", embed @ "A", "x")
    root = tree(node("m", mlp(0), leaf), node("h", head_at(0, 1)))
    first, second = np.array([0, 1]), np.array([1, 0])
    every = {n.path: first for n in root.walk()}
    trees = [
        (root, every),
        (root, {**every, ("logits",): second}),  # the root's own prompts are not its children's
        (root, {**every, ("logits", "m"): second}),
        (root, {**every, leaf.path: second.astype(np.int32)}),
        (tree(node("m", mlp(0) @ "A", leaf), node("h", head_at(0, 1))), every),  # another site
    ]
    keys = ValueUses(trees).keys
    m, h, e = ([of[path] for of in keys] for path in (("logits", "m"), ("logits", "h"), leaf.path))
    assert m[0] == m[1]
    assert len({*m}) == 4
    assert len({*h}) == 1
    assert e[0] == e[1] == e[2] == e[4] != e[3]


def test_which_input_a_child_enters_tells_trees_apart() -> None:
    def of(feeds: str) -> TreeNode:
        return tree(node("h", head_at(1, 0), TreeNode(("logits", "h", "e"), "", embed, feeds)))

    trees = [(of(feeds), {n.path: np.arange(3) for n in of(feeds).walk()}) for feeds in ("k", "v")]
    first, second = ValueUses(trees).keys
    assert first["logits", "h"] != second["logits", "h"]


def test_uses_are_those_of_a_run_that_computes_nothing_twice() -> None:
    leaf = TreeNode(("logits", "m", "e"), "", embed, "x")
    root = tree(node("m", mlp(0), leaf))
    inputs = {n.path: np.arange(3) for n in root.walk()}
    uses = ValueUses([(root, inputs)] * 3)
    assert uses.counts == Counter({uses.keys[0]["logits", "m"]: 3, uses.keys[0][leaf.path]: 1})


def test_what_was_asked_for_often_enough_is_let_go_and_what_does_not_fit_is_made_again() -> None:
    made: list[bytes] = []

    def make(key: bytes) -> Any:
        return lambda: made.append(key) or jnp.zeros(10, jnp.float32)

    shared = SharedValues(Counter({b"a": 2, b"b": 3, b"c": 1}), bytes_free=40)
    for key in (b"a", b"b", b"a", b"c", b"b", b"b"):
        shared.get_value(key, make(key))
    assert made == [b"a", b"b", b"c", b"b"]  # b did not fit while a was kept; c is not needed again
    assert shared.bytes_free == 40
