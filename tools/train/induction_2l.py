"""Train the two-layer attention-only induction model and write it as an ordinary GPT-2 checkpoint.

    python tools/train/induction_2l.py --out catalog/models/induction-2l --seed 0

The model has one job: after `... A B ... A` say `B`. It is a GPT2LMHeadModel whose MLPs are frozen
at exactly zero, so everything it does is done by its attention heads. A penalty on the effective
number of heads keeps the circuit in few of them; the model card written beside the weights says so.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from induction_card import write_card
from induction_report import FIRST_WORD, PAD, UNK, measure_model, measure_ov_norms
from supervised import replace_folder
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

NOUNS = (
    "apple arm bag ball bank bear bed bell bird boat book box bread brick bridge bus cake car cat "
    "chair church city clock cloud coat coin corn cow cup desk dog door dress duck ear egg eye "
    "farm field fish flag flower foot fork fox frog garden gate glass gold hammer hand hat hill "
    "horse house ice island key king knife lake lamp leaf letter lion map milk moon mouse nose "
    "ocean paper park pen piano plate queen rain ring river road rock rose salt school ship shoe "
    "snow spoon star stone sun table tree wolf"
)
WORDS = NOUNS.split()
IGNORE = -100
CONTEXT = 64


@dataclass(frozen=True)
class Settings:
    """Every number that decides the weights, so that the card can print them all."""

    seed: int = 0
    steps: int = 2500
    batch: int = 32
    heads: int = 8
    width: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.1
    head_penalty: float = 0.1
    tied: bool = False
    threads: int = 1


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One id per word and nothing added on encode, so token positions are word positions."""
    vocab = {"<pad>": PAD, "<unk>": UNK} | {word: FIRST_WORD + i for i, word in enumerate(WORDS)}
    backend = Tokenizer(WordLevel(vocab, unk_token="<unk>"))  # noqa: S106
    backend.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        model_max_length=CONTEXT,
    )


def build_model(s: Settings) -> Any:
    """GPT-2 with its MLPs zeroed and frozen, dropout off and no BOS or EOS."""
    config = GPT2Config(
        vocab_size=FIRST_WORD + len(WORDS),
        n_positions=CONTEXT,
        n_embd=s.width,
        n_layer=2,
        n_head=s.heads,
        n_inner=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=PAD,
        tie_word_embeddings=s.tied,
    )
    model: Any = GPT2LMHeadModel(config)
    for block in model.transformer.h:
        for parameter in block.mlp.parameters():
            torch.nn.init.zeros_(parameter)
            parameter.requires_grad_(False)
    return model


def make_training_batch(rng: np.random.Generator, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Distinct words, then short pieces of them copied in random order up to the full context.

    The first copied word of a row is exactly a test prompt's last word; the rest gives more loss
    per row.
    """
    rows = np.arange(batch)
    ids = rng.random((batch, len(WORDS))).argsort(1)[:, :CONTEXT] + FIRST_WORD
    distinct = rng.integers(3, CONTEXT - 2, batch)
    source, copied = np.zeros(batch, np.int64), np.zeros(batch, np.int64)
    for t in range(3, CONTEXT):
        source += 1
        jump = (source >= distinct) | ((copied >= 2) & (rng.random(batch) < 0.5)) | (t == distinct)
        source = np.where(jump, rng.integers(0, distinct - 1), source)
        copied = np.where(jump, 1, copied + 1)
        ids[:, t] = np.where(t >= distinct, ids[rows, source], ids[:, t])
    return torch.from_numpy(ids), torch.from_numpy(mask_targets(ids))


def mask_targets(ids: np.ndarray) -> np.ndarray:
    """The next word where the context settles it, IGNORE elsewhere.

    Settled: this word occurred before, and the same word followed it each time, this time included.
    """
    now, after = ids[:, :-1], ids[:, 1:]
    earlier = np.tril(np.ones((now.shape[1], now.shape[1]), bool), -1)
    same = (now[:, :, None] == now[:, None, :]) & earlier
    other = same & (after[:, :, None] != after[:, None, :])
    is_determined = same.any(2) & ~other.any(2)
    return np.where(is_determined, after, IGNORE)


def make_optimizer(model: Any, s: Settings) -> torch.optim.AdamW:
    """Weight decay on matrices only: decaying a gain or a bias would only slow the fit."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": s.weight_decay},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=s.lr, betas=(0.9, 0.98))


def learning_rate(step: int, s: Settings) -> float:
    """Linear warm-up over 100 steps, then a cosine down to nothing."""
    progress = step / s.steps
    return s.lr * min(1.0, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * progress))


def count_effective_heads(model: Any) -> torch.Tensor:
    """How many heads share the work, summed over layers: (sum n)^2 / sum n^2 of the OV norms n.

    A ratio, so that it cannot be lowered by scaling one matrix down and its partner up.
    """
    return sum((n.sum() ** 2 / n.square().sum() for n in measure_ov_norms(model)), torch.zeros(()))


def train_model(model: Any, s: Settings) -> list[float]:
    """Run the steps; returns the loss of each."""
    rng = np.random.default_rng(s.seed)
    optimizer = make_optimizer(model, s)
    losses: list[float] = []
    bar = tqdm(range(s.steps), desc="train", mininterval=1.0)
    for step in bar:
        lr = learning_rate(step, s)
        for group in optimizer.param_groups:
            group["lr"] = lr
        ids, targets = make_training_batch(rng, s.batch)
        logits = model(ids, use_cache=False).logits[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
        optimizer.zero_grad()
        (loss + s.head_penalty * count_effective_heads(model)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 20 == 0:
            has_target = targets != IGNORE
            accuracy = (logits.argmax(-1) == targets)[has_target].float().mean().item()
            bar.set_postfix(loss=f"{losses[-1]:.4f}", acc=f"{accuracy:.3f}")
    return losses


def save_model(model: Any, folder: Path) -> None:
    """Save weights and tokenizer, under the class name that transformers 4 and 5 both know."""
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    build_tokenizer().save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(config, indent=2) + "\n")
    for written in folder.iterdir():
        written.chmod(0o644)


def reload_model(folder: Path) -> Any:
    """What a user will load; `eager` attention so that the report can read the patterns."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    model, info = loaded
    wrong = {key: value for key, value in info.items() if value}
    if wrong:
        raise RuntimeError(f"the checkpoint does not load cleanly: {wrong}")
    if any(p.any() for block in model.transformer.h for p in block.mlp.parameters()):
        raise RuntimeError("an MLP weight is not zero")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if [tokenizer(word).input_ids for word in WORDS] != [
        [FIRST_WORD + i] for i in range(len(WORDS))
    ]:
        raise RuntimeError("the tokenizer does not give one id per word")
    return model


def build_folder(out: Path, s: Settings) -> None:
    """Train, then write a folder beside `out` that takes the place of `out` when complete."""
    torch.set_num_threads(s.threads)
    torch.manual_seed(s.seed)
    torch.use_deterministic_algorithms(True)
    with replace_folder(out) as folder:
        model = build_model(s)
        start = time.perf_counter()
        losses = train_model(model, s)
        seconds = time.perf_counter() - start
        save_model(model, folder)
        loaded = reload_model(folder)
        report = measure_model(loaded, s.seed)
        run = (seconds, float(np.mean(losses[-50:])))
        write_card(folder / "README.md", out.name, report, loaded.config, asdict(s), run)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="the checkpoint folder, replaced at the end"
    )
    for field in fields(Settings):
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    options = vars(parser.parse_args())
    build_folder(options.pop("out"), Settings(**options))


if __name__ == "__main__":
    main()
