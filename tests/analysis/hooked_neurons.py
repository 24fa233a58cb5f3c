"""What transformers' own GPT-2 holds inside, by hooks, and scores of neurons from it, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from circuitgraph.tasks.prompts import Prompts
from tests.checkpoints import Tiny

Silence = Callable[[np.ndarray], None]


def run_hooked(
    tiny: Tiny, prompts: Prompts, silence: tuple[int, str, Callable[[Any], None]] | None = None
) -> dict[str, np.ndarray]:
    """Values of each layer in float64, [layers, batch, pos, ...], final stream and logits.

    Args:
        silence: a layer, ``z`` or ``hidden``, and what changes that value in place.
    """
    names = ("before", "middle", "z", "hidden")
    kept: dict[str, list[np.ndarray]] = {name: [] for name in (*names, "final", "qkv")}

    def keep(name: str, change: Callable[[Any], None] | None) -> Callable[..., Any]:
        def hook(_: Any, args: Any) -> Any:
            value = args[0].clone()
            if change is not None:
                change(value)
            kept[name].append(value.numpy().astype(np.float64))
            return (value, *args[1:])

        return hook

    body = tiny.hf.transformer
    with ExitStack() as hooks:
        for number, block in enumerate(body.h):
            places = (block.ln_1, block.ln_2, block.attn.c_proj, block.mlp.c_proj)
            for name, place in zip(names, places, strict=True):
                due = silence is not None and silence[:2] == (number, name)
                change = silence[2] if silence is not None and due else None
                hooks.enter_context(_remove(place.register_forward_pre_hook(keep(name, change))))
            hooks.enter_context(
                _remove(
                    block.attn.c_attn.register_forward_hook(
                        lambda _, __, out: kept["qkv"].append(out.numpy().astype(np.float64))
                    )
                )
            )
        hooks.enter_context(_remove(body.ln_f.register_forward_pre_hook(keep("final", None))))
        with torch.no_grad():
            output = tiny.hf(
                torch.tensor(prompts.clean).long(),
                attention_mask=torch.tensor(prompts.mask).long(),
                output_attentions=True,
            )
    values = {name: np.stack(parts) for name, parts in kept.items()}
    pattern = torch.stack(output.attentions).numpy().astype(np.float64)
    logits = output.logits.numpy().astype(np.float64)
    return values | {"final": values["final"][0], "pattern": pattern, "logits": logits}


class _remove:  # noqa: N801 - a context manager of one hook
    def __init__(self, hook: Any) -> None:
        self.hook = hook

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.hook.remove()


def weights(tiny: Tiny, name: str) -> np.ndarray:
    """A tensor of transformers' model in float64."""
    return tiny.hf.state_dict()[name].numpy().astype(np.float64)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Of the last axis."""
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def read_stream(tiny: Tiny, x: np.ndarray, final: np.ndarray) -> np.ndarray:
    """Logits of a stream by the last norm with another stream's divisor, without its bias."""
    sigma = np.sqrt(final.var(-1, keepdims=True) + tiny.hf.config.layer_norm_epsilon)
    normed = (x - x.mean(-1, keepdims=True)) / sigma * weights(tiny, "transformer.ln_f.weight")
    return normed @ weights(tiny, "lm_head.weight").T


def score_vector(
    tiny: Tiny,
    name: str,
    before: np.ndarray,
    value: float,
    row: np.ndarray,
    answer: int,
    final: np.ndarray,
) -> float:
    """A score of one neuron, from its definition."""

    def log_p(x: np.ndarray) -> float:
        return float(log_softmax(read_stream(tiny, x, final))[answer])

    written, alone = value * row, read_stream(tiny, value * row, final)
    return {
        "log-probability-increase": lambda: log_p(before + written) - log_p(before),
        "log-probability": lambda: log_p(written),
        "probability-increase": lambda: np.exp(log_p(before + written)) - np.exp(log_p(before)),
        "norm": lambda: np.sqrt((row**2).sum()),
        "coefficient": lambda: abs(value),
        "norm-times-coefficient": lambda: np.sqrt((written**2).sum()),
        "rank": lambda: -float((alone > alone[answer]).sum()),
        "coefficient-times-logit": lambda: alone[answer],
    }[name]()
