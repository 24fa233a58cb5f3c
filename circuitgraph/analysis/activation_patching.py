"""Activation patching: one value of one run put into another run, and what that changes."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.measuring import choose_metrics, collect_runs
from circuitgraph.analysis.patch_report import (
    PatchValues,
    draw_shares,
    make_share_table,
    make_side_table,
)
from circuitgraph.analysis.places import (
    Columns,
    check_corrupted,
    check_mlps,
    check_neurons,
    check_sides,
    choose_layers,
    choose_streams,
    list_columns,
    name_stream,
)
from circuitgraph.catalog.analysis_record import Reading
from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.masked.runs import cut_prompts
from circuitgraph.engine.readings.patched import Kind
from circuitgraph.engine.readings.patching import pair_sides
from circuitgraph.errors import ArgumentError, check_at_least, check_choice
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.spec import Spec
from circuitgraph.progress import show_progress
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Prompts

_AT_ONCE = 16  # prompts in a launch
Direction = Literal["denoising", "noising"]
Part = tuple[int, tuple[int, ...]]  # a layer, and numbers of heads or neurons there
ALL = "all"


@analysis(
    "activation-patching",
    source="Meng et al. 2022; Heimersheim and Nanda 2024",
    cannot_tell="by which edges a node acts; and what is restored by one node (denoising) need not "
    "be what is lost without it (noising): of two nodes that serve as each other's spare, each "
    "restores all and neither alone loses anything.",
)
def patch_activations(
    model: LanguageModel,
    prompts: Prompts,
    *,
    kind: Kind = "residual",
    direction: Literal["denoising", "noising", "both"] = "denoising",
    layers: tuple[int, ...] | None = None,
    numbers: tuple[int, ...] | None = None,
    positions: Literal["each", "all"] | None = None,
    metric: str | None = None,
    top: int = 10,
    bar: bool = False,
) -> Reading:
    """What changes when one value comes from the other side: clean into corrupted (denoising), or
    corrupted into clean (noising).

    The share of a patch is (patched - start) / (end - start) of the metric's means, where the
    patched run starts from one side and gets a value of the other, the end. So it is restored by
    denoising, and lost by noising.

    Args:
        kind: ``residual`` (the stream before a layer, and after the last), ``attention``, ``mlp``
            (what they add), ``head`` (what it fetched, before its output weights) or ``neuron``.
        layers, numbers: all of them by default; numbers are of heads or neurons.
        positions: ``each`` by itself, or ``all`` at once (of heads and neurons the default).
        metric: the one that patches are ranked and drawn by.
        top: how many patches the table names.

    Raises:
        DataError: pairs without a corrupted side or without answers, or with two sides alike.
        ArgumentError: layers or numbers that the model does not have.
    """
    check_corrupted(prompts, "Activation patching")
    check_at_least("top", top, 1)
    metrics = order_metrics(choose_metrics(model, prompts), metric)
    parts = _list_parts(model, kind, layers, numbers)
    if positions is None:
        positions = "all" if kind in ("head", "neuron") else "each"
    check_sides(prompts)
    columns = list_columns(prompts) if positions == "each" else None
    tables, pictures = [], []
    directions = get_args(Direction) if direction == "both" else (direction,)
    for one in directions:
        patched = _patch_sides(model, prompts, metrics, kind, parts, columns, one, bar)
        if not tables:
            sides = ("corrupted", "clean") if one == "denoising" else ("clean", "corrupted")
            tables.append(make_side_table(patched, *sides))
        tables.append(make_share_table(patched, top))
        pictures.append(draw_shares(patched, f"{kind} at layer" if kind == "residual" else kind))
    return Reading(tables=tables, pictures=pictures)


def order_metrics(metrics: tuple[Metric, ...], first: str | None) -> tuple[Metric, ...]:
    """The metrics, with the one that patches are ranked by at the beginning."""
    if first is None:
        return metrics
    check_choice("metric", first, [metric.name for metric in metrics])
    return tuple(sorted(metrics, key=lambda metric: metric.name != first))


def _list_parts(
    model: LanguageModel,
    kind: Kind,
    layers: tuple[int, ...] | None,
    numbers: tuple[int, ...] | None,
) -> list[Part]:
    """What is patched, layer by layer.

    Raises:
        ArgumentError: as `patch_activations` says.
    """
    spec = model.spec
    if kind == "mlp":
        check_mlps(model, "activation-patching")
    if kind == "neuron":
        check_neurons(model, "activation-patching")
    chosen = (choose_streams if kind == "residual" else choose_layers)(spec, layers)
    n_numbers = {"head": spec.n_heads, "neuron": spec.d_mlp}.get(kind)
    if n_numbers is None:
        if numbers is not None:
            raise ArgumentError(f"numbers are of heads or neurons, but kind is {kind!r}.")
        return [(layer, (0,)) for layer in chosen]
    wanted = tuple(range(n_numbers)) if numbers is None else numbers
    wrong = [number for number in wanted if not 0 <= number < n_numbers]
    if wrong or not wanted:
        raise ArgumentError(
            f"numbers has {wrong[0] if wrong else 'none'}, but a layer has the {kind}s 0 to "
            f"{n_numbers - 1}."
        )
    return [(layer, wanted) for layer in chosen]


def _patch_sides(
    model: LanguageModel,
    prompts: Prompts,
    metrics: tuple[Metric, ...],
    kind: Kind,
    parts: list[Part],
    columns: Columns | None,
    direction: Direction,
    bar: bool,
) -> PatchValues:
    noising, n_batches = direction == "noising", len(cut_prompts(prompts, _AT_ONCE))
    with show_progress(n_batches * len(parts), direction, "layer", bar=bar) as progress:

        def run(rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            batch = make_batch(prompts, rows)
            patching = pair_sides(model.transformer, batch, metrics, noising=noising)
            at, of_layers = None if columns is None else columns.at[rows], []
            for layer, numbers in parts:
                of_layers.append(patching.measure_patches(kind, layer, numbers, at))
                progress.advance()
            return np.concatenate(of_layers), patching.measure_base(), patching.measure_donor()

        values, start, end = collect_runs(prompts, _AT_ONCE, run)
    names = [_name_part(model.spec, kind, *part) for part in parts]
    return PatchValues(
        tuple(name for of_layer in names for name in of_layer),
        (ALL,) if columns is None else columns.names,
        metrics,
        values,
        start,
        end,
        "lost" if noising else "restored",
    )


def _name_part(spec: Spec, kind: Kind, layer: int, numbers: tuple[int, ...]) -> list[str]:
    if kind == "residual":
        return [name_stream(spec, layer)]
    letter = {"attention": "a", "head": "a", "mlp": "m", "neuron": "m"}[kind]
    unit = {"head": ".h", "neuron": ".n"}.get(kind)
    return [f"{letter}{layer}" + ("" if unit is None else f"{unit}{n}") for n in numbers]
