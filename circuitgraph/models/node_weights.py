"""Which weights are a node's: its name, checked, and what it writes, scaled in the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from circuitgraph.errors import ArgumentError, list_problems
from circuitgraph.graph.node import Node
from circuitgraph.models.mlp import MLP
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import Transformer

_KINDS = ("head", "neuron", "mlp")


def parse_nodes(spec: Spec, names: Sequence[str]) -> list[Node]:
    """The heads, MLPs and hidden neurons of these names.

    Raises:
        UnknownNameError: a name that is no node's.
        ArgumentError: no name at all, or nodes that have no weights in this model; lists them.
    """
    if isinstance(names, str):
        raise ArgumentError(f"The nodes are one text, {names!r}. Give a list of names: [name].")
    nodes = [Node.parse(name) for name in names]
    problems = [f"{node}: {what}" for node in nodes if (what := _find_problem(spec, node))]
    if not nodes or problems:
        title = "These nodes have no weights that could be edited:"
        raise ArgumentError(list_problems(title, problems or ["there are none: name some"]))
    return nodes


def _find_problem(spec: Spec, node: Node) -> str | None:
    """Why a node's weights cannot be edited; None if they can."""
    if node.kind not in _KINDS:
        return "expected a head (a1.h2), an MLP (m3) or a hidden neuron (m3.n117)"
    if node.layer >= spec.n_layers:
        return f"the model has {spec.n_layers} layers, 0 to {spec.n_layers - 1}"
    if node.kind == "head":
        return _check_index(node, spec.n_heads, "heads in a layer")
    if spec.d_mlp is None:
        return "the model's layers have no MLP"
    if node.kind == "neuron" and spec.experts is not None:
        return "a mixture of experts has a neuron once for each expert"
    return _check_index(node, spec.d_mlp, "neurons in an MLP") if node.kind == "neuron" else None


def _check_index(node: Node, n: int, what: str) -> str | None:
    return f"the model has {n:,} {what}, 0 to {n - 1}" if node.index >= n else None


def scale_nodes(
    transformer: Transformer, nodes: Sequence[Node], scale: float, *, keep_only: bool
) -> Transformer:
    """The transformer in which these nodes write ``scale`` times what their weights write.

    Args:
        keep_only: the nodes stay as they are, and all others of their kinds are scaled.
    """
    spec, kinds = transformer.spec, {node.kind for node in nodes}
    if keep_only and {"mlp", "neuron"} <= kinds:
        raise ArgumentError(
            "Neurons and whole MLPs are to be kept, so that it is open which others are not: name "
            "either neurons or MLPs."
        )
    widths = {"head": spec.n_heads, "neuron": spec.d_mlp or 0, "mlp": 1}
    factors = {
        kind: np.full((spec.n_layers, n), scale if keep_only and kind in kinds else 1.0)
        for kind, n in widths.items()
    }
    for node in nodes:
        factors[node.kind][node.layer, max(node.index, 0)] = 1.0 if keep_only else scale
    attention, mlp = transformer.blocks.attention, transformer.blocks.mlp
    # [layers, heads, d, d_head]
    attention = replace(attention, w_o=_multiply(attention.w_o, factors["head"][..., None, None]))
    if mlp is not None:
        mlp = _scale_mlp(mlp, factors["mlp"][:, 0])
        if "neuron" in kinds:
            mlp = replace(mlp, w_out=_multiply(mlp.w_out, factors["neuron"][:, None]))
    blocks = replace(transformer.blocks, attention=attention, mlp=mlp)
    return replace(transformer, blocks=blocks)


def _scale_mlp(mlp: MLP, factors: Float[np.ndarray, " layers"]) -> MLP:
    """The MLPs with factors of all that they write: experts, shared ones and biases too."""

    def multiply_layers(weights: Array) -> Array:
        return _multiply(weights, factors.reshape(-1, *[1] * (weights.ndim - 1)))

    shared = None if mlp.shared is None else _scale_mlp(mlp.shared, factors)
    bias = None if mlp.b_out is None else multiply_layers(mlp.b_out)
    return replace(mlp, w_out=multiply_layers(mlp.w_out), b_out=bias, shared=shared)


def _multiply(weights: Array, factors: np.ndarray) -> Array:
    return weights * jnp.asarray(factors, weights.dtype)
