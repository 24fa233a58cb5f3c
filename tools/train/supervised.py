"""Train small GPT-2s on the answers of tasks: settings, tokenizer, prompts, the loop, the files.

What is trained on is the discovery split of a task, so that accuracy on its evaluation split is on
unseen prompts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from circuitgraph.catalog.leftovers import (
    make_temporary_folder,
    name_old,
    remove_leftovers,
)
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.base import GrammarTask, tasks
from circuitgraph.tasks.prompts import Pair

PAD, UNK = 0, 1
# Cuts between century and the other two digits of a number of four digits; and between all digits.
YEARS = pre_tokenizers.Split(Regex(r"(?<=^\d\d)(?=\d\d$)"), "isolated")
DIGITS = pre_tokenizers.Digits(individual_digits=True)


@dataclass(frozen=True)
class Settings:
    """Every number that decides the weights, so that the card can print them all."""

    seed: int = 0
    steps: int = 1500
    batch: int = 128
    layers: int = 2
    heads: int = 4
    width: int = 64
    mlp: int = 256
    context: int = 32
    lr: float = 3e-3
    weight_decay: float = 0.01
    spread: float = 0.02  # standard deviation of the initial weights
    pool: int = 20_000  # prompts of each task to draw batches from


@dataclass(frozen=True)
class Run:
    """The cost of training, and the mean KL divergence from the targets at the end, in nats."""

    seconds: float
    final_loss: float


class Batch(NamedTuple):
    """Rows of tokens, and for some (row, position) the right probabilities of the next token."""

    tokens: Int[Tensor, "rows pos"]
    row: Int[Tensor, " places"]
    position: Int[Tensor, " places"]
    probabilities: Float[Tensor, "places vocab"]


Batches = Callable[[np.random.Generator], Sequence[Batch]]


def build_tokenizer(
    words: Iterable[str], context: int, numbers: Any = YEARS
) -> PreTrainedTokenizerFast:
    """One id for each word, number (as ``numbers`` cuts them) or run of signs; nothing is added."""
    vocab = {word: i for i, word in enumerate(dict.fromkeys(["<pad>", "<unk>", *words]))}
    backend = Backend(WordLevel(vocab, unk_token="<unk>"))  # noqa: S106
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), numbers])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        model_max_length=context,
    )


def build_model(s: Settings, n_tokens: int) -> Any:
    """GPT-2 with untied embeddings, dropout off and no BOS or EOS."""
    torch.manual_seed(s.seed)
    config = GPT2Config(
        vocab_size=n_tokens,
        n_positions=s.context,
        n_embd=s.width,
        n_layer=s.layers,
        n_head=s.heads,
        n_inner=s.mlp,
        initializer_range=s.spread,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=PAD,
        tie_word_embeddings=False,
    )
    return GPT2LMHeadModel(config)


def draw_pairs(name: str, tokenizer: Tokenizer, s: Settings, n: int | None = None) -> list[Pair]:
    """Different prompts of the discovery split: as many as the settings say, or ``n``."""
    return GrammarTask(tasks[name], tokenizer, s.seed, {}).pairs(n or s.pool, "discovery")


def pad_rows(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows as one array, filled up on the right."""
    length = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (length - len(row))] for row in rows])


class Pool:
    """Prompts with their right answers, all equally likely at the last token."""

    def __init__(self, pairs: Sequence[Pair], tokenizer: Tokenizer, n_tokens: int) -> None:
        rows = tokenizer.encode_all([pair.clean for pair in pairs])
        known = {
            text: tokenizer.encode(str(text))[0]
            for pair in pairs
            for text in pair.right or (pair.answer,)
        }
        self._tokens, self._n_tokens = pad_rows(rows, PAD), n_tokens
        self._last = torch.tensor([len(row) - 1 for row in rows])
        self._right = pad_rows(
            [[known[text] for text in pair.right or (pair.answer,)] for pair in pairs], -1
        )

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """That many of them, at random."""
        return self.rows(rng.integers(len(self._last), size=size))

    def rows(self, numbers: Int[np.ndarray, " rows"]) -> Batch:
        """Those of these numbers."""
        chosen, size = torch.from_numpy(numbers), len(numbers)
        right = self._right[chosen]
        share = (right >= 0).float()
        probabilities = torch.zeros(size, self._n_tokens)
        probabilities.scatter_add_(1, right.clamp_min(0), share / share.sum(1, keepdim=True))
        return Batch(self._tokens[chosen], torch.arange(size), self._last[chosen], probabilities)


