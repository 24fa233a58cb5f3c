"""One circuit, one forward pass: GPT-2 written out head by head around Hugging Face's own weights."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from .names import edge_names

Ablation = Literal["resample", "mean", "mean-positional", "zero"]
Values = dict[str, Tensor]
Read = Callable[[str, Values, Tensor], Tensor]
"""(reader, values of the writers before it, constants before it) -> the residual that this reader sees."""


def read_everything(reader: str, values: Values, constant: Tensor) -> Tensor:
    """What a reader sees in an ordinary forward pass: the residual stream."""
    return sum(values.values(), constant)


class OracleRun:
    """A model on clean prompts, with the replacement of every writer, ready to be asked about any circuit.

    Clean and corrupted prompts of one example have the same length, given by `attention_mask` (right-padded).
    Everything is computed in the model's own dtype, so a float64 model gives an oracle free of float32 noise.
    """

    def __init__(
        self,
        model: GPT2LMHeadModel,
        clean: Tensor,
        corrupted: Tensor,
        attention_mask: Tensor,
        score_at: Tensor,
        ablation: Ablation = "resample",
    ) -> None:
        _check_batch(model, clean, corrupted, attention_mask, score_at)
        self.model: Any = model  # torch types no sub-modules
        self.config = model.config
        self.clean_tokens, self.corrupted_tokens = clean, corrupted
        self.mask, self.score_at = attention_mask.bool(), score_at
        self._edges = set(edge_names(self.config, direct=True))
        with torch.no_grad():
            self.clean, self.clean_logits = self.forward(clean, read_everything)
            self.corrupted, self.corrupted_logits = self.forward(corrupted, read_everything)
            self.replacement = {w: self._replace(value, ablation) for w, value in self.corrupted.items()}
            self.base = self._base_inputs()

    def run(self, kept: set[str], direct: bool = False) -> Tensor:
        """Logits [batch, vocab] at the scored positions when only the edges in `kept` carry current values.

        With `direct` the direct edges are part of the graph, so one that is not in `kept` is removed; without
        it they do not exist, and `kept` says nothing about them.
        """
        return self.at_scored(self.run_all_positions(kept, direct))

    @torch.no_grad()
    def run_all_positions(self, kept: set[str], direct: bool = False) -> Tensor:
        """As `run`, logits [batch, position, vocab]; those at padded positions mean nothing."""
        if unknown := kept - self._edges:
            raise ValueError(f"not edges of this model: {sorted(unknown)[:5]}")

        def read(reader: str, values: Values, constant: Tensor) -> Tensor:
            total = self.base[_site(reader)]
            head, bracket, _ = reader.partition("<")
            if direct and bracket and f"{reader}->{head}" not in kept:
                return total
            for writer, value in values.items():
                if f"{writer}->{reader}" in kept:
                    total = total + (value - self.replacement[writer])
            return total

        return self.forward(self.clean_tokens, read)[1]

    def at_scored(self, logits: Tensor) -> Tensor:
        """[batch, position, vocab] -> [batch, vocab]."""
        return logits[torch.arange(len(logits)), self.score_at]

    def forward(self, tokens: Tensor, read: Read) -> tuple[Values, Tensor]:
        """The whole model, `read` deciding what each reader sees; returns writers' values and all logits."""
        gpt = self.model.transformer
        values = {"embed": gpt.wte(tokens) + gpt.wpe(torch.arange(tokens.shape[1]))}
        constant = torch.zeros_like(gpt.ln_f.weight)
        for layer, block in enumerate(gpt.h):
            before = dict(values)  # the heads of one layer do not see each other
            for head in range(self.config.n_head):
                name = f"a{layer}.h{head}"
                q, k, v = (
                    self._project(layer, head, letter, read(f"{name}<{letter}>", before, constant)) for letter in "qkv"
                )
                values[name] = self._attend(layer, q, k, v) @ block.attn.c_proj.weight[self._slice(head)]
            constant = constant + block.attn.c_proj.bias
            values[f"m{layer}"] = block.mlp(block.ln_2(read(f"m{layer}", values, constant)))
        return values, self.model.lm_head(gpt.ln_f(read("logits", values, constant)))

    def _slice(self, head: int) -> slice:
        width = self.config.n_embd // self.config.n_head
        return slice(head * width, (head + 1) * width)

    def _project(self, layer: int, head: int, letter: str, residual: Tensor) -> Tensor:
        """The query, key or value of one head; c_attn holds all queries, then all keys, then all values."""
        block, third = self.model.transformer.h[layer], "qkv".index(letter)
        weight = block.attn.c_attn.weight.split(self.config.n_embd, dim=1)[third][:, self._slice(head)]
        bias = block.attn.c_attn.bias.split(self.config.n_embd)[third][self._slice(head)]
        return block.ln_1(residual) @ weight + bias

    def _attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scale = 1.0
        if self.config.scale_attn_weights:
            scale /= q.shape[-1] ** 0.5
        if self.config.scale_attn_by_inverse_layer_idx:
            scale /= layer + 1
        visible = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).tril() & self.mask[:, None, :]
        scores = (q @ k.transpose(1, 2) * scale).masked_fill(~visible, -torch.inf)
        return scores.softmax(-1) @ v

    def _replace(self, corrupted: Tensor, ablation: Ablation) -> Tensor:
        """The value [batch, position, d] that a writer's removed edges carry."""
        if ablation == "resample":
            return corrupted
        if ablation == "zero":
            return torch.zeros_like(corrupted)
        real = corrupted.double() * self.mask[:, :, None]
        if ablation == "mean":
            mean = real.sum((0, 1)) / self.mask.sum()
        elif ablation == "mean-positional":  # a position that no prompt has: 0 / 1
            mean = real.sum(0) / self.mask.sum(0).clamp(min=1)[:, None]
        else:
            raise ValueError(f"unknown ablation {ablation!r}")
        return mean.to(corrupted.dtype).expand_as(corrupted)

    def _base_inputs(self) -> Values:
        """Replacements of all upstream writers + constants, for each place in the residual stream."""
        base: Values = {}

        def read(reader: str, values: Values, constant: Tensor) -> Tensor:
            base[_site(reader)] = sum((self.replacement[writer] for writer in values), constant)
            return base[_site(reader)]

        self.forward(self.clean_tokens, read)
        return base


def _site(reader: str) -> str:
    """The place where a reader reads: all q, k and v inputs of one layer (`a3`) share theirs."""
    return reader.partition(".")[0]


def _check_batch(model: GPT2LMHeadModel, clean: Tensor, corrupted: Tensor, mask: Tensor, score_at: Tensor) -> None:
    """Refuse what would make the oracle silently wrong."""
    if model.training:
        raise ValueError("the model is in training mode (dropout): call model.eval() first")
    if not clean.shape == corrupted.shape == mask.shape or score_at.shape != clean.shape[:1]:
        shapes = [tuple(tensor.shape) for tensor in (clean, corrupted, mask, score_at)]
        raise ValueError(f"clean, corrupted, mask must be [B, T] and score_at [B]; got {shapes}")
    lengths = mask.sum(1)
    if not torch.equal(mask.bool(), torch.arange(mask.shape[1]) < lengths[:, None]) or (lengths < 1).any():
        raise ValueError("attention_mask must be right-padded, with at least one token in each row")
    if (score_at < 0).any() or (score_at >= lengths).any():
        given, allowed = score_at.tolist(), lengths.tolist()
        raise ValueError(f"score_at {given} must lie inside the prompts, whose lengths are {allowed}")
