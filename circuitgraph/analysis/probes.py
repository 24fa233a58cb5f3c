"""Probes: in which layer a property of the prompt can be read off, and how deep a concept lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.measuring import estimate_cell, make_series
from circuitgraph.analysis.places import SCORED, choose_layers
from circuitgraph.analysis.probe_examples import (
    ANSWER,
    Examples,
    collect_vectors,
    label_examples,
)
from circuitgraph.analysis.probe_fits import ProbeFit, check_probes, find_components, fit_probe
from circuitgraph.catalog.analysis_record import (
    Cell,
    CurvesRecord,
    Reading,
    ScatterRecord,
    SeriesRecord,
    TableRecord,
)
from circuitgraph.engine.readings.sites import VectorSite
from circuitgraph.errors import ArgumentError, check_at_least
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.progress import show_progress
from circuitgraph.tasks.prompts import Prompts

JUMP, SETTLED = 1.1, 0.03  # rates of variation, and their distance from 1 (Jin et al. 2024)
_MOST_CLASSES = 8  # in the picture
_TINY = 1e-9


@dataclass(frozen=True)
class Depths:
    """Shares of the model's layers after which something is so; None where it never is.

    Attributes:
        jump: the first at which the accuracy is 1.1 times that before it, and above chance.
        converging: the last at which it changes by less than 3 %.
        settled: from which on every change is less than 3 %.
    """

    jump: float | None
    converging: float | None
    settled: float | None


@analysis(
    "probes",
    source="Jin et al. 2024",
    cannot_tell="whether the model uses what a probe reads: a property may lie there unused, or be "
    "computed by the probe; and what a linear probe misses may be there all the same.",
)
def read_probes(
    model: LanguageModel,
    prompts: Prompts,
    bar: bool = False,
    *,
    label: str = ANSWER,
    at: str | int = SCORED,
    site: VectorSite = "stream",
    layers: tuple[int, ...] | None = None,
    folds: int = 5,
    penalty: float = 1.0,
    shuffles: int = 3,
    seed: int = 0,
) -> Reading:
    """In which layer a linear probe can name the answer, the side or a role's token of a prompt.

    Args:
        label: ``answer``; ``side``, whether the prompt is clean or corrupted; or a role, whose
            token is to be named.
        at: where to read: ``scored``, a role of the task, or a position (from the end if negative).
        site: the ``stream`` after each layer, the output of the norm before each MLP
            (``mlp-norm``), or what ``attention`` or ``mlp`` add.
        layers: all by default.
        folds: of the cross-validation. seed: of the folds and of shuffled labels.
        penalty: weight of the L2 penalty, of standardised vectors.
        shuffles: probes of shuffled labels in each layer, for comparison.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        UnknownNameError, ArgumentError: roles, positions, layers or sites that there are not.
        DataError: fewer than two classes with an example for each fold.
    """
    settings = ProbeSettings(label, at, site, folds, penalty, shuffles, seed)
    probed = probe_layers(model, prompts, settings, layers, bar)
    names, fits, shuffled = probed.names, probed.fits, probed.shuffled
    changes = [None] * (len(fits) - len(probed.rates)) + probed.rates.tolist()
    return Reading(
        tables=[
            _make_layer_table(names, fits, shuffled, changes, label, at),
            _make_depth_table(probed.depths),
        ],
        pictures=[
            _draw_accuracies(names, fits, shuffled, probed.majority),
            _draw_components(probed.best_vectors, probed.examples, names[probed.best]),
        ],
        notes=_describe_examples(probed.examples, probed.majority),
    )


@dataclass(frozen=True)
class ProbeSettings:
    """What is probed, and how; attributes are as of `read_probes`."""

    label: str = ANSWER
    at: str | int = SCORED
    site: VectorSite = "stream"
    folds: int = 5
    penalty: float = 1.0
    shuffles: int = 3
    seed: int = 0


@dataclass(frozen=True)
class ProbedLayers:
    """The probes of a model's layers.

    Attributes:
        names: of the layers; the first is the embedding where the stream is probed.
        fits, shuffled: of each; accuracies of probes of shuffled labels.
        rates: the accuracy of each layer as a multiple of that before.
        majority: share of the most common class.
        best: which of them is the most accurate, on ``best_vectors``.
    """

    names: list[str]
    fits: list[ProbeFit]
    shuffled: list[list[float]]
    rates: Float[np.ndarray, " layers"]
    depths: Depths
    examples: Examples
    majority: float
    best: int
    best_vectors: Float[np.ndarray, "examples d"]


def probe_layers(
    model: LanguageModel,
    prompts: Prompts,
    settings: ProbeSettings,
    layers: Sequence[int] | None = None,
    bar: bool = False,
) -> ProbedLayers:
    """Probe each layer; arguments and errors as of `read_probes`."""
    check_probes()
    for name, least in (("folds", 2), ("shuffles", 1)):
        check_at_least(name, getattr(settings, name), least)
    if settings.penalty <= 0:
        raise ArgumentError(f"penalty is {settings.penalty}, but must be above 0.")
    chosen = choose_layers(model.spec, layers)
    examples = label_examples(model, prompts, settings.label, settings.folds)
    vectors = collect_vectors(model, prompts, examples, settings.at, settings.site)
    first = int(settings.site == "stream")  # where layer 0 stands, after the embedding
    vectors = vectors[[*range(first), *(first + layer for layer in chosen)]]
    fits, shuffled = _fit_layers(vectors, examples, settings, bar)
    majority = max(Counter(examples.labels.tolist()).values()) / len(examples.labels)
    accuracies = np.array([fit.accuracy for fit in fits])
    best = int(accuracies.argmax())
    if not first:  # nothing stands before the first layer
        accuracies = np.array([majority, *accuracies])
    rates = accuracies[1:] / np.maximum(accuracies[:-1], _TINY)
    above = [fit.is_above(majority) for fit in fits[first:]]
    return ProbedLayers(
        names=["embedding"] * first + [f"layer {i}" for i in chosen],
        fits=fits,
        shuffled=shuffled,
        rates=rates,
        depths=find_depths(rates, above, [(i + 1) / model.spec.n_layers for i in chosen]),
        examples=examples,
        majority=majority,
        best=best,
        best_vectors=vectors[best],
    )


def find_depths(
    rates: Float[np.ndarray, " layers"], above: Sequence[bool], shares: Sequence[float]
) -> Depths:
    """The points at which accuracy jumps and settles.

    Args:
        rates: each layer's accuracy as a multiple of that before.
        above: whether each layer's accuracy is above chance.
        shares: of the model's layers, after each layer.
    """
    jumps = [s for s, rate, up in zip(shares, rates, above, strict=True) if rate >= JUMP and up]
    flat = [s for s, rate in zip(shares, rates, strict=True) if abs(rate - 1) < SETTLED]
    last_change = max((s for s in shares if s not in flat), default=0.0)
    settled = [s for s in flat if s > last_change]
    return Depths(min(jumps, default=None), max(flat, default=None), min(settled, default=None))


def _fit_layers(
    vectors: Float[np.ndarray, "layers examples d"],
    examples: Examples,
    settings: ProbeSettings,
    bar: bool,
) -> tuple[list[ProbeFit], list[list[float]]]:
    """A probe of each layer, and accuracies of probes of shuffled labels."""
    folds, penalty, seed = settings.folds, settings.penalty, settings.seed
    rng = np.random.default_rng([seed, settings.shuffles])
    mixed = [rng.permutation(examples.labels) for _ in range(settings.shuffles)]
    fits: list[ProbeFit] = []
    shuffled: list[list[float]] = []
    with show_progress(len(vectors), "probes", "layer", bar=bar) as progress:
        for x in vectors:
            real, *chance = (
                fit_probe(x, labels, examples.groups, folds=folds, penalty=penalty, seed=seed)
                for labels in (examples.labels, *mixed)
            )
            fits.append(real)
            shuffled.append([fit.accuracy for fit in chance])
            progress.advance()
    return fits, shuffled


def _make_layer_table(
    names: Sequence[str],
    fits: Sequence[ProbeFit],
    shuffled: Sequence[Sequence[float]],
    changes: Sequence[float | None],
    label: str,
    at: str | int,
) -> TableRecord:
    rows: list[list[Cell]] = [
        [
            name,
            estimate_cell(fit.right.astype(np.float64), share=True),
            fit.f1,
            float(np.mean(chance)),
            change,
        ]
        for name, fit, chance, change in zip(names, fits, shuffled, changes, strict=True)
    ]
    return TableRecord(
        title=f"Logistic probes of {label!r} at {at!r}: accuracy on examples left out, mean F1, "
        "accuracy with shuffled labels, and accuracy as a multiple of that before",
        columns=["after", "accuracy", "F1", "shuffled", "variation"],
        rows=rows,
    )


def _make_depth_table(depths: Depths) -> TableRecord:
    return TableRecord(
        title="Depth, as a share of all layers",
        columns=["point", "depth"],
        rows=[
            ["jump: the accuracy is 1.1 times that before, and above chance", depths.jump],
            ["converging: the last change of less than 3 %", depths.converging],
            ["settled: no change of 3 % from here on", depths.settled],
        ],
    )


def _draw_accuracies(
    names: Sequence[str],
    fits: Sequence[ProbeFit],
    shuffled: Sequence[Sequence[float]],
    majority: float,
) -> CurvesRecord:
    right = np.stack([fit.right for fit in fits]).astype(np.float64)
    chance = np.array(shuffled)
    return CurvesRecord(
        title="Accuracy of probes on examples left out (-1: the embedding)",
        x_axis="layer",
        y_axis="accuracy",
        x=[-1 if name == "embedding" else int(name.split()[1]) for name in names],
        series=[
            make_series("probe", right, share=True),
            SeriesRecord(
                name="shuffled labels",
                y=chance.mean(axis=1).tolist(),
                low=chance.min(axis=1).tolist(),
                high=chance.max(axis=1).tolist(),
            ),
            SeriesRecord(name="majority", y=[majority] * len(names)),
        ],
    )


def _draw_components(
    vectors: Float[np.ndarray, "examples d"], examples: Examples, name: str
) -> ScatterRecord:
    points, shares = find_components(vectors)
    common = [label for label, _ in Counter(examples.labels.tolist()).most_common(_MOST_CLASSES)]
    of_class = [points[examples.labels == label] for label in common]
    return ScatterRecord(
        title=f"Principal components where the probe is best, {name}",
        x_axis=f"first component, {shares[0]:.0%} of the variance",
        y_axis=f"second, {shares[1]:.0%}",
        groups=[str(examples.names[label]) for label in common],
        x=[part[:, 0].tolist() for part in of_class],
        y=[part[:, 1].tolist() for part in of_class],
    )


def _describe_examples(examples: Examples, majority: float) -> list[str]:
    n_prompts = len(set(examples.groups.tolist()))
    notes = [
        f"{len(examples.labels)} examples, {n_prompts} different prompts, of "
        f"{len(examples.names)} classes; the most common one has a share of {majority:.3f}."
    ]
    if examples.n_left_out:
        notes.append(f"{examples.n_left_out} examples of classes too small for the folds left out.")
    return notes
