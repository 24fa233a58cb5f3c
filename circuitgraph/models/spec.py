"""What a transformer is, as data: sizes and switches that a family's file reads off a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from circuitgraph.graph.graph import Graph

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "relu2", "silu", "tanh", "identity"]


@dataclass(frozen=True)
class Spec:
    """A pre-norm decoder with learned positions: everything that its forward pass depends on but the weights.

    Attributes:
        d_mlp: hidden width of the MLPs; None if the layers have none.
        activation: of the MLPs. ``gelu`` is the erf form, ``gelu_tanh`` the tanh approximation.
        attn_scales: what each layer multiplies its query-key products with.
        norm_eps: added to the variance in every norm.
    """

    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    d_mlp: int | None
    d_vocab: int
    n_ctx: int
    activation: Activation
    attn_scales: tuple[float, ...]
    norm_eps: float

    def graph(self, *, direct: bool = False) -> Graph:
        """The graph of this model; ``direct`` as in `Graph`."""
        return Graph(self.n_layers, self.n_heads, mlp=self.d_mlp is not None, direct=direct)
