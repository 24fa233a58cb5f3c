"""How sure each edge of a circuit is: its search again at other thresholds, prompts and metrics."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool

from circuitgraph.catalog.certainty_record import CertaintyRecord, RepeatedSearchRecord
from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.base import Algorithm, Search
from circuitgraph.discovery.journal import Journal
from circuitgraph.discovery.journal_lines import Entry
from circuitgraph.discovery.loop import run_steps
from circuitgraph.discovery.nearby_sizes import check_factors, find_nearby_circuits
from circuitgraph.discovery.scoring import Scoring
from circuitgraph.engine.ablation import ablations
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError, check_at_least
from circuitgraph.evaluation.baselines import Baselines, check_graph
from circuitgraph.evaluation.certainty import (
    CORE,
    NOISE,
    check_cuts,
    compare_along,
    estimate_chance,
    rate_edges,
)
from circuitgraph.evaluation.stability import resample_prompts
from circuitgraph.graph.circuit import Circuit
from circuitgraph.jobs.judge import draw_search_prompts, read_search, repeat_experiment
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.describing import describe_model
from circuitgraph.tasks.metrics import metrics as known_metrics
from circuitgraph.tasks.prompts import Prompts

FACTORS = (0.5, 1.0, 2.0)
N_SAMPLES = 10
_OTHER_METRIC = "kl"

Mask = Bool[np.ndarray, " edges"]


def measure_certainty(
    model: LanguageModel,
    task: Task,
    circuit: Circuit,
    *,
    n_samples: int = N_SAMPLES,
    factors: Sequence[float] = FACTORS,
    metrics: Sequence[str] = (),
    core: float = CORE,
    noise: float = NOISE,
    seed: int = 0,
    memory: int | None = None,
    journal: str | Path | None = None,
    anew: bool = False,
    bar: bool = False,
) -> CertaintyRecord:
    """How often each edge is kept by the circuit's own search at other thresholds, on bootstrap
    samples of its prompts, and by other metrics.

    A threshold of another metric is as large a share of what lies between the whole model and
    nothing by that metric.

    Args:
        task: the circuit's own, whose prompts are drawn again.
        n_samples: number of bootstrap samples, each with as many prompts as the search saw.
        factors: multiples of the threshold; a search by size has its size divided by them.
        metrics: by default the circuit's own and ``kl``, if the search can work with it.
        core, noise: frequencies from which on, and up to which, an edge is called so.
        seed: of the samples.
        memory: limit in bytes for one launch, on each device.
        journal: file in which every finished search is written down; the same call with the same
            file goes on where it was stopped.
        anew: begin again although the file is there.
        bar: show progress and time left.

    Raises:
        ArgumentError: the circuit does not say how it was found, a metric its search cannot work
            with, or values that make no sense.
        UnknownNameError: no metric of that name.
    """
    check_graph(model.graph_like(circuit.graph), circuit)
    check_cuts(core, noise)
    check_at_least("the number of samples", n_samples, 2)
    check_at_least("seed", seed, 0)
    algorithm, prompts = _read_origin(model, task, circuit)
    check_factors(algorithm, factors)
    names = _choose_metrics(algorithm, circuit, metrics)

    def open_experiment(metric: str, sample: Prompts) -> Experiment:
        return repeat_experiment(model, circuit, sample, metric=metric, memory=memory)

    own = open_experiment(circuit.provenance["metric"], prompts)
    rng = np.random.default_rng([seed, n_samples])
    search = RepeatedSearches(
        algorithms={
            name: _convert_threshold(algorithm, own, open_experiment(name, prompts))
            for name in names
        },
        factors=tuple(map(float, factors)),
        samples=tuple(resample_prompts(prompts, rng) for _ in range(n_samples)),
        open_experiment=open_experiment,
    )
    facts = {
        "model": describe_model(model).model_dump(mode="json"),
        "prompts": prompts.fingerprint,
    }
    writer = None if journal is None else Journal(Path(journal), facts, anew)
    masks, seconds = run_steps(search, own, bar=bar, journal=writer)
    circuits = [Circuit(circuit.graph, mask) for mask in masks]
    searches = search.describe_searches(circuits)
    return CertaintyRecord(
        metrics=list(names),
        factors=list(search.factors),
        n_samples=n_samples,
        n_prompts=len(prompts),
        prompts_sha256=prompts.fingerprint,
        seed=seed,
        core=core,
        noise=noise,
        chance=estimate_chance(circuits),
        overlap_samples=compare_along("sample", searches, circuits),
        overlap_factors=compare_along("factor", searches, circuits),
        overlap_metrics=compare_along("metric", searches, circuits),
        seconds=seconds,
        searches=searches,
        edges=rate_edges(searches, circuits, circuit, core=core, noise=noise, seed=seed),
    )


@dataclass(frozen=True)
class RepeatedSearches(Search[tuple[Mask, ...]]):
    """One search, by each metric and on each sample at all thresholds; a state is all their masks.

    A new experiment for each costs little: 0.15 s of the 77 s of a step (ACDC of ``ioi`` in
    ``multitask`` at five thresholds). Prompts of one shape share their compiled programs.

    Attributes:
        algorithms: for each metric the search, at a threshold in its unit.
        open_experiment: what to ask, by which metric and of which prompts.
    """

    name: ClassVar[str] = "certainty"
    unit: ClassVar[str] = "circuit"
    n_rechecks: ClassVar[int] = 0

    algorithms: Mapping[str, Algorithm[Any]]
    factors: tuple[float, ...]
    samples: tuple[Prompts, ...]
    open_experiment: Callable[[str, Prompts], Experiment]

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "searches": {
                name: {"name": search.name, "arguments": search.arguments}
                for name, search in self.algorithms.items()
            },
            "factors": list(self.factors),
            "samples": [sample.fingerprint for sample in self.samples],
        }

    @property
    def cells(self) -> list[tuple[int, str]]:
        """Sample and metric of each step: after any step, samples are as complete as can be."""
        return list(product(range(len(self.samples)), self.algorithms))

    def init_state(self, experiment: Experiment) -> tuple[Mask, ...]:
        return ()

    def take_step(self, experiment: Experiment, state: tuple[Mask, ...]) -> tuple[Mask, ...]:
        sample, metric = self.cells[len(state) // len(self.factors)]
        asked_now = self.open_experiment(metric, self.samples[sample])
        circuits = find_nearby_circuits(self.algorithms[metric], asked_now, self.factors)
        return (*state, *(circuit.mask for circuit in circuits))

    def count_progress(self, state: tuple[Mask, ...]) -> tuple[int, int]:
        return len(state), len(self.cells) * len(self.factors)

    def make_entries(
        self, experiment: Experiment, before: tuple[Mask, ...], after: tuple[Mask, ...]
    ) -> list[Entry]:
        """One entry for each circuit: its mask as base64 of bits."""
        del experiment
        return [
            {"circuit": number, "mask": base64.b64encode(np.packbits(mask).tobytes()).decode()}
            for number, mask in enumerate(after[len(before) :], len(before))
        ]

    def resume_state(
        self, experiment: Experiment, start: tuple[Mask, ...], entries: Sequence[Entry]
    ) -> tuple[Mask, ...]:
        n_edges, masks = experiment.graph.n_edges, list(start)
        for entry in entries:
            packed = np.frombuffer(base64.b64decode(entry["mask"], validate=True), np.uint8)
            if entry["circuit"] != len(masks) or len(packed) != -(-n_edges // 8):
                raise DataError(
                    f"The journal's entry {entry['circuit']} is no circuit of this graph, or not "
                    "the next one."
                )
            masks.append(np.unpackbits(packed, count=n_edges).astype(bool))
        return tuple(masks)

    def check_step(
        self, experiment: Experiment, before: tuple[Mask, ...], after: tuple[Mask, ...]
    ) -> str | None:
        """Nothing is taken again: a step is whole searches, and resuming would cost as much."""
        del experiment, before, after
        return None

    def describe_searches(self, circuits: Sequence[Circuit]) -> list[RepeatedSearchRecord]:
        """What each circuit of a final state was found by."""
        every = [(s, metric, factor) for s, metric in self.cells for factor in self.factors]
        return [
            RepeatedSearchRecord(metric=metric, factor=factor, sample=s, n_edges=len(circuit))
            for (s, metric, factor), circuit in zip(every, circuits, strict=True)
        ]


def _read_origin(
    model: LanguageModel, task: Task, circuit: Circuit
) -> tuple[Algorithm[Any], Prompts]:
    """The search that found a circuit, and the prompts that it saw."""
    algorithm, prompts = read_search(circuit), draw_search_prompts(model, task, circuit)
    if algorithm is None or prompts is None:
        missing = "by what search it was found" if algorithm is None else "what prompts it saw"
        raise ArgumentError(
            f"How sure its edges are cannot be measured: the circuit does not say {missing}, or "
            "this can no longer be repeated. Discover it anew."
        )
    return algorithm, prompts


def _choose_metrics(
    algorithm: Algorithm[Any], circuit: Circuit, names: Sequence[str]
) -> tuple[str, ...]:
    """The metrics that were asked for; else the circuit's own, and KL where it can be used."""
    own, ablation = circuit.provenance["metric"], ablations[circuit.provenance["ablation"]]
    if len(set(names)) < len(names):
        raise ArgumentError(f"metrics are {', '.join(names)}: name each of them once.")
    for name in names:
        algorithm.check_metric(known_metrics[name], ablation)
    if names:
        return tuple(names)
    if own == _OTHER_METRIC:
        return (own,)
    try:
        algorithm.check_metric(known_metrics[_OTHER_METRIC], ablation)
    except ArgumentError:
        return (own,)
    return own, _OTHER_METRIC


def _convert_threshold(
    algorithm: Algorithm[Any], own: Experiment, other: Experiment
) -> Algorithm[Any]:
    """The search with its threshold in the unit of another experiment's metric."""
    if not isinstance(algorithm, Acdc | Scoring) or algorithm.threshold is None:
        return algorithm
    if own.metric.name == other.metric.name:
        return algorithm
    ends = [Baselines.of(experiment) for experiment in (own, other)]
    if not all(each.differ for each in ends):
        raise ArgumentError(
            f"The whole model and nothing do not differ by {own.metric.name} or by "
            f"{other.metric.name}, so that no threshold of one can be compared with the other's: "
            "give one metric alone."
        )
    gaps = [abs(float(each.full.mean() - each.empty.mean())) for each in ends]
    return replace(algorithm, threshold=algorithm.threshold * gaps[1] / gaps[0])
