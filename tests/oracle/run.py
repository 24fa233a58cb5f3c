"""One circuit, one forward pass: a transformer head by head, around Hugging Face's own weights."""

from collections.abc import Callable, Collection
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from .families import take_apart
from .names import attention_readers, edge_names, head_names, input_names, refuse_direct_with_kv
from .sources import Sources, source_names, split_head
from .units import Parts, part_names, read_apart, split_mlp

Ablation = Literal["resample", "mean", "mean-positional", "zero"]
Values = dict[str, Tensor]
Read = Callable[[str, Values, Tensor], Tensor]
"""(reader, values of the writers before it, constants before it) -> the residual that this reader
sees.
"""


def read_everything(reader: str, values: Values, constant: Tensor) -> Tensor:
    """What a reader sees in an ordinary forward pass: the residual stream."""
    return sum(values.values(), constant)


class OracleRun:
    """A model on clean prompts with every writer's replacement: it runs any circuit.

    Clean and corrupted prompts of one example have the same length, given by `attention_mask`
    (right-padded). Everything is computed in the model's own dtype, so a float64 model gives an
    oracle free of float32 noise.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        clean: Tensor,
        corrupted: Tensor,
        attention_mask: Tensor,
        score_at: Tensor,
        ablation: Ablation = "resample",
        parts: Parts | None = None,
        own: Collection[int] = (),
        sources: Sources | None = None,
    ) -> None:
        """``parts``: neurons or features that are nodes of their own, by layer; ``own``: the layers
        in which each of them reads an input of its own; ``sources``: heads that are cut by them.
        """
        _check_batch(model, clean, corrupted, attention_mask, score_at)
        self.model: Any = model  # torch types no sub-modules
        self.config = self.model.config
        self.family = take_apart(model)
        self.clean_tokens, self.corrupted_tokens = clean, corrupted
        self.mask, self.score_at = attention_mask.bool(), score_at
        self.parts, self.own = parts or {}, own
        self.sources = sources or {}
        self.names_of_parts = part_names(self.parts) | source_names(self.sources)
        self._edges = {kv: set(self.edge_names(direct=not kv, kv=kv)) for kv in (False, True)}
        self.freezes = False  # the two runs that circuits are made of are whole
        with torch.no_grad():
            self.clean, self.clean_logits = self.forward(clean, read_everything)
            self.corrupted, self.corrupted_logits = self.forward(corrupted, read_everything)
            self.replacement = {
                w: self._replace(value, ablation) for w, value in self.corrupted.items()
            }
            self.base = self._base_inputs()
        self.freezes = True

    def edge_names(self, direct: bool = False, mlp: bool = True, kv: bool = False) -> list[str]:
        """Every edge of the graph: an MLP in parts has one edge from each."""
        return [
            f"{part}->{own}"
            for writer, _, reader in (
                edge.partition("->") for edge in edge_names(self.config, direct, mlp, kv)
            )
            for own in read_apart(reader, self.parts, self.own)
            for part in self.names_of_parts.get(writer, [writer])
        ]

    def run(self, kept: set[str], direct: bool = False, kv: bool = False) -> Tensor:
        """Logits [batch, vocab] at the scored positions when only the edges in `kept` are present.

        With `direct` the direct edges are part of the graph, so one that is not in `kept` is
        removed; without it they do not exist, and `kept` says nothing about them. With `kv` key and
        value inputs belong to key-value heads.
        """
        return self.at_scored(self.run_all_positions(kept, direct, kv))

    @torch.no_grad()
    def run_all_positions(self, kept: set[str], direct: bool = False, kv: bool = False) -> Tensor:
        """As `run`, logits [batch, position, vocab]; those at padded positions mean nothing."""
        refuse_direct_with_kv(direct, kv)
        if unknown := kept - self._edges[kv]:
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

        return self.forward(self.clean_tokens, read, kv)[1]

    def at_scored(self, logits: Tensor) -> Tensor:
        """[batch, position, vocab] -> [batch, vocab]."""
        return logits[torch.arange(len(logits)), self.score_at]

    def forward(self, tokens: Tensor, read: Read, kv: bool = False) -> tuple[Values, Tensor]:
        """The whole model, `read` deciding what each reader sees: writers' values and logits."""
        family = self.family
        values = {"embed": family.embed(tokens)}
        constant = torch.zeros_like(values["embed"][0, 0])
        for layer in range(family.sizes.layers):
            before = dict(values), constant  # the heads of one layer do not see each other
            values |= self._attention(layer, *before, read, kv)
            constant = constant + family.constant(layer)
            seen = before if family.sizes.parallel else (values, constant)
            values |= self._mlp(layer, lambda reader, seen=seen: read(reader, *seen))
        return values, family.logits(read("logits", values, constant))

    def _attention(
        self, layer: int, before: Values, constant: Tensor, read: Read, kv: bool
    ) -> Values:
        """The values of one layer's heads."""
        inputs = {
            reader: read(reader, before, constant)
            for reader in attention_readers(self.config, layer, kv)
        }
        shares = {}
        for head, name in enumerate(head_names(self.config, layer)):
            x_q, x_k, x_v = (inputs[reader] for reader in input_names(self.config, layer, head, kv))
            given = (x_q, x_k, x_v, self.mask)
            if name in self.sources:
                shares |= split_head(self.family, layer, head, self.sources[name], *given)
            else:
                shares[name] = self.family.head(layer, head, *given)
        return self.family.finish(layer, shares)

    def _mlp(self, layer: int, read: Callable[[str], Tensor]) -> Values:
        """The value of one layer's MLP, or of each of its parts."""
        if layer not in self.parts:
            return {f"m{layer}": self.family.mlp(layer, read(f"m{layer}"))}
        chosen, error = self.parts[layer], f"m{layer}.error"
        values: Values = {}
        for reader in read_apart(f"m{layer}", self.parts, self.own):
            x = read(reader)
            parts = split_mlp(self.model, layer, chosen, lambda x=x: self.family.mlp(layer, x))
            # the last reader, the MLP, feeds all that have no input of their own
            values |= {reader: parts[reader]} if reader in parts else parts | values
        values = {name: values[name] for name in self.names_of_parts[f"m{layer}"]}
        if getattr(chosen, "frozen", False) and self.freezes:
            values[error] = self.clean[error]
        return values

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
        """Replacements of all upstream writers + constants, at each site of the residual stream."""
        base: Values = {}

        def read(reader: str, values: Values, constant: Tensor) -> Tensor:
            base[_site(reader)] = sum((self.replacement[writer] for writer in values), constant)
            return base[_site(reader)]

        self.forward(self.clean_tokens, read)
        return base


def _site(reader: str) -> str:
    """The place where a reader reads: all q, k and v inputs of one layer (`a3`) share theirs."""
    return reader.partition(".")[0]


def _check_batch(
    model: PreTrainedModel, clean: Tensor, corrupted: Tensor, mask: Tensor, score_at: Tensor
) -> None:
    """Refuse what would make the oracle silently wrong."""
    if model.training:
        raise ValueError("the model is in training mode (dropout): call model.eval() first")
    if not clean.shape == corrupted.shape == mask.shape or score_at.shape != clean.shape[:1]:
        shapes = [tuple(tensor.shape) for tensor in (clean, corrupted, mask, score_at)]
        raise ValueError(f"clean, corrupted, mask must be [B, T] and score_at [B]; got {shapes}")
    lengths = mask.sum(1)
    if (
        not torch.equal(mask.bool(), torch.arange(mask.shape[1]) < lengths[:, None])
        or (lengths < 1).any()
    ):
        raise ValueError("attention_mask must be right-padded, with at least one token in each row")
    if (score_at < 0).any() or (score_at >= lengths).any():
        given, allowed = score_at.tolist(), lengths.tolist()
        raise ValueError(
            f"score_at {given} must lie inside the prompts, whose lengths are {allowed}"
        )
