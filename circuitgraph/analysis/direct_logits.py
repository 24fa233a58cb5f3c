"""Direct logit attribution: what each layer, head, MLP, neuron and position adds to the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.heads import name_head, rank_heads
from circuitgraph.analysis.measuring import collect_runs, estimate_cell
from circuitgraph.analysis.neuron_names import name_neuron
from circuitgraph.analysis.places import check_neurons, choose_layers, list_columns
from circuitgraph.catalog.analysis_record import Cell, HeatmapRecord, Reading, TableRecord
from circuitgraph.engine.batch import check_prompts, make_batch
from circuitgraph.engine.masked.runs import cut_prompts
from circuitgraph.engine.readings.direct import run_direct, run_direct_neurons
from circuitgraph.errors import check_at_least
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.spec import Spec
from circuitgraph.tasks.metrics import metrics
from circuitgraph.tasks.prompts import Prompts

_AT_ONCE = 8  # prompts whose attention patterns are alive at a time
_METRICS = {"difference": "logit_difference", "answer": "logit"}
Nodes = dict[str, Float[np.ndarray, " batch"]]


@dataclass(frozen=True)
class DirectParts:
    """What adds to the answer's logit (or the difference), of all prompts; see `DirectRun`."""

    embed: Float[np.ndarray, " batch"]
    by_key: Float[np.ndarray, "layers heads batch keys"]
    mlps: Float[np.ndarray, "layers batch"]
    attention_biases: Float[np.ndarray, "layers batch"]
    biases: Float[np.ndarray, " batch"]
    total: Float[np.ndarray, " batch"]

    @property
    def heads(self) -> Float[np.ndarray, "layers heads batch"]:
        """What each head adds, whatever it fetched it from."""
        return self.by_key.sum(axis=3)


@analysis(
    "direct-logits",
    source="Elhage et al. 2021; Wang et al. 2022",
    cannot_tell="what a node does through other nodes, nor what would happen without it: later "
    "layers read it too, and may repair its loss.",
)
def read_direct_logits(
    model: LanguageModel,
    prompts: Prompts,
    *,
    target: Literal["difference", "answer"] | None = None,
    neuron_layers: tuple[int, ...] = (),
    top: int = 10,
) -> Reading:
    """What each writer adds by itself to the logit of the answer, less that of the distractor.

    The divisors of the last norm and of post-norms are those of the run, so that the parts sum to
    the logit exactly. A soft cap on logits comes after that sum.

    Args:
        target: ``difference`` (the default where there are distractors) or ``answer`` alone.
        neuron_layers: layers whose MLPs are taken apart into neurons.
        top: how many nodes and neurons to name, and of how many heads to show the keys.

    Raises:
        DataError: prompts without answers, or without distractors where they are needed.
        ArgumentError: layers that the model does not have; neurons of a mixture of experts.
    """
    check_at_least("top", top, 1)
    if target is None:
        target = "answer" if prompts.distractor is None else "difference"
    unit, minus_distractor = _METRICS[target], target == "difference"
    check_prompts(model, prompts, metrics[unit])
    layers = choose_layers(model.spec, neuron_layers) if neuron_layers else ()
    if layers:
        check_neurons(model, "direct-logits")
    parts = _run_prompts(model, prompts, minus_distractor)
    nodes = _name_nodes(model.spec, parts)
    tables = [
        _make_sum_table(parts, unit),
        _make_layer_table(model.spec, parts, unit),
        _make_top_table("Heads and MLPs", nodes, top, unit),
    ]
    if layers:
        neurons = _run_neurons(model, prompts, minus_distractor, layers)
        tables.append(_make_top_table("Neurons", neurons, top, unit))
    pictures = [_draw_nodes(model.spec, parts, unit), _draw_keys(prompts, parts, top, unit)]
    return Reading(tables=tables, pictures=pictures, notes=_note_cap(model.spec, parts, unit))


def _run_prompts(model: LanguageModel, prompts: Prompts, minus_distractor: bool) -> DirectParts:
    runs = [
        run_direct(model.transformer, make_batch(prompts, rows), minus_distractor)
        for rows in cut_prompts(prompts, _AT_ONCE)
    ]
    fields = []
    # the axis of prompts: the last one but of what heads add by key, [layers, heads, batch, keys]
    for axis, arrays in zip((0, 2, 1, 1, 0, 0), zip(*runs, strict=True), strict=True):
        fields.append(np.concatenate([np.asarray(a, np.float64) for a in arrays], axis))
    return DirectParts(*fields)


