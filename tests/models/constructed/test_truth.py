"""True circuits of programs, worked out by hand."""

from __future__ import annotations

from itertools import permutations
from operator import eq, le

import pytest

from circuitgraph.errors import ArgumentError, DataError, ProgramError
from circuitgraph.models.constructed.compile import Constructed, compiled
from circuitgraph.models.constructed.language import (
    Aggregate,
    Linear,
    Map,
    Map2,
    Program,
    Select,
    indices,
    tokens,
)
from circuitgraph.models.constructed.truth import static_edges, true_edges, truth
from circuitgraph.models.constructed.vocabulary import prompt
from circuitgraph.tasks.base import Pair
from tests.models.constructed.common import padded

FIRST = Select(indices, indices, lambda k, q: k == 0)


def of(*texts: str) -> list[Pair]:
    """Every ordered pair of sequences."""
    return [Pair(prompt([*a]), prompt([*b]), "") for a, b in permutations(texts, 2)]


def test_reverse_as_in_the_literature() -> None:
    """The vocabulary of three, all six permutations: the symbols' way, and nothing of the
    positions' way.
    """
    pairs = of(*map("".join, permutations("abc")))
    assert true_edges(padded("reverse"), pairs) == ("embed->a2.h0<v>", "a2.h0->logits")
    assert static_edges(padded("reverse")) == (
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
    pairs = of("wxyz", "xxyz", "xzxw", "yyzw")
    assert true_edges(padded("fraction-so-far"), pairs) == (
        "embed->m0",
        "m0->a1.h0<v>",
        "a1.h0->logits",
    )


def test_truth_depends_on_the_prompts() -> None:
    reverse = padded("reverse")
    assert true_edges(reverse, of("abc", "acb")) == ()  # the answer is the same
    assert true_edges(reverse, of("abc", "cba")) == ("embed->a2.h0<v>", "a2.h0->logits")


def test_what_only_leads_to_false_edges_is_false() -> None:
    """The head says 1 in every run. Only if its keys are ablated and its queries are not can it
    find nothing.
    """
    always = Map(lambda t: 1, tokens, "numerical")
    found = compiled(Program(Aggregate(Select(tokens, tokens, eq), always), ("a", "b"), 3))
    result = truth(found, of("aa", "bb"))
    assert result.edges == ()
    assert result.unique


def test_a_redundant_program_has_no_one_true_circuit() -> None:
    """The symbol is found by two heads, and either is enough: alone, none of both matters."""
    one, other = (Aggregate(FIRST, tokens, name=name) for name in ("one", "other"))
    either = Map2(lambda x, y: "yes" if "a" in (x, y) else "no", one, other)
    result = truth(
        compiled(Program(either, ("a", "b"), 3)), [Pair("<bos> a b", "<bos> b b", "yes")]
    )
    assert result.edges == ("m0->logits",)
    assert not result.sufficient
    assert not result.unique


def test_what_has_to_agree_with_an_ablated_edge_only() -> None:
    """Selected symbols are never a, so a mean of whether they are is 0; with both sides ablated it
    is so as well.
    """
    is_a = Map(lambda t: int(t == "a"), tokens, "numerical")
    share = Aggregate(Select(tokens, indices, lambda k, q: k != "a"), is_a)
    first = Map(lambda t: int(t == "a"), Aggregate(FIRST, tokens), "numerical")
    found = compiled(Program(Linear(1, share, 2, first), ("a", "b", "c"), 3))
    result = truth(found, of("abc", "cab", "bca"))
    assert result.sufficient
    assert result.dropped == ("embed->m0",)
    assert not result.unique
    assert result.edges == ("embed->a0.h0<v>", "a0.h0->m0", "m0->m1", "m1->logits")


def test_both_of_two_symbols_are_needed() -> None:
    one = Aggregate(FIRST, tokens, name="one")
    both = Map2(lambda x, y: "yes" if x == y == "a" else "no", one, tokens)
    result = truth(
        compiled(Program(both, ("a", "b"), 3)), [Pair("<bos> a b a", "<bos> b b b", "yes")]
    )
    assert result.edges == ("embed->a0.h0<v>", "embed->m0", "a0.h0->m0", "m0->logits")
    assert result.unique


@pytest.fixture(scope="module")
def fraction() -> Constructed:
    which = Map(lambda t: int(t == "a"), tokens, "numerical")
    return compiled(Program(Aggregate(Select(indices, indices, le), which), ("a", "b"), 3))


def test_bad_input(fraction: Constructed) -> None:
    with pytest.raises(DataError, match="no prompts"):
        truth(fraction, [])
    with pytest.raises(DataError, match="equally long, but have 2 and 3"):
        truth(fraction, of("ab", "abb"))
    with pytest.raises(ProgramError, match="must begin with <bos>"):
        truth(fraction, [Pair("a b", "b a", "")])
    with pytest.raises(ProgramError, match="'c' is not in the alphabet"):
        truth(fraction, of("ac", "ab"))
    with pytest.raises(ArgumentError, match="'zero' is not known"):
        truth(fraction, of("ab", "bb"), ablation="zero")
