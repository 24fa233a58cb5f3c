"""Nulls: what an exchange of variables is, and when it says what the hypothesis says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from circuitgraph.graph.site import Site, embed, logits, mlp
from circuitgraph.graph.tree import Path, TreeNode
from circuitgraph.hypotheses.language import Unclaimed
from circuitgraph.hypotheses.program import number_classes
from circuitgraph.hypotheses.scrubbing.allowed import measure_allowed
from circuitgraph.hypotheses.scrubbing.nulls import (
    PERMUTED,
    choose_exchange,
    make_null_trials,
    shuffle_values,
)
from circuitgraph.hypotheses.scrubbing.sampling import Mode, Sampler
from tests.engine.trees import head_at

N = 2000
RNG = np.random.default_rng(0)
YEAR = RNG.integers(100, size=N)
DECADE, OTHER = YEAR // 10, RNG.integers(10, size=N)


def make_node(path: tuple[str, ...], variable: str, site: Site, *children: str) -> TreeNode:
    """A node, and leaves below it."""
    leaves = tuple(
        TreeNode((*path, name, str(i)), name, embed, "v") for i, name in enumerate(children)
    )
    return TreeNode(path, variable, site, "x", leaves)


def make_tree(*claims: tuple[str, ...]) -> TreeNode:
    """A head for each claim: its variable, and those of its leaves."""
    heads = [
        make_node(("out", f"h{i}"), claim[0], head_at(0, i), *claim[1:])
        for i, claim in enumerate(claims)
    ]
    return TreeNode(("out",), "out", logits, children=tuple(heads))


@pytest.mark.parametrize("leaf", ["decade", "year", "text"])
def test_more_or_less_of_one_feature_exchanged_is_the_hypothesis_however_leaves_are_written(
    leaf: str,
) -> None:
    """Heads carry the decade; the leaf is written as the decade, as the year, or as the token."""
    codes = {"carried": DECADE, "decade": DECADE, "year": YEAR, "text": YEAR + 7, "out": OTHER}
    root, sampler = make_tree(("carried", leaf), ("carried", leaf)), Sampler(codes)
    exchange = choose_exchange(root, sampler)
    assert exchange.taken_from == {}
    expected = "same classes" if leaf == "decade" else "100% of the donors are donors that the hyp"
    assert expected in exchange.why_none
    keys = [trial.key for trial in make_null_trials(root, sampler, exchange)]
    assert ("null", PERMUTED) not in keys
    assert len(keys) == 2


def test_with_a_variable_that_says_something_else_the_exchange_is_a_null() -> None:
    codes = {"carried": DECADE, "year": YEAR, "other": OTHER, "out": OTHER}
    root = make_tree(("carried", "year"), ("other", "other"))
    exchange = choose_exchange(root, Sampler(codes))
    assert exchange.why_none == ""
    assert exchange.taken_from["other"] != "other"
    trials = [trial.key for trial in make_null_trials(root, Sampler(codes), exchange)]
    assert ("null", PERMUTED) in trials


def test_what_only_three_prompts_together_show_tells_an_exchange_apart() -> None:
    """A sum that no summand shows: each leaf alone could be any prompt's."""
    codes = {"a": DECADE, "b": OTHER, "sum": (DECADE + OTHER) % 10, "out": OTHER}
    exchange = choose_exchange(make_tree(("sum", "a", "b")), Sampler(codes))
    assert exchange.taken_from["sum"] != "sum"


@pytest.mark.parametrize(("unclaimed", "share"), [("joint", 1.0), ("keep", 0.55)])
def test_a_donor_that_the_model_reads_must_agree_itself(unclaimed: Unclaimed, share: float) -> None:
    """Year and decade exchanged: under ``keep`` a head reads its own donor, and is in the wrong
    year for its leaf nine times of ten.
    """
    codes = {"carried": DECADE, "year": YEAR, "out": OTHER}
    root, sampler = make_tree(("carried", "year")), Sampler(codes, unclaimed=unclaimed)
    exchanged = replace(sampler, codes={**codes, "carried": YEAR, "year": DECADE}, known_classes={})
    donors = exchanged.draw_donors(root, np.arange(N))
    allowed = measure_allowed(root, sampler, np.arange(N), donors)
    assert allowed == pytest.approx(share, abs=0.02)


def test_the_share_allowed_is_known_for_known_donors() -> None:
    """All of its own; of those drawn freely as many as chance has it."""
    codes = {"carried": DECADE, "leaf": DECADE, "out": OTHER}
    root, sampler, references = make_tree(("carried", "leaf")), Sampler(codes), np.arange(N)
    own = sampler.draw_donors(root, references)
    assert measure_allowed(root, sampler, references, own) == 1
    free: dict[Path, Mode] = {node.path: "free" for node in list(root.walk())[1:]}
    drawn = sampler.draw_donors(root, references, modes=free)
    leaf = drawn.datum["out", "h0", "leaf", "0"]
    assert measure_allowed(root, sampler, references, drawn) == pytest.approx(
        np.mean(DECADE[leaf] == DECADE)
    )


def test_exchanged_variables_have_each_others_classes_and_none_its_own_if_that_can_be() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(3, size=50), rng.integers(4, size=50)
    codes = {"a": a, "copy": a + 7, "b": b, "copy of b": b, "out": a}
    root = make_tree(("a", "copy"), ("b", "copy of b"))
    exchanged = choose_exchange(root, Sampler(codes)).exchange_codes(codes)
    for names, other in ((("a", "copy"), b), (("b", "copy of b"), a)):
        for name in names:
            assert np.array_equal(number_classes(exchanged[name]), number_classes(other))
    assert np.array_equal(exchanged["out"], a)


def test_a_claim_of_one_variable_has_no_exchange() -> None:
    root = TreeNode(("out",), "out", logits, children=(make_node(("out", "m"), "year", mlp(0)),))
    assert "same classes" in choose_exchange(root, Sampler({"year": YEAR, "out": OTHER})).why_none


def test_random_functions_have_classes_of_the_same_sizes() -> None:
    codes = {"a": np.repeat([0, 1, 2], [10, 20, 30]), "b": np.repeat([0, 1], 30)}
    shuffled = shuffle_values(codes, ["a"], 0)
    assert np.array_equal(np.bincount(shuffled["a"]), [10, 20, 30])
    assert not np.array_equal(shuffled["a"], codes["a"])
    assert np.array_equal(shuffled["b"], codes["b"])
    assert np.array_equal(shuffled["a"], shuffle_values(codes, ["a"], 0)["a"])
