"""Indirect objects in the shape of MIB's task: its eight kinds of counterfactuals, any model.

MIB's own prompts (Mueller et al. 2025) are on a hub only; these are drawn from the templates of
Wang et al. (2022), with counterfactuals of MIB's kinds.
"""

from __future__ import annotations

from dataclasses import dataclass

from circuitgraph.choices import Choices
from circuitgraph.errors import check_choice
from circuitgraph.tasks.base import Source, task
from circuitgraph.tasks.ioi import OBJECTS, ORDERS, PLACES, Sentence, find_positions
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from circuitgraph.tasks.words import pick_item, select_one_token, split_words

_NAMES = (
    "Michael Christopher Jessica Matthew Ashley Jennifer Joshua Amanda Daniel David James Robert "
    "John Joseph Andrew Ryan Brandon Jason Justin Sarah William Jonathan Stephanie Brian Nicole "
    "Nicholas Anthony Heather Eric Elizabeth Adam Megan Melissa Kevin Steven Thomas Timothy Kyle "
    "Rachel Laura Lauren Amber Richard Jeffrey Amy Michelle Mary Mark Paul Alexander Patrick Sara "
    "Erin Jamie Kelly Kimberly Charles Scott Emily Lisa Jordan Simon Susan Alice Kate Peter Jack"
)
NAMES = tuple(_NAMES.split())
FRAMES = (  # the templates of Wang et al. (2022)
    "Then,{first} and{second} went to the{place}.{giver} gave a{object} to",
    "Then,{first} and{second} had a lot of fun at the{place}.{giver} gave a{object} to",
    "Then,{first} and{second} were working at the{place}.{giver} decided to give a{object} to",
    "Then,{first} and{second} were thinking about going to the{place}.{giver} wanted to give a"
    "{object} to",
    "Then,{first} and{second} had a long argument, and afterwards{giver} said to",
    "After{first} and{second} went to the{place},{giver} gave a{object} to",
    "When{first} and{second} got a{object} at the{place},{giver} decided to give it to",
    "When{first} and{second} got a{object} at the{place},{giver} decided to give the{object} to",
    "While{first} and{second} were working at the{place},{giver} gave a{object} to",
    "While{first} and{second} were commuting to the{place},{giver} gave a{object} to",
    "After the lunch,{first} and{second} went to the{place}.{giver} gave a{object} to",
    "Afterwards,{first} and{second} went to the{place}.{giver} gave a{object} to",
    "Then,{first} and{second} had a long argument. Afterwards{giver} said to",
    "The{place}{first} and{second} went to had a{object}.{giver} gave it to",
    "Friends{first} and{second} found a{object} at the{place}.{giver} gave it to",
)


@dataclass(frozen=True)
class Counterfactual:
    """What a counterfactual does to the names of a sentence.

    Attributes:
        renames: everybody gets another name, the pattern stays.
        swaps_opening: the two names of the opening change places: the answer's place changes.
        swaps_giver: the other one gives: the answer is the other name.
        is_abc: three different people, so that nobody comes twice.
    """

    renames: bool = False
    swaps_opening: bool = False
    swaps_giver: bool = False
    is_abc: bool = False

    @property
    def n_others(self) -> int:
        """How many other names it needs."""
        return 3 if self.is_abc else 2 * self.renames

    def change_names(self, clean: Sentence, others: list[str]) -> Sentence:
        """The counterfactual of a sentence."""
        if self.is_abc:
            return clean.replace_names(*others)
        new = dict(zip((clean.first, clean.second), others, strict=True)) if self.renames else {}
        first, second = (new.get(name, name) for name in (clean.first, clean.second))
        giver = new.get(clean.giver, clean.giver)
        if self.swaps_giver:
            giver = second if giver == first else first
        if self.swaps_opening:
            first, second = second, first
        return clean.replace_names(first, second, giver)


COUNTERFACTUALS = {
    "s2-io-flip": Counterfactual(swaps_giver=True),
    "s1-io-flip": Counterfactual(swaps_opening=True),
    "s1-io-flip-s2-io-flip": Counterfactual(swaps_opening=True, swaps_giver=True),
    "abc": Counterfactual(is_abc=True),
    "random-names": Counterfactual(renames=True),
    "random-names-s2-io-flip": Counterfactual(renames=True, swaps_giver=True),
    "random-names-s1-io-flip": Counterfactual(renames=True, swaps_opening=True),
    "random-names-s1-io-flip-s2-io-flip": Counterfactual(True, True, True),
}
"""MIB's kinds by its names; the first is the one that its circuit track uses."""


@task("mib-ioi", metric="logit_difference")
def mib_ioi(
    tokenizer: TokenizerLike, counterfactual: str = "s2-io-flip", templates: str = "both"
) -> Source:
    """Indirect objects as in MIB (Mueller et al. 2025): ``When Mary and John got a ring at the
    store, John decided to give it to`` -> Mary, not John.

    Names, places and objects are one token each. Roles as of `ioi`: ``IO``, ``S1``, ``S2``,
    ``S1+1``, ``end``, ``N1``, ``N2``. MIB puts BOS before its prompts: ``--bos yes``.

    Args:
        counterfactual: ``s2-io-flip``, which MIB's circuit track uses (the other one gives),
            ``s1-io-flip`` (the opening's names change places), both at once, each of these and
            nothing with other names (``random-names``, ``random-names-s2-io-flip`` ...), or
            ``abc`` (three people).
        templates: ``abba`` (the indirect object comes first), ``baba`` (second), or ``both``.

    Raises:
        ArgumentError: an unknown choice.
        DataError: too few names, places or objects are one token.
    """
    change = COUNTERFACTUALS[check_choice("counterfactual", counterfactual, COUNTERFACTUALS)]
    orders = ORDERS[check_choice("templates", templates, ORDERS)]
    people, notes = select_one_token(
        [f" {name}" for name in NAMES], tokenizer, "names", 2 + change.n_others
    )
    places, more = select_one_token(split_words(" ".join(PLACES)), tokenizer, "places", 1)
    objects, others = select_one_token(split_words(" ".join(OBJECTS)), tokenizer, "objects", 1)

    def draw(rng: Choices) -> Pair:
        words = (pick_item(rng, places), "", pick_item(rng, objects))
        count = 2 + change.n_others
        io, s, *new = (people[i] for i in rng.choice(len(people), count, replace=False))
        io_first = pick_item(rng, orders)
        first, second = (io, s) if io_first else (s, io)
        clean = Sentence(pick_item(rng, FRAMES), words, first, second, s)
        at_first, at_second, at_giver, end = find_positions(clean, tokenizer)
        at_io, at_s = (at_first, at_second) if io_first else (at_second, at_first)
        roles = {"IO": at_io, "S1": at_s, "S1+1": at_s + 1, "S2": at_giver, "end": end}
        roles |= {"N1": at_first, "N2": at_second}
        return Pair(clean.text, change.change_names(clean, new).text, io, s, roles)

    alike = {"names": people, "places": places, "objects": objects}
    return Source(draw, (*notes, *more, *others), alike)
