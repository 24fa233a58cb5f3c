"""Named programs, most of them out of the papers: what ``constructed:NAME`` is compiled from.

A program is one decorated function without arguments. Its description is the first line of its
docstring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from operator import eq, le, lt

from circuitgraph.choices import Choices
from circuitgraph.errors import unknown_name
from circuitgraph.models.constructed.compile import FAMILY, Constructed, compiled
from circuitgraph.models.constructed.language import (
    Aggregate,
    Expression,
    Linear,
    Map,
    Map2,
    NumericalMap,
    Program,
    Select,
    indices,
    selector_width,
    tokens,
)

PREFIX = f"{FAMILY}:"
Sample = Callable[[Choices, int], list[str]]
"""Draws a sequence of a given length with an answer that random ones seldom have, or on which it is
defined.
"""


@dataclass(frozen=True)
class Named:
    """A registered program.

    Attributes:
        make: the function that writes it down.
        sample: draws half of the prompts, or with ``always`` all; the others are of random symbols.
    """

    make: Callable[[], Program]
    sample: Sample | None = None
    always: bool = False

    @property
    def description(self) -> str:
        """First paragraph of the docstring, on one line."""
        return " ".join((self.make.__doc__ or "").partition("\n\n")[0].split())


programs: dict[str, Named] = {}


def program(
    name: str, *, sample: Sample | None = None, always: bool = False
) -> Callable[[Callable[[], Program]], Callable[[], Program]]:
    """Register a program; arguments as in `Named`."""

    def decorate(make: Callable[[], Program]) -> Callable[[], Program]:
        programs[name] = Named(make, sample, always)
        return make

    return decorate


def named(name: str) -> Named:
    """The program of that name, with or without ``constructed:``.

    Raises:
        UnknownNameError: there is none; suggests the nearest.
    """
    short = name.removeprefix(PREFIX)
    if short not in programs:
        raise unknown_name("program", short, programs)
    return programs[short]


@cache
def constructed(name: str) -> Constructed:
    """The model of a named program, with or without ``constructed:``; made once."""
    return compiled(named(name).make(), PREFIX + name.removeprefix(PREFIX))


# What several of them are made of


def _always(key: object, query: object) -> bool:
    del key, query
    return True


def _next(key: int, query: int) -> bool:
    return key == query + 1


def _before(key: int, query: int) -> bool:
    return key == query - 1


def length() -> Expression:
    """How long the sequence is."""
    return selector_width(Select(indices, indices, _always), name="length")


def mirrored() -> Expression:
    """The symbol that stands as far from the end as this one from the beginning."""
    opposite = Map2(lambda n, i: n - 1 - i, length(), indices, name="opposite")
    return Aggregate(Select(indices, opposite, eq), tokens, name="mirrored")


def share_of(condition: Callable[[str], bool], so_far: bool = True) -> Expression:
    """The fraction of symbols with a property."""
    which = Map(lambda t: int(condition(t)), tokens, "numerical", name="which")
    return Aggregate(Select(indices, indices, le if so_far else _always), which, name="fraction")


def earlier() -> Expression:
    """How often this symbol came before."""
    place = Map2(lambda t, i: (t, i), tokens, indices, name="place")
    return selector_width(
        Select(place, place, lambda k, q: k[0] == q[0] and k[1] < q[1]), name="earlier"
    )


def _any(rng: Choices, n: int, alphabet: str) -> list[str]:
    return [alphabet[i] for i in rng.integers(len(alphabet), size=n)]


# The programs


@program("reverse")
def reverse() -> Program:
    """The sequence backwards; at its end, the first symbol."""
    return Program(mirrored(), tuple("abcd"), 6, 2)


@program("fraction-so-far")
def fraction_so_far() -> Program:
    """Fraction of x among the symbols so far."""
    return Program(share_of(lambda t: t == "x"), tuple("wxyz"), 5, 2)


@program("histogram")
def histogram() -> Program:
    """How often the symbol occurs."""
    return Program(selector_width(Select(tokens, tokens, eq), name="count"), tuple("abc"), 6, 3)


@program("sort")
def sort() -> Program:
    """The symbols in order; at the end, the greatest."""
    place = Map2(lambda t, i: (t, i), tokens, indices, name="place")
    rank = selector_width(Select(place, place, lt), name="rank")
    return Program(Aggregate(Select(rank, indices, eq), tokens, name="sorted"), tuple("abcd"), 5, 2)


def _pattern(rng: Choices, n: int) -> list[str]:
    return [*_any(rng, n - 3, "abc"), "a", "b", "c"]


@program("detect-pattern", sample=_pattern)
def detect_pattern() -> Program:
    """Whether the last three symbols are a b c."""
    previous = Aggregate(Select(indices, indices, _before), tokens, name="previous")
    ab = Map2(lambda t, p: t == "b" and p == "a", tokens, previous, name="ends_in_ab")
    previous_ab = Aggregate(Select(indices, indices, _before), ab, name="previous_ends_in_ab")
    abc = Map2(
        lambda t, p: "yes" if t == "c" and p else "no", tokens, previous_ab, name="ends_in_abc"
    )
    return Program(abc, tuple("abc"), 7, 3)


def _palindrome(rng: Choices, n: int) -> list[str]:
    half = _any(rng, (n + 1) // 2, "abcd")
    return half + half[: n // 2][::-1]


@program("palindrome", sample=_palindrome)
def palindrome() -> Program:
    """Whether the sequence is the same backwards."""
    differs = Map2(lambda t, m: int(t != m), tokens, mirrored(), "numerical", name="differs")
    share = Aggregate(Select(indices, indices, _always), differs, name="share_that_differs")
    return Program(
        NumericalMap(lambda x: "no" if x else "yes", share, "categorical"), tuple("abcd"), 5, 2
    )


@program("first-occurrence")
def first_occurrence() -> Program:
    """Where the symbol stood for the first time, counted from 0."""
    first = Map2(lambda n, t: t if n == 0 else None, earlier(), tokens, name="new_symbol")
    return Program(Aggregate(Select(first, tokens, eq), indices, name="first"), tuple("abc"), 6, 2)


def _induction(rng: Choices, n: int) -> list[str]:
    different = [*rng.permutation(list("abcdefgh"))[: n - 1].tolist()]
    return [*different, different[int(rng.integers(n - 1))]]


@program("induction", sample=_induction, always=True)
def induction() -> Program:
    """What followed the symbol when it came before."""
    previous = Aggregate(Select(indices, indices, _before), tokens, name="previous")
    return Program(
        Aggregate(Select(previous, tokens, eq), tokens, name="copied"), tuple("abcdefgh"), 8, 4
    )


@program("remove-duplicates")
def remove_duplicates() -> Program:
    """The symbol if it has not come before, else a dash."""
    return Program(
        Map2(lambda n, t: "-" if n else t, earlier(), tokens, name="kept"), tuple("abcd"), 6, 2
    )


@program("two-step-lookup")
def two_step_lookup() -> Program:
    """Symbols are positions: the symbol at the position that is given at the position that the
    symbol gives.
    """
    once = Aggregate(Select(indices, Map(int, tokens, name="pointer"), eq), tokens, name="once")
    twice = Aggregate(Select(indices, Map(int, once, name="pointer"), eq), tokens, name="twice")
    return Program(twice, tuple("0123"), 6, 4)


@program("count-a")
def count_a() -> Program:
    """How many a there are."""
    return Program(
        selector_width(Select(tokens, indices, lambda k, q: k == "a"), name="count"),
        tuple("abc"),
        6,
        2,
    )


@program("first-equals-last")
def first_equals_last() -> Program:
    """Whether the first symbol is the last one too."""
    first = Aggregate(Select(indices, indices, lambda k, q: k == 0), tokens, name="first")
    return Program(
        Map2(lambda t, f: "yes" if t == f else "no", tokens, first, name="same"), tuple("abc"), 6, 2
    )


@program("bracket-balance")
def bracket_balance() -> Program:
    """Whether there are more opening or more closing brackets so far."""
    balance = Linear(
        1, share_of(lambda t: t == "("), -1, share_of(lambda t: t == ")"), name="balance"
    )
    sign = NumericalMap(
        lambda x: "open" if x > 0 else "closed" if x < 0 else "even", balance, "categorical"
    )
    return Program(sign, ("(", ")", "."), 6, 2)


def _increasing(rng: Choices, n: int) -> list[str]:
    return sorted(_any(rng, n, "1234"))


@program("increasing", sample=_increasing)
def increasing() -> Program:
    """Whether no digit is less than the one before it."""
    following = Aggregate(Select(indices, indices, _next), tokens, name="following")
    falls = Map2(lambda t, f: int(f < t), tokens, following, "numerical", name="falls")
    share = Aggregate(Select(indices, indices, _always), falls, name="share_that_falls")
    return Program(
        NumericalMap(lambda x: "no" if x else "yes", share, "categorical"), tuple("1234"), 5, 2
    )


@program("majority")
def majority() -> Program:
    """Whether more than half of the symbols so far are a."""
    share = share_of(lambda t: t == "a")
    more = NumericalMap(
        lambda x: "yes" if x > Fraction(1, 2) else "no", share, "categorical", name="more"
    )
    return Program(more, tuple("ab"), 9, 3)
