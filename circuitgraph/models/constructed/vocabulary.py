"""The words of a program: its symbols and its answers, one token each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from circuitgraph.errors import ProgramError
from circuitgraph.models.constructed.rasp import BOS, NONE, NOTHING, UNKNOWN
from circuitgraph.models.constructed.rasp_program import RaspProgram
from circuitgraph.models.constructed.values import Domain
from circuitgraph.models.fast_tokenizer import FastTokenizer
from circuitgraph.models.tokenizer import Tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """All tokens in order: `BOS`, `UNKNOWN`, the alphabet, other answers, and unused words."""

    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.words)

    def token_of(self, value: Hashable) -> int:
        """The token of a symbol or an answer."""
        return self.words.index(to_word(value))

    def make_tokenizer(self) -> Tokenizer:
        """A tokenizer that splits text at spaces."""
        from tokenizers import Tokenizer as Backend
        from tokenizers.models import WordLevel
        from tokenizers.pre_tokenizers import WhitespaceSplit

        rules = Backend(WordLevel({w: i for i, w in enumerate(self.words)}, unk_token=UNKNOWN))
        rules.pre_tokenizer = WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
        return Tokenizer(FastTokenizer(rules, {"bos_token": BOS, "unk_token": UNKNOWN}))


def make_vocabulary(program: RaspProgram, outputs: Domain, size: int = 0) -> Vocabulary:
    """The words of a program, filled up to ``size`` if they are fewer.

    Raises:
        ProgramError: an answer cannot be one word, or two different answers would be one word.
    """
    answers = [to_word(value) for value in outputs.values]
    unusable = [a for a in answers if a.split() != [a] or a in (BOS, UNKNOWN, NONE)]
    if unusable or len(set(answers)) < len(answers):
        raise ProgramError(
            f"{program.describe(program.output)}: the answers {answers} must be words without "
            f"spaces, all different, and none of {BOS}, {UNKNOWN}, {NONE}. Map them to others."
        )
    all_words = [BOS, UNKNOWN, *program.alphabet, *answers, *([NONE] if outputs.nothing else [])]
    words = list(dict.fromkeys(all_words))
    unused = [f"<unused{i}>" for i in range(size - len(words))]
    return Vocabulary((*words, *unused))


def to_word(value: Hashable) -> str:
    """The word of a value, as an answer."""
    return NONE if value is NOTHING else str(value)


def to_prompt(sequence: Sequence[str]) -> str:
    """The text that a model is given for a sequence."""
    return " ".join([BOS, *sequence])


def to_sequence(text: str) -> list[str]:
    """The sequence of a prompt.

    Raises:
        ProgramError: the prompt does not begin with `BOS`.
    """
    words = text.split()
    if words[:1] != [BOS]:
        raise ProgramError(f"The prompt {text!r} must begin with {BOS}.")
    return words[1:]
