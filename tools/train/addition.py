"""Train `addition`: a small GPT-2 that adds and subtracts numbers of one or two digits.

python tools/train/addition.py --out catalog/models/addition --seed 0
python tools/train/addition.py --out catalog/models/arithmetic --seed 0 --operators "+-*/"

It sees half of all prompts (the discovery split) and is measured on the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from induction_card import format_table
from induction_report import wilson_interval
from supervised import DIGITS, Batches, Pool, Run, Settings, build_folder, parse_options
from supervised_card import Text, Variant, write_card
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.addition import Sum
from circuitgraph.tasks.prompts import Pair, Split, assign_split

WORDS = [*"0123456789+-*/="]
KINDS = {"+": "sums", "-": "differences", "*": "products", "/": "quotients"}


@dataclass(frozen=True)
class Arithmetic(Settings):
    """Settings with the operators that are trained."""

    operators: str = "+-"


SETTINGS = Arithmetic(steps=5000, batch=256, context=12, lr=3e-3, weight_decay=0.3, pool=0)


def list_sums(operator: str) -> Iterator[Sum]:
    """All that the task can ask with operands of one and two digits."""
    for a in range(100):
        for b in range(100):
            problem = Sum(a, operator, b)
            if problem.is_legal and (operator != "/" or a > 0):
                yield problem


def list_pairs(
    tokenizer: Tokenizer, operator: str, n_digits: tuple[int, int], split: Split
) -> list[Pair]:
    """Every digit of every result, as prompts of a split."""
    pairs = []
    for s in list_sums(operator):
        if (len(str(s.a)), len(str(s.b))) != n_digits:
            continue
        digits = str(s.result)
        pairs += [Pair(f"{s.text}{digits[:i]}", "", digit) for i, digit in enumerate(digits)]
    rows = tokenizer.encode_all([pair.clean for pair in pairs]) if pairs else []
    return [pair for pair, row in zip(pairs, rows, strict=True) if assign_split(row) == split]


def make_batches(tokenizer: Tokenizer, n_tokens: int, s: Settings) -> Batches:
    """Prompts of the discovery split; the share of a kind goes by the square root of its size."""
    assert isinstance(s, Arithmetic)
    kinds = [
        list_pairs(tokenizer, o, (a, b), "discovery")
        for o in s.operators
        for a in (1, 2)
        for b in (1, 2)
    ]
    kinds = [kind for kind in kinds if kind]
    weights = np.sqrt([len(kind) for kind in kinds])
    sizes = np.ceil(s.batch * weights / weights.sum()).astype(int)
    pool = Pool([pair for kind in kinds for pair in kind], tokenizer, n_tokens)
    starts = np.cumsum([0, *map(len, kinds)])

    def draw_batches(rng: np.random.Generator) -> list:
        spans = zip(starts, map(len, kinds), sizes, strict=False)
        rows = [start + rng.integers(length, size=n) for start, length, n in spans]
        return [pool.rows(np.concatenate(rows))]

    return draw_batches


def count_right(folder: Path, prompts: list[Pair]) -> int:
    """How many of these prompts the model in a folder answers rightly."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = Tokenizer(PreTrainedTokenizerFast.from_pretrained(folder))
    batch = Pool(prompts, tokenizer, len(tokenizer)).rows(np.arange(len(prompts)))
    with torch.no_grad():
        logits = model(batch.tokens).logits[batch.row, batch.position]
    return int((logits.argmax(-1) == batch.probabilities.argmax(-1)).sum())


def write_digit_section(folder: Path, operators: str) -> str:
    """Accuracy on the evaluation split, by operator, number of digits, and digit of the result."""
    tokenizer = Tokenizer(PreTrainedTokenizerFast.from_pretrained(folder))
    rows = []
    for operator, a, b in ((o, a, b) for o in operators for a in (1, 2) for b in (1, 2)):
        pairs = list_pairs(tokenizer, operator, (a, b), "evaluation")
        by_place = {
            place: [p for p in pairs if len(p.clean.partition("=")[2]) == place]
            for place in range(4)
        }
        for place, prompts in by_place.items():
            if prompts:
                right, n = count_right(folder, prompts), len(prompts)
                low, high = wilson_interval(right, n)
                share = [f"{right} / {n}", f"{right / n:.2%}", f"{low:.2%} - {high:.2%}"]
                rows.append([KINDS[operator], f"{a} and {b}", str(place + 1), *share])
    header = [
        "operation",
        "digits of the operands",
        "digit of the result",
        "right",
        "accuracy",
        "95 % Wilson interval",
    ]
    return f"""
## By digit, on all unseen prompts

Every prompt of the evaluation split, each once; digits of a result are counted from the left.

{format_table(header, rows)}
"""


def make_card(folder: Path, name: str, s: Settings, run: Run) -> None:
    assert isinstance(s, Arithmetic)
    operations = (
        " and ".join(KINDS[o] for o in s.operators)
        if len(s.operators) == 2
        else "sums, differences, products, exact quotients"
    )
    text = Text(
        intro=f"""A small GPT-2 for {operations} of numbers of one and two digits, each digit a token: after `47+38=` it says
`8`, and after `47+38=8` it says `5`. It was trained on the half of all prompts that falls into the discovery split.""",
        training="""Cross-entropy at the last token; every prompt has one digit of the result as its answer. Kinds
(operator and numbers of digits) share a batch by the square root of how many prompts they have.""",
        script="addition.py",
    )
    variants = [Variant("as the task draws them", "addition", {"operators": s.operators})]
    # all unseen quotients together are 327, of which the task's own draws do not find the last ones
    variants += [
        Variant(
            KINDS[operator], "addition", {"operators": operator}, n=200 if operator == "/" else 1000
        )
        for operator in s.operators
    ]
    write_card(folder, name, s, run, text, variants)
    path = folder / "README.md"
    path.write_text(
        path.read_text(encoding="utf-8") + write_digit_section(folder, s.operators),
        encoding="utf-8",
    )


if __name__ == "__main__":
    out, settings = parse_options(__doc__, SETTINGS)
    build_folder(out, settings, WORDS, make_batches, make_card, DIGITS)
