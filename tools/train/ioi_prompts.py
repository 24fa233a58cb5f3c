"""Pairs of prompts (clean, donor) for interchange training, with names at the same positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ioi_program import People

from circuitgraph.tasks.ioi import FRAMES, NAMES, OBJECTS, PLACES, VERBS, Sentence, find_positions
from circuitgraph.tasks.prompts import Split, TokenizerLike, assign_split


class Side(NamedTuple):
    """One prompt of each pair: its tokens, and who stands in it."""

    tokens: np.ndarray  # [n, pos]
    people: People


class Pairs(NamedTuple):
    """Clean prompts with their donors. ``length``: number of tokens of each, the same for both."""

    clean: Side
    donor: Side
    length: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Pairs:  # pyright: ignore[reportIncompatibleMethodOverride]
        def select_part(side: Side) -> Side:
            return Side(
                side.tokens[rows], People(side.people.opening[rows], side.people.giver[rows])
            )

        return Pairs(select_part(self.clean), select_part(self.donor), self.length[rows])


class Language:
    """The task's sentences as arrays of tokens.

    Attributes:
        frames: tokens of each frame, padded; ``slots`` says where the names and words go in.
        shapes: for each frame, which frames have their names at the same places.
    """

    def __init__(self, tokenizer: TokenizerLike) -> None:
        def encode_words(words: Sequence[str]) -> np.ndarray:
            return np.array([tokenizer.encode(f" {word}")[0] for word in words])

        self.names = encode_words(NAMES)
        self.words = [encode_words(PLACES), encode_words(VERBS), encode_words(OBJECTS)]
        examples = [
            Sentence(
                frame,
                (f" {PLACES[0]}", VERBS[0], f" {OBJECTS[0]}"),
                *(f" {name}" for name in NAMES[:3]),
            )
            for frame in FRAMES
        ]
        rows = [tokenizer.encode(example.text) for example in examples]
        self.lengths = np.array([len(row) for row in rows])
        self.frames = np.zeros((len(rows), self.lengths.max()), np.int64)
        for frame, row in zip(self.frames, rows, strict=True):
            frame[: len(row)] = row
        first = [words[0] for words in self.words]
        self.slots = np.array(
            [
                [*find_positions(example, tokenizer)[:3], *(row.index(word) for word in first)]
                for example, row in zip(examples, rows, strict=True)
            ]
        )
        shapes = [
            (length, *slots[:3])
            for length, slots in zip(self.lengths, self.slots.tolist(), strict=True)
        ]
        self.shapes = [
            np.array([i for i, other in enumerate(shapes) if other == shape]) for shape in shapes
        ]

    def make_side(self, frame: np.ndarray, people: People, rng: np.random.Generator) -> Side:
        """Sentences with these frames and people, and random other words."""
        tokens, rows, slots = self.frames[frame].copy(), np.arange(len(frame)), self.slots[frame]
        filled = [
            *people.opening.T,
            people.giver,
            *(rng.choice(words, len(frame)) for words in self.words),
        ]
        for slot, content in zip(slots.T, filled, strict=True):
            tokens[rows, slot] = content
        return Side(tokens, people)

    def draw_pairs(
        self, rng: np.random.Generator, n: int, split: Split, clean_abc: float = 0.1
    ) -> Pairs:
        """About ``n`` pairs; every prompt of them is of that split.

        Three donors of four come from other people, a quarter from the same two; a third have three
        different names.

        Args:
            clean_abc: share of clean prompts that have three different names, and so no answer but
                either.
        """
        n *= 4  # a prompt is of the wrong split half of the time
        frame = rng.integers(len(FRAMES), size=n)
        other = np.array([rng.choice(self.shapes[i]) for i in frame])
        who = self.names[rng.random((n, len(NAMES))).argsort(1)]
        clean = _draw_people(rng, who[:, :3], clean_abc)
        again = rng.random(n) < 0.25
        shuffled = np.where(rng.random((n, 1)) < 0.5, clean.opening, clean.opening[:, ::-1])
        anybody = self.names[rng.random((n, len(NAMES))).argsort(1)]
        strangers = np.where(rng.random((n, 1)) < 0.5, who[:, 3:6], anybody[:, :3])
        cast = np.where(again[:, None], np.column_stack([shuffled, who[:, 3]]), strangers)
        donor = _draw_people(rng, cast, 1 / 3)
        sides = self.make_side(frame, clean, rng), self.make_side(other, donor, rng)
        pairs = Pairs(*sides, self.lengths[frame])
        ours = [
            all(assign_split(side.tokens[i, :length].tolist()) == split for side in sides)
            for i, length in enumerate(pairs.length.tolist())
        ]
        return pairs[np.flatnonzero(ours)]


def _draw_people(rng: np.random.Generator, cast: np.ndarray, abc: float) -> People:
    """The first two open; one of them gives, or, with probability ``abc``, the third."""
    giver = np.where(rng.random(len(cast)) < abc, 2, rng.integers(2, size=len(cast)))
    return People(cast[:, :2], cast[np.arange(len(cast)), giver])
