"""Train `ioi-natural`: a small GPT-2 that learns indirect object identification in its own way.

    python tools/train/ioi.py --out catalog/models/ioi-natural --seed 0

Nothing but the answer is asked of it; which circuit it finds is its own affair. `ioi_siit.py`
trains its twin, whose circuit is known.
"""

from __future__ import annotations

import argparse
import re
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ioi_card import write_natural_card
from ioi_prompts import Language, Side
from supervised import replace_folder, save_model
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.ioi import FRAMES, NAMES, OBJECTS, PLACES, VERBS

CONTEXT = 32
IGNORE = -100


@dataclass(frozen=True)
class Settings:
    """Every number that decides the weights, so that the card can print them all."""

    seed: int = 0
    steps: int = 1500
    batch: int = 64
    layers: int = 2
    heads: int = 4
    width: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.1
    others: float = 1.0  # weight of the next token everywhere, beside that of the answer
    pool: int = 100_000


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One id per word or punctuation mark of the task's sentences, and nothing added on encode."""
    text = re.sub(r"\{\w+\}", " ", " ".join(FRAMES))
    words = [*sorted(set(re.findall(r"\w+|[^\w\s]", text))), *VERBS, *PLACES, *OBJECTS, *NAMES]
    vocab = {"<pad>": 0, "<unk>": 1} | {word: 2 + i for i, word in enumerate(words)}
    backend = Backend(WordLevel(vocab, unk_token="<unk>"))  # noqa: S106
    backend.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        model_max_length=CONTEXT,
    )


def build_model(layers: int, heads: int, width: int, mlp: int, seed: int) -> Any:
    """A GPT-2 for that tokenizer, dropout off and no BOS or EOS."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(build_tokenizer()),
        n_positions=CONTEXT,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        n_inner=mlp,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    return GPT2LMHeadModel(config)


def learning_rate(step: int, s: Settings) -> float:
    """Linear warm-up over 100 steps, then a cosine down to nothing."""
    return s.lr * min(1.0, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * step / s.steps))


def make_targets(side: Side, length: np.ndarray) -> np.ndarray:
    """The next token at every position: at the end the name that does not give, then IGNORE."""
    rows, targets = np.arange(len(length)), np.full_like(side.tokens, IGNORE)
    targets[:, :-1] = side.tokens[:, 1:]
    targets[np.arange(targets.shape[1]) >= length[:, None]] = IGNORE
    targets[rows, length - 1] = side.people.opening.sum(1) - side.people.giver
    return targets


def train_model(model: Any, s: Settings) -> list[float]:
    """Run the steps on prompts of the discovery split; returns the loss of each."""
    rng, language = np.random.default_rng(s.seed), Language(Tokenizer(build_tokenizer()))
    pool = language.draw_pairs(rng, s.pool, "discovery", clean_abc=0.0)
    tokens, targets = (
        torch.from_numpy(pool.clean.tokens),
        torch.from_numpy(make_targets(pool.clean, pool.length)),
    )
    last = torch.from_numpy(pool.length - 1)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=s.lr, betas=(0.9, 0.98), weight_decay=s.weight_decay
    )
    losses: list[float] = []
    bar = tqdm(range(s.steps), desc="train", mininterval=1.0)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, s)
        rows = torch.from_numpy(rng.integers(len(tokens), size=s.batch))
        logits = model(tokens[rows], use_cache=False).logits
        each = cross_entropy(
            logits.transpose(1, 2), targets[rows], ignore_index=IGNORE, reduction="none"
        )
        loss = each[torch.arange(s.batch), last[rows]].mean()
        optimizer.zero_grad()
        (loss + s.others * each.mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 20 == 0:
            bar.set_postfix(loss=f"{losses[-1]:.4f}")
    return losses


def build_folder(out: Path, s: Settings) -> None:
    """Train, then write a folder beside `out` that takes the place of `out` when complete."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with replace_folder(out) as folder:
        model = build_model(s.layers, s.heads, s.width, 4 * s.width, s.seed)
        start = time.perf_counter()
        losses = train_model(model, s)
        seconds = time.perf_counter() - start
        save_model(model, build_tokenizer(), folder)
        write_natural_card(folder, out.name, asdict(s), seconds, float(np.mean(losses[-50:])))


def parse_settings(kind: type[Any], doc: str) -> tuple[Path, Any]:
    """Where to write, and the settings: one option for each field."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="the checkpoint folder, replaced at the end"
    )
    for field in fields(kind):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default
        )
    given = vars(parser.parse_args())
    return given.pop("out"), kind(**given)


if __name__ == "__main__":
    build_folder(*parse_settings(Settings, __doc__ or ""))
