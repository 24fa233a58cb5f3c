"""Arithmetic: sums and differences of small numbers, written ``47+38=``."""

from __future__ import annotations

from dataclasses import dataclass

from circuitgraph.choices import Choices
from circuitgraph.errors import ArgumentError, DataError, check_at_least, check_choice
from circuitgraph.tasks.base import Pair, Source, TokenizerLike, task
from circuitgraph.tasks.places import Piece, placed
from circuitgraph.tasks.words import one_token, pick

OPERATORS = "+-*/"
CORRUPTIONS = ("operands", "operator", "one-operand")
PLACES = ("any", "first", "last")
DECADES = ("ones", "tens", "hundreds", "thousands")
_TRIES = 200


@dataclass(frozen=True)
class Sum:
    """``a operator b`` with what comes out; a quotient is exact, a difference not negative."""

    a: int
    operator: str
    b: int

    @property
    def result(self) -> int:
        """What comes out."""
        values = {
            "+": self.a + self.b,
            "-": self.a - self.b,
            "*": self.a * self.b,
            "/": self.a // max(1, self.b),
        }
        return values[self.operator]

    @property
    def legal(self) -> bool:
        """Whether the result is a whole number and not negative."""
        return (
            self.a >= self.b
            if self.operator == "-"
            else self.operator != "/" or bool(self.b and self.a % self.b == 0)
        )

    @property
    def text(self) -> str:
        """The question."""
        return f"{self.a}{self.operator}{self.b}="


@dataclass(frozen=True)
class Asked:
    """Token number ``at`` of a sum's result: ``47+38=8`` asks for ``5`` where each digit is a
    token.
    """

    sum: Sum
    at: int
    parts: tuple[str, ...]

    @property
    def known(self) -> str:
        """What of the result stands in the prompt."""
        return "".join(self.parts[: self.at])

    @property
    def answer(self) -> str:
        """What comes next."""
        return self.parts[self.at]

    @property
    def text(self) -> str:
        """The prompt."""
        return f"{self.sum.text}{self.known}"


