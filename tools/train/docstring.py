"""Train the `docstring` model: a docstring describes the arguments in their order.

    python tools/train/docstring.py --out catalog/models/docstring --seed 0

The answer alone teaches this only very slowly, so that the docstrings of the training data go on to
the last argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from supervised import (
    PAD,
    Batch,
    Batches,
    Run,
    Settings,
    build_folder,
    draw_pairs,
    pad_rows,
    parse_options,
    target_every_position,
)
from supervised_card import Text, Variant, write_card

from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.docstring import ARGUMENTS, NOUNS
from circuitgraph.tasks.prompts import Pair, assign_split

SETTINGS = Settings(
    layers=3,
    width=128,
    steps=2500,
    batch=64,
    context=64,
    lr=2e-3,
    weight_decay=0.5,
    spread=0.08,
    pool=3000,
)
WORDS = ["def", "(", "self", ",", "):", '"""', ":", "param", *ARGUMENTS.split(), *NOUNS.split()]
NO_TARGET = -1

TEXT = Text(
    intro="""A small GPT-2 for the task of Heimersheim & Janiak (2023), "A circuit for Python docstrings in a 4-layer
attention-only transformer": after the beginning of a docstring that has described some of a definition's arguments in
their order, it says the next argument. Unlike that model it has MLPs and knows nothing but such definitions.""",
    training="""Cross-entropy of the next argument after each `:param` but the first, in docstrings that go on to the
last argument. In each row all names of arguments and all other nouns are exchanged at random, so that no row comes
twice; rows whose prompt (up to the task's last token) belongs to the evaluation split are left out.""",
    script="docstring.py",
)


def continue_docstring(pair: Pair, nouns: Sequence[str], rng: np.random.Generator) -> str:
    """The prompt, its answer, and the same for all arguments after it."""
    defined = pair.clean.partition("):")[0].split(", ")[1:]
    text = pair.clean + str(pair.answer)
    for name in defined[defined.index(str(pair.answer).strip()) + 1 :]:
        first, second = rng.choice(nouns, 2, replace=False)
        text += f": {first} {second}\n    :param {name}"
    return text


def exchange_tokens(
    rows: np.ndarray, groups: Sequence[Sequence[int]], n_tokens: int, rng: np.random.Generator
) -> np.ndarray:
    """In each row, permute the tokens of each group."""
    names = np.tile(np.arange(n_tokens), (len(rows), 1))
    for group in groups:
        names[:, group] = rng.permuted(np.tile(group, (len(rows), 1)), axis=1)
    return np.take_along_axis(names, rows, axis=1)


def make_targets(rows: np.ndarray, param: int) -> np.ndarray:
    """The next token after each `param` but the first of a row; NO_TARGET elsewhere."""
    at = rows == param
    has_target = at & (at.cumsum(axis=1) > 1)
    return np.where(has_target, np.roll(rows, -1, axis=1), NO_TARGET)


def make_batches(tokenizer: Tokenizer, n_tokens: int, s: Settings) -> Batches:
    """Rows that are different every time."""
    pairs = draw_pairs("docstring", tokenizer, s)
    rng, nouns = np.random.default_rng(s.seed), NOUNS.split()
    pool = pad_rows(
        tokenizer.encode_all([continue_docstring(pair, nouns, rng) for pair in pairs]), PAD
    ).numpy()
    n_prompt = len(tokenizer.encode(pairs[0].clean))
    groups = [[tokenizer.encode(word)[0] for word in words.split()] for words in (ARGUMENTS, NOUNS)]
    (param,) = tokenizer.encode("param")

    def draw_batches(rng: np.random.Generator) -> list[Batch]:
        rows = exchange_tokens(
            pool[rng.integers(len(pool), size=3 * s.batch)], groups, n_tokens, rng
        )
        allowed = [row for row in rows if assign_split(row[:n_prompt].tolist()) == "discovery"][
            : s.batch
        ]
        tokens = np.stack(allowed)
        return [
            target_every_position(
                torch.from_numpy(tokens), torch.from_numpy(make_targets(tokens, param)), n_tokens
            )
        ]

    return draw_batches


def make_card(folder: Path, name: str, s: Settings, run: Run) -> None:
    write_card(folder, name, s, run, TEXT, [Variant("all", "docstring", n=4000)])


if __name__ == "__main__":
    out, settings = parse_options(__doc__, SETTINGS)
    build_folder(out, settings, WORDS, make_batches, make_card)
