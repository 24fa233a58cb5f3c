"""Indirect object identification: one of two names comes again; the other gets the thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from circuitgraph.choices import Choices
from circuitgraph.errors import ArgumentError, list_problems
from circuitgraph.tasks.base import Source, task
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from circuitgraph.tasks.words import pick_item, select_one_token

_NAMES = (
    "Mary John Tom James Dan Sarah Alice Emily Mark Paul Laura Kevin Amy David Lisa Scott Rachel "
    "Adam Kate Peter Susan Robert Jack Simon"
)
_PLACES = "store garden restaurant school hospital office house station park beach market library"
_OBJECTS = "drink ring book snack ball bone computer necklace letter flower key present"
NAMES, PLACES, OBJECTS = (tuple(words.split()) for words in (_NAMES, _PLACES, _OBJECTS))
VERBS = ("gave", "handed", "passed", "offered")
FRAMES = (  # as the templates of Wang et al. (2022), but shorter
    "Then,{first} and{second} went to the{place}.{giver} {verb} a{object} to",
    "Afterwards,{first} and{second} met at the{place}.{giver} {verb} a{object} to",
    "When{first} and{second} got to the{place},{giver} {verb} a{object} to",
    "While{first} and{second} were at the{place},{giver} {verb} a{object} to",
    "After{first} and{second} left the{place},{giver} {verb} a{object} to",
    "Yesterday{first} and{second} came to the{place} and{giver} {verb} a{object} to",
)
# For each value of ``templates``: whether the indirect object may come first, or second.
ORDERS = {"both": (True, False), "abba": (True,), "baba": (False,)}


@dataclass(frozen=True)
class Sentence:
    """One prompt: its frame, its other words, and who stands first, who second, and who gives.

    Names, place and object have their leading space.
    """

    frame: str
    words: tuple[str, str, str]  # place, verb, object
    first: str
    second: str
    giver: str

    @property
    def text(self) -> str:
        """The prompt; the name of the receiver is missing at its end."""
        place, verb, thing = self.words
        names = {"first": self.first, "second": self.second, "giver": self.giver}
        return self.frame.format(**names, place=place, verb=verb, object=thing)

    def replace_names(self, first: str, second: str, giver: str) -> Sentence:
        """The same sentence about other people."""
        return replace(self, first=first, second=second, giver=giver)


Corruption = Callable[[Sentence, list[str]], Sentence]


def replace_all_names(clean: Sentence, others: list[str]) -> Sentence:
    """Three other, different names: nobody comes twice (p_ABC of Wang et al. 2022)."""
    return clean.replace_names(*others)


def swap_giver(clean: Sentence, others: list[str]) -> Sentence:
    """The other person gives, so that the answer is the other name."""
    del others
    giver = clean.first if clean.giver == clean.second else clean.second
    return clean.replace_names(clean.first, clean.second, giver)


def replace_both_names(clean: Sentence, others: list[str]) -> Sentence:
    """Two other names in the same order."""
    first, second = others
    return clean.replace_names(first, second, first if clean.giver == clean.first else second)


CORRUPTIONS: dict[str, tuple[Corruption, int]] = {
    "abc": (replace_all_names, 3),
    "swap": (swap_giver, 0),
    "names": (replace_both_names, 2),
}
"""Each corruption with the number of other names that it needs."""


@task("ioi", metric="logit_difference", model="ioi", also=("ioi-natural", "multitask"))
def ioi(tokenizer: TokenizerLike, templates: str = "both", corruption: str = "abc") -> Source:
    """Indirect objects: ``Then, Mary and John went to the store. John gave a drink to`` -> Mary
    (Wang et al. 2022).

    The names are one token each; the one that comes twice (S) is the distractor, the other (IO) the
    answer. Roles: ``IO``, ``S1``, ``S2`` (where S comes first and again), ``S1+1``, ``end``; and,
    whoever is who, ``N1`` and ``N2`` (the two names of the opening).

    Args:
        templates: ``abba`` (the indirect object comes first), ``baba`` (second), or ``both``.
        corruption: ``abc`` (three other names, no answer has support), ``swap`` (S2 is the other
            name, so that the answer is S), or ``names`` (two other names in the same order). Frame
            and other words always stay.
    """
    _check_choices(templates=(templates, ORDERS), corruption=(corruption, CORRUPTIONS))
    corrupt, n_others = CORRUPTIONS[corruption]
    people, notes = select_one_token(
        [f" {name}" for name in NAMES], tokenizer, "names", 2 + n_others
    )
    places, more = select_one_token([f" {place}" for place in PLACES], tokenizer, "places", 1)
    objects, still_more = select_one_token(
        [f" {thing}" for thing in OBJECTS], tokenizer, "objects", 1
    )

    def draw(rng: Choices) -> Pair:
        words = (pick_item(rng, places), pick_item(rng, VERBS), pick_item(rng, objects))
        io, s, *others = (people[i] for i in rng.choice(len(people), 2 + n_others, replace=False))
        io_first = pick_item(rng, ORDERS[templates])
        first, second = (io, s) if io_first else (s, io)
        clean = Sentence(pick_item(rng, FRAMES), words, first, second, s)
        at_first, at_second, at_giver, end = find_positions(clean, tokenizer)
        at_io, at_s = (at_first, at_second) if io_first else (at_second, at_first)
        return Pair(
            clean=clean.text,
            corrupted=corrupt(clean, others).text,
            answer=io,
            distractor=s,
            roles={
                "IO": at_io,
                "S1": at_s,
                "S1+1": at_s + 1,
                "S2": at_giver,
                "end": end,
                "N1": at_first,
                "N2": at_second,
            },
        )

    alike = {"names": people, "places": places, "objects": objects}
    return Source(draw, (*notes, *more, *still_more), alike)


def find_positions(sentence: Sentence, tokenizer: TokenizerLike) -> tuple[int, int, int, int]:
    """Token positions of the first name, the second, the giver and the last token."""
    frame, slots = sentence.frame, ("{first}", "{second}", "{giver}")
    # The frame up to each name: the tokens of this text end with the name's token.
    starts = [frame[: frame.index(slot) + len(slot)] for slot in slots]
    texts = [replace(sentence, frame=start).text for start in (*starts, frame)]
    first, second, giver, end = (len(tokens) - 1 for tokens in tokenizer.encode_all(texts))
    return first, second, giver, end


def _check_choices(**choices: tuple[str, Mapping[str, object]]) -> None:
    problems = [
        f"{name} is {choice!r}; expected one of {', '.join(known)}"
        for name, (choice, known) in choices.items()
        if choice not in known
    ]
    if problems:
        raise ArgumentError(list_problems("The task 'ioi' has no such setting:", problems))
