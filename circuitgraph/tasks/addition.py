"""Arithmetic: sums and differences of small numbers, written ``47+38=``."""

from __future__ import annotations

from dataclasses import dataclass

from circuitgraph.choices import Choices
from circuitgraph.errors import ArgumentError, DataError, check_between, check_choice
from circuitgraph.tasks.base import Source, task
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from circuitgraph.tasks.words import Piece, join_pieces, pick_item, select_one_token

OPERATORS = "+-*/"
CORRUPTIONS = ("operands", "operator", "one-operand")
PLACES = ("any", "first", "last")
DECADES = ("ones", "tens", "hundreds", "thousands")
_MOST_DIGITS = 18  # of numbers of 64 bits
_TRIES = 200  # draws of a sum before giving up; most succeed at the first


@dataclass(frozen=True)
class Sum:
    """``a operator b`` with its result; a quotient is exact, a difference not negative."""

    a: int
    operator: str
    b: int

    @property
    def result(self) -> int:
        """The result; of a legal sum only it means something."""
        values = {
            "+": self.a + self.b,
            "-": self.a - self.b,
            "*": self.a * self.b,
            "/": self.a // max(1, self.b),
        }
        return values[self.operator]

    @property
    def is_legal(self) -> bool:
        """Whether the result is a whole number and not negative."""
        if self.operator == "-":
            return self.a >= self.b
        return self.operator != "/" or bool(self.b and self.a % self.b == 0)

    @property
    def text(self) -> str:
        """The question."""
        return f"{self.a}{self.operator}{self.b}="