def target_every_position(
    tokens: Int[Tensor, "rows pos"], targets: Int[Tensor, "rows pos"], n_tokens: int
) -> Batch:
    """Rows with one wanted next token at each place where ``targets`` is not negative."""
    row, position = torch.nonzero(targets >= 0, as_tuple=True)
    probabilities = torch.nn.functional.one_hot(targets[row, position], n_tokens).float()
    return Batch(tokens, row, position, probabilities)


def compute_loss(model: Any, batch: Batch) -> Float[Tensor, ""]:
    """Mean KL divergence from what is wanted to what the model says, in nats."""
    hidden = model.transformer(batch.tokens, use_cache=False).last_hidden_state
    log_probabilities = model.lm_head(hidden[batch.row, batch.position]).log_softmax(-1)
    return torch.nn.functional.kl_div(log_probabilities, batch.probabilities, reduction="batchmean")


def learning_rate(step: int, s: Settings) -> float:
    """Linear warm-up over 100 steps, then a cosine down to nothing."""
    return s.lr * min(1.0, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * step / s.steps))


def make_optimizer(model: Any, s: Settings) -> torch.optim.AdamW:
    """Weight decay on matrices only: decaying a gain or a bias would only slow the fit."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": s.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=s.lr, betas=(0.9, 0.98))


def train_model(model: Any, batches: Batches, s: Settings) -> list[float]:
    """Run the steps, each on the mean loss of some batches; returns that of each step."""
    rng, optimizer = np.random.default_rng(s.seed), make_optimizer(model, s)
    losses: list[float] = []
    bar = tqdm(range(s.steps), desc="train", mininterval=5.0)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, s)
        optimizer.zero_grad()
        parts = []
        for batch in (given := batches(rng)):
            loss = compute_loss(model, batch) / len(given)
            loss.backward()
            parts.append(loss.item())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(sum(parts))
        if step % 50 == 0:
            bar.set_postfix_str(" ".join(f"{part * len(parts):.4f}" for part in parts))
    return losses


def save_model(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save weights and tokenizer, under the class name that transformers 4 and 5 both know."""
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(config, indent=2) + "\n")
    for written in folder.iterdir():
        written.chmod(0o644)


def check_reload(folder: Path) -> None:
    """Transformers loads every weight of the folder and misses none."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    if wrong := {key: value for key, value in loaded[1].items() if value}:
        raise RuntimeError(f"the checkpoint does not load cleanly: {wrong}")


@contextmanager
def replace_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place if the body ends well.

    What a killed run left is removed, and an older model that was making place comes back.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out, lambda _: True)
    with make_temporary_folder(out) as folder:
        yield folder
        folder.chmod(0o755)
        if out.exists():
            out.rename(name_old(folder))
        folder.rename(out)
        shutil.rmtree(name_old(folder), ignore_errors=True)


def build_folder(
    out: Path,
    s: Settings,
    words: Iterable[str],
    make_batches: Callable[[Tokenizer, int, Settings], Batches],
    write_card: Callable[[Path, str, Settings, Run], None],
    numbers: Any = YEARS,
) -> None:
    """Train, then write a folder beside ``out`` that takes the place of ``out`` when complete.

    Args:
        words: of the vocabulary.
        make_batches: from tokenizer, number of tokens and settings to what a step is given.
        write_card: measures the model in a folder, and writes its README.md there.
        numbers: how the tokenizer cuts numbers.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    words = list(words)
    tokenizer = build_tokenizer(words, s.context, numbers)
    model = build_model(s, len(tokenizer))
    batches = make_batches(Tokenizer(build_tokenizer(words, s.context, numbers)), len(tokenizer), s)
    start = time.perf_counter()
    losses = train_model(model, batches, s)
    run = Run(time.perf_counter() - start, float(np.mean(losses[-50:])))
    with replace_folder(out) as folder:
        save_model(model, tokenizer, folder)
        check_reload(folder)
        write_card(folder, out.name, s, run)


def parse_options(doc: str | None, defaults: Settings) -> tuple[Path, Settings]:
    """The command line: the folder to write, and a flag for every setting."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="the checkpoint folder, replaced at the end"
    )
    for field in fields(defaults):
        value = getattr(defaults, field.name)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(value), default=value)
    given = vars(parser.parse_args())
    return given.pop("out"), type(defaults)(**given)
