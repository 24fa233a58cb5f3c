"""Induction: a word that came before comes again; what followed it then should follow it now."""

from __future__ import annotations

from circuitgraph.choices import Choices
from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.tasks.base import Source, task
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from circuitgraph.tasks.words import list_single_token_words


@task(
    "induction",
    metric="logit_difference",
    model="induction-2l",
    also=("induction-2l-natural", "multitask"),
)
def induction(tokenizer: TokenizerLike, min_words: int = 8, max_words: int = 16) -> Source:
    """Random different words, one of them (A, followed by B) once more at the end: ``.. A B .. A``
    -> B.

    The place of A is random, so that a position alone never gives the answer. The corrupted prompt
    is another one of the same length and of other words, whose answer is the distractor: every
    word changes, and only the pattern stays.
    """
    if not 3 <= min_words <= max_words:
        raise ArgumentError(
            f"min_words = {min_words} and max_words = {max_words}: expected 3 <= min_words <= "
            "max_words."
        )
    words = list_single_token_words(tokenizer)
    needed = 2 * (max_words - 1)
    if len(words) < needed:
        raise DataError(
            f"Prompts of {max_words} words need {needed} different words, but the tokenizer has "
            f"only {len(words)} that are one token: choose max_words of at most "
            f"{len(words) // 2 + 1}."
        )

    def repeat_one(rng: Choices, distinct: list[str]) -> tuple[list[str], int]:
        """The words and one of them again, and where that word is first; never the last word."""
        first = int(rng.integers(len(distinct) - 1))
        return [*distinct, distinct[first]], first

    def draw(rng: Choices) -> Pair:
        n = int(rng.integers(min_words, max_words + 1))
        chosen = [words[i] for i in rng.choice(len(words), 2 * (n - 1), replace=False)]
        clean, first = repeat_one(rng, chosen[: n - 1])
        corrupted, other = repeat_one(rng, chosen[n - 1 :])
        return Pair(
            clean="".join(clean),
            corrupted="".join(corrupted),
            answer=clean[first + 1],
            distractor=corrupted[other + 1],
            roles={"A1": first, "B1": first + 1, "A2": n - 1},
        )

    return Source(draw, words={"words": words})
