"""The transformer from its parameters, by our names of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import jax
import numpy as np

from circuitgraph.models.attention import Attention
from circuitgraph.models.mlp import MLP
from circuitgraph.models.norms import Norm
from circuitgraph.models.parameters import list_parameters
from circuitgraph.models.spec import NormSpec, Spec
from circuitgraph.models.transformer import Block, Transformer


def build_transformer(spec: Spec, arrays: Mapping[str, jax.Array]) -> Transformer:
    """The transformer with these parameters; see `list_parameters` for their names."""

    def make_norm(name: str, norm_spec: NormSpec | None) -> Norm | None:
        if norm_spec is None:
            return None
        return Norm(arrays.get(f"{name}.weight"), arrays.get(f"{name}.bias"), norm_spec)

    attention = Attention(
        norm=make_norm("attention.norm", spec.norm),
        w_q=arrays["attention.q.weight"],
        w_k=arrays["attention.k.weight"],
        w_v=arrays["attention.v.weight"],
        b_q=arrays.get("attention.q.bias"),
        b_k=arrays.get("attention.k.bias"),
        b_v=arrays.get("attention.v.bias"),
        q_norm=make_norm("attention.q_norm", spec.qk_norm),
        k_norm=make_norm("attention.k_norm", spec.qk_norm),
        sink=arrays.get("attention.sink.weight"),
        w_o=arrays["attention.o.weight"],
        b_o=arrays.get("attention.o.bias"),
        post_norm=make_norm("attention.post_norm", spec.post_norm),
        spec=spec,
    )
    mlp = None
    if spec.d_mlp is not None:
        mlp = MLP(
            norm=make_norm("mlp.norm", spec.norm),
            w_in=arrays["mlp.in.weight"],
            b_in=arrays.get("mlp.in.bias"),
            w_gate=arrays.get("mlp.gate.weight"),
            b_gate=arrays.get("mlp.gate.bias"),
            hidden_norm=make_norm("mlp.hidden_norm", spec.hidden_norm),
            w_out=arrays["mlp.out.weight"],
            b_out=arrays.get("mlp.out.bias"),
            post_norm=make_norm("mlp.post_norm", spec.post_norm),
            router=arrays.get("mlp.router.weight"),
            b_router=arrays.get("mlp.router.bias"),
            choice_bias=arrays.get("mlp.choice.weight"),
            shared=_build_shared(spec, arrays),
            shared_share=arrays.get("mlp.shared_share.weight"),
            spec=spec,
        )
    return Transformer(
        embedding=arrays["embedding.weight"],
        positional=arrays.get("positional.weight"),
        embed_norm=make_norm("embed_norm", spec.embed_norm),
        blocks=Block(attention, mlp),
        final_norm=make_norm("final_norm", spec.final_norm),
        unembedding=arrays.get("unembedding.weight"),
        b_unembed=arrays.get("unembedding.bias"),
        spec=spec,
    )


def name_arrays(transformer: Transformer) -> dict[str, jax.Array]:
    """The parameters that a transformer was built of: the inverse of `build_transformer`."""
    keys: list[str] = []

    def note_keys(arrays: dict[str, jax.Array]) -> None:
        own = {id(array): key for key, array in arrays.items()}
        leaves = jax.tree.leaves(build_transformer(transformer.spec, arrays))
        keys.extend(own[id(leaf)] for leaf in leaves)

    shapes = {p.key: (*p.leading, *p.shape) for p in list_parameters(transformer.spec)}
    jax.eval_shape(
        note_keys, {key: jax.ShapeDtypeStruct(s, np.float32) for key, s in shapes.items()}
    )
    leaves = jax.tree.leaves(replace(transformer, units=None))
    return dict(zip(keys, leaves, strict=True))


def _build_shared(spec: Spec, arrays: Mapping[str, jax.Array]) -> MLP | None:
    """The MLP that all tokens use beside their experts, if the model has one."""
    if spec.experts is None or spec.experts.d_shared is None:
        return None
    return MLP(
        norm=None,
        w_in=arrays["mlp.shared.in.weight"],
        b_in=None,
        w_gate=arrays["mlp.shared.gate.weight"],
        b_gate=None,
        hidden_norm=None,
        w_out=arrays["mlp.shared.out.weight"],
        b_out=None,
        post_norm=None,
        spec=spec,
    )
