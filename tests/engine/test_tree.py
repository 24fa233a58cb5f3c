"""The tree against the oracle, what it must equal exactly, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from circuitgraph.engine.tree.activations import Activations
from circuitgraph.engine.tree.run import run_tree
from circuitgraph.errors import ArgumentError, DataError, SearchError, UnknownNameError
from circuitgraph.graph.node import Node
from circuitgraph.graph.site import Site, embed, logits, mlp
from circuitgraph.graph.tree import TreeNode
from tests.checkpoints import Tiny, load_tiny
from tests.engine.trees import (
    ROLES,
    Case,
    Growth,
    claim,
    compilations,
    head_at,
    neuron_at,
    readings,
)
from tests.parity.cases import CASES
from tests.parity.harness import run_ours, save_random

FAMILIES = {"llama": 8, "gpt_neox: parallel": 8, "gemma2": 0, "gpt_oss": 0}  # and neurons to claim
METRICS = ["log_probability", "kl", "logit_difference"]
ROOT = TreeNode(("logits",), "", logits)


@pytest.fixture(scope="module")
def case(tiny: Tiny) -> Case:
    return Case.of(tiny)


def assert_as_oracle(case: Case, n_trees: int, seed: int, neurons: int) -> None:
    """Random trees, donors and references, all against the recursion written out in float64."""
    oracle, n = case.oracle(), len(case.prompts)
    rng = np.random.default_rng(seed)
    sizes = []
    for i in range(n_trees):
        grow = Growth(case.pool.graph, rng, neurons, separate=i % 3 == 2)
        root = grow.tree()
        sizes.append(sum(1 for _ in root.walk()))
        references = rng.integers(0, n, 9)
        inputs = grow.inputs(root, len(references), n)
        outcome = run_tree(case.pool, root, references, inputs, ["log_probability"])
        for row, reference in enumerate(references):
            expected, top = readings(
                oracle.logits(claim(root, inputs, row), reference), case.prompts, reference
            )
            assert outcome.values[0, row] == pytest.approx(expected, abs=1e-4, rel=1e-4), (
                root,
                reference,
            )
            assert outcome.top[row] == top
    assert max(sizes) > 8


def test_it_is_the_recursion_written_out(case: Case) -> None:
    assert_as_oracle(case, 12, seed=0, neurons=40)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_recursion_in_families_that_differ(
    family: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = save_random(tmp_path_factory.mktemp("m"), family.partition(":")[0], **CASES[family])
    assert_as_oracle(Case.of(load_tiny(folder)), 6, seed=1, neurons=FAMILIES[family])


def test_if_all_read_the_reference_it_is_the_model_bit_for_bit(case: Case) -> None:
    """With one prompt for a node, and with one for each writer; in any order of the references."""
    rng = np.random.default_rng(2)
    references = rng.integers(0, len(case.prompts), 19)
    plain = run_tree(case.pool, ROOT, references, {ROOT.path: references}, METRICS)
    for i in range(6):
        grow = Growth(case.pool.graph, rng, 40, separate=i % 2 == 1)
        root = grow.tree()
        drawn = grow.inputs(root, len(references), len(case.prompts))
        exact = {
            path: dict.fromkeys(d, references) if isinstance(d, dict) else references
            for path, d in drawn.items()
        }
        outcome = run_tree(case.pool, root, references, exact, METRICS)
        np.testing.assert_array_equal(outcome.values, plain.values)
        np.testing.assert_array_equal(outcome.top, plain.top)
    np.testing.assert_array_equal(plain.values[1], 0)


def test_a_root_alone_is_the_model(case: Case) -> None:
    references = np.arange(len(case.prompts))
    outcome = run_tree(case.pool, ROOT, references, {ROOT.path: references}, ["log_probability"])
    p = case.prompts
    scored = run_ours(case.tiny.ours, p.clean, p.mask)[references, p.score_at]
    expected = np.asarray(jax.nn.log_softmax(scored))[references, p.answer]
    np.testing.assert_allclose(outcome.values[0], expected, atol=1e-5)
    np.testing.assert_array_equal(outcome.top, scored.argmax(-1))


def test_if_all_read_one_other_prompt_of_the_same_layout_it_is_that_prompts_output(
    case: Case,
) -> None:
    """Only the labels stay the reference's."""
    rng = np.random.default_rng(3)
    n, longest = case.prompts.clean.shape
    prompts = replace(
        case.prompts, mask=np.ones_like(case.prompts.mask), score_at=np.full(n, longest - 1)
    )
    pool = Activations(case.tiny.ours, prompts, np.tile([1, 4, 7], (n, 1)), ROLES, launch=8)
    references, donors = rng.integers(0, n, (2, 20))
    output = run_tree(pool, ROOT, references, {ROOT.path: donors}, METRICS)
    for _ in range(4):
        root = Growth(pool.graph, rng).tree()
        outcome = run_tree(
            pool, root, references, {node.path: donors for node in root.walk()}, METRICS
        )
        np.testing.assert_allclose(
            outcome.values, output.values, atol=1e-5 * np.abs(output.values).max()
        )
        np.testing.assert_array_equal(outcome.top, output.top)


def test_padding_changes_nothing(case: Case) -> None:
    rng = np.random.default_rng(4)
    padded = Case.of(case.tiny, rows=13, length=12).pool
    grow = Growth(case.pool.graph, rng, 40)
    root = grow.tree()
    references = rng.integers(0, len(case.prompts), 9)
    inputs = grow.inputs(root, 9, len(case.prompts))
    first, second = (
        run_tree(pool, root, references, inputs, METRICS) for pool in (case.pool, padded)
    )
    np.testing.assert_allclose(first.values, second.values, atol=1e-5)
    np.testing.assert_array_equal(first.top, second.top)