@task("addition", metric="logit_difference", model="addition", also=("multitask",))
def addition(
    tokenizer: TokenizerLike,
    operators: str = "+-",
    max_digits: int = 2,
    place: str = "any",
    corruption: str = "operands",
) -> Source:
    """Sums and differences: ``47+38=`` -> 85; where each digit is a token, one after the other:
    ``47+38=8`` -> 5.

    Both operands have one digit or more, each number of digits equally often (of a quotient:
    divisor and result, as far as the dividend fits); differences are not negative, quotients exact.
    Roles: ``a``, ``operator``, ``b``, ``equals``, ``end``, and where each digit is a token (as in
        Quirke & Barez 2023) ``a.tens``, ``b.ones`` and so on.
    The distractor is the corrupted prompt's answer.

    Args:
        operators: some of ``+-*/``, each equally often.
        max_digits: of the operands (of the dividend).
        place: which token of the result is asked for, where it has several: ``first``, ``last``, or
            ``any``, equally.
        corruption: ``operands`` (others; Stolfo et al. 2023), ``operator`` (another one), or
            ``one-operand``; the prompt stays as long, and its answer is another.

    Raises:
        ArgumentError: a choice that there is not.
        DataError: digits or signs are not single tokens.
    """
    check_at_least("max_digits", max_digits, 1)
    check_choice("place", place, PLACES)
    check_choice("corruption", corruption, CORRUPTIONS)
    if (
        not operators
        or not set(operators) <= set(OPERATORS)
        or len(set(operators)) < len(operators)
    ):
        raise ArgumentError(f"operators is {operators!r}; expected some of {OPERATORS}, each once.")
    if corruption == "operator" and len(operators) < 2:
        raise ArgumentError(
            f"corruption is 'operator', but {operators!r} is the only one: give several, or "
            "another."
        )
    one_token([*"0123456789"], tokenizer, "digits", 10)
    one_token([*operators, "="], tokenizer, "signs", len(operators) + 1)
    drawn = _Numbers(tokenizer, operators, max_digits, place)

    def draw(rng: Choices) -> Pair:
        for _ in range(_TRIES):
            clean = drawn.asked(rng, drawn.sum(rng))
            for _ in range(_TRIES // 4):
                other = drawn.other(rng, clean, corruption)
                if other is not None:
                    return drawn.pair(clean, other)
        raise DataError(
            f"No two sums with the operators {operators!r} have prompts of one length: allow more "
            "digits."
        )

    return Source(draw)


class _Numbers:
    """Draws sums, and asks for their results token by token."""

    def __init__(
        self, tokenizer: TokenizerLike, operators: str, max_digits: int, place: str
    ) -> None:
        self._tokenizer, self._operators, self._max_digits, self._place = (
            tokenizer,
            operators,
            max_digits,
            place,
        )
        self._by_digit = len(tokenizer.encode("12")) == 2
        self._known: dict[Sum, tuple[int, tuple[str, ...]]] = {}

    def sum(self, rng: Choices, operator: str | None = None) -> Sum:
        """A legal one."""
        chosen = operator or pick(rng, self._operators)
        if chosen == "/":
            return self._quotient(rng)
        a, b = self._numbers(rng)
        return Sum(max(a, b), chosen, min(a, b)) if chosen == "-" else Sum(a, chosen, b)

    def _numbers(self, rng: Choices) -> tuple[int, int]:
        """Two, each number of digits equally often."""
        a, b = (self._number(rng, int(rng.integers(1, self._max_digits + 1))) for _ in range(2))
        return a, b

    def _quotient(self, rng: Choices) -> Sum:
        """Drawn by its result: of two drawn operands rounded to an exact quotient, most would give
        1.
        """
        while True:
            result, b = (max(1, number) for number in self._numbers(rng))
            if result * b < 10**self._max_digits:
                return Sum(result * b, "/", b)

    def _number(self, rng: Choices, digits: int) -> int:
        """One of that many digits; 0 has one."""
        return int(rng.integers(10 ** (digits - 1) if digits > 1 else 0, 10**digits))

    def _tokens(self, sum: Sum) -> tuple[int, tuple[str, ...]]:
        """How many tokens the question has, and the result as the tokens that follow it."""
        if sum not in self._known:
            question, whole = self._tokenizer.encode_all([sum.text, f"{sum.text}{sum.result}"])
            parts = tuple(
                self._tokenizer.decode([token]).strip() for token in whole[len(question) :]
            )
            self._known[sum] = len(question), parts
        return self._known[sum]

    def asked(self, rng: Choices, sum: Sum) -> Asked:
        """One token of the result."""
        parts = self._tokens(sum)[1]
        at = {"any": int(rng.integers(len(parts))), "first": 0, "last": len(parts) - 1}[self._place]
        return Asked(sum, at, parts)

    def other(self, rng: Choices, clean: Asked, corruption: str) -> Asked | None:
        """A corrupted counterpart; None if what was drawn is none."""
        old, new = clean.sum, self.sum(rng, clean.sum.operator)
        if corruption == "operator":
            new = Sum(old.a, pick(rng, [o for o in self._operators if o != old.operator]), old.b)
        elif corruption == "one-operand":
            new = (
                Sum(new.a, old.operator, old.b)
                if rng.integers(2)
                else Sum(old.a, old.operator, new.b)
            )
        if not new.legal:
            return None
        length, parts = self._tokens(new)
        if (
            length != self._tokens(old)[0]
            or len(parts) <= clean.at
            or parts[clean.at] == clean.answer
        ):
            return None
        return Asked(new, clean.at, parts)

    def pair(self, clean: Asked, other: Asked) -> Pair:
        """Both as texts, with the places of the clean one."""
        s = clean.sum
        pieces: list[Piece] = [
            *self._operand("a", s.a),
            ("operator", s.operator),
            *self._operand("b", s.b),
        ]
        text, roles = placed([*pieces, ("equals", "="), ("end", clean.known)], self._tokenizer)
        return Pair(text, other.text, clean.answer, other.answer, roles)

    def _operand(self, name: str, value: int) -> list[Piece]:
        """A number, digit by digit where each is a token."""
        digits = str(value)
        if not self._by_digit or len(digits) > len(DECADES):
            return [(name, digits)]
        decades = reversed(DECADES[: len(digits)])
        return [
            *((f"{name}.{decade}", d) for decade, d in zip(decades, digits, strict=True)),
            (name, ""),
        ]
