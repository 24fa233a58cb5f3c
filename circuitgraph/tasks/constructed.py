"""Tasks of the constructed models: what a named program answers on a random sequence,
``constructed:NAME``.

The corrupted prompt is one of equal length with another answer, which is the distractor: with the
corruption
``other-prompt`` another sequence, with ``one-token`` the same but for one symbol. Answers that
random sequences seldom
have are drawn on purpose.
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
from circuitgraph.tasks.base import Grammar, Pair, Source, TokenizerLike, task

CORRUPTIONS = ("other-prompt", "one-token")
_TRIES = 200
Sequence = tuple[str, ...]


class _Asked:
    """A named program that remembers what it has said: the same few sequences are drawn again and
    again.
    """

    def __init__(self, chosen: NamedProgram) -> None:
        self.chosen = chosen
        self._said: dict[Sequence, str | None] = {}

    @cached_property
    def program(self) -> RaspProgram:
        return self.chosen.make()

    def said(self, sequence: Sequence) -> str | None:
        """The answer; None where the program is not defined."""
        if sequence not in self._said:
            try:
                self._said[sequence] = to_word(compute_answer(self.program, sequence))
            except ProgramError:
                self._said[sequence] = None
        return self._said[sequence]

    def sequence(self, rng: Choices, n: int) -> Sequence:
        """A sequence of ``n`` symbols on which the program is defined."""
        alphabet, sample = self.program.alphabet, self.chosen.sample
        for _ in range(_TRIES):
            if sample and (self.chosen.always or rng.random() < 0.5):
                found = tuple(sample(rng, n))
            else:
                found = tuple(alphabet[i] for i in rng.integers(len(alphabet), size=n))
            if self.said(found) is not None:
                return found
        raise DataError(
            f"The program is defined on none of {_TRIES} random sequences of {n} "
            f"symbols:\n{self.program}"
        )

    def corrupted(self, rng: Choices, clean: Sequence, corruption: str) -> Iterator[Sequence]:
        """Other sequences of the same length; or all that differ in one symbol, in random order."""
        if corruption == "other-prompt":
            yield from (self.sequence(rng, len(clean)) for _ in range(_TRIES))
            return
        changes = [(i, s) for i, old in enumerate(clean) for s in self.program.alphabet if s != old]
        for at in rng.permutation(len(changes)):
            i, symbol = changes[at]
            yield (*clean[:i], symbol, *clean[i + 1 :])

    def pair(self, rng: Choices, corruption: str) -> Pair:
        """Two sequences with different answers."""
        for _ in range(_TRIES):
            n = int(rng.integers(self.program.min_length, self.program.max_length + 1))
            clean = self.sequence(rng, n)
            right = self.said(clean) or ""
            for corrupted in self.corrupted(rng, clean, corruption):
                if (wrong := self.said(corrupted)) not in (None, right):
                    return Pair(to_prompt(clean), to_prompt(corrupted), right, wrong)
        raise DataError(
            f"Of {_TRIES} random sequences none has a corrupted one with another "
            f"answer:\n{self.program}"
        )


def _grammar(name: str) -> Grammar:
    def grammar(tokenizer: TokenizerLike, corruption: str = "other-prompt") -> Source:
        if corruption not in CORRUPTIONS:
            raise unknown_name("corruption", corruption, CORRUPTIONS)
        asked = _Asked(named_programs[name])
        _check_words(name, asked.program, tokenizer)
        return Source(lambda rng: asked.pair(rng, corruption))

    grammar.__doc__ = named_programs[name].description
    return grammar


for _name in named_programs:
    task(PREFIX + _name, metric="kl", model=PREFIX + _name)(_grammar(_name))


def _check_words(name: str, program: RaspProgram, tokenizer: TokenizerLike) -> None:
    """Raise `DataError` unless the tokenizer knows all of a program's words."""
    answers = [to_word(value) for value in find_domains(program)[program.output].values]
    words = [BOS, *program.alphabet, *answers]
    each = zip(words, tokenizer.encode_all(words), strict=True)
    lacking = [w for w, ids in each if len(ids) != 1 or ids[0] == tokenizer.unknown_id]
    if lacking:
        raise DataError(
            f"The tokenizer has no single token for {', '.join(lacking)}: task {PREFIX + name!r} is "
            f"for the model {PREFIX + name!r}."
        )
