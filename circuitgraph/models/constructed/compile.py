"""From a program to a transformer that computes it, after Tracr (Lindner et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from circuitgraph.errors import ProgramError, list_problems
from circuitgraph.models.build import build_transformer
from circuitgraph.models.constructed.layout import Layout, lay_out_program
from circuitgraph.models.constructed.rasp import NOTHING, Aggregate, Indices, Share, Tokens
from circuitgraph.models.constructed.rasp_program import RaspProgram, Use
from circuitgraph.models.constructed.values import find_domains
from circuitgraph.models.constructed.vocabulary import Vocabulary, make_vocabulary
from circuitgraph.models.constructed.weights import (
    HeadWeights,
    HiddenUnit,
    make_head,
    make_unembedding,
    make_units,
)
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.parameters import list_parameters
from circuitgraph.models.spec import Spec

FAMILY = "constructed"


@dataclass(frozen=True)
class Sizes:
    """Least sizes of a transformer: weights that a program does not need stay zero.

    Models of one size share the functions that jax has compiled.
    """

    n_layers: int = 1
    n_heads: int = 1
    d_head: int = 1
    d_model: int = 1
    d_mlp: int = 1
    d_vocab: int = 1
    n_ctx: int = 1


@dataclass(frozen=True, eq=False)
class ConstructedModel:
    """A model and the program that it was made from.

    Attributes:
        layout: which node computes which expression, and which edge carries which values.
    """

    model: LanguageModel
    layout: Layout
    vocabulary: Vocabulary

    @property
    def program(self) -> RaspProgram:
        """The program that the model computes."""
        return self.layout.program

    @cached_property
    def uses_by_edge(self) -> dict[str, tuple[Use, ...]]:
        """The uses of values that each edge serves; see `Layout.list_uses_by_edge`."""
        return self.layout.list_uses_by_edge()


@dataclass(frozen=True)
class _Parts:
    """All heads and hidden units, by layer."""

    heads: list[list[HeadWeights]]
    units: list[list[HiddenUnit]]

    @classmethod
    def from_layout(cls, layout: Layout) -> _Parts:
        parts = cls([[] for _ in range(layout.n_layers)], [[] for _ in range(layout.n_layers)])
        for e in layout.program.expressions:
            if isinstance(e, Tokens | Indices):
                continue
            layer = int(layout.writers[e][1:].partition(".")[0])
            if isinstance(e, Aggregate | Share):
                parts.heads[layer].append(make_head(e, layout))
            else:
                parts.units[layer] += make_units(e, layout)
        return parts


def compile_program(
    program: RaspProgram, name: str = FAMILY, *, sizes: Sizes | None = None, exact: bool = False
) -> ConstructedModel:
    """A transformer that computes a program at every position of ``<bos>`` and a sequence.

    The transformer has no norms, its attention sees all positions, and its MLPs are of ReLUs.

    Args:
        name: of the model.
        sizes: of the transformer, at least; see `Sizes`.
        exact: refuse a program that needs more than ``sizes``.

    Raises:
        ProgramError: the program cannot be expressed; names the expression and the reason.
    """
    sizes = sizes or Sizes()
    layout = lay_out_program(program, find_domains(program))
    parts = _Parts.from_layout(layout)
    outputs = layout.domains[program.output]
    vocabulary = make_vocabulary(program, outputs, sizes.d_vocab)
    needed = Sizes(
        n_layers=layout.n_layers,
        n_heads=layout.n_heads,
        d_head=max((len(head.b_q) for layer in parts.heads for head in layer), default=1),
        d_model=layout.d_model,
        d_mlp=max(1, *(len(layer) for layer in parts.units)),
        d_vocab=len(vocabulary),
        n_ctx=program.max_length + 1,
    )
    both = {f.name: (getattr(sizes, f.name), getattr(needed, f.name)) for f in fields(Sizes)}
    too_small = [
        f"{field}: {need}, but only {limit} given"
        for field, (limit, need) in both.items()
        if need > limit
    ]
    if exact and too_small:
        raise ProgramError(list_problems("The program needs a larger transformer:", too_small))
    spec = _make_spec(Sizes(**{field: max(pair) for field, pair in both.items()}))
    weights = _make_weights(spec, layout, parts, vocabulary)
    arrays = {key: jnp.asarray(array) for key, array in weights.items()}
    transformer = build_transformer(spec, arrays)
    model = LanguageModel(name, FAMILY, name, None, transformer, vocabulary.make_tokenizer())
    return ConstructedModel(model, layout, vocabulary)


def _make_spec(sizes: Sizes) -> Spec:
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


def _make_weights(
    spec: Spec, layout: Layout, parts: _Parts, vocabulary: Vocabulary
) -> dict[str, Any]:
    """All parameters, by our names."""
    arrays = {p.key: np.zeros((*p.leading, *p.shape), np.float32) for p in list_parameters(spec)}
    arrays["embedding.weight"][0, 0] = 1.0  # token 0 is `BOS`, direction 0 marks it
    for e in layout.program.expressions:
        for value, direction in zip(layout.domains[e].values, layout.directions[e], strict=False):
            if isinstance(e, Tokens):
                arrays["embedding.weight"][vocabulary.token_of(value), direction] = 1.0
            elif isinstance(e, Indices):
                arrays["positional.weight"][value + 1, direction] = 1.0  # `BOS` is at position 0
    # Parts are smaller than the transformer: [:n, :d] is the corner that they fill.
    for layer, heads in enumerate(parts.heads):
        for i, head in enumerate(heads):
            n, d = head.w_q.shape
            for letter in "qkv":
                arrays[f"attention.{letter}.weight"][layer, i, :n, :d] = getattr(
                    head, f"w_{letter}"
                )
            arrays["attention.q.bias"][layer, i, :n] = head.b_q
            arrays["attention.o.weight"][layer, i, :d, :n] = head.w_o
    for layer, units in enumerate(parts.units):
        for i, unit in enumerate(units):
            for direction, weight in unit.reads.items():
                arrays["mlp.in.weight"][layer, i, direction] = weight
            arrays["mlp.in.bias"][layer, i] = unit.bias
            for direction, weight in unit.writes.items():
                arrays["mlp.out.weight"][layer, direction, i] = weight
    output = layout.program.output
    outputs = layout.domains[output]
    columns = {value: vocabulary.token_of(value) for value in outputs.values}
    none = vocabulary.token_of(NOTHING) if outputs.nothing else None
    w, b = make_unembedding(output, layout, columns, none, spec.d_vocab)
    arrays["unembedding.weight"][:, : layout.d_model], arrays["unembedding.bias"] = w, b
    return arrays
