"""Measure a trained induction model (accuracy, ablations, attention) and write its model card."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2LMHeadModel

LENGTHS = range(8, 33)
LONGER = range(33, 65)
ABLATION_LENGTH = 20
WILSON_Z = 1.959964
PAD, UNK, FIRST_WORD = 0, 1, 2
Head = tuple[int, int]


@dataclass(frozen=True)
class Prompts:
    """Test prompts of one length: `ids` ends with A again, `first` is where A stood before."""

    ids: torch.Tensor
    first: torch.Tensor
    foil: torch.Tensor

    @property
    def answer(self) -> torch.Tensor:
        return self.ids[torch.arange(len(self.ids)), self.first + 1]


def make_prompts(rng: np.random.Generator, count: int, length: int, model: GPT2LMHeadModel) -> Prompts:
    """Distinct words and then one of them again; the foil is another word of the prompt, never A or B."""
    words = model.config.vocab_size - FIRST_WORD
    ids = rng.random((count, words)).argsort(1)[:, :length] + FIRST_WORD
    first = rng.integers(0, length - 2, count)
    rows = np.arange(count)
    ids[:, -1] = ids[rows, first]
    foil = ids[rows, (first + 2 + rng.integers(0, length - 3, count)) % (length - 1)]
    return Prompts(torch.from_numpy(ids), torch.from_numpy(first), torch.from_numpy(foil))


def wilson(right: int, total: int) -> tuple[float, float]:
    """95 % Wilson score interval: still sensible when every answer is right."""
    p, z2 = right / total, WILSON_Z**2
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = WILSON_Z / (1 + z2 / total) * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def all_heads(model: GPT2LMHeadModel) -> list[Head]:
    return [(layer, head) for layer in range(model.config.n_layer) for head in range(model.config.n_head)]


def ov_norms(model: GPT2LMHeadModel) -> list[torch.Tensor]:
    """Per layer, the Frobenius norm of each head's value-output product: how much a head can write at all."""
    norms = []
    for block in model.transformer.h:
        width, heads = block.attn.embed_dim, block.attn.num_heads
        value = block.attn.c_attn.weight[:, 2 * width :].reshape(width, heads, -1).transpose(0, 1)
        output = block.attn.c_proj.weight.view(heads, -1, width)
        norms.append((value @ output).flatten(1).norm(dim=1))
    return norms


@torch.no_grad()
def head_means(model: GPT2LMHeadModel, ids: torch.Tensor) -> list[torch.Tensor]:
    """Each layer's mean head output (before c_proj) over every position of a reference set."""
    seen: dict[int, torch.Tensor] = {}
    hooks = [
        block.attn.c_proj.register_forward_pre_hook(
            lambda _module, args, layer=layer: seen.update({layer: args[0].mean((0, 1))})
        )
        for layer, block in enumerate(model.transformer.h)
    ]
    model(ids)
    for hook in hooks:
        hook.remove()
    return [seen[layer] for layer in sorted(seen)]


