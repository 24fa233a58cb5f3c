"""What a dictionary is, as data: how it computes, where it reads and writes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from circuitgraph.models.dictionaries.hooks import MLP_INPUTS, Hook

FeatureActivation = Literal["relu", "jump_relu", "top_k", "signed_top_k", "group_max", "gated"]
Normalisation = Literal["none", "norm", "layer_norm"]


@dataclass(frozen=True, kw_only=True)
class DictionarySpec:
    """All that a dictionary's computation depends on but the weights.

    Attributes:
        layout: whose files it was read from; see docs/dictionaries.md.
        activation: ``jump_relu`` is also what BatchTopK is once it is trained: one threshold.
            ``top_k`` keeps the k highest that are positive, ``signed_top_k`` the k highest as they
            are, ``group_max`` the highest of each of k groups.
        k: of the two top-k activations; the number of groups of ``group_max``.
        normalisation: of each input by itself: ``norm`` to the length sqrt(d), ``layer_norm`` to
            mean 0 and standard deviation 1 (with n - 1, and 1e-5 added to it).
        restores: the reconstruction is turned back by what the input was normalised by.
        input_scale: the input is multiplied with this.
        output_scales: what is written into each layer is divided by this.
        subtracts_b_dec: the decoder's bias is subtracted from the input.
        decoder_norm: ``choice``: features are activated at their value times the length of their
            decoder row, and divided by it again; ``features``: they keep that length, and their
            rows are of length one.
        reads: where the input is; None where the files do not say.
        writes: where the reconstruction belongs, one for each layer that is written to; empty where
            the files do not say.
        model_name: the model that it was trained on, as the files call it.
    """

    layout: str
    activation: FeatureActivation
    k: int | None = None
    normalisation: Normalisation = "none"
    restores: bool = True
    input_scale: float = 1.0
    output_scales: tuple[float, ...] = (1.0,)
    subtracts_b_dec: bool
    decoder_norm: Literal["unused", "choice", "features"] = "unused"
    reads: Hook | None
    writes: tuple[Hook, ...]
    model_name: str | None = None

    @property
    def kind(self) -> str:
        """What the field calls it."""
        if len(self.writes) > 1:
            return "cross-layer transcoder"
        return "sparse autoencoder" if self.writes in ((), (self.reads,)) else "transcoder"

    @property
    def computation(self) -> tuple[Any, ...]:
        """What dictionaries share that one compiled program serves: all but layers and names."""
        apart = {"layout", "reads", "writes", "model_name"}
        own = (getattr(self, f.name) for f in fields(self) if f.name not in apart)
        places = (self.reads, *self.writes)
        return (*own, *(None if hook is None else hook.place for hook in places))

    @property
    def reads_features_apart(self) -> bool:
        """Whether each feature depends on the input alone, and on no other feature."""
        return self.activation in ("relu", "jump_relu", "gated")

    @property
    def can_be_nodes(self) -> bool:
        """Whether features can be nodes of a graph; `node_problem` says why not."""
        return self.node_problem is None

    @property
    def node_problem(self) -> str | None:
        """Why features cannot be nodes of a graph; None if they can.

        A node adds a number times a fixed row to the stream, in place of what an MLP or a layer's
        heads add.
        """
        if self.reads is None or not self.writes:
            return "the files do not say where it reads and writes: name the hook"
        if any(hook.in_stream for hook in self.writes):
            return (
                "it takes the residual stream apart, which is the sum of all nodes before it: its "
                "features are readings of that sum, and what they would write is there already"
            )
        if self.reads.place == "z":
            return "it takes apart what heads fetch, before their output weights"
        if self.normalisation != "none" and self.restores:
            return (
                "what a feature writes is scaled by the length of each token's own input, so that "
                "it has no fixed row"
            )
        if any(hook.after_mlp for hook in self.writes):
            inputs_fit = self.reads == self.writes[0] or self.reads.place in MLP_INPUTS
            return None if inputs_fit else f"it writes for an MLP, but reads {self.reads}"
        if self.writes == (self.reads,):
            return None
        return f"it reads {self.reads} and writes {', '.join(map(str, self.writes))}"
