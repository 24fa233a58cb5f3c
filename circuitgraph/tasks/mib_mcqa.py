"""Multiple choice in the shape of MIB's CopyColors: which letter stands before the colour that was
told, any model.

MIB's own prompts (Mueller et al. 2025) are on a hub only; these are drawn from their template.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from circuitgraph.choices import Choices
from circuitgraph.errors import check_between, check_choice
from circuitgraph.tasks.base import Source, task
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from circuitgraph.tasks.words import Piece, join_pieces, pick_item, select_one_token, split_words

_THINGS = (
    "box ball car house shirt flower pen cup hat bag shoe chair table door bird fish lamp coat "
    "book plate bowl kite boat stone"
)
_COLOURS = "red blue green yellow purple orange pink brown black white gray gold silver"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
COUNTERFACTUALS = (
    *("symbol", "answer-position", "random-letter", "answer-position-random-letter"),
    *("noun", "color", "noun-color", "answer-position-noun", "question"),
)


@dataclass(frozen=True)
class ChoiceQuestion:
    """A question with its choices.

    Attributes:
        letters: before the choices.
        colours: the choices, each with its leading space.
        right: which of them is told.
    """

    thing: str
    colours: tuple[str, ...]
    letters: tuple[str, ...]
    right: int

    @property
    def answer(self) -> str:
        """The letter of the right choice."""
        return f" {self.letters[self.right]}"

    def list_pieces(self) -> list[Piece]:
        """The prompt in pieces, some of which have roles."""
        pieces: list[Piece] = [
            "Question: A",
            ("thing", self.thing),
            " is",
            ("color", self.colours[self.right]),
            f". What color is a{self.thing}?",
        ]
        for i, (letter, colour) in enumerate(zip(self.letters, self.colours, strict=True)):
            of = "answer" if i == self.right else f"choice{i}"
            pieces += ["\n", (f"{of}.letter", letter), ".", (f"{of}.color", colour)]
        return [*pieces, "\nAnswer", ("end", ":")]

    @property
    def text(self) -> str:
        """The prompt."""
        return "".join(
            piece if isinstance(piece, str) else piece[1] for piece in self.list_pieces()
        )


@task("mib-mcqa", metric="logit_difference")
def mib_mcqa(
    tokenizer: TokenizerLike, counterfactual: str = "symbol", n_choices: int = 4
) -> Source:
    """Multiple choice as in MIB's CopyColors (Mueller et al. 2025): ``Question: A box is brown.
    What color is a box?`` with four choices, ``Answer:`` -> the letter before brown.

    The distractor is the counterfactual's answer, or, where that is the same, another choice's
    letter. Roles: ``thing``, ``color``, ``answer.letter``, ``answer.color``, ``choice0.letter``
    ..., ``end``. MIB puts BOS before its prompts: ``--bos yes``.

    Args:
        counterfactual: ``symbol``, which MIB's circuit track uses, and ``random-letter``: letters
            of the rest of the alphabet (``symbol``: of the clean prompt, A, B, C, D;
            ``random-letter``: any); ``answer-position``: the right choice stands elsewhere;
            ``answer-position-random-letter``: both; ``noun``, ``color``, ``noun-color``: another
            thing, other colours; ``answer-position-noun``; ``question``: all of it.
        n_choices: from 2 to 6.

    Raises:
        ArgumentError: an unknown choice.
        DataError: too few letters, things or colours are one token.
    """
    check_choice("counterfactual", counterfactual, COUNTERFACTUALS)
    check_between("n_choices", n_choices, 2, 6)
    letters, notes = select_one_token(
        [f" {letter}" for letter in LETTERS], tokenizer, "letters", 2 * n_choices
    )
    things, more = select_one_token(split_words(_THINGS), tokenizer, "things", 2)
    colours, others = select_one_token(split_words(_COLOURS), tokenizer, "colours", 2 * n_choices)
    signs = [letter.strip() for letter in letters]
    maker = _ChoiceSource(signs, things, colours, n_choices)

    def draw(rng: Choices) -> Pair:
        clean = maker.draw_question(rng)
        other = maker.change_question(rng, clean, counterfactual)
        text, roles = join_pieces(clean.list_pieces(), tokenizer)
        wrong = other.answer
        if wrong == clean.answer:
            wrong = f" {pick_item(rng, [s for s in clean.letters if f' {s}' != clean.answer])}"
        return Pair(text, other.text, clean.answer, wrong, roles)

    alike = {"things": things, "colors": colours}
    return Source(draw, (*notes, *more, *others), alike)


class _ChoiceSource:
    """Draws questions, and changes them."""

    def __init__(
        self, letters: list[str], things: list[str], colours: list[str], n_choices: int
    ) -> None:
        self._letters, self._things, self._colours = letters, things, colours
        self._n = n_choices

    def draw_question(self, rng: Choices) -> ChoiceQuestion:
        """One question, its letters those that the alphabet begins with."""
        return ChoiceQuestion(
            pick_item(rng, self._things),
            self._draw_some(rng, self._colours),
            tuple(self._letters[: self._n]),
            int(rng.integers(self._n)),
        )

    def change_question(self, rng: Choices, clean: ChoiceQuestion, kind: str) -> ChoiceQuestion:
        """The counterfactual of a question."""
        parts = kind.replace("noun-color", "noun,color").replace("position-", "position,")
        changed = clean
        for part in parts.split(","):
            changed = self._change_part(rng, changed, part)
        return changed

    def _change_part(self, rng: Choices, clean: ChoiceQuestion, part: str) -> ChoiceQuestion:
        if part in ("symbol", "random-letter"):
            rest = [s for s in self._letters if part == "random-letter" or s not in clean.letters]
            while True:
                drawn = self._draw_some(rng, rest)
                if drawn[clean.right] != clean.letters[clean.right]:
                    return replace(clean, letters=drawn)
        if part == "answer-position":
            to = (clean.right + 1 + int(rng.integers(self._n - 1))) % self._n
            colours = list(clean.colours)
            colours[to], colours[clean.right] = colours[clean.right], colours[to]
            return replace(clean, colours=tuple(colours), right=to)
        if part == "noun":
            return replace(clean, thing=self._draw_other(rng, self._things, clean.thing))
        if part == "color":
            rest = [colour for colour in self._colours if colour not in clean.colours]
            return replace(clean, colours=self._draw_some(rng, rest))
        return self.draw_question(rng)

    def _draw_some(self, rng: Choices, items: list[str]) -> tuple[str, ...]:
        return tuple(items[i] for i in rng.choice(len(items), self._n, replace=False))

    def _draw_other(self, rng: Choices, items: list[str], old: str) -> str:
        return pick_item(rng, [item for item in items if item != old])