def _run_neurons(
    model: LanguageModel, prompts: Prompts, minus_distractor: bool, layers: tuple[int, ...]
) -> Nodes:
    neurons: Nodes = {}
    for layer in layers:
        number = np.int32(layer)
        values = collect_runs(
            prompts,
            _AT_ONCE,
            lambda rows, number=number: run_direct_neurons(
                model.transformer, make_batch(prompts, rows), minus_distractor, number
            ),
            axis=0,
        )
        neurons |= {name_neuron((layer, i)): x for i, x in enumerate(values.T)}
    return neurons


def _name_nodes(spec: Spec, parts: DirectParts) -> Nodes:
    nodes: Nodes = {}
    for layer, heads in enumerate(parts.heads):
        nodes |= {name_head((layer, head)): values for head, values in enumerate(heads)}
        if spec.d_mlp is not None:
            nodes[f"m{layer}"] = parts.mlps[layer]
    return nodes


def _make_sum_table(parts: DirectParts, unit: str) -> TableRecord:
    sums = {
        "embedding": parts.embed,
        "all heads": parts.heads.sum(axis=(0, 1)),
        "all MLPs": parts.mlps.sum(axis=0),
        "biases of attentions": parts.attention_biases.sum(axis=0),
        "biases of the last norm and the unembedding": parts.biases,
        "sum": parts.total,
    }
    return TableRecord(
        title=f"What adds up to the {unit}: means over prompts, 95 % intervals",
        columns=["part", unit],
        rows=[[name, estimate_cell(sample)] for name, sample in sums.items()],
    )


def _make_layer_table(spec: Spec, parts: DirectParts, unit: str) -> TableRecord:
    rows: list[list[Cell]] = []
    for layer, heads in enumerate(parts.heads):
        attention = heads.sum(axis=0) + parts.attention_biases[layer]
        cells = [estimate_cell(attention)]
        if spec.d_mlp is not None:
            cells.append(estimate_cell(parts.mlps[layer]))
        rows.append([f"layer {layer}", *cells])
    columns = ["layer", "attention", "MLP"][: len(rows[0])]
    return TableRecord(title=f"Each layer's part of the {unit}", columns=columns, rows=rows)


def _make_top_table(what: str, nodes: Nodes, top: int, unit: str) -> TableRecord:
    strongest = sorted(nodes, key=lambda name: -abs(nodes[name].mean()))[:top]
    return TableRecord(
        title=f"{what} that add most to the {unit}, up or down, of {len(nodes):,}",
        columns=["node", unit],
        rows=[[name, estimate_cell(nodes[name])] for name in strongest],
    )


def _draw_nodes(spec: Spec, parts: DirectParts, unit: str) -> HeatmapRecord:
    values, columns = parts.heads.mean(axis=2), [f"h{head}" for head in range(spec.n_heads)]
    if spec.d_mlp is not None:
        values = np.concatenate([values, parts.mlps.mean(axis=1)[:, None]], axis=1)
        columns.append("MLP")
    return HeatmapRecord(
        title=f"What each head and MLP adds by itself to the {unit}",
        unit=unit,
        row_axis="layer",
        column_axis="head or MLP",
        row_labels=[str(layer) for layer in range(spec.n_layers)],
        column_labels=columns,
        values=values.tolist(),
    )


def _draw_keys(prompts: Prompts, parts: DirectParts, top: int, unit: str) -> HeatmapRecord:
    """From which positions the strongest heads fetch what they add."""
    columns, means = list_columns(prompts), parts.heads.mean(axis=2)
    strongest = rank_heads(np.abs(means), top)
    rows = [
        # [batch, keys] -> [batch, places] -> [places]
        np.take_along_axis(parts.by_key[place], columns.at, axis=1).mean(axis=0)
        for place, _ in strongest
    ]
    return HeatmapRecord(
        title=f"From which positions the strongest heads fetch what they add to the {unit}",
        unit=unit,
        row_axis="head",
        column_axis="position",
        row_labels=[name for _, name in strongest],
        column_labels=columns.names,
        values=np.array(rows).tolist(),
    )


def _note_cap(spec: Spec, parts: DirectParts, unit: str) -> list[str]:
    if spec.logit_softcap is None:
        return []
    return [
        f"The model caps its logits at +-{spec.logit_softcap:g}. The parts sum to the {unit} "
        f"before that, {parts.total.mean():.3f} on average, not to what it is after it."
    ]
