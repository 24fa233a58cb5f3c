"""Greater-than: what begins in one year ends in a later one (Hanna, Liu & Variengien 2023,
arXiv:2305.00586).
"""

from __future__ import annotations

from circuitgraph.choices import Choices
from circuitgraph.errors import DataError, check_choice
from circuitgraph.tasks.base import Pair, Source, TokenizerLike, task
from circuitgraph.tasks.places import placed
from circuitgraph.tasks.words import one_token, pick, spaced

NOUNS = (
    "war siege battle campaign conflict revolt rebellion revolution crisis dispute expedition "
    "voyage journey mission project program plan study trial reign empire dynasty treaty alliance "
    "truce marriage career friendship partnership occupation invasion drought famine plague trade "
    "tour construction investigation debate strike"
)
CENTURIES = tuple(str(century) for century in range(11, 20))
ENDINGS = tuple(f"{ending:02d}" for ending in range(100))
CORRUPTIONS = ("year-01", "other-year")
FEWEST_ENDINGS = 20  # of a century, below which "greater" would say little


@task("greater-than", metric="probability_difference", model="greater-than", also=("multitask",))
def greater_than(tokenizer: TokenizerLike, corruption: str = "year-01") -> Source:
    """``The war lasted from the year 1732 to the year 17`` -> any two digits above 32.

    Every two-digit token above the year's is right, every other one is wrong; answer and distractor
    are the next year's digits and the year's own. A year is used if it is two tokens, its century
    and its two digits.

    Args:
        corruption: ``year-01`` (Hanna et al.) lets the first year end in 01, ``other-year`` in two
            random digits.

    Raises:
        ArgumentError: an unknown corruption.
        DataError: the tokenizer writes too few years, endings or nouns as this needs.
    """
    check_choice("corruption", corruption, CORRUPTIONS)
    nouns, notes = one_token(spaced(NOUNS), tokenizer, "nouns", 1)
    endings, more = one_token(ENDINGS, tokenizer, "two-digit endings", FEWEST_ENDINGS)
    years, unused = _years(tokenizer, endings, needs_01=corruption == "year-01")
    centuries = list(years)

    def draw(rng: Choices) -> Pair:
        century, noun = pick(rng, centuries), pick(rng, nouns)
        known = years[century]
        # neither 01, which is the corruption's, nor 99, above which nothing is
        possible = [ending for ending in known if "01" < ending < "99" and ending < endings[-1]]
        ending = pick(rng, possible)
        other = (
            "01"
            if corruption == "year-01"
            else pick(rng, [other for other in known if other != ending])
        )
        clean, roles = _prompt(noun, century, ending, tokenizer)
        right = tuple(e for e in endings if e > ending)
        wrong = tuple(e for e in endings if e <= ending)
        corrupted, _ = _prompt(noun, century, other, tokenizer)
        return Pair(clean, corrupted, right[0], ending, roles, right, wrong)

    return Source(draw, (*notes, *more, *unused), {"nouns": nouns})


def _prompt(
    noun: str, century: str, ending: str, tokenizer: TokenizerLike
) -> tuple[str, dict[str, int]]:
    """The sentence; roles are named as in the paper, where the year is XXYY."""
    start = ("XX1", f" {century}"), ("YY", ending)
    return placed(
        [
            "The",
            ("noun", noun),
            " lasted from the year",
            *start,
            " to the year",
            ("XX2", f" {century}"),
        ],
        tokenizer,
    )


def _years(
    tokenizer: TokenizerLike, endings: list[str], *, needs_01: bool
) -> tuple[dict[str, list[str]], list[str]]:
    """For each usable century the endings with which its years are two tokens, and a note on the
    other years.
    """
    names = [century + ending for century in CENTURIES for ending in endings]
    whole = dict(zip(names, tokenizer.encode_all([f" {name}" for name in names]), strict=True))
    alone = {
        text: tokenizer.encode(text)
        for text in [*endings, *(f" {century}" for century in CENTURIES)]
    }

    def splits(name: str) -> bool:
        ids = whole[name]
        return (
            len(ids) == 2
            and tokenizer.unknown_id not in ids
            and ids == alone[f" {name[:2]}"] + alone[name[2:]]
        )

    good = [name for name in names if splits(name)]
    years = {century: [name[2:] for name in good if name[:2] == century] for century in CENTURIES}
    usable = {
        c: known
        for c, known in years.items()
        if len(known) >= FEWEST_ENDINGS and ("01" in known or not needs_01)
    }
    if not usable:
        raise DataError(
            f"Years must be two tokens, such as ' 17' and '32'. Of {len(names)} years from "
            f"{names[0]} to {names[-1]} this tokenizer writes {len(good)} so; needed are "
            f"{FEWEST_ENDINGS} of one "
            f"century{', among them the one that ends in 01' if needs_01 else ''}. Use a model "
            "whose tokenizer does, as GPT-2's."
        )
    dropped = [name for name in names if name[2:] not in usable.get(name[:2], ())]
    shown = ", ".join(dropped[:8]) + (", ..." if len(dropped) > 8 else "")
    return usable, [
        f"Left out, not being two tokens: {len(dropped)} of {len(names)} years: {shown}."
    ] if dropped else []
