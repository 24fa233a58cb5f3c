"""Measure a trained induction model: accuracy, ablations, attention."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

LENGTHS = range(8, 33)
LONGER = range(33, 65)
ABLATION_LENGTH = 20
WILSON_Z = 1.959964
PAD, UNK, FIRST_WORD = 0, 1, 2
Head = tuple[int, int]
Model = Any  # a GPT2LMHeadModel, whose modules transformers does not type


@dataclass(frozen=True)
class Prompts:
    """Test prompts of one length: `ids` ends with A again, `first` is where A stood before."""

    ids: torch.Tensor
    first: torch.Tensor
    foil: torch.Tensor

    @property
    def answer(self) -> torch.Tensor:
        return self.ids[torch.arange(len(self.ids)), self.first + 1]


def make_prompts(rng: np.random.Generator, count: int, length: int, model: Model) -> Prompts:
    """Distinct words, then one of them again; the foil is another word, neither A nor B."""
    words = model.config.vocab_size - FIRST_WORD
    ids = rng.random((count, words)).argsort(1)[:, :length] + FIRST_WORD
    first = rng.integers(0, length - 2, count)
    rows = np.arange(count)
    ids[:, -1] = ids[rows, first]
    foil = ids[rows, (first + 2 + rng.integers(0, length - 3, count)) % (length - 1)]
    return Prompts(torch.from_numpy(ids), torch.from_numpy(first), torch.from_numpy(foil))


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """95 % Wilson score interval: still sensible when every answer is right."""
    p, z2 = right / total, WILSON_Z**2
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = WILSON_Z / (1 + z2 / total) * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def list_heads(model: Model) -> list[Head]:
    return [
        (layer, head)
        for layer in range(model.config.n_layer)
        for head in range(model.config.n_head)
    ]


def measure_ov_norms(model: Model) -> list[torch.Tensor]:
    """How much a head can write, for each layer: the Frobenius norm of its value-output product."""
    norms = []
    for block in model.transformer.h:
        width, heads = block.attn.embed_dim, block.attn.num_heads
        value = block.attn.c_attn.weight[:, 2 * width :].reshape(width, heads, -1).transpose(0, 1)
        output = block.attn.c_proj.weight.view(heads, -1, width)
        norms.append((value @ output).flatten(1).norm(dim=1))
    return norms


@torch.no_grad()
def measure_head_means(model: Model, ids: torch.Tensor) -> list[torch.Tensor]:
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
def replace_heads(model: Model, heads: list[Head], values: list[torch.Tensor]) -> Iterator[None]:
    """While inside, the given heads put out `values` (their slice of it) at every position."""
    width = model.config.n_embd // model.config.n_head

    def swap(layer: int, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        output = args[0].clone()
        for head in (h for at, h in heads if at == layer):
            part = slice(head * width, (head + 1) * width)
            output[..., part] = values[layer][part]
        return (output,)

    hooks = [
        block.attn.c_proj.register_forward_pre_hook(
            lambda _module, args, layer=layer: swap(layer, args)
        )
        for layer, block in enumerate(model.transformer.h)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def score_pattern(model: Model, prompts: Prompts) -> tuple[int, float]:
    """Right answers, and the mean logit of the answer minus that of the foil."""
    logits = model(prompts.ids).logits[:, -1]
    rows = torch.arange(len(logits))
    right = int((logits.argmax(-1) == prompts.answer).sum())
    return right, float((logits[rows, prompts.answer] - logits[rows, prompts.foil]).mean())


@torch.no_grad()
def measure_attention(model: Model, prompts: Prompts) -> dict[Head, tuple[float, float]]:
    """Per head: mean attention from t to t-1, and from the last A to the B after the first A."""
    patterns = model(prompts.ids, output_attentions=True).attentions
    rows = torch.arange(len(prompts.ids))
    evidence = {}
    for layer, head in list_heads(model):
        pattern = patterns[layer][:, head]
        previous = pattern.diagonal(-1, 1, 2).mean()
        evidence[layer, head] = (
            float(previous),
            float(pattern[rows, -1, prompts.first + 1].mean()),
        )
    return evidence


def count_right_by_length(
    model: Model, rng: np.random.Generator, each: int, lengths: range
) -> dict[int, int]:
    return {
        length: score_pattern(model, make_prompts(rng, each, length, model))[0]
        for length in lengths
    }


def assign_roles(
    evidence: dict[Head, tuple[float, float]], damage: dict[Head, float]
) -> dict[Head, str]:
    """Name a head only if it attends as the name says and its removal costs at least 5 points."""
    named = {}
    for (layer, head), (previous, to_answer) in evidence.items():
        attends = previous if layer == 0 else to_answer
        if attends > 0.5 and damage[layer, head] >= 0.05:
            named[layer, head] = "previous-token" if layer == 0 else "induction"
    return named


@torch.no_grad()
def measure_model(
    model: Model, seed: int, each: int = 400, ablation_count: int = 1000
) -> dict[str, Any]:
    """All numbers of the card, on prompts drawn apart from the training stream."""
    model.eval()
    rng = np.random.default_rng([seed, 1])
    by_length = count_right_by_length(model, rng, each, LENGTHS)
    reference = make_prompts(rng, ablation_count, ABLATION_LENGTH, model)
    prompts = make_prompts(rng, ablation_count, ABLATION_LENGTH, model)
    means = measure_head_means(model, reference.ids)
    zeros = [torch.zeros_like(mean) for mean in means]

    def without(heads: list[Head], values: list[torch.Tensor]) -> tuple[float, float]:
        with replace_heads(model, heads, values):
            right, difference = score_pattern(model, prompts)
        return right / ablation_count, difference

    heads = list_heads(model)
    intact = without([], means)
    mean_ablated = {head: without([head], means) for head in heads}
    evidence = measure_attention(model, prompts)
    named = assign_roles(evidence, {head: intact[0] - mean_ablated[head][0] for head in heads})
    others = [head for head in heads if head not in named]
    return {
        "each": each,
        "by_length": by_length,
        "longer": count_right_by_length(model, rng, each, LONGER),
        "ablation_count": ablation_count,
        "intact": intact,
        "mean_ablated": mean_ablated,
        "zeroed": {head: without([head], zeros) for head in heads},
        "evidence": evidence,
        "roles": named,
        "kept_mean": without(others, means),
        "kept_zero": without(others, zeros),
        "ov_norms": dict(zip(heads, torch.cat(measure_ov_norms(model)).tolist(), strict=True)),
    }