@dataclass(frozen=True)
class ResultToken:
    """Token ``index`` of a sum's result: after ``47+38=8`` comes ``5`` where digits are tokens."""

    sum: Sum
    index: int
    tokens: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """The part of the result that stands in the prompt."""
        return "".join(self.tokens[: self.index])

    @property
    def answer(self) -> str:
        """The token of the result that comes next."""
        return self.tokens[self.index]

    @property
    def text(self) -> str:
        """The prompt."""
        return f"{self.sum.text}{self.prefix}"


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
    Quirke & Barez 2023) ``a.tens``, ``b.ones`` and so on. The distractor is the corrupted prompt's
    answer.

    Args:
        operators: some of ``+-*/``, each equally often.
        max_digits: most digits of the operands (of the dividend).
        place: which token of the result is the answer, where the result has several: ``first``,
            ``last``, or ``any``, equally often.
        corruption: ``operands`` (two other operands; Stolfo et al. 2023), ``operator`` (another
            operator), or ``one-operand``. The prompt keeps its length and gets another answer.

    Raises:
        ArgumentError: an unknown choice.
        DataError: digits or signs are not single tokens.
    """
    check_between("max_digits", max_digits, 1, _MOST_DIGITS)
    check_choice("place", place, PLACES)
    check_choice("corruption", corruption, CORRUPTIONS)
    different = set(operators)
    if not operators or not different <= set(OPERATORS) or len(different) < len(operators):
        raise ArgumentError(f"operators is {operators!r}; expected some of {OPERATORS}, each once.")
    if corruption == "operator" and len(operators) < 2:
        raise ArgumentError(
            f"corruption is 'operator', but {operators!r} is the only one: give several, or "
            "another."
        )
    select_one_token([*"0123456789"], tokenizer, "digits", 10)
    select_one_token([*operators, "="], tokenizer, "signs", len(operators) + 1)
    sums = _SumSource(tokenizer, operators, max_digits, place)

    def draw(rng: Choices) -> Pair:
        for _ in range(_TRIES):
            clean = sums.choose_token(rng, sums.draw_sum(rng))
            for _ in range(_TRIES // 4):
                corrupted = sums.corrupt(rng, clean, corruption)
                if corrupted is not None:
                    return sums.make_pair(clean, corrupted)
        raise DataError(
            f"No two sums with the operators {operators!r} have prompts of one length: allow more "
            "digits."
        )

    return Source(draw)


class _SumSource:
    """Draws sums, and makes prompts that end anywhere in their results."""

    def __init__(
        self, tokenizer: TokenizerLike, operators: str, max_digits: int, place: str
    ) -> None:
        self._tokenizer, self._operators = tokenizer, operators
        self._max_digits, self._place = max_digits, place
        self._digits_are_tokens = len(tokenizer.encode("12")) == 2
        self._tokenised: dict[Sum, tuple[int, tuple[str, ...]]] = {}

    def draw_sum(self, rng: Choices, operator: str | None = None) -> Sum:
        """A legal sum, with this operator if one is given."""
        chosen = operator or pick_item(rng, self._operators)
        if chosen == "/":
            return self._draw_quotient(rng)
        a, b = self._draw_numbers(rng)
        return Sum(max(a, b), chosen, min(a, b)) if chosen == "-" else Sum(a, chosen, b)

    def _draw_numbers(self, rng: Choices) -> tuple[int, int]:
        """Two numbers, each number of digits equally often."""
        most = self._max_digits + 1
        a, b = (self._draw_number(rng, int(rng.integers(1, most))) for _ in range(2))
        return a, b

    def _draw_quotient(self, rng: Choices) -> Sum:
        """An exact quotient, drawn by its result: most quotients of drawn numbers round to 1."""
        while True:
            result, b = (max(1, number) for number in self._draw_numbers(rng))
            if result * b < 10**self._max_digits:
                return Sum(result * b, "/", b)

    def _draw_number(self, rng: Choices, digits: int) -> int:
        """A number of that many digits; 0 has one digit."""
        return int(rng.integers(10 ** (digits - 1) if digits > 1 else 0, 10**digits))

    def _tokenise(self, sum: Sum) -> tuple[int, tuple[str, ...]]:
        """How many tokens the question has, and the tokens of the result after it, as text."""
        if sum not in self._tokenised:
            question, whole = self._tokenizer.encode_all([sum.text, f"{sum.text}{sum.result}"])
            # A result's tokens depend on what stands before them: cut them from the whole text.
            tokens = (self._tokenizer.decode([token]).strip() for token in whole[len(question) :])
            self._tokenised[sum] = len(question), tuple(tokens)
        return self._tokenised[sum]

    def choose_token(self, rng: Choices, sum: Sum) -> ResultToken:
        """One token of the result."""
        tokens = self._tokenise(sum)[1]
        last = len(tokens) - 1
        # Drawn in every case, so that the draws after it do not depend on the place.
        index = {"any": int(rng.integers(len(tokens))), "first": 0, "last": last}[self._place]
        return ResultToken(sum, index, tokens)

    def corrupt(self, rng: Choices, clean: ResultToken, corruption: str) -> ResultToken | None:
        """A corrupted counterpart; None if the sum that was drawn does not fit."""
        old, new = clean.sum, self.draw_sum(rng, clean.sum.operator)
        if corruption == "operator":
            new = Sum(
                old.a, pick_item(rng, [o for o in self._operators if o != old.operator]), old.b
            )
        elif corruption == "one-operand":
            a, b = (new.a, old.b) if rng.integers(2) else (old.a, new.b)
            new = Sum(a, old.operator, b)
        if not new.is_legal:
            return None
        n_tokens, tokens = self._tokenise(new)
        if n_tokens != self._tokenise(old)[0] or len(tokens) <= clean.index:
            return None
        if tokens[clean.index] == clean.answer:
            return None
        return ResultToken(new, clean.index, tokens)

    def make_pair(self, clean: ResultToken, corrupted: ResultToken) -> Pair:
        """Both prompts as texts, with the role positions of the clean one."""
        pieces: list[Piece] = [
            *self._make_operand("a", clean.sum.a),
            ("operator", clean.sum.operator),
            *self._make_operand("b", clean.sum.b),
            ("equals", "="),
            ("end", clean.prefix),
        ]
        text, roles = join_pieces(pieces, self._tokenizer)
        return Pair(text, corrupted.text, clean.answer, corrupted.answer, roles)

    def _make_operand(self, name: str, value: int) -> list[Piece]:
        """A number as pieces, digit by digit where each digit is a token."""
        digits = str(value)
        if not self._digits_are_tokens or len(digits) > len(DECADES):
            return [(name, digits)]
        decades = reversed(DECADES[: len(digits)])
        pieces = [(f"{name}.{decade}", d) for decade, d in zip(decades, digits, strict=True)]
        return [*pieces, (name, "")]
