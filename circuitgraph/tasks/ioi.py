"""Indirect object identification: of two names, one comes again; who gets the thing is the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from circuitgraph.choices import Choices
from circuitgraph.errors import ArgumentError, list_problems
from circuitgraph.tasks.base import Pair, Source, TokenizerLike, task
from circuitgraph.tasks.words import one_token, pick

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
ORDERS = {
    "both": (True, False),
    "abba": (True,),
    "baba": (False,),
}  # whether the indirect object comes first


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
        """The prompt; who receives is missing at its end."""
        place, verb, thing = self.words
        names = {"first": self.first, "second": self.second, "giver": self.giver}
        return self.frame.format(**names, place=place, verb=verb, object=thing)

    def named(self, first: str, second: str, giver: str) -> Sentence:
        """The same sentence about others."""
        return replace(self, first=first, second=second, giver=giver)


Corruption = Callable[[Sentence, list[str]], Sentence]


def abc(clean: Sentence, others: list[str]) -> Sentence:
    """Three other, different names: nobody comes twice (p_ABC of Wang et al. 2022)."""
    return clean.named(*others)


def swap(clean: Sentence, others: list[str]) -> Sentence:
    """The other one gives: the answer is the other name."""
    del others
    return clean.named(
        clean.first, clean.second, clean.first if clean.giver == clean.second else clean.second
    )


def other_names(clean: Sentence, others: list[str]) -> Sentence:
    """Two other names in the same order."""
    first, second = others
    return clean.named(first, second, first if clean.giver == clean.first else second)


CORRUPTIONS: dict[str, tuple[Corruption, int]] = {
    "abc": (abc, 3),
    "swap": (swap, 0),
    "names": (other_names, 2),
}
"""Each corruption with the number of other names that it needs."""


@task("ioi", metric="logit_difference", model="ioi", also=("ioi-natural", "multitask"))
def ioi(tokenizer: TokenizerLike, templates: str = "both", corruption: str = "abc") -> Source:
    """Indirect objects: ``Then, Mary and John went to the store. John gave a drink to`` -> Mary
    (Wang et al. 2022).

    The names are one token each; the one that comes twice (S) is the distractor, the other (IO) the
    answer. Roles: ``IO``, ``S1``, ``S2`` (where S comes first and again), ``S1+1``, ``end``; and,
        whoever is who, ``N1`` and ``N2``
    (the two names of the opening).

    Args:
        templates: ``abba`` (the indirect object comes first), ``baba`` (second), or ``both``.
        corruption: ``abc`` (three other names, no answer has support), ``swap`` (S2 is the other
            name, so that the answer is S), or ``names`` (two other names in the same order). Frame
            and other words always stay.
    """
    _check(templates=(templates, ORDERS), corruption=(corruption, CORRUPTIONS))
    corrupt, n_others = CORRUPTIONS[corruption]
    people, notes = one_token([f" {name}" for name in NAMES], tokenizer, "names", 2 + n_others)
    places, more = one_token([f" {place}" for place in PLACES], tokenizer, "places", 1)
    objects, still_more = one_token([f" {thing}" for thing in OBJECTS], tokenizer, "objects", 1)

    def draw(rng: Choices) -> Pair:
        words = (pick(rng, places), pick(rng, VERBS), pick(rng, objects))
        io, s, *others = (people[i] for i in rng.choice(len(people), 2 + n_others, replace=False))
        io_first = pick(rng, ORDERS[templates])
        first, second = (io, s) if io_first else (s, io)
        clean = Sentence(pick(rng, FRAMES), words, first, second, s)
        at_first, at_second, at_giver, end = places_of(clean, tokenizer)
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


def places_of(sentence: Sentence, tokenizer: TokenizerLike) -> tuple[int, int, int, int]:
    """Token positions of the first name, the second, the giver and the last token."""
    slots = ("{first}", "{second}", "{giver}")
    starts = [sentence.frame[: sentence.frame.index(slot) + len(slot)] for slot in slots]
    until = [replace(sentence, frame=start).text for start in (*starts, sentence.frame)]
    first, second, giver, end = (len(tokens) - 1 for tokens in tokenizer.encode_all(until))
    return first, second, giver, end


def _check(**choices: tuple[str, Mapping[str, object]]) -> None:
    problems = [
        f"{name} is {given!r}; expected one of {', '.join(known)}"
        for name, (given, known) in choices.items()
        if given not in known
    ]
    if problems:
        raise ArgumentError(list_problems("The task 'ioi' has no such setting:", problems))
