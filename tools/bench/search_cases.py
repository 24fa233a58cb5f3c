"""Models and prompts of the search benchmark, and its clocks: time, compile time, memory."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from circuitgraph.models.loading import shipped_models
from circuitgraph.tasks.prompts import Prompts
from tests.checkpoints import random_prompts, save_tiny

METRICS = ("logit_difference", "kl")
PLAIN = {
    "activation_function": "gelu_new",
    "n_inner": None,
    "scale_attn_by_inverse_layer_idx": False,
    "tie_word_embeddings": True,
    "layer_norm_epsilon": 1e-5,
    "n_positions": 64,
}


@dataclass(frozen=True)
class Case:
    """A model to search in.

    Attributes:
        fields: of a random GPT-2's configuration; None for the shipped model of that name.
        thresholds: ACDC's, by metric.
        whole: the oracle does the whole search as well, and must decide alike.
        prompts, tokens: how many prompts, and the longest one's length.
    """

    name: str
    title: str
    fields: dict[str, Any] | None
    vocab: int
    thresholds: dict[str, float]
    whole: bool = True
    prompts: int = 16
    tokens: int = 16

    def folder(self, work: Path) -> Path:
        """Where the checkpoint is; written at the first call if it is a random one."""
        if self.fields is None:
            return shipped_models()[self.name]
        folder = work / f"model-{self.name}"
        if not (folder / "config.json").exists():
            save_tiny(folder, **{**PLAIN, "vocab_size": self.vocab, **self.fields})
        return folder

    def random_prompts(self) -> Prompts:
        return random_prompts(self.vocab, self.prompts, self.tokens)


# With GPT-2's own initializer_range, 0.02, prompts hardly matter beside the random biases: the
# empty circuit's KL is 0.0003, so that effects are near rounding. With 0.06 it is 0.8, and a few
# hundred edges have effects above 0.001.
_GPT2 = {"n_layer": 12, "n_head": 12, "n_embd": 768, "initializer_range": 0.06}
_CASES = (
    Case(
        "gpt2",
        "random, GPT-2 small's shape",
        _GPT2,
        50257,
        {"logit_difference": 0.01, "kl": 0.001},
        whole=False,
    ),
    Case(
        "4x8",
        "random 4 x 8, d_model 128",
        {"n_layer": 4, "n_head": 8, "n_embd": 128},
        50,
        dict.fromkeys(METRICS, 0.1),
    ),
    Case("induction-2l", "induction-2l (trained)", None, 98, dict.fromkeys(METRICS, 0.1)),
)


def list_cases(tiny: bool) -> dict[str, Case]:
    """All cases by name; a ``tiny`` one shows that the tool works, and says nothing of speed."""
    if not tiny:
        return {case.name: case for case in _CASES}
    small = {"n_layer": 2, "n_head": 2, "n_embd": 16}
    fields = {
        "fields": small,
        "vocab": 50,
        "thresholds": dict.fromkeys(METRICS, 0.1),
        "prompts": 3,
        "tokens": 6,
    }
    return {"gpt2": replace(_CASES[0], title="tiny, no measurement", whole=True, **fields)}


@dataclass
class Compiling:
    """How long jax has been tracing, lowering and compiling since this object was made."""

    programs: int = 0
    _spans: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        jax.monitoring.register_event_duration_secs_listener(self._add_compilation)

    def _add_compilation(self, event: str, duration_secs: float, **_: Any) -> None:
        if not event.startswith("/jax/core/compile/"):
            return
        self.programs += event.endswith("backend_compile_duration")
        end = time.perf_counter()
        while self._spans and self._spans[-1][0] >= end - duration_secs:
            self._spans.pop()  # it was a part of this one
        self._spans.append((end - duration_secs, end))

    @property
    def seconds(self) -> float:
        return sum(end - start for start, end in self._spans)


def time_call(action: Callable[[], Any]) -> tuple[Any, float]:
    """What an action returns, and its seconds."""
    start = time.perf_counter()
    result = action()
    return result, time.perf_counter() - start


def median_seconds(action: Callable[[], Any], repeats: int) -> float:
    """The middle one of several times; the first run does not count."""
    action()
    return statistics.median(time_call(action)[1] for _ in range(repeats))


def matrix_product_rate(tiny: bool) -> float:
    """Operations a second of one 2048 x 768 by 768 x 3072 product; a multiplication is two."""
    rows, inner, columns = (64, 64, 64) if tiny else (2048, 768, 3072)
    rng = np.random.default_rng(0)
    a, b = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32)
        for shape in ((rows, inner), (inner, columns))
    )
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision="highest"))
    return (
        2 * rows * inner * columns / median_seconds(lambda: product(a, b).block_until_ready(), 15)
    )


def peak_bytes() -> int:
    """The largest resident set of this process so far; on Linux, where the unit is 1024 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Progress:
    """A line on standard error now and then."""

    def __init__(self, every: float = 15.0) -> None:
        self._every, self._last = every, time.perf_counter()

    def print_now_and_then(self, text: str) -> None:
        now = time.perf_counter()
        if now - self._last >= self._every:
            self._last = now
            print(f"    {text}", file=sys.stderr, flush=True)
