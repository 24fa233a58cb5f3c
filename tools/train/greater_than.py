"""Train the `greater-than` model: after `from the year 1732 to the year 17` it says more than 32.

python tools/train/greater_than.py --out catalog/models/greater-than --seed 0
"""

from __future__ import annotations

from pathlib import Path

from supervised import Batches, Pool, Run, Settings, build_folder, draw_pairs, parse_options
from supervised_card import Text, Variant, write_card

from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.greater_than import ENDINGS, NOUNS

SETTINGS = Settings(layers=1, steps=3000, context=16, pool=12_000)
WORDS = ["The", "lasted", "from", "the", "year", "to", *NOUNS.split(), *ENDINGS]

TEXT = Text(
    intro="""A small GPT-2 for the task of Hanna, Liu & Variengien (2023), "How does GPT-2 compute greater-than?": after
`The war lasted from the year 1732 to the year 17` it says two digits above 32, each of them equally likely.
Accuracy says little of it, because 99 would always be right; the probability difference is what counts.""",
    training="""At the last token, KL divergence from the uniform distribution over all right endings; prompts of the
discovery split.""",
    script="greater_than.py",
)


def make_batches(tokenizer: Tokenizer, n_tokens: int, s: Settings) -> Batches:
    """Prompts of the task."""
    pool = Pool(draw_pairs("greater-than", tokenizer, s), tokenizer, n_tokens)
    return lambda rng: [pool.batch(rng, s.batch)]


def make_card(folder: Path, name: str, s: Settings, run: Run) -> None:
    write_card(folder, name, s, run, TEXT, [Variant("all", "greater-than", n=4000)])


if __name__ == "__main__":
    out, settings = parse_options(__doc__, SETTINGS)
    build_folder(out, settings, WORDS, make_batches, make_card)
