"""Tasks of the constructed models, ``constructed:NAME``: what a program answers on a sequence.

The corrupted prompt has equal length and another answer, which is the distractor: with the
corruption ``other-prompt`` it is another sequence, with ``one-token`` the same but for one symbol.
Answers that random sequences seldom have are drawn on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from circuitgraph.choices import Choices
from circuitgraph.errors import DataError, ProgramError, unknown_name
from circuitgraph.models.constructed.interpreter import compute_answer
from circuitgraph.models.constructed.named_programs import PREFIX, NamedProgram, named_programs
from circuitgraph.models.constructed.rasp import BOS
from circuitgraph.models.constructed.rasp_program import RaspProgram
from circuitgraph.models.constructed.values import find_domains
from circuitgraph.models.constructed.vocabulary import to_prompt, to_word
from circuitgraph.tasks.base import Grammar, Source, task
from circuitgraph.tasks.prompts import Pair, TokenizerLike

CORRUPTIONS = ("other-prompt", "one-token")
_TRIES = 200
Sequence = tuple[str, ...]


class _PairSource:
    """Draws pairs for a named program; answers are remembered, because sequences come again."""

    def __init__(self, chosen: NamedProgram) -> None:
        self.chosen = chosen
        self._answers: dict[Sequence, str | None] = {}

    @cached_property
    def program(self) -> RaspProgram:
        return self.chosen.make()

    def find_answer(self, sequence: Sequence) -> str | None:
        """The answer; None where the program is not defined."""
        if sequence not in self._answers:
            try:
                self._answers[sequence] = to_word(compute_answer(self.program, sequence))
            except ProgramError:
                self._answers[sequence] = None
        return self._answers[sequence]

    def draw_sequence(self, rng: Choices, n: int) -> Sequence:
        """A sequence of ``n`` symbols on which the program is defined."""
        alphabet, sample = self.program.alphabet, self.chosen.sample
        for _ in range(_TRIES):
            if sample and (self.chosen.always or rng.random() < 0.5):
                sequence = tuple(sample(rng, n))
            else:
                sequence = tuple(alphabet[i] for i in rng.integers(len(alphabet), size=n))
            if self.find_answer(sequence) is not None:
                return sequence
        raise DataError(
            f"The program is defined on none of {_TRIES} random sequences of {n} "
            f"symbols:\n{self.program}"
        )

    def iterate_corrupted(
        self, rng: Choices, clean: Sequence, corruption: str
    ) -> Iterator[Sequence]:
        """Other sequences of the same length; or all that differ in one symbol, in random order."""
        if corruption == "other-prompt":
            yield from (self.draw_sequence(rng, len(clean)) for _ in range(_TRIES))
            return
        changes = [(i, s) for i, old in enumerate(clean) for s in self.program.alphabet if s != old]
        for number in rng.permutation(len(changes)):
            i, symbol = changes[number]
            yield (*clean[:i], symbol, *clean[i + 1 :])

    def draw_pair(self, rng: Choices, corruption: str) -> Pair:
        """Two sequences with different answers."""
        for _ in range(_TRIES):
            n = int(rng.integers(self.program.min_length, self.program.max_length + 1))
            clean = self.draw_sequence(rng, n)
            right = self.find_answer(clean) or ""
            for corrupted in self.iterate_corrupted(rng, clean, corruption):
                if (wrong := self.find_answer(corrupted)) not in (None, right):
                    return Pair(to_prompt(clean), to_prompt(corrupted), right, wrong)
        raise DataError(
            f"Of {_TRIES} random sequences none has a corrupted one with another "
            f"answer:\n{self.program}"
        )


def _make_grammar(name: str) -> Grammar:
    def grammar(tokenizer: TokenizerLike, corruption: str = "other-prompt") -> Source:
        if corruption not in CORRUPTIONS:
            raise unknown_name("corruption", corruption, CORRUPTIONS)
        source = _PairSource(named_programs[name])
        _check_words(name, source.program, tokenizer)
        return Source(lambda rng: source.draw_pair(rng, corruption))

    grammar.__doc__ = named_programs[name].description
    return grammar


for _name in named_programs:
    task(PREFIX + _name, metric="kl", model=PREFIX + _name)(_make_grammar(_name))


def _check_words(name: str, program: RaspProgram, tokenizer: TokenizerLike) -> None:
    """Raise `DataError` unless the tokenizer knows all of a program's words."""
    answers = [to_word(value) for value in find_domains(program)[program.output].values]
    words = [BOS, *program.alphabet, *answers]
    encoded = zip(words, tokenizer.encode_all(words), strict=True)
    missing = [w for w, ids in encoded if len(ids) != 1 or ids[0] == tokenizer.unknown_id]
    if missing:
        raise DataError(
            f"The tokenizer has no single token for {', '.join(missing)}: task {PREFIX + name!r} "
            f"is for the model {PREFIX + name!r}."
        )
