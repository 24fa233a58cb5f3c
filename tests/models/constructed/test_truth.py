"""True circuits of programs, worked out by hand."""

from __future__ import annotations

from itertools import permutations
from operator import eq, le

import pytest

from circuitgraph.errors import ArgumentError, DataError, ProgramError
from circuitgraph.models.constructed.compile import ConstructedModel, compile_program
from circuitgraph.models.constructed.rasp import (
    Aggregate,
    Linear,
    Map,
    Map2,
    Select,
    indices,
    tokens,
)
from circuitgraph.models.constructed.rasp_program import RaspProgram
from circuitgraph.models.constructed.truth import find_static_edges, find_true_edges, find_truth
from circuitgraph.models.constructed.vocabulary import to_prompt
from circuitgraph.tasks.prompts import Pair
from tests.models.constructed.common import model_of_common_size

FIRST = Select(indices, indices, lambda k, q: k == 0)


def pair_all(*texts: str) -> list[Pair]:
    """Every ordered pair of sequences."""
    return [Pair(to_prompt([*a]), to_prompt([*b]), "") for a, b in permutations(texts, 2)]


def test_reverse_as_in_the_literature() -> None:
    """Three symbols in all six orders: the path of symbols is true, that of positions is not."""
    pairs = pair_all(*map("".join, permutations("abc")))
    assert find_true_edges(model_of_common_size("reverse"), pairs) == (
        "embed->a2.h0<v>",
        "a2.h0->logits",
    )
    assert find_static_edges(model_of_common_size("reverse")) == (
        *(
            "embed->a0.h0<q>",
            "embed->a0.h0<k>",
            "embed->a0.h0<v>",
            "embed->m0",
            "a0.h0->m0",
            "embed->m1",
            "m0->m1",
        ),
        *("m1->a2.h0<q>", "embed->a2.h0<k>", "embed->a2.h0<v>", "a2.h0->logits"),
    )


def test_fraction_so_far_as_in_the_literature() -> None:
    pairs = pair_all("wxyz", "xxyz", "xzxw", "yyzw")
    assert find_true_edges(model_of_common_size("fraction-so-far"), pairs) == (
        "embed->m0",
        "m0->a1.h0<v>",
        "a1.h0->logits",
    )


def test_truth_depends_on_the_prompts() -> None:
    reverse = model_of_common_size("reverse")
    assert find_true_edges(reverse, pair_all("abc", "acb")) == ()  # the answer is the same
    assert find_true_edges(reverse, pair_all("abc", "cba")) == ("embed->a2.h0<v>", "a2.h0->logits")


def test_what_only_leads_to_false_edges_is_false() -> None:
    """The head says 1 in every run: it selects nothing only where keys alone are ablated."""
    always = Map(lambda t: 1, tokens, "numerical")
    constructed = compile_program(
        RaspProgram(Aggregate(Select(tokens, tokens, eq), always), ("a", "b"), 3)
    )
    result = find_truth(constructed, pair_all("aa", "bb"))
    assert result.edges == ()
    assert result.unique


def test_a_redundant_program_has_no_one_true_circuit() -> None:
    """The symbol is constructed by two heads, and either is enough: alone, none of both matters."""
    one, other = (Aggregate(FIRST, tokens, name=name) for name in ("one", "other"))
    either = Map2(lambda x, y: "yes" if "a" in (x, y) else "no", one, other)
    result = find_truth(
        compile_program(RaspProgram(either, ("a", "b"), 3)), [Pair("<bos> a b", "<bos> b b", "yes")]
    )
    assert result.edges == ("m0->logits",)
    assert not result.sufficient
    assert not result.unique


def test_what_has_to_agree_with_an_ablated_edge_only() -> None:
    """Selected symbols are never a, so the mean is 0; with both sides ablated it is 0 as well."""
    is_a = Map(lambda t: int(t == "a"), tokens, "numerical")
    share = Aggregate(Select(tokens, indices, lambda k, q: k != "a"), is_a)
    first = Map(lambda t: int(t == "a"), Aggregate(FIRST, tokens), "numerical")
    constructed = compile_program(RaspProgram(Linear(1, share, 2, first), ("a", "b", "c"), 3))
    result = find_truth(constructed, pair_all("abc", "cab", "bca"))
    assert result.sufficient
    assert result.dropped == ("embed->m0",)
    assert not result.unique
    assert result.edges == ("embed->a0.h0<v>", "a0.h0->m0", "m0->m1", "m1->logits")


def test_both_of_two_symbols_are_needed() -> None:
    one = Aggregate(FIRST, tokens, name="one")
    both = Map2(lambda x, y: "yes" if x == y == "a" else "no", one, tokens)
    result = find_truth(
        compile_program(RaspProgram(both, ("a", "b"), 3)),
        [Pair("<bos> a b a", "<bos> b b b", "yes")],
    )
    assert result.edges == ("embed->a0.h0<v>", "embed->m0", "a0.h0->m0", "m0->logits")
    assert result.unique


@pytest.fixture(scope="module")
def fraction() -> ConstructedModel:
    which = Map(lambda t: int(t == "a"), tokens, "numerical")
    return compile_program(
        RaspProgram(Aggregate(Select(indices, indices, le), which), ("a", "b"), 3)
    )


def test_bad_input(fraction: ConstructedModel) -> None:
    with pytest.raises(DataError, match="no pairs of prompts"):
        find_truth(fraction, [])
    with pytest.raises(DataError, match="equally long, but have 2 and 3"):
        find_truth(fraction, pair_all("ab", "abb"))
    with pytest.raises(ProgramError, match="must begin with <bos>"):
        find_truth(fraction, [Pair("a b", "b a", "")])
    with pytest.raises(ProgramError, match="'c' is not in the alphabet"):
        find_truth(fraction, pair_all("ac", "ab"))
    with pytest.raises(ArgumentError, match="'zero' is not known"):
        find_truth(fraction, pair_all("ab", "bb"), ablation="zero")
