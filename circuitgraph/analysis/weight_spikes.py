"""The search for super weights: one run shows where numbers spike, and which weight makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.places import check_neurons
from circuitgraph.engine.batch import Inputs, check_tokens, make_batch
from circuitgraph.engine.masked.runs import cut_prompts
from circuitgraph.engine.readings.super_weights import WeightPlaces, run_spikes, scale_weights
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.prompts import Prompts

PROMPTS_AT_ONCE = 8
_TINY = float(np.finfo(np.float32).tiny)
_LEAST_SHARE = 0.5


@dataclass(frozen=True)
class LayerSpike:
    """The numbers of largest size at one layer's MLP output matrix, over all prompts.

    Attributes:
        read, written: the numbers; ``prompt`` and ``position`` are where the latter stands.
        column, row: of the matrix.
        read_ratio, written_ratio: their sizes over the medians over layers.
        weight: the matrix at that row and column.
    """

    layer: int
    read: float
    written: float
    prompt: int
    position: int
    column: int
    row: int
    read_ratio: float
    written_ratio: float
    weight: float

    @property
    def share(self) -> float:
        """How much of the number that is written passes through the weight."""
        return self.weight * self.read / self.written if self.written else 0.0

    def is_super(self, ratio: float) -> bool:
        """Whether the layer spikes on both sides, and the weight makes half of what it writes."""
        return min(self.read_ratio, self.written_ratio) >= ratio and self.share >= _LEAST_SHARE


def find_spikes(model: LanguageModel, network: Transformer, prompts: Prompts) -> list[LayerSpike]:
    """The largest numbers of each layer, from one run of clean prompts."""
    parts = [
        [np.asarray(part) for part in run_spikes(network, _make_inputs(prompts, rows))]
        for rows in cut_prompts(prompts, PROMPTS_AT_ONCE)
    ]
    read, read_at, written, written_at = (np.stack(part) for part in zip(*parts, strict=True))
    layers = np.arange(model.spec.n_layers)
    in_read, in_written = (np.abs(values).argmax(axis=0) for values in (read, written))
    read, read_at = read[in_read, layers], read_at[in_read, layers]
    written, written_at = written[in_written, layers], written_at[in_written, layers]
    read_ratios, written_ratios = (_compare_layers(values) for values in (read, written))
    weights = network.blocks.mlp.w_out  # pyright: ignore[reportOptionalMemberAccess]
    return [
        LayerSpike(
            layer=int(i),
            read=float(read[i]),
            written=float(written[i]),
            prompt=int(in_written[i]) * PROMPTS_AT_ONCE + int(written_at[i, 0]),
            position=int(written_at[i, 1]),
            column=int(read_at[i, 2]),
            row=int(written_at[i, 2]),
            read_ratio=float(read_ratios[i]),
            written_ratio=float(written_ratios[i]),
            weight=float(weights[i, int(written_at[i, 2]), int(read_at[i, 2])]),
        )
        for i in layers
    ]


def search_super_weights(
    model: LanguageModel, prompts: Prompts, *, ratio: float, most: int
) -> tuple[list[LayerSpike], list[LayerSpike]]:
    """Remove the weight that makes the largest spike, run again, until none does.

    Args:
        ratio: how often a number must be as large as the median layer's to be a spike.
        most: weights that are removed, at most.

    Returns:
        The spikes of the whole model, of all layers; and those whose weights were removed, in their
        order.

    Raises:
        ArgumentError: a model without MLPs, or with a mixture of experts.
        DataError: prompts that the model cannot read.
    """
    check_neurons(model, "The search for super weights")
    check_tokens(model.spec, prompts)
    network = model.transformer
    first = spikes = find_spikes(model, network, prompts)
    removed: list[LayerSpike] = []
    while len(removed) < most:
        ours = [spike for spike in spikes if spike.is_super(ratio)]
        if not ours:
            break
        removed.append(max(ours, key=lambda spike: spike.written_ratio))
        network = scale_weights(model.transformer, locate_weights(removed), 0.0)
        spikes = find_spikes(model, network, prompts)
    return first, removed


def locate_weights(spikes: Sequence[LayerSpike]) -> WeightPlaces:
    """Where the weights of spikes stand."""
    places = np.array([(s.layer, s.row, s.column) for s in spikes], np.int32).reshape(-1, 3)
    return WeightPlaces(*places.T)


def _make_inputs(prompts: Prompts, rows: slice) -> Inputs:
    return make_batch(prompts, rows).inputs


def _compare_layers(values: Float[np.ndarray, " layers"]) -> Float[np.ndarray, " layers"]:
    """Sizes over their median."""
    sizes = np.abs(values)
    return sizes / max(float(np.median(sizes)), _TINY)
