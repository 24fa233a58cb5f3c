"""Causal tracing: noise on the subject's embedding, and what brings the answer back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float, Int

from circuitgraph.analysis.activation_patching import order_metrics
from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.measuring import choose_metrics, collect_runs
from circuitgraph.analysis.patch_report import (
    PatchValues,
    draw_shares,
    make_share_table,
    make_side_table,
)
from circuitgraph.analysis.places import (
    check_mlps,
    choose_layers,
    choose_streams,
    find_positions,
    list_columns,
    name_stream,
)
from circuitgraph.catalog.analysis_record import Reading
from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.masked.runs import cut_prompts
from circuitgraph.engine.readings.patched import keep_run
from circuitgraph.engine.readings.patching import Patching, find_places
from circuitgraph.errors import ArgumentError, check_at_least
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.spec import Spec
from circuitgraph.progress import show_progress
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Prompts

_RUNS_AT_ONCE = 16  # prompts times draws of noise in a launch
_ORIGINAL_WINDOW = 10  # layers, of the source, for attention and MLPs
Kind = Literal["residual", "attention", "mlp"]


@analysis(
    "causal-tracing",
    source="Meng et al. 2022",
    cannot_tell="where a fact is stored, or which weights to edit (Hase et al. 2023); what is "
    "restored depends on the size of the noise, and noise takes the model where no text does.",
)
def trace_causes(
    model: LanguageModel,
    prompts: Prompts,
    *,
    subject: tuple[str | int, ...],
    kind: Kind = "residual",
    window: int | None = None,
    layers: tuple[int, ...] | None = None,
    noise: float = 3.0,
    samples: int = 4,
    seed: int = 0,
    metric: str = "probability",
    top: int = 10,
    bar: bool = False,
) -> Reading:
    """Which clean value brings the answer back after noise on the embedding of the subject.

    The share of a restored value is (restored - noised) / (clean - noised) of the metric's means.

    Args:
        subject: the noised positions: roles of the task, or positions (from the end if negative).
        kind: what is restored: the stream before a layer (and after the last), or what attentions
            or MLPs add.
        window: of how many layers around each what they add is restored at once (10 by default, and
            at most all; of the stream it is always one).
        noise: standard deviation of the noise, in those of the embeddings of the prompts' tokens.
        samples: draws of noise for each prompt; a prompt's values are means over them.
        metric: the one that places are ranked and drawn by.
        top: how many places the table names.

    Raises:
        UnknownNameError: a role that a prompt does not have.
        ArgumentError: layers, positions or a window that make no sense; a model without MLPs.
        DataError: prompts without answers.
    """
    for name, number in (
        ("top", top),
        ("samples", samples),
        ("window", 1 if window is None else window),
    ):
        check_at_least(name, number, 1)
    if not subject or noise <= 0:
        raise ArgumentError(f"subject is {subject} and noise {noise}: noise some positions.")
    if kind == "residual" and window is not None:
        raise ArgumentError("A stream is restored before one layer: window is of attention or mlp.")
    if kind == "mlp":
        check_mlps(model, "causal-tracing")
    metrics = order_metrics(choose_metrics(model, prompts), metric)
    chosen = (choose_streams if kind == "residual" else choose_layers)(model.spec, layers)
    at = np.concatenate([find_positions(prompts, place) for place in subject], axis=1)
    draws = NoiseDraws(at, noise, samples, seed)
    width = min(window or _ORIGINAL_WINDOW, model.spec.n_layers)
    patched = _restore_values(model, prompts, metrics, kind, chosen, width, draws, bar)
    return Reading(
        tables=[
            make_side_table(patched, "noised", "clean"),
            make_share_table(patched, top),
        ],
        pictures=[draw_shares(patched, f"{kind} at layer")],
    )


@dataclass(frozen=True, eq=False)
class NoiseDraws:
    """Noise on some positions of each prompt.

    Attributes:
        at: the noised positions.
        size: standard deviation, in those of the prompts' token embeddings.
    """

    at: Int[np.ndarray, "batch noised"]
    size: float
    samples: int
    seed: int

    def make_patching(
        self, model: LanguageModel, prompts: Prompts, rows: slice, metrics: tuple[Metric, ...]
    ) -> Patching:
        """Some prompts with all their draws, one prompt after the other: noised, to be restored."""
        network, numbers = model.transformer, np.arange(len(prompts))[rows]
        repeated = np.repeat(numbers, self.samples)
        batch = make_batch(prompts, repeated)
        clean = keep_run(network, batch.inputs)
        embed = np.asarray(clean.streams[0])
        differs = np.zeros(prompts.mask[repeated].shape, bool)
        np.put_along_axis(differs, self.at[repeated], True, axis=1)
        # of all prompts, so that a launch's other prompts do not matter
        tokens = np.asarray(network.embedding)[prompts.clean[prompts.mask]].astype(np.float32)
        deviation = self.size * float(tokens.std()) * model.spec.embed_scale
        drawn = np.stack(
            [
                np.random.default_rng([self.seed, number, sample]).standard_normal(embed.shape[1:])
                for number in numbers
                for sample in range(self.samples)
            ]
        )
        noised = embed + np.where(differs[..., None], deviation * drawn, 0).astype(embed.dtype)
        base = keep_run(network, batch.inputs, jax.device_put(noised))
        places = find_places(network, batch.inputs, differs)
        return Patching(network, batch.inputs, batch.targets, base, clean, places, metrics)

    def average(self, values: Float[np.ndarray, "*axes runs"]) -> np.ndarray:
        """Means over the draws of each prompt, [*axes, batch]."""
        by_draw = values.reshape(*values.shape[:-1], -1, self.samples)
        return by_draw.mean(axis=-1, dtype=np.float64)


def _restore_values(
    model: LanguageModel,
    prompts: Prompts,
    metrics: tuple[Metric, ...],
    kind: Kind,
    layers: tuple[int, ...],
    window: int,
    draws: NoiseDraws,
    bar: bool,
) -> PatchValues:
    columns, n_layers = list_columns(prompts), model.spec.n_layers
    at_once = max(1, _RUNS_AT_ONCE // draws.samples)
    n_batches = len(cut_prompts(prompts, at_once))
    with show_progress(n_batches * len(layers), "restoring", "layer", bar=bar) as progress:

        def run(rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            patching = draws.make_patching(model, prompts, rows, metrics)
            at = np.repeat(columns.at[rows], draws.samples, axis=0)
            of_layers = []
            for layer in layers:
                if kind == "residual":
                    (values,) = patching.measure_patches(kind, layer, [0], at)
                else:
                    bounds = bound_window(layer, window, n_layers)
                    values = patching.measure_windows(kind, *bounds, at)
                of_layers.append(draws.average(values))
                progress.advance()
            start, end = (
                draws.average(side) for side in (patching.measure_base(), patching.measure_donor())
            )
            return np.stack(of_layers), start, end

        values, start, end = collect_runs(prompts, at_once, run)
    names = [_name_layer(model.spec, kind, layer, window) for layer in layers]
    return PatchValues(tuple(names), columns.names, metrics, values, start, end, "restored")


def bound_window(layer: int, window: int, n_layers: int) -> tuple[int, int]:
    """The layers of a window around one, the first and the one after the last."""
    first = max(0, layer - window // 2)
    return first, min(n_layers, layer - window // 2 + window)


def _name_layer(spec: Spec, kind: Kind, layer: int, window: int) -> str:
    if kind == "residual":
        return name_stream(spec, layer)
    first, end = bound_window(layer, window, spec.n_layers)
    letter = {"attention": "a", "mlp": "m"}[kind]
    return f"{letter}{layer}" if end - first == 1 else f"{letter}{first}..{letter}{end - 1}"
