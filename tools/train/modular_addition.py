"""Train `modular-addition`: a one-layer GPT-2 learns a + b modulo 59 from half of all pairs.

python tools/train/modular_addition.py --out catalog/models/modular-addition --seed 0

It sees half of all pairs (the discovery split) and is measured on all of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from supervised import Batches, Pool, Run, Settings, build_folder, parse_options
from supervised_card import Text, Variant, write_card

from circuitgraph.models.loading import load_model
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.prompts import Pair, Split, assign_split

MODULUS = 59
SETTINGS = Settings(steps=3000, batch=512, layers=1, context=4, lr=2e-3, weight_decay=1.0, pool=0)
WORDS = [*map(str, range(MODULUS)), "+", "="]

TEXT = Text(
    intro="""A small GPT-2 for addition modulo 59, each number a token: after `17 + 52 =` it says `10`. It was trained
on the half of all 3,481 pairs that falls into the discovery split. With this weight decay it knows unseen pairs
almost as soon as seen ones: there is no long plateau, and no step at which it groks. Of about half of the unseen pairs
(a, b) the pair (b, a) was seen.""",
    training="Cross-entropy at the last token, all pairs of the discovery split again and again.",
    script="modular_addition.py",
)


def list_pairs(tokenizer: Tokenizer, split: Split) -> Iterator[Pair]:
    """All prompts of a split."""
    for a in range(MODULUS):
        for b in range(MODULUS):
            if assign_split(tokenizer.encode(f"{a} + {b} =")) == split:
                yield Pair(f"{a} + {b} =", f"{a} + {b} =", f" {(a + b) % MODULUS}")


def make_batches(tokenizer: Tokenizer, n_tokens: int, s: Settings) -> Batches:
    """Prompts of the discovery split."""
    pool = Pool(list(list_pairs(tokenizer, "discovery")), tokenizer, n_tokens)
    return lambda rng: [pool.batch(rng, s.batch)]


def write_fourier_section(folder: Path) -> str:
    """The share of each frequency in the power of the numbers' embeddings, without the mean."""
    model = load_model(folder)
    assert model.tokenizer is not None
    numbers = np.array([model.tokenizer.encode(str(i))[0] for i in range(MODULUS)])
    table = np.asarray(model.transformer.embedding, np.float64)[jnp.asarray(numbers)]
    power = (np.abs(np.fft.rfft(table - table.mean(0), axis=0)) ** 2).sum(1)[1:]
    shares = power / power.sum()
    order = np.argsort(-shares)[:8]
    frequencies = ", ".join(f"{k + 1} ({shares[k]:.1%})" for k in order)
    return f"""
## Frequencies

Of the embeddings' power over the {len(shares)} frequencies of a discrete Fourier transform along the numbers, these
have most: {frequencies}. Together they hold {shares[order].sum():.1%}; evenly spread, eight would hold {8 / len(shares):.1%}.
"""


def make_card(folder: Path, name: str, s: Settings, run: Run) -> None:
    tokenizer = load_model(folder).tokenizer
    assert tokenizer is not None
    n = len(list(list_pairs(tokenizer, "evaluation")))
    write_card(
        folder,
        name,
        s,
        run,
        TEXT,
        [Variant("all pairs of the evaluation split", "modular-addition", n=n)],
    )
    path = folder / "README.md"
    path.write_text(
        path.read_text(encoding="utf-8") + write_fourier_section(folder), encoding="utf-8"
    )


if __name__ == "__main__":
    out, settings = parse_options(__doc__, SETTINGS)
    build_folder(out, settings, WORDS, make_batches, make_card)
