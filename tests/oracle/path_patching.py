"""Path patching by hooks on transformers' GPT-2, by the recipe of Wang et al. (2022, appendix B).

Freeze every head, send the new values, write down what the receivers read; then run again with the
receivers set to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Values = dict[str, Tensor]


class HookedPaths:
    """A GPT-2 and pairs of right-padded prompts of equal lengths."""

    def __init__(self, model: Any, clean: Tensor, corrupted: Tensor, mask: Tensor) -> None:
        self.model, self.tokens, self.mask = model, clean, mask
        self.d_head = model.config.n_embd // model.config.n_head
        self.clean, self.corrupted = self._record_outputs(clean), self._record_outputs(corrupted)

    @torch.no_grad()
    def patch(self, senders: list[str], receivers: list[str], *, through_mlps: bool) -> Tensor:
        """Logits [batch, pos, vocab]; receivers are ``a2.h1<q>``, ``m1``, ``logits``."""
        read = self._read_frozen(senders, through_mlps)
        with self._hooks(lambda handles: self._set_receivers(handles, receivers, read)):
            return self.model(self.tokens, attention_mask=self.mask).logits

    @torch.no_grad()
    def _record_outputs(self, tokens: Tensor) -> Values:
        """The embedding, each layer's heads before their output weights, and its MLP's output."""
        values: Values = {}

        def record(handles: list[Any]) -> None:
            body = self.model.transformer
            handles.append(body.drop.register_forward_hook(_saving(values, "embed")))
            for i, block in enumerate(body.h):
                save_z = _saving_input(values, f"z{i}")
                handles.append(block.attn.c_proj.register_forward_pre_hook(save_z))
                handles.append(block.mlp.register_forward_hook(_saving(values, f"m{i}")))

        with self._hooks(record):
            self.model(tokens, attention_mask=self.mask)
        return values

    def _read_frozen(self, senders: list[str], through_mlps: bool) -> Values:
        """What each norm reads when heads are frozen and the senders send their new values."""
        read: Values = {}

        def freeze(handles: list[Any]) -> None:
            body = self.model.transformer
            side = self.corrupted if "embed" in senders else self.clean
            handles.append(body.drop.register_forward_hook(lambda *_: side["embed"]))
            for i, block in enumerate(body.h):
                z = self.clean[f"z{i}"].clone()
                for head in range(self.model.config.n_head):
                    part = slice(head * self.d_head, (head + 1) * self.d_head)
                    if f"a{i}.h{head}" in senders:
                        z[..., part] = self.corrupted[f"z{i}"][..., part]
                handles.append(block.attn.c_proj.register_forward_pre_hook(lambda *_, z=z: (z,)))
                sends = f"m{i}" in senders
                if sends or not through_mlps:
                    mlp = (self.corrupted if sends else self.clean)[f"m{i}"]
                    handles.append(block.mlp.register_forward_hook(lambda *_, m=mlp: m))
                for norm, name in ((block.ln_1, f"a{i}"), (block.ln_2, f"m{i}")):
                    handles.append(norm.register_forward_pre_hook(_saving_input(read, name)))
            handles.append(body.ln_f.register_forward_pre_hook(_saving_input(read, "logits")))

        with self._hooks(freeze):
            self.model(self.tokens, attention_mask=self.mask)
        return read

    def _set_receivers(self, handles: list[Any], receivers: list[str], read: Values) -> None:
        body = self.model.transformer
        for receiver in receivers:
            if receiver == "logits":
                norm, x = body.ln_f, read["logits"]
                handles.append(norm.register_forward_pre_hook(lambda *_, x=x: (x,)))
            elif receiver.startswith("m"):
                norm, x = body.h[int(receiver[1:])].ln_2, read[receiver]
                handles.append(norm.register_forward_pre_hook(lambda *_, x=x: (x,)))
            else:
                handles.append(self._set_head_input(receiver, read))

    def _set_head_input(self, receiver: str, read: Values) -> Any:
        layer, rest = receiver[1:].split(".h")
        head, letter = rest[:-1].split("<")
        block = self.model.transformer.h[int(layer)]
        start = "qkv".index(letter) * self.model.config.n_embd + int(head) * self.d_head
        part = slice(start, start + self.d_head)
        frozen = torch.nn.functional.linear(
            block.ln_1(read[f"a{layer}"]), block.attn.c_attn.weight.T, block.attn.c_attn.bias
        )

        def replace_part(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
            output = output.clone()
            output[..., part] = frozen[..., part]
            return output

        return block.attn.c_attn.register_forward_hook(replace_part)

    @contextmanager
    def _hooks(self, install: Any) -> Iterator[None]:
        handles: list[Any] = []
        try:
            install(handles)
            yield
        finally:
            for handle in handles:
                handle.remove()


def _saving(values: Values, name: str) -> Any:
    def save(_module: Any, _inputs: Any, output: Tensor) -> None:
        values[name] = output

    return save


def _saving_input(values: Values, name: str) -> Any:
    def save(_module: Any, inputs: tuple[Tensor, ...]) -> None:
        values[name] = inputs[0]

    return save
