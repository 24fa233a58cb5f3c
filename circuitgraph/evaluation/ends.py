"""What every measure needs: the two ends that it is relative to, and one way to ask about many
masks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Bool, Float
from tqdm.auto import tqdm

from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import GraphError
from circuitgraph.evaluation.intervals import Statistic
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

_NOISE = 1e-6


@dataclass(frozen=True)
class Ends:
    """The metric of each prompt for the whole model and for the empty circuit."""

    full: Float[np.ndarray, " batch"]
    empty: Float[np.ndarray, " batch"]

    @property
    def defined(self) -> bool:
        """Whether the two differ by more than rounding: nothing can be a share of nothing."""
        return bool(
            abs(self.full.mean() - self.empty.mean()) > _NOISE * max(1.0, abs(self.full.mean()))
        )

    @classmethod
    def of(cls, experiment: Experiment) -> Ends:
        """Those of an experiment."""
        graph = experiment.graph
        full, empty = experiment.values(
            np.stack([Circuit.full(graph).mask, Circuit.empty(graph).mask])
        )
        return cls(full, empty)


def share(part: Statistic, empty: Statistic, full: Statistic) -> Statistic:
    """(part - empty) / (full - empty) of means; NaN, not an error, in a resample in which the ends
    are one.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return (part - empty) / (full - empty)


def ratio(circuit: np.ndarray, empty: np.ndarray, full: np.ndarray, axis: int = -1) -> Statistic:
    """The `share` of the means of three samples."""
    means = (sample.mean(axis=axis, dtype=np.float64) for sample in (circuit, empty, full))
    return share(*means)


def check_graph(graph: Graph, circuit: Circuit, what: str = "The circuit") -> None:
    """Raise `GraphError` unless the circuit is of this graph."""
    if circuit.graph != graph:
        raise GraphError(
            f"{what} is of {circuit.graph} ({circuit.graph.n_edges} edges), but the model has "
            f"{graph} ({graph.n_edges} edges). Name the model that it was found in, at the same "
            "granularity (direct and grouped edges), or discover a circuit in this one."
        )


def ask(
    experiment: Experiment,
    masks: Iterable[Bool[np.ndarray, " edges"]],
    n: int,
    *,
    what: str,
    bar: bool = False,
) -> Float[np.ndarray, "n batch"]:
    """The values of ``n`` masks, of which only one launch's worth exists at a time.

    Args:
        what: how the bar is called, if one is wanted.
    """
    waiting, rows = iter(masks), []
    with tqdm(total=n, desc=what, unit="mask", disable=None if bar else True) as shown:
        while part := list(islice(waiting, experiment.plan.masks)):
            rows.append(experiment.values(np.stack(part)))
            shown.update(len(part))
    return np.concatenate(rows) if rows else np.zeros((0, experiment.n_prompts), np.float32)
