"""The one loop that every search runs in: step by step to the end, with a journal if wanted."""

from __future__ import annotations

import dataclasses
import time
from contextlib import nullcontext
from typing import Any

from circuitgraph.catalog.files import make_graph_record
from circuitgraph.catalog.records import AlgorithmRecord
from circuitgraph.discovery.base import Algorithm, Search, State
from circuitgraph.discovery.journal import Journal
from circuitgraph.discovery.resuming import resume_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.circuit import Circuit
from circuitgraph.progress import show_progress


def run_search(
    algorithm: Algorithm[State],
    experiment: Experiment,
    *,
    bar: bool = False,
    journal: Journal | None = None,
) -> Circuit:
    """Run a search to its end.

    Args:
        bar: show progress and time left on standard error.
        journal: where every decision is written down; a search that stopped before its end goes on
            from there.

    Returns:
        The circuit; its provenance says what search with which settings found it, by which metric
        and ablation.

    Raises:
        SearchError: a value is not finite. What was decided before stays in the journal.
        ArgumentError: metric or ablation are not for this search, or the journal is of another
            search.
        DataError: the journal is damaged.
    """
    algorithm.check_metric(experiment.metric, experiment.ablation)
    algorithm.check_space(experiment.space)
    algorithm = algorithm.settle_settings(experiment)
    state, seconds = run_steps(algorithm, experiment, bar=bar, journal=journal)
    return finish_search(algorithm, experiment, state, seconds)


def run_steps(
    search: Search[State],
    experiment: Experiment,
    *,
    bar: bool = False,
    journal: Journal | None = None,
) -> tuple[State, float]:
    """The last state of a search, and its seconds, with those before an interruption."""
    start = time.perf_counter()
    header = _make_journal_header(search, experiment)
    with journal.open_writer(header) if journal else nullcontext() as writer:
        state = search.init_state(experiment)
        if writer is not None and writer.steps:
            state = resume_search(search, experiment, state, writer.steps, writer.path)
        done, total = search.count_progress(state)
        with show_progress(total, search.name, search.unit, bar=bar, done=done) as progress:
            while done < total:
                before, state = state, search.take_step(experiment, state)
                # The step is on disk before the next one begins: a killed search loses no step.
                if writer is not None:
                    writer.write_step(search.make_entries(experiment, before, state))
                now, total = search.count_progress(state)
                progress.advance(now - done, search.describe_progress(state))
                done = now
    earlier = writer.seconds if writer is not None else 0.0
    return state, round(time.perf_counter() - start + earlier, 3)


def finish_search(
    algorithm: Algorithm[State], experiment: Experiment, state: State, seconds: float
) -> Circuit:
    """The circuit of a final state, with its provenance."""
    circuit = algorithm.make_circuit(experiment, state)
    record = AlgorithmRecord(
        name=algorithm.name,
        arguments=algorithm.arguments,
        score=algorithm.score,
        n_tested=0 if circuit.tested is None else int(circuit.tested.sum()),
        close_calls=algorithm.find_close_calls(experiment, state),
        seconds=seconds,
        n_selected=circuit.provenance.get("n_selected"),
    )
    provenance = {
        **_describe_experiment(experiment),
        "algorithm": record.model_dump(mode="json"),
    }
    return dataclasses.replace(circuit, provenance=provenance)


def _describe_experiment(experiment: Experiment) -> dict[str, Any]:
    """By what an experiment judges."""
    return {
        "metric": experiment.metric.name,
        "ablation": experiment.ablation.name,
        "reference_sha256": experiment.reference_sha256,
        **({} if experiment.space.is_whole else {"space": experiment.space.words}),
    }


def _make_journal_header(search: Search[Any], experiment: Experiment) -> dict[str, Any]:
    """All that decisions depend on as far as a search knows it: what a journal must agree in."""
    return {
        **_describe_experiment(experiment),
        "graph": make_graph_record(experiment.graph).model_dump(mode="json"),
        "algorithm": {"name": search.name, "arguments": search.arguments},
    }