@contextlib.contextmanager
def replaced(model: GPT2LMHeadModel, heads: list[Head], values: list[torch.Tensor]) -> Iterator[None]:
    """While inside, the given heads put out `values` (their slice of it) at every position."""
    width = model.config.n_embd // model.config.n_head

    def swap(layer: int, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        output = args[0].clone()
        for head in (h for at, h in heads if at == layer):
            part = slice(head * width, (head + 1) * width)
            output[..., part] = values[layer][part]
        return (output,)

    hooks = [
        block.attn.c_proj.register_forward_pre_hook(lambda _module, args, layer=layer: swap(layer, args))
        for layer, block in enumerate(model.transformer.h)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def score(model: GPT2LMHeadModel, prompts: Prompts) -> tuple[int, float]:
    """Right answers, and the mean logit of the answer minus that of the foil."""
    logits = model(prompts.ids).logits[:, -1]
    rows = torch.arange(len(logits))
    right = int((logits.argmax(-1) == prompts.answer).sum())
    return right, float((logits[rows, prompts.answer] - logits[rows, prompts.foil]).mean())


@torch.no_grad()
def attention_evidence(model: GPT2LMHeadModel, prompts: Prompts) -> dict[Head, tuple[float, float]]:
    """Per head: mean attention from t to t-1, and from the last A to the B after the first A."""
    patterns = model(prompts.ids, output_attentions=True).attentions
    rows = torch.arange(len(prompts.ids))
    evidence = {}
    for layer, head in all_heads(model):
        pattern = patterns[layer][:, head]
        previous = pattern.diagonal(-1, 1, 2).mean()
        evidence[layer, head] = (float(previous), float(pattern[rows, -1, prompts.first + 1].mean()))
    return evidence


def right_by_length(
    model: GPT2LMHeadModel, rng: np.random.Generator, each: int, lengths: range
) -> dict[int, int]:
    return {length: score(model, make_prompts(rng, each, length, model))[0] for length in lengths}


def roles(evidence: dict[Head, tuple[float, float]], damage: dict[Head, float]) -> dict[Head, str]:
    """Name a head only if it attends as the name says and its removal costs at least 5 points."""
    named = {}
    for (layer, head), (previous, to_answer) in evidence.items():
        attends = previous if layer == 0 else to_answer
        if attends > 0.5 and damage[layer, head] >= 0.05:
            named[layer, head] = "previous-token" if layer == 0 else "induction"
    return named


@torch.no_grad()
def measure(model: GPT2LMHeadModel, seed: int, each: int = 400, ablation_count: int = 1000) -> dict[str, Any]:
    """All numbers of the card, on prompts drawn apart from the training stream."""
    model.eval()
    rng = np.random.default_rng([seed, 1])
    by_length = right_by_length(model, rng, each, LENGTHS)
    reference = make_prompts(rng, ablation_count, ABLATION_LENGTH, model)
    prompts = make_prompts(rng, ablation_count, ABLATION_LENGTH, model)
    means = head_means(model, reference.ids)
    zeros = [torch.zeros_like(mean) for mean in means]

    def without(heads: list[Head], values: list[torch.Tensor]) -> tuple[float, float]:
        with replaced(model, heads, values):
            right, difference = score(model, prompts)
        return right / ablation_count, difference

    heads = all_heads(model)
    intact = without([], means)
    mean_ablated = {head: without([head], means) for head in heads}
    evidence = attention_evidence(model, prompts)
    named = roles(evidence, {head: intact[0] - mean_ablated[head][0] for head in heads})
    others = [head for head in heads if head not in named]
    return {
        "each": each,
        "by_length": by_length,
        "longer": right_by_length(model, rng, each, LONGER),
        "ablation_count": ablation_count,
        "intact": intact,
        "mean_ablated": mean_ablated,
        "zeroed": {head: without([head], zeros) for head in heads},
        "evidence": evidence,
        "roles": named,
        "kept_mean": without(others, means),
        "kept_zero": without(others, zeros),
        "ov_norms": dict(zip(heads, torch.cat(ov_norms(model)).tolist(), strict=True)),
    }


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def length_table(m: dict[str, Any]) -> str:
    each, by_length, longer = m["each"], m["by_length"], m["longer"]
    counts = [(str(length), right, each) for length, right in by_length.items()]
    counts.append(("8 to 32", sum(by_length.values()), each * len(by_length)))
    counts.append(("33 to 64", sum(longer.values()), each * len(longer)))
    rows = []
    for label, right, total in counts:
        low, high = wilson(right, total)
        rows.append([label, f"{right} / {total}", f"{right / total:.2%}", f"{low:.2%} - {high:.2%}"])
    return table(["prompt length", "right", "accuracy", "95 % Wilson interval"], rows)


def ablation_table(m: dict[str, Any]) -> str:
    header = ["removed", "mean: accuracy", "mean: logit diff.", "zero: accuracy", "zero: logit diff.", "role"]
    pairs = [("nothing", m["intact"], m["intact"], "")]
    for head, by_mean in m["mean_ablated"].items():
        pairs.append((name(head), by_mean, m["zeroed"][head], m["roles"].get(head, "")))
    pairs.append(("all heads without a role", m["kept_mean"], m["kept_zero"], ""))
    rows = [
        [what, f"{mean[0]:.1%}", f"{mean[1]:.2f}", f"{zero[0]:.1%}", f"{zero[1]:.2f}", role]
        for what, mean, zero, role in pairs
    ]
    return table(header, rows)


def attention_table(m: dict[str, Any]) -> str:
    header = ["head", "t to t-1", "last A to first B", "OV norm", "role"]
    norms, given = m["ov_norms"], m["roles"]
    rows = [
        [name(head), f"{previous:.3f}", f"{answer:.3f}", f"{norms[head]:.1e}", given.get(head, "")]
        for head, (previous, answer) in m["evidence"].items()
    ]
    return table(header, rows)


def name(head: Head) -> str:
    return f"L{head[0]}H{head[1]}"


FRONT_MATTER = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
language: en
tags:
- gpt2
- attention-only
- induction-heads
- mechanistic-interpretability
- toy-model
---
"""


EXAMPLE = """```python
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

path = "catalog/models/induction-2l"
tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
ids = tokenizer("lake dog chair moon fish bread apple dog", return_tensors="pt").input_ids
print(tokenizer.decode([int(model(ids).logits[0, -1].argmax())]))  # chair
```
"""


def heads_of(m: dict[str, Any], role: str) -> str:
    return ", ".join(name(head) for head, given in m["roles"].items() if given == role) or "none"


def intro(m: dict[str, Any], config: Any) -> str:
    return f"""# induction-2l

A small two-layer GPT-2 trained for one behaviour, induction: after `... A B ... A` the next word
is `B`. It is a test object for circuit analysis, not a language model.

- {config.n_layer} layers, {config.n_head} heads each, width {config.n_embd}, {config.n_positions} learned
  positions, {"tied" if config.tie_word_embeddings else "untied"} embeddings, no BOS token.
- Attention-only in effect: every MLP weight and bias is exactly zero and was frozen in training.
- Word-level tokenizer: {config.vocab_size - FIRST_WORD} common English nouns in lower case, `<pad>` and
  `<unk>`; one token per word, nothing added.
- Previous-token head(s): {heads_of(m, "previous-token")}. Induction head(s): {heads_of(m, "induction")}.

The circuit is this clean because training asked for it (the head penalty below). Without that
penalty (`--head-penalty 0`) the same behaviour is learned, shared among more heads.

{EXAMPLE}"""


def training_section(settings: dict[str, Any], seconds: float, final_loss: float) -> str:
    numbers = ", ".join(f"`{key}` {value}" for key, value in settings.items())
    return f"""## Training

Data: each row of 64 words starts with 3 to 61 distinct random words; the rest is filled with short
pieces (two words or more, the row's last piece may be cut) copied from them, each from a random
place. The loss counts only where the answer is determined: the current word occurred before, and
the same word followed it each time, this time included.

Head penalty: `head_penalty` times the effective number of heads, which is (sum n)^2 / (sum n^2)
per layer, added over layers; n is the Frobenius norm of a head's value-output product. Being a
ratio, it cannot be lowered by scaling weights. Its least value is one head per layer; which head
that is, nothing tells it.

AdamW, linear warm-up over 100 steps, cosine to zero. Settings:
{numbers}.

Wall time of training: {seconds:.0f} s on one thread of a shared 2-core CPU. Final loss (mean of the
last 50 steps, without the penalty): {final_loss:.4f}.

To reproduce:

```
{command(settings)}
```
"""


def command(settings: dict[str, Any]) -> str:
    """Every setting is named, so that the card stays right when a default changes."""
    flags = {f"--{key.replace('_', '-')}": value for key, value in settings.items()}
    given = {flag: value for flag, value in flags.items() if value is not False}
    words = [flag if value is True else f"{flag} {value}" for flag, value in given.items()]
    start = "python tools/train/induction_2l.py --out catalog/models/induction-2l \\\n    "
    return start + " ".join(words)


def results_section(m: dict[str, Any]) -> str:
    count = m["ablation_count"]
    return f"""## Accuracy on fresh prompts

A prompt is distinct random words in which A stands at a random place, then A again; its length
counts that last A. B may stand directly before the last A, and A may be the first word. Right
means that B has the largest logit.

{length_table(m)}

## Removing one head

{count} prompts of {ABLATION_LENGTH} words. A head's output is replaced at every position: by its mean
over the positions of {count} other such prompts ("mean"), or by zero. Logit diff.: the answer
minus a random other word of the prompt (never A or B). The last row removes every head without a
role at once.

{ablation_table(m)}

A role is given to a head that attends as its name says (over 0.5 below) and whose mean ablation
costs at least 5 points of accuracy.

## Attention

Means over the same prompts: from each token to the one before it, and from the last A to the B
after the first A. A head whose OV norm is near zero writes nothing, wherever it attends.

{attention_table(m)}
"""


def write_card(
    path: Path, m: dict[str, Any], config: Any, settings: dict[str, Any], run: tuple[float, float]
) -> None:
    """`run` is the wall time in seconds and the final loss."""
    parts = [FRONT_MATTER + intro(m, config), results_section(m), training_section(settings, *run)]
    path.write_text("\n".join(parts), encoding="utf-8")
