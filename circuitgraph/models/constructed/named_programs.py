"""Named programs, most of them from papers: ``constructed:NAME`` is compiled from one of them.

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
from circuitgraph.models.constructed.compile import FAMILY, ConstructedModel, compile_program
from circuitgraph.models.constructed.rasp import (
    Aggregate,
    Expression,
    Linear,
    Map,
    Map2,
    NumericalMap,
    Select,
    indices,
    selector_width,
    tokens,
)
from circuitgraph.models.constructed.rasp_program import RaspProgram

PREFIX = f"{FAMILY}:"
Sample = Callable[[Choices, int], list[str]]
"""Draws a sequence of a given length on which the program is defined, or has a rare answer."""


@dataclass(frozen=True)
class NamedProgram:
    """A registered program.

    Attributes:
        make: the function that makes the program.
        sample: draws half of the prompts; the others are of random symbols.
        always: whether ``sample`` draws all of the prompts.
    """

    make: Callable[[], RaspProgram]
    sample: Sample | None = None
    always: bool = False

    @property
    def description(self) -> str:
        """First paragraph of the docstring, on one line."""
        return " ".join((self.make.__doc__ or "").partition("\n\n")[0].split())


named_programs: dict[str, NamedProgram] = {}


def named_program(
    name: str, *, sample: Sample | None = None, always: bool = False
) -> Callable[[Callable[[], RaspProgram]], Callable[[], RaspProgram]]:
    """Register a program; arguments as in `NamedProgram`."""

    def register(make: Callable[[], RaspProgram]) -> Callable[[], RaspProgram]:
        named_programs[name] = NamedProgram(make, sample, always)
        return make

    return register


def find_program(name: str) -> NamedProgram:
    """The program of that name, with or without ``constructed:``.

    Raises:
        UnknownNameError: there is none; suggests the nearest.
    """
    short = name.removeprefix(PREFIX)
    if short not in named_programs:
        raise unknown_name("program", short, named_programs)
    return named_programs[short]


@cache
def load_constructed(name: str) -> ConstructedModel:
    """The model of a named program, with or without ``constructed:``; compiled once."""
    return compile_program(find_program(name).make(), PREFIX + name.removeprefix(PREFIX))


# Expressions of several programs


def _always(key: object, query: object) -> bool:
    del key, query
    return True


def _next(key: int, query: int) -> bool:
    return key == query + 1


def _before(key: int, query: int) -> bool:
    return key == query - 1


def make_length() -> Expression:
    """The length of the sequence."""
    return selector_width(Select(indices, indices, _always), name="length")


def make_mirrored() -> Expression:
    """The symbol that stands as far from the end as this one from the beginning."""
    opposite = Map2(lambda n, i: n - 1 - i, make_length(), indices, name="opposite")
    return Aggregate(Select(indices, opposite, eq), tokens, name="mirrored")


def make_fraction(condition: Callable[[str], bool], so_far: bool = True) -> Expression:
    """The fraction of symbols with a property."""
    which = Map(lambda t: int(condition(t)), tokens, "numerical", name="which")
    return Aggregate(Select(indices, indices, le if so_far else _always), which, name="fraction")


def count_earlier() -> Expression:
    """How many times this symbol came before."""
    place = Map2(lambda t, i: (t, i), tokens, indices, name="place")
    return selector_width(
        Select(place, place, lambda k, q: k[0] == q[0] and k[1] < q[1]), name="earlier"
    )


def _random_symbols(rng: Choices, n: int, alphabet: str) -> list[str]:
    return [alphabet[i] for i in rng.integers(len(alphabet), size=n)]


# The programs. Names of functions and expressions appear in error messages.


@named_program("reverse")
def reverse() -> RaspProgram:
    """The sequence backwards; at its end, the first symbol."""
    return RaspProgram(make_mirrored(), tuple("abcd"), 6, 2)


@named_program("fraction-so-far")
def fraction_so_far() -> RaspProgram:
    """Fraction of x among the symbols so far."""
    return RaspProgram(make_fraction(lambda t: t == "x"), tuple("wxyz"), 5, 2)


@named_program("histogram")
def histogram() -> RaspProgram:
    """How often the symbol occurs."""
    return RaspProgram(selector_width(Select(tokens, tokens, eq), name="count"), tuple("abc"), 6, 3)


@named_program("sort")
def sort() -> RaspProgram:
    """The symbols in order; at the end, the greatest."""
    place = Map2(lambda t, i: (t, i), tokens, indices, name="place")
    rank = selector_width(Select(place, place, lt), name="rank")
    ordered = Aggregate(Select(rank, indices, eq), tokens, name="sorted")
    return RaspProgram(ordered, tuple("abcd"), 5, 2)


def _sample_pattern(rng: Choices, n: int) -> list[str]:
    return [*_random_symbols(rng, n - 3, "abc"), "a", "b", "c"]


@named_program("detect-pattern", sample=_sample_pattern)
def detect_pattern() -> RaspProgram:
    """Whether the last three symbols are a b c."""
    previous = Aggregate(Select(indices, indices, _before), tokens, name="previous")
    ab = Map2(lambda t, p: t == "b" and p == "a", tokens, previous, name="ends_in_ab")
    previous_ab = Aggregate(Select(indices, indices, _before), ab, name="previous_ends_in_ab")
    abc = Map2(
        lambda t, p: "yes" if t == "c" and p else "no", tokens, previous_ab, name="ends_in_abc"
    )
    return RaspProgram(abc, tuple("abc"), 7, 3)


def _sample_palindrome(rng: Choices, n: int) -> list[str]:
    half = _random_symbols(rng, (n + 1) // 2, "abcd")
    return half + half[: n // 2][::-1]


@named_program("palindrome", sample=_sample_palindrome)
def palindrome() -> RaspProgram:
    """Whether the sequence is the same backwards."""
    differs = Map2(lambda t, m: int(t != m), tokens, make_mirrored(), "numerical", name="differs")
    share = Aggregate(Select(indices, indices, _always), differs, name="share_that_differs")
    same = NumericalMap(lambda x: "no" if x else "yes", share, "categorical")
    return RaspProgram(same, tuple("abcd"), 5, 2)


@named_program("first-occurrence")
def first_occurrence() -> RaspProgram:
    """Where the symbol stood for the first time, counted from 0."""
    first = Map2(lambda n, t: t if n == 0 else None, count_earlier(), tokens, name="new_symbol")
    position = Aggregate(Select(first, tokens, eq), indices, name="first")
    return RaspProgram(position, tuple("abc"), 6, 2)


def _sample_induction(rng: Choices, n: int) -> list[str]:
    different = [*rng.permutation(list("abcdefgh"))[: n - 1].tolist()]
    return [*different, different[int(rng.integers(n - 1))]]


@named_program("induction", sample=_sample_induction, always=True)
def induction() -> RaspProgram:
    """What followed the symbol when it came before."""
    previous = Aggregate(Select(indices, indices, _before), tokens, name="previous")
    copied = Aggregate(Select(previous, tokens, eq), tokens, name="copied")
    return RaspProgram(copied, tuple("abcdefgh"), 8, 4)


@named_program("remove-duplicates")
def remove_duplicates() -> RaspProgram:
    """The symbol if it has not come before, else a dash."""
    kept = Map2(lambda n, t: "-" if n else t, count_earlier(), tokens, name="kept")
    return RaspProgram(kept, tuple("abcd"), 6, 2)


@named_program("two-step-lookup")
def two_step_lookup() -> RaspProgram:
    """Symbols are positions: the symbol at the position that is given at the position that the
    symbol gives.
    """
    once = Aggregate(Select(indices, Map(int, tokens, name="pointer"), eq), tokens, name="once")
    twice = Aggregate(Select(indices, Map(int, once, name="pointer"), eq), tokens, name="twice")
    return RaspProgram(twice, tuple("0123"), 6, 4)


@named_program("count-a")
def count_a() -> RaspProgram:
    """How many a there are."""
    count = selector_width(Select(tokens, indices, lambda k, q: k == "a"), name="count")
    return RaspProgram(count, tuple("abc"), 6, 2)


@named_program("first-equals-last")
def first_equals_last() -> RaspProgram:
    """Whether the first symbol is the last one too."""
    first = Aggregate(Select(indices, indices, lambda k, q: k == 0), tokens, name="first")
    same = Map2(lambda t, f: "yes" if t == f else "no", tokens, first, name="same")
    return RaspProgram(same, tuple("abc"), 6, 2)


@named_program("bracket-balance")
def bracket_balance() -> RaspProgram:
    """Whether there are more opening or more closing brackets so far."""
    balance = Linear(
        1, make_fraction(lambda t: t == "("), -1, make_fraction(lambda t: t == ")"), name="balance"
    )
    sign = NumericalMap(
        lambda x: "open" if x > 0 else "closed" if x < 0 else "even", balance, "categorical"
    )
    return RaspProgram(sign, ("(", ")", "."), 6, 2)


def _sample_increasing(rng: Choices, n: int) -> list[str]:
    return sorted(_random_symbols(rng, n, "1234"))


@named_program("increasing", sample=_sample_increasing)
def increasing() -> RaspProgram:
    """Whether no digit is less than the one before it."""
    following = Aggregate(Select(indices, indices, _next), tokens, name="following")
    falls = Map2(lambda t, f: int(f < t), tokens, following, "numerical", name="falls")
    share = Aggregate(Select(indices, indices, _always), falls, name="share_that_falls")
    rises = NumericalMap(lambda x: "no" if x else "yes", share, "categorical")
    return RaspProgram(rises, tuple("1234"), 5, 2)


@named_program("majority")
def majority() -> RaspProgram:
    """Whether more than half of the symbols so far are a."""
    share = make_fraction(lambda t: t == "a")
    more = NumericalMap(
        lambda x: "yes" if x > Fraction(1, 2) else "no", share, "categorical", name="more"
    )
    return RaspProgram(more, tuple("ab"), 9, 3)
