"""Greater-than: what begins in one year ends in a later one (Hanna et al. 2023)."""

from __future__ import annotations

from circuitgraph.choices import Choices
from circuitgraph.errors import DataError, check_choice
from circuitgraph.tasks.base import Source, task
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from circuitgraph.tasks.words import Piece, join_pieces, pick_item, select_one_token, split_words

NOUNS = (
    "war siege battle campaign conflict revolt rebellion revolution crisis dispute expedition "
    "voyage journey mission project program plan study trial reign empire dynasty treaty alliance "
    "truce marriage career friendship partnership occupation invasion drought famine plague trade "
    "tour construction investigation debate strike"
)
CENTURIES = tuple(str(century) for century in range(11, 20))
ENDINGS = tuple(f"{ending:02d}" for ending in range(100))
CORRUPTIONS = ("year-01", "other-year")
FEWEST_ENDINGS = 20  # of a century; with fewer, "greater" would say little


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
        DataError: too few years are two tokens, or too few endings or nouns one token.
    """
    check_choice("corruption", corruption, CORRUPTIONS)
    nouns, notes = select_one_token(split_words(NOUNS), tokenizer, "nouns", 1)
    endings, more = select_one_token(ENDINGS, tokenizer, "two-digit endings", FEWEST_ENDINGS)
    years, unused = _select_years(tokenizer, endings, needs_01=corruption == "year-01")
    centuries = list(years)

    def draw(rng: Choices) -> Pair:
        century, noun = pick_item(rng, centuries), pick_item(rng, nouns)
        in_century = years[century]
        # Neither 01, which is the corruption's ending, nor 99, above which there is no ending.
        possible = [e for e in in_century if "01" < e < "99" and e < endings[-1]]
        ending = pick_item(rng, possible)
        other = "01"
        if corruption != "year-01":
            other = pick_item(rng, [e for e in in_century if e != ending])
        clean, roles = _make_prompt(noun, century, ending, tokenizer)
        right = tuple(e for e in endings if e > ending)
        wrong = tuple(e for e in endings if e <= ending)
        corrupted, _ = _make_prompt(noun, century, other, tokenizer)
        return Pair(clean, corrupted, right[0], ending, roles, right, wrong)

    return Source(draw, (*notes, *more, *unused), {"nouns": nouns})


def _make_prompt(
    noun: str, century: str, ending: str, tokenizer: TokenizerLike
) -> tuple[str, dict[str, int]]:
    """The sentence; roles are named as in the paper, where the year is XXYY."""
    first_year: list[Piece] = [("XX1", f" {century}"), ("YY", ending)]
    beginning: list[Piece] = ["The", ("noun", noun), " lasted from the year", *first_year]
    return join_pieces([*beginning, " to the year", ("XX2", f" {century}")], tokenizer)


def _select_years(
    tokenizer: TokenizerLike, endings: list[str], *, needs_01: bool
) -> tuple[dict[str, list[str]], list[str]]:
    """For each usable century the endings whose years are two tokens, and a note on other years."""
    names = [century + ending for century in CENTURIES for ending in endings]
    ids_of_year = dict(zip(names, tokenizer.encode_all([f" {n}" for n in names]), strict=True))
    parts = [*endings, *(f" {century}" for century in CENTURIES)]
    ids_of_part = {part: tokenizer.encode(part) for part in parts}

    def is_two_tokens(name: str) -> bool:
        """Whether a year's tokens are its century and its ending."""
        ids = ids_of_year[name]
        if len(ids) != 2 or tokenizer.unknown_id in ids:
            return False
        return ids == ids_of_part[f" {name[:2]}"] + ids_of_part[name[2:]]

    good = [name for name in names if is_two_tokens(name)]
    years = {century: [name[2:] for name in good if name[:2] == century] for century in CENTURIES}
    usable = {
        century: in_century
        for century, in_century in years.items()
        if len(in_century) >= FEWEST_ENDINGS and ("01" in in_century or not needs_01)
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
    first_dropped = ", ".join(dropped[:8]) + (", ..." if len(dropped) > 8 else "")
    note = f"Left out, not being two tokens: {len(dropped)} of {len(names)} years: {first_dropped}."
    return usable, [note] if dropped else []
