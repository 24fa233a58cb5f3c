"""Docstring: the next argument to describe is the definition's next (Heimersheim & Janiak 2023)."""

from __future__ import annotations

from collections.abc import Sequence

from circuitgraph.choices import Choices
from circuitgraph.errors import check_choice
from circuitgraph.tasks.base import Source, task
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from circuitgraph.tasks.words import Piece, join_pieces, pick_item, select_one_token, split_words

ARGUMENTS = (
    "files obj state size shape option load file last key value name path node index image mode "
    "data list string result table model event user group page order level version output error "
    "filter label color block field item code count date time text type test source target start "
    "end point line"
)
NOUNS = (
    "document example performance analysis pattern design oil column piece crime population unit "
    "dark sea water city music paper heart season weather market family history science machine "
    "energy council river summer winter island garden window flower bridge church letter student "
    "teacher doctor"
)
N_ARGUMENTS = 6
N_DOCUMENTED = 3  # the last of them is the answer
CORRUPTIONS = ("random-arguments", "random-doc")


@task("docstring", metric="logit_difference", model="docstring")
def docstring(tokenizer: TokenizerLike, corruption: str = "random-arguments") -> Source:
    """``def port(self, .., state, size, shape, ..):`` and a docstring on state and size -> ``
    shape``.

    A definition of six arguments; its docstring describes three neighbours (A, B, C) of them in
    order and stops before the third. Which three is random, so that a position alone never gives
    the answer. The distractor is one of the other five arguments; all five are wrong.

    Args:
        corruption: ``random-arguments`` (the paper's) puts random names in place of A, B and C in
            the definition and of A and B in the docstring; ``random-doc`` does so in the docstring
            only.

    Raises:
        ArgumentError: an unknown corruption.
        DataError: the tokenizer has too few of the words as single tokens.
    """
    check_choice("corruption", corruption, CORRUPTIONS)
    needed = N_ARGUMENTS + N_DOCUMENTED + 2  # the last five are what a corruption puts in
    arguments, notes = select_one_token(
        split_words(ARGUMENTS), tokenizer, "names of arguments", needed
    )
    nouns, more = select_one_token(split_words(NOUNS), tokenizer, "nouns", 8)

    def draw(rng: Choices) -> Pair:
        names = [arguments[i] for i in rng.choice(len(arguments), needed, replace=False)]
        words = [nouns[i] for i in rng.choice(len(nouns), 8, replace=False)]
        first = int(rng.integers(N_ARGUMENTS - N_DOCUMENTED + 1))
        defined, fresh = names[:N_ARGUMENTS], names[N_ARGUMENTS:]
        described = defined[first : first + N_DOCUMENTED]
        clean, roles = join_pieces(_make_pieces(words, defined, described[:-1], first), tokenizer)
        if corruption == "random-arguments":
            changed = [*defined[:first], *fresh[:N_DOCUMENTED], *defined[first + N_DOCUMENTED :]]
        else:
            changed = defined
        corrupted, _ = join_pieces(
            _make_pieces(words, changed, fresh[N_DOCUMENTED:], first), tokenizer
        )
        answer = described[-1]
        wrong = tuple(name for name in defined if name != answer)
        return Pair(clean, corrupted, answer, pick_item(rng, wrong), roles, (answer,), wrong)

    return Source(draw, (*notes, *more), {"arguments": arguments, "nouns": nouns})


def _make_pieces(
    words: Sequence[str], defined: Sequence[str], documented: Sequence[str], first: int
) -> list[Piece]:
    """Pieces of a prompt; A, B and C are the definition's arguments from number ``first`` on."""
    roles = {first + i: f"{letter}_def" for i, letter in enumerate("ABC")}
    pieces: list[Piece] = [f"def{words[0]}(self"]
    for i, name in enumerate(defined):
        pieces += [",", (roles[i], name) if i in roles else name]
    pieces.append('):\n    """' + "".join(words[1:4]).strip() + "\n\n")
    for letter, name, about in zip("AB", documented, (words[4:6], words[6:8]), strict=True):
        pieces += ["    :param", (f"{letter}_doc", name), ":", "".join(about), "\n"]
    return [*pieces, ("param", "    :param")]
