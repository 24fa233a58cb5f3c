"""The same circuit, run by hooks inside Hugging Face's own forward pass: the oracle's own judge.

Nothing of attention, residual stream, norms or unembedding is written out here; `places.py` says
where in a
family's modules to look. Hooks note what writers add, and overwrite what readers see. The
replacements are handed
in, so this shares no arithmetic with `run.py` either.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.utils.hooks import RemovableHandle

from .places import Places, Projection, final_norm, places, ungroup_model


@dataclass
class Trace:
    """One Hugging Face forward pass: writers' values, the residual at each reader, all logits."""

    writers: dict[str, Tensor] = field(default_factory=dict)
    residual: dict[str, Tensor] = field(default_factory=dict)
    logits: Tensor = field(default_factory=lambda: torch.empty(0))


@contextmanager
def install_hooks(*handles: RemovableHandle) -> Iterator[None]:
    """Remove the hooks at the end, whatever happens."""
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


def split_heads(layer: int, place: Places, mixed: Tensor) -> dict[str, Tensor]:
    """The part of each head in the output of `mix_out`: the others are zero at its input."""
    width = mixed.shape[-1] // place.heads
    silence = place.mix_out.forward(torch.zeros_like(mixed))  # .forward: past the hooks
    shares = {}
    for head in range(place.heads):
        columns = slice(head * width, (head + 1) * width)
        alone = torch.zeros_like(mixed)
        alone[..., columns] = mixed[..., columns]
        shares[f"a{layer}.h{head}"] = place.multiplier * (place.mix_out.forward(alone) - silence)
    return shares


def watch_writers(model: Any, writers: dict[str, Tensor]) -> list[RemovableHandle]:
    """Hooks that note every writer's value, as soon as the value is in the residual stream."""
    handles = []
    for layer, place in enumerate(places(model)):
        shares: dict[str, Tensor] = {}

        def note_embedding(_, args: tuple[Tensor, ...]) -> None:
            writers.update(embed=args[0])

        def note_shares(
            _,
            args: tuple[Tensor],
            shares: dict[str, Tensor] = shares,
            layer: int = layer,
            place: Places = place,
        ) -> None:
            shares.update(split_heads(layer, place, args[0]))

        def note_heads(
            module: Module,
            args: tuple[Tensor],
            out: Tensor,
            shares: dict[str, Tensor] = shares,
            place: Places = place,
        ) -> None:
            factor = (
                out / args[0] if module is place.post_norm else 1
            )  # an RMS norm multiplies, whatever by
            writers.update({name: share * factor for name, share in shares.items()})

        def note_mlp(
            _, args: tuple[Tensor, ...], out: Tensor, layer: int = layer, place: Places = place
        ) -> None:
            writers[f"m{layer}"] = place.multiplier * (
                out - args[1] if place.mlp_adds_residual else out
            )

        handles += [
            place.mix_out.register_forward_pre_hook(note_shares),
            place.heads_done.register_forward_hook(note_heads),
            place.mlp_out.register_forward_hook(note_mlp),
        ]
        if layer == 0:
            handles.append(place.block.register_forward_pre_hook(note_embedding))
    return handles


@torch.no_grad()
def trace(model: Any, tokens: Tensor, mask: Tensor) -> Trace:
    """An untouched forward pass, watched."""
    seen = Trace()
    readers = {"logits": final_norm(model)}
    for layer, place in enumerate(places(model)):
        readers |= {f"a{layer}": place.attention_in, f"m{layer}": place.mlp_in}
    handles = watch_writers(model, seen.writers)
    for site, module in readers.items():

        def note(_, args: tuple[Tensor, ...], site: str = site) -> None:
            seen.residual[site] = args[0]

        handles.append(module.register_forward_pre_hook(note))
    with install_hooks(*handles):
        seen.logits = model(tokens, attention_mask=mask, use_cache=False).logits
    return seen


@torch.no_grad()
def hooked_logits(
    model: Any,
    clean: Tensor,
    mask: Tensor,
    corrupted: Trace,
    replacement: dict[str, Tensor],
    kept: set[str],
    direct: bool = False,
    kv: bool = False,
) -> Tensor:
    """Logits [batch, position, vocab] of the circuit `kept`, by hooks alone."""
    if not kv:
        model = ungroup_model(model)
    now: dict[str, Tensor] = {}

    def base(site: str) -> Tensor:
        """The corrupted residual with each writer exchanged for its replacement; constants stay."""
        upstream = [writer for writer in corrupted.writers if writer in now]
        return corrupted.residual[site] + sum(
            replacement[w] - corrupted.writers[w] for w in upstream
        )

    def seen_by(reader: str, site: str) -> Tensor:
        present = [writer for writer in now if f"{writer}->{reader}" in kept]
        if direct and "<" in reader and f"{reader}->{reader[:-3]}" not in kept:
            present = []
        return base(site) + sum(now[writer] - replacement[writer] for writer in present)

    handles = watch_writers(model, now)
    for layer, place in enumerate(places(model)):
        for projection in place.projections:

            def overwrite_outputs(
                _,
                args: tuple[Tensor],
                out: Tensor,
                layer: int = layer,
                projection: Projection = projection,
            ) -> Tensor:
                parts = []
                for index, (letter, head) in enumerate(projection.outputs):
                    node = f"a{layer}.kv{head}" if kv and letter != "q" else f"a{layer}.h{head}"
                    projected = projection.compute(seen_by(f"{node}<{letter}>", f"a{layer}"))
                    parts.append(projected.chunk(len(projection.outputs), dim=-1)[index])
                return torch.cat(parts, dim=-1)

            handles.append(projection.module.register_forward_hook(overwrite_outputs))

        def overwrite_mlp(_, args: tuple[Tensor, ...], layer: int = layer) -> tuple[Tensor, ...]:
            return seen_by(f"m{layer}", f"m{layer}"), *args[1:]

        handles.append(place.mlp_in.register_forward_pre_hook(overwrite_mlp))
    handles.append(
        final_norm(model).register_forward_pre_hook(
            lambda _module, _args: seen_by("logits", "logits")
        )
    )
    with install_hooks(*handles):
        return model(clean, attention_mask=mask, use_cache=False).logits
