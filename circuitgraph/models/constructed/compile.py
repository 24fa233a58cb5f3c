"""From a program to a transformer that computes it, after Tracr (Lindner et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from circuitgraph.errors import ProgramError, list_problems
from circuitgraph.models.build import build_transformer
from circuitgraph.models.constructed.blocks import Head, Unit, head, unembedding, units
from circuitgraph.models.constructed.language import (
    NOTHING,
    Aggregate,
    Indices,
    Program,
    Read,
    Share,
    Tokens,
)
from circuitgraph.models.constructed.layout import Layout, lay_out
from circuitgraph.models.constructed.values import domains
from circuitgraph.models.constructed.vocabulary import Vocabulary, vocabulary
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.parameters import list_parameters
from circuitgraph.models.spec import Spec

FAMILY = "constructed"


@dataclass(frozen=True)
class Sizes:
    """Least sizes of a transformer: what a program does not need of them stays zero.

    Models of one size run in the same compiled programs.
    """

    n_layers: int = 1
    n_heads: int = 1
    d_head: int = 1
    d_model: int = 1
    d_mlp: int = 1
    d_vocab: int = 1
    n_ctx: int = 1


@dataclass(frozen=True, eq=False)
class Constructed:
    """A model and the program that it was made from.

    Attributes:
        layout: which node computes which expression, and which edge carries what.
    """

    model: LanguageModel
    layout: Layout
    vocabulary: Vocabulary

    @property
    def program(self) -> Program:
        """What it computes."""
        return self.layout.program

    @cached_property
    def carried(self) -> dict[str, tuple[Read, ...]]:
        """What each edge carries; see `Layout.carried`."""
        return self.layout.carried()


@dataclass(frozen=True)
class _Parts:
    """All that has weights, by layer."""

    heads: list[list[Head]]
    units: list[list[Unit]]

    @classmethod
    def of(cls, layout: Layout) -> _Parts:
        parts = cls([[] for _ in range(layout.n_layers)], [[] for _ in range(layout.n_layers)])
        for e in layout.program.expressions:
            if isinstance(e, Tokens | Indices):
                continue
            layer = int(layout.writers[e][1:].partition(".")[0])
            if isinstance(e, Aggregate | Share):
                parts.heads[layer].append(head(e, layout))
            else:
                parts.units[layer] += units(e, layout)
        return parts


def compiled(
    program: Program, name: str = FAMILY, *, sizes: Sizes | None = None, exact: bool = False
) -> Constructed:
    """A transformer that computes a program at every position of ``<bos>`` and a sequence.

    It has no norms, sees all positions, and its MLPs are of ReLUs.

    Args:
        name: of the model.
        sizes: of the transformer, at least; see `Sizes`.
        exact: refuse a program that needs more than ``sizes``.

    Raises:
        ProgramError: the program cannot be expressed; names the expression and the reason.
    """
    sizes = sizes or Sizes()
    layout = lay_out(program, domains(program))
    parts = _Parts.of(layout)
    outputs = layout.domains[program.output]
    words = vocabulary(program, outputs, sizes.d_vocab)
    needed = Sizes(
        n_layers=layout.n_layers,
        n_heads=layout.n_heads,
        d_head=max((len(h.b_q) for layer in parts.heads for h in layer), default=1),
        d_model=layout.d_model,
        d_mlp=max(1, *(len(layer) for layer in parts.units)),
        d_vocab=len(words),
        n_ctx=program.max_length + 1,
    )
    each = {f.name: (getattr(sizes, f.name), getattr(needed, f.name)) for f in fields(Sizes)}
    over = [
        f"{field}: {need}, but only {limit} given"
        for field, (limit, need) in each.items()
        if need > limit
    ]
    if exact and over:
        raise ProgramError(list_problems("The program needs a larger transformer:", over))
    spec = _spec(Sizes(**{field: max(pair) for field, pair in each.items()}))
    weights = _weights(spec, layout, parts, words)
    transformer = build_transformer(
        spec, {key: jnp.asarray(array) for key, array in weights.items()}
    )
    model = LanguageModel(name, FAMILY, name, None, transformer, words.tokenizer())
    return Constructed(model, layout, words)


def _spec(sizes: Sizes) -> Spec:
    return Spec(
        n_layers=sizes.n_layers,
        n_heads=sizes.n_heads,
        n_kv_heads=sizes.n_heads,
        d_model=sizes.d_model,
        d_head=sizes.d_head,
        d_mlp=sizes.d_mlp,
        d_vocab=sizes.d_vocab,
        d_vocab_out=sizes.d_vocab,
        n_ctx=sizes.n_ctx,
        norm=None,
        final_norm=None,
        learned_positions=True,
        attn_scales=(1.0,) * sizes.n_layers,
        causal=False,
        qkv_bias=True,
        mlp_bias=True,
        unembed_bias=True,
        activation="relu",
    )


def _weights(spec: Spec, layout: Layout, parts: _Parts, words: Vocabulary) -> dict[str, Any]:
    """All parameters, by our names."""
    arrays = {p.key: np.zeros((*p.leading, *p.shape), np.float32) for p in list_parameters(spec)}
    arrays["embedding.weight"][0, 0] = 1.0  # the beginning
    for e in layout.program.expressions:
        for value, direction in zip(layout.domains[e].values, layout.directions[e], strict=False):
            if isinstance(e, Tokens):
                arrays["embedding.weight"][words.index(value), direction] = 1.0
            elif isinstance(e, Indices):
                arrays["positional.weight"][value + 1, direction] = 1.0
    for layer, heads in enumerate(parts.heads):
        for i, part in enumerate(heads):
            n, d = part.w_q.shape
            for letter in "qkv":
                arrays[f"attention.{letter}.weight"][layer, i, :n, :d] = getattr(
                    part, f"w_{letter}"
                )
            arrays["attention.q.bias"][layer, i, :n] = part.b_q
            arrays["attention.o.weight"][layer, i, :d, :n] = part.w_o
    for layer, hidden in enumerate(parts.units):
        for i, unit in enumerate(hidden):
            for direction, weight in unit.reads.items():
                arrays["mlp.in.weight"][layer, i, direction] = weight
            arrays["mlp.in.bias"][layer, i] = unit.bias
            for direction, weight in unit.writes.items():
                arrays["mlp.out.weight"][layer, direction, i] = weight
    output = layout.program.output
    outputs = layout.domains[output]
    columns = {value: words.index(value) for value in outputs.values}
    none = words.index(NOTHING) if outputs.nothing else None
    w, b = unembedding(output, layout, columns, none, spec.d_vocab)
    arrays["unembedding.weight"][:, : layout.d_model], arrays["unembedding.bias"] = w, b
    return arrays
