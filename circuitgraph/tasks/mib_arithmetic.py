"""Sums and differences in the shape of MIB's arithmetic: words or signs, any model that has numbers
as single tokens.

MIB's own prompts (Mueller et al. 2025) are on a hub only; these are drawn from the templates of
Stolfo et al. (2023).
"""

from __future__ import annotations

from dataclasses import dataclass

from circuitgraph.choices import Choices
from circuitgraph.errors import DataError, check_between, check_choice
from circuitgraph.tasks.base import Source, task
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from circuitgraph.tasks.words import Piece, join_pieces, pick_item

TEMPLATES: dict[str, dict[str, str]] = {  # by operator
    "sign": {"+": "{a} + {b} =", "-": "{a} - {b} ="},
    "how-much": {"+": "Q: How much is {a} plus {b}? A:", "-": "Q: How much is {a} minus {b}? A:"},
    "what": {"+": "Q: What is {a} plus {b}? A:", "-": "Q: What is {a} minus {b}? A:"},
    "name": {
        "+": "The sum of {a} and {b} is",
        "-": "The difference between {a} and {b} is",
    },
}
COUNTERFACTUALS = ("random", "one-operand", "carry")
_TRIES = 200  # draws of two operands before giving up; most succeed within a few


@dataclass(frozen=True)
class Operation:
    """Two operands in a template."""

    template: str
    operator: str
    a: int
    b: int

    @property
    def result(self) -> int:
        """Never negative."""
        return self.a + self.b if self.operator == "+" else self.a - self.b

    @property
    def carries(self) -> bool:
        """Whether the ones carry into the tens, or borrow from them."""
        ones = self.a % 10, self.b % 10
        return sum(ones) > 9 if self.operator == "+" else ones[0] < ones[1]

    def list_pieces(self, ending: str) -> list[Piece]:
        """The prompt in pieces, some of which have roles."""
        before, _, rest = TEMPLATES[self.template][self.operator].partition("{a}")
        between, _, after = rest.partition("{b}")
        # A number may be one token with the space before it.
        return [
            before.removesuffix(" "),
            ("a", f"{' ' * before.endswith(' ')}{self.a}"),
            between.removesuffix(" "),
            ("b", f" {self.b}"),
            ("end", f"{after}{ending}"),
        ]


@task("mib-arithmetic", metric="logit_difference")
def mib_arithmetic(
    tokenizer: TokenizerLike,
    operator: str = "+",
    template: str = "any",
    largest: int = 99,
    counterfactual: str = "random",
) -> Source:
    """Sums and differences as in MIB (Mueller et al. 2025): ``The sum of 27 and 46 is`` -> 73.

    Both prompts have equally many tokens, and both results are one token, with a space before it or
    after one, as the tokenizer has it. The distractor is the counterfactual's result. Roles: ``a``,
    ``b``, ``end``. MIB puts BOS before its prompts: ``--bos yes``.

    Args:
        operator: ``+`` or ``-`` (never below zero).
        template: ``sign`` (``27 + 46 =``), ``how-much``, ``what``, ``name``, or ``any`` of these
            (Stolfo et al. 2023).
        largest: of the operands, which have two digits where it has.
        counterfactual: ``random``, which MIB's circuit track uses (two other operands),
            ``one-operand``, or ``carry`` (other operands, which carry if these do not).

    Raises:
        ArgumentError: an unknown choice.
        DataError: results are not single tokens of this tokenizer.
    """
    check_choice("operator", operator, "+-")
    check_choice("template", template, (*TEMPLATES, "any"))
    check_choice("counterfactual", counterfactual, COUNTERFACTUALS)
    check_between("largest", largest, 9, 999)
    names = list(TEMPLATES) if template == "any" else [template]
    source = _OperationSource(tokenizer, operator, largest)

    def draw(rng: Choices) -> Pair:
        for _ in range(_TRIES):
            clean = source.draw_operation(rng, pick_item(rng, names))
            other = source.change_operation(rng, clean, counterfactual)
            if other is not None and source.check_pair(clean, other):
                return source.make_pair(clean, other)
        raise DataError(
            f"No two of the results up to {source.largest_result} are single tokens of this "
            "tokenizer after prompts of one length: use a model whose vocabulary has numbers, or "
            "the task 'addition', whose results may have several tokens."
        )

    return Source(draw)


class _OperationSource:
    """Draws operands, and makes prompts as the tokenizer writes numbers."""

    def __init__(self, tokenizer: TokenizerLike, operator: str, largest: int) -> None:
        self._tokenizer, self._operator, self._largest = tokenizer, operator, largest
        self._smallest = 10 if largest > 10 else 0
        self.largest_result = 2 * largest if operator == "+" else largest
        self._endings: dict[str, str] = {}

    def draw_operation(self, rng: Choices, template: str) -> Operation:
        """Two operands, of a difference the larger first."""
        a, b = (int(rng.integers(self._smallest, self._largest + 1)) for _ in range(2))
        if self._operator == "-":
            a, b = max(a, b), min(a, b)
        return Operation(template, self._operator, a, b)

    def change_operation(self, rng: Choices, clean: Operation, kind: str) -> Operation | None:
        """The counterfactual of a operation; None if what was drawn is none."""
        other = self.draw_operation(rng, clean.template)
        if kind == "carry":
            return other if other.carries != clean.carries else None
        if kind == "one-operand":
            ends = (clean.a, other.b) if rng.integers(2) else (other.a, clean.b)
            other = Operation(clean.template, self._operator, *ends)
        return other if other.result >= 0 else None

    def check_pair(self, clean: Operation, other: Operation) -> bool:
        """Whether the two are prompts of one length with different results of one token."""
        if other.result == clean.result:
            return False
        texts = [self._write_text(operation) for operation in (clean, other)]
        lengths = {len(tokens) for tokens in self._tokenizer.encode_all(texts)}
        answers = [
            self._tokenizer.encode_answer(text, self._write_answer(operation))
            for text, operation in zip(texts, (clean, other), strict=True)
        ]
        unknown = [self._tokenizer.unknown_id]
        return len(lengths) == 1 and all(len(a) == 1 and a != unknown for a in answers)

    def make_pair(self, clean: Operation, other: Operation) -> Pair:
        """Both prompts as texts, with the role positions of the clean one."""
        pieces = clean.list_pieces(self._choose_ending(clean))
        text, roles = join_pieces(pieces, self._tokenizer)
        right, wrong = (self._write_answer(operation) for operation in (clean, other))
        return Pair(text, self._write_text(other), right, wrong, roles)

    def _write_text(self, operation: Operation) -> str:
        pieces = operation.list_pieces(self._choose_ending(operation))
        return "".join(piece if isinstance(piece, str) else piece[1] for piece in pieces)

    def _write_answer(self, operation: Operation) -> str:
        return f"{'' if self._choose_ending(operation) else ' '}{operation.result}"

    def _choose_ending(self, operation: Operation) -> str:
        """A space after the prompt, where the tokenizer has numbers without one before them."""
        if operation.template not in self._endings:
            prompt = TEMPLATES[operation.template][self._operator].format(a=11, b=11)
            with_space = self._tokenizer.encode_answer(prompt, " 22")
            self._endings[operation.template] = "" if len(with_space) == 1 else " "
        return self._endings[operation.template]
