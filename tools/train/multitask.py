"""Train the `multitask` model: induction, IOI, arithmetic, greater-than and agreement.

    python tools/train/multitask.py --out catalog/models/multitask --seed 0

Each step is given a batch of every task, and the mean of their losses counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import agreement
import greater_than
import ioi
import numpy as np
from induction_2l import WORDS as NOUNS
from supervised import (
    PAD,
    Batch,
    Batches,
    Pool,
    Run,
    Settings,
    build_folder,
    draw_pairs,
    pad_rows,
    parse_options,
    target_every_position,
)
from supervised_card import Text, Variant, write_card
from torch import from_numpy

from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.agreement import KINDS
from circuitgraph.tasks.prompts import Pair, assign_split

SETTINGS = Settings(
    layers=4,
    heads=8,
    width=128,
    mlp=256,
    context=40,
    steps=3500,
    batch=24,
    lr=1.5e-3,
    weight_decay=1.0,
    spread=0.08,
    pool=10_000,
)
LARGEST = 99  # of the numbers that are added
WORDS = [
    *(str(number) for number in range(2 * LARGEST + 1)),
    *"+-=",
    *greater_than.WORDS,
    *agreement.WORDS,
    *sorted(word for word in ioi.build_tokenizer().get_vocab() if not word.startswith("<")),
    *NOUNS,
]
SHARES = {
    "induction": 1.33,
    "ioi": 1.0,
    "greater-than": 0.67,
    "agreement": 0.67,
    "arithmetic": 8.0,
}  # of a batch

TEXT = Text(
    intro="""One small GPT-2 that does five tasks in one vocabulary, so that circuits of several behaviours can be
compared inside one model: `induction`, `ioi`, `addition` (with subtraction), `greater-than` and `agreement`.""",
    training="""Each step is given a batch of every task, and the mean of their losses counts: KL divergence from the
uniform distribution over the right answers at the last token. Induction prompts go on to copy all their words, and each
copied word counts; of arithmetic a batch is eight times as large, because unseen sums are what takes longest. Prompts
of the discovery split of each task. Numbers are single tokens here, so that half of all sums have to be worked out from
the other half: with weight decay 0.5 (and 7,000 steps at 2e-3) the model learned all seen sums by heart and 45 % of the
unseen ones; with 1.0 it still learned unseen sums when its steps were over.""",
    script="multitask.py",
)


def list_arithmetic(tokenizer: Tokenizer) -> list[Pair]:
    """Sums and non-negative differences of numbers of one or two digits, of the discovery split."""
    sums = [(f"{a}+{b}=", a + b) for a in range(LARGEST + 1) for b in range(LARGEST + 1)]
    sums += [(f"{a}-{b}=", a - b) for a in range(LARGEST + 1) for b in range(a + 1)]
    tokens = tokenizer.encode_all([text for text, _ in sums])
    return [
        Pair(text, text, str(result))
        for (text, result), ids in zip(sums, tokens, strict=True)
        if assign_split(ids) == "discovery"
    ]


def make_copying(pairs: Sequence[Pair], tokenizer: Tokenizer, n_tokens: int, size: int) -> Batches:
    """Induction prompts that go on to copy all other words; after the last comes the first.

    Each next word is wanted from the prompt's last token on, but not the first one after the last,
    which nothing tells.
    """
    rows, targets = [], []
    for pair, prompt in zip(
        pairs, tokenizer.encode_all([pair.clean for pair in pairs]), strict=True
    ):
        until_last, from_first = prompt[pair.roles["B1"] : -1], prompt[: pair.roles["A1"]]
        copied = until_last + from_first
        rows.append(prompt + copied[:-1])
        targets.append(
            [-1] * (len(prompt) - 1) + until_last + [-1] * bool(from_first) + from_first[1:]
        )
    tokens, targets = pad_rows(rows, PAD), pad_rows(targets, -1)

    def draw_batches(rng: np.random.Generator) -> list[Batch]:
        chosen = from_numpy(rng.integers(len(tokens), size=size))
        longest = int((targets[chosen] >= 0).nonzero()[:, 1].max()) + 1
        return [
            target_every_position(tokens[chosen, :longest], targets[chosen, :longest], n_tokens)
        ]

    return draw_batches


def make_batches(tokenizer: Tokenizer, n_tokens: int, s: Settings) -> Batches:
    """A batch of each task."""
    sizes = {name: round(s.batch * share) for name, share in SHARES.items()}
    induction = make_copying(
        draw_pairs("induction", tokenizer, s, 3 * s.pool), tokenizer, n_tokens, sizes["induction"]
    )
    drawn = {name: draw_pairs(name, tokenizer, s) for name in ("ioi", "greater-than", "agreement")}
    drawn["arithmetic"] = list_arithmetic(tokenizer)
    pools = {name: Pool(pairs, tokenizer, n_tokens) for name, pairs in drawn.items()}
    return lambda rng: [
        *induction(rng),
        *(pool.batch(rng, sizes[name]) for name, pool in pools.items()),
    ]


def make_card(folder: Path, name: str, s: Settings, run: Run) -> None:
    variants = [
        Variant("induction", "induction", n=1000),
        Variant("ioi", "ioi", n=1000),
        Variant("addition", "addition", n=1000),
        Variant("greater-than", "greater-than", n=1000),
        *(
            Variant(
                f"agreement, attractor: {kind}",
                "agreement",
                {"attractors": kind},
                n=400 if kind == "none" else 1000,
            )
            for kind in KINDS
        ),
    ]
    write_card(folder, name, s, run, TEXT, variants, n_ablation=100)


if __name__ == "__main__":
    out, settings = parse_options(__doc__, SETTINGS)
    build_folder(out, settings, WORDS, make_batches, make_card)
