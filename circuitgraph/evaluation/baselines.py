"""What every measure needs: the two baselines it is relative to, and the values of many masks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import GraphError
from circuitgraph.evaluation.intervals import Statistic
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.progress import show_progress

_NOISE = 1e-6  # about eight roundings of float32


@dataclass(frozen=True)
class Baselines:
    """The metric of each prompt for the whole model (full) and for the circuit without edges."""

    full: Float[np.ndarray, " batch"]
    empty: Float[np.ndarray, " batch"]

    @property
    def differ(self) -> bool:
        """Whether the means differ by more than rounding; else no measure is defined."""
        full, empty = self.full.mean(), self.empty.mean()
        return bool(abs(full - empty) > _NOISE * max(1.0, abs(full)))

    @classmethod
    def of(cls, experiment: Experiment) -> Baselines:
        """The baselines of an experiment."""
        graph = experiment.graph
        full, empty = experiment.values(
            np.stack([Circuit.full(graph).mask, Circuit.empty(graph).mask])
        )
        return cls(full, empty)


def normalise_means(part: Statistic, empty: Statistic, full: Statistic) -> Statistic:
    """(part - empty) / (full - empty) of means; NaN in a resample in which full equals empty."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (part - empty) / (full - empty)


def compute_faithfulness(
    means: Float[np.ndarray, "3 resamples"],
) -> Float[np.ndarray, " resamples"]:
    """`normalise_means` of rows: empty, full, and a circuit."""
    empty, full, value = means
    return np.asarray(normalise_means(value, empty, full))


def normalise_samples(
    circuit: np.ndarray, empty: np.ndarray, full: np.ndarray, axis: int = -1
) -> Statistic:
    """`normalise_means` of the means of three samples."""
    means = (sample.mean(axis=axis, dtype=np.float64) for sample in (circuit, empty, full))
    return normalise_means(*means)


def check_graph(graph: Graph, circuit: Circuit, what: str = "The circuit") -> None:
    """Raise `GraphError` unless the circuit is of this graph."""
    if circuit.graph != graph:
        raise GraphError(
            f"{what} is of {circuit.graph} ({circuit.graph.n_edges} edges), but the model has "
            f"{graph} ({graph.n_edges} edges). Name the model that it was found in, at the same "
            "granularity (direct and grouped edges), or discover a circuit in this one."
        )


def evaluate_masks(
    experiment: Experiment,
    masks: Iterable[Bool[np.ndarray, " edges"]],
    n: int,
    *,
    what: str,
    bar: bool = False,
) -> Float[np.ndarray, "n batch"]:
    """The metric of every prompt under each of ``n`` masks.

    Args:
        masks: may be made lazily; as many as fit one launch exist at a time.
        what: name of the progress bar.
        bar: show it.
    """
    remaining, rows = iter(masks), []
    with show_progress(n, what, "mask", bar=bar) as progress:
        while launch := list(islice(remaining, experiment.sizes.masks)):
            rows.append(experiment.values(np.stack(launch)))
            progress.advance(len(launch))
    return np.concatenate(rows) if rows else np.zeros((0, experiment.n_prompts), np.float32)