def test_other_trees_of_other_pools_compile_nothing(case: Case) -> None:
    """Other sites, prompts and numbers of references; the metrics and the padded sizes are the
    same.
    """
    rng = np.random.default_rng(5)
    sites = Growth(case.pool.graph, rng, 40)
    warm = TreeNode(
        ROOT.path,
        "",
        logits,
        children=(chain(mlp(1), "x", (chain(head_at(1, 0), "x"), chain(neuron_at(0, 1), "x"))),),
    )
    for root, n in ((warm, 8), *((sites.tree(), n) for n in (1, 5, 30))):
        pool = Case.of(case.tiny, n=4, longest=7, rows=8, length=9).pool
        with compilations() as compiled:
            run_tree(pool, root, rng.integers(0, 4, n), sites.inputs(root, n, 4), ["kl"])
        if root is not warm:
            assert compiled == []
    with compilations() as compiled:
        jax.jit(lambda x: x + 1)(1)
    assert compiled  # it does count


def chain(site: Site, feeds: str, children: tuple[TreeNode, ...] = (), path: str = "") -> TreeNode:
    own = (*ROOT.path, f"{path}{site}<{feeds}>")
    return TreeNode(own, "", site, feeds, children)


@pytest.mark.parametrize(
    ("child", "message"),
    [
        (chain(head_at(0, 1, "D"), "x"), "Unknown role 'D'. Known: A, B, C"),
        (chain(head_at(3, 1), "x"), r"a3.h1: the model has 3 layers, 0 to 2"),
        (chain(head_at(0, 4), "x"), r"a0.h4: a layer of the model has 4 heads, 0 to 3"),
        (chain(neuron_at(0, 40), "x"), r"m0.n40: an MLP of the model has 40 neurons, 0 to 39"),
        (chain(Site(Node("feature", 0, 3)), "x"), "no dictionary of m0 is loaded"),
        (chain(head_at(0, 1), "q"), r"feeds 'q', but logits reads \['x'\]"),
        (
            chain(mlp(0), "x", (chain(mlp(1), "x", path="m0 "),)),
            "m1 is computed no earlier than m0",
        ),
        (chain(logits, "x"), "the logits feed nothing"),
    ],
)
def test_trees_that_the_model_does_not_have_are_refused(
    case: Case, child: TreeNode, message: str
) -> None:
    root = replace(ROOT, children=(child,))
    references = np.zeros(2, int)
    with pytest.raises(ArgumentError, match=message):
        run_tree(
            case.pool, root, references, {node.path: references for node in root.walk()}, ["kl"]
        )


def test_a_neuron_beside_its_mlp_is_refused(case: Case) -> None:
    root = replace(ROOT, children=(chain(mlp(1), "x"), chain(neuron_at(1, 3, "A"), "x")))
    with pytest.raises(ArgumentError, match=r"m1\.n3@A is part of m1, which enters there as well"):
        run_tree(
            case.pool,
            root,
            np.zeros(1, int),
            {node.path: np.zeros(1, int) for node in root.walk()},
            ["kl"],
        )


def test_all_that_is_wrong_with_the_inputs_is_said_at_once(case: Case) -> None:
    child = chain(mlp(0), "x", (TreeNode(("logits", "m0", "embed"), "", embed, "x"),))
    root = replace(ROOT, children=(child,))
    inputs = {
        root.path: np.zeros(3, int),
        child.path: {("x", "embed"): np.zeros(2, int), ("x", "m2"): np.zeros(2, int)},
    }
    with pytest.raises(ArgumentError) as caught:
        run_tree(case.pool, root, np.array([0, 6]), inputs, ["kl"])
    for message in (
        "references names prompt 6, but the pool has 0 to 5",
        "the input of logits has 3 entries, but there are 2 references",
        "no prompt for ('x', 'a0.h0')",
        "there is no edge ('x', 'm2')",
        "inputs has no entry for its path",
    ):
        assert message in str(caught.value)


def test_no_reference_at_all_is_refused(case: Case) -> None:
    with pytest.raises(ArgumentError, match="references names no prompt"):
        run_tree(case.pool, ROOT, np.zeros(0, int), {ROOT.path: np.zeros(0, int)}, ["kl"])


def test_unknown_metrics_and_missing_distractors_are_refused(case: Case) -> None:
    rows = np.zeros(1, int)
    with pytest.raises(UnknownNameError, match="logit_difference"):
        run_tree(case.pool, ROOT, rows, {ROOT.path: rows}, ["logit_diff"])
    pool = Activations(
        case.tiny.ours, replace(case.prompts, distractor=None), case.role_positions, ROLES, launch=8
    )
    with pytest.raises(DataError, match="needs a distractor"):
        run_tree(pool, ROOT, rows, {ROOT.path: rows}, ["logit_difference"])


def test_values_that_are_not_finite_are_refused(case: Case) -> None:
    pool = Case.of(case.tiny).pool
    pool._streams[pool.last_stage] = pool.get_stream(pool.last_stage).at[4].set(np.nan)
    rows = np.array([1, 4])
    with pytest.raises(SearchError, match="log_probability of prompt 4 is nan"):
        run_tree(pool, ROOT, rows, {ROOT.path: rows}, ["log_probability"])
