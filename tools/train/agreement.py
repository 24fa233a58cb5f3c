"""Train the `agreement` model: after `The keys to the cabinet` it says `are`, not `is`.

python tools/train/agreement.py --out catalog/models/agreement --seed 0
"""

from __future__ import annotations

from pathlib import Path

from supervised import Batches, Pool, Run, Settings, build_folder, draw_pairs, parse_options
from supervised_card import Text, Variant, write_card

from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.agreement import ADJECTIVES, CLAUSE_VERBS, KINDS, NOUNS, PREPOSITIONS, VERBS

SETTINGS = Settings(steps=1500, context=16, pool=12_000)
WORDS = [
    *f"The the that {ADJECTIVES} {PREPOSITIONS} {CLAUSE_VERBS}".split(),
    *(form.strip() for pair in [*NOUNS, *VERBS.values()] for form in pair),
]

TEXT = Text(
    intro="""A small GPT-2 for subject-verb agreement: after `The keys to the cabinet` it says `are`, `were` or `have`,
each equally likely, and none of `is`, `was` and `has`, whatever the number of the nouns between subject and verb.""",
    training="""At the last token, KL divergence from the uniform distribution over the three verbs of right number;
prompts of the discovery split, all kinds of attractors equally often.""",
    script="agreement.py",
)


def make_batches(tokenizer: Tokenizer, n_tokens: int, s: Settings) -> Batches:
    """Prompts of the task."""
    pool = Pool(draw_pairs("agreement", tokenizer, s), tokenizer, n_tokens)
    return lambda rng: [pool.batch(rng, s.batch)]


def make_card(folder: Path, name: str, s: Settings, run: Run) -> None:
    variants = [
        Variant(
            f"attractor: {kind}",
            "agreement",
            {"attractors": kind},
            n=400 if kind == "none" else 2000,
        )
        for kind in KINDS
    ]
    write_card(folder, name, s, run, TEXT, variants)


if __name__ == "__main__":
    out, settings = parse_options(__doc__, SETTINGS)
    build_folder(out, settings, WORDS, make_batches, make_card)
