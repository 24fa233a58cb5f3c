"""The one loop that every search runs in.

An algorithm is a frozen dataclass of its settings, with an immutable state: `init` makes the first
one, `step`
makes the next from what the experiment answers, `progress` says how far it is, `circuit` reads the
result off.
What has been decided lies in the state alone, so that a search can be stopped and taken up between
any two steps.
"""

from __future__ import annotations

import dataclasses
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_type_hints

from tqdm.auto import tqdm

from circuitgraph.catalog.files import make_graph_record
from circuitgraph.catalog.records import AlgorithmRecord
from circuitgraph.discovery.journal import Entry, Journal
from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, unknown_name
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.registry import Registry
from circuitgraph.tasks.metrics import Metric

State = TypeVar("State")


class Steps(ABC, Generic[State]):
    """What the loop needs of a search: steps from one state to the next, and how a journal keeps
    them.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "edge"  # what `progress` counts

    @property
    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """All settings, as plain JSON values."""

    @abstractmethod
    def init(self, experiment: Experiment) -> State:
        """The state before the first step."""

    @abstractmethod
    def step(self, experiment: Experiment, state: State) -> State:
        """The state after one more question to the experiment."""

    @abstractmethod
    def progress(self, state: State) -> tuple[int, int]:
        """How many units of work are done, and how many there are. The search ends when they are
        equal.
        """

    @abstractmethod
    def entries(self, experiment: Experiment, before: State, after: State) -> list[Entry]:
        """What a journal keeps of the step from ``before`` to ``after``: one entry for each thing
        it settled.

        Entries are JSON objects, floats in full, without the keys ``seconds`` and ``check``, which
        are the journal's.
        """

    @abstractmethod
    def resumed(self, experiment: Experiment, start: State, entries: Sequence[Entry]) -> State:
        """The state that `init`'s ``start`` had become when the journal ended; the same bit for
        bit.

        Args:
            entries: of whole steps: the journal leaves out a last one that did not come to its end.

        Raises:
            DataError: the entries are none of this search's.
        """


class Algorithm(Steps[State]):
    """A search for the edges that carry a behaviour.

    Subclasses are frozen dataclasses whose fields are the search's settings, with defaults.
    Settings that make no sense are refused when one is made, before any model is loaded. ``score``
    says what an edge's effect means.
    """

    score: ClassVar[str] = "what removing the edge added to the mean loss when it was tested"
    direct: bool = False  # whether it searches the graph with the reference's direct edges

    @property
    def arguments(self) -> dict[str, Any]:
        return dataclasses.asdict(self)  # pyright: ignore[reportArgumentType]

    def check(self, metric: Metric, ablation: Ablation) -> None:
        """Refuse a metric or an ablation that this search cannot work with, before anything runs.

        Raises:
            ArgumentError: names the pair and says why, and what to use.
        """
        del metric, ablation

    @abstractmethod
    def circuit(self, experiment: Experiment, state: State) -> Circuit:
        """The circuit that a final state stands for."""

    def close_calls(self, experiment: Experiment, state: State) -> list[str]:
        """Names of edges whose decision was nearer to the threshold than numerical noise."""
        del experiment, state
        return []

    @abstractmethod
    def evaluations(self, graph: Graph) -> int:
        """How many edges a search over this graph has to decide; each takes one mask or a few."""


algorithms: Registry[type[Algorithm[Any]]] = Registry("algorithm", "circuitgraph.discovery")


AlgorithmClass = TypeVar("AlgorithmClass", bound=type[Algorithm[Any]])


def algorithm(name: str) -> Callable[[AlgorithmClass], AlgorithmClass]:
    """Register a subclass of `Algorithm` under the name that ``--algorithm`` takes."""

    def decorate(cls: AlgorithmClass) -> AlgorithmClass:
        cls.name = name
        algorithms.add(name, cls)
        return cls

    return decorate


def make_algorithm(name: str, **settings: Any) -> Algorithm[Any]:
    """The algorithm of that name with these settings.

    Raises:
        UnknownNameError: no such algorithm, or it has no such setting.
        ArgumentError: a setting of the wrong type, or one that makes no sense.
    """
    cls = algorithms[name]
    hints = get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]  # pyright: ignore[reportArgumentType]
    for setting in settings:
        if setting not in known:
            raise unknown_name(f"setting of algorithm {name!r}", setting, known)
    return cls(
        **{setting: _typed(setting, value, hints[setting]) for setting, value in settings.items()}
    )


def defaults(name: str) -> dict[str, Any]:
    """The settings of an algorithm with their default values."""
    return make_algorithm(name).arguments


_KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
}


def _typed(setting: str, value: Any, hint: Any) -> Any:
    """A setting's value as its field wants it."""
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    if not set(kinds) <= _KINDS.keys() or (value is None and type(None) in get_args(hint)):
        return value
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    fits = isinstance(value, tuple(kinds)) and (not isinstance(value, bool) or bool in kinds)
    if not fits:
        wanted = " or ".join(_KINDS[kind] for kind in kinds)
        raise ArgumentError(f"{setting} is {value!r}, but must be {wanted}.")
    return value


def search(
    algorithm: Algorithm[State],
    experiment: Experiment,
    *,
    bar: bool = False,
    journal: Journal | None = None,
) -> Circuit:
    """Run a search to its end.

    Args:
        bar: show progress and time left on standard error, if that is a terminal.
        journal: where every decision is written down; a search that ended there before its time is
            taken up.

    Returns:
        The circuit; its provenance says what search with which settings found it, by which metric
        and ablation.

    Raises:
        SearchError: a value is not finite. What was decided before stays in the journal.
        ArgumentError: metric or ablation are not for this search, or the journal is of another
            search.
        DataError: the journal is damaged.
    """
    algorithm.check(experiment.metric, experiment.ablation)
    state, seconds = run(algorithm, experiment, bar=bar, journal=journal)
    return found(algorithm, experiment, state, seconds)


def run(
    steps: Steps[State],
    experiment: Experiment,
    *,
    bar: bool = False,
    journal: Journal | None = None,
) -> tuple[State, float]:
    """The last state of a search, and how many seconds it took; those before an interruption
    included.
    """
    start = time.perf_counter()
    with journal.opened(_question(steps, experiment)) if journal else nullcontext() as written:
        state = steps.init(experiment)
        if written is not None and written.entries:
            state = steps.resumed(experiment, state, written.entries)
        done, total = steps.progress(state)
        with tqdm(
            total=total,
            initial=done,
            desc=steps.name,
            unit=steps.unit,
            disable=None if bar else True,
        ) as shown:
            while done < total:
                before, state = state, steps.step(experiment, state)
                if written is not None:
                    written.write(steps.entries(experiment, before, state))
                now, total = steps.progress(state)
                shown.update(now - done)
                done = now
    return state, round(
        time.perf_counter() - start + (written.seconds if written is not None else 0.0), 3
    )


def found(
    algorithm: Algorithm[State], experiment: Experiment, state: State, seconds: float
) -> Circuit:
    """The circuit of a final state, with its provenance."""
    circuit = algorithm.circuit(experiment, state)
    record = AlgorithmRecord(
        name=algorithm.name,
        arguments=algorithm.arguments,
        score=algorithm.score,
        n_tested=0 if circuit.tested is None else int(circuit.tested.sum()),
        close_calls=algorithm.close_calls(experiment, state),
        seconds=seconds,
    )
    return dataclasses.replace(
        circuit, provenance={**_asked(experiment), "algorithm": record.model_dump(mode="json")}
    )


def _asked(experiment: Experiment) -> dict[str, Any]:
    """By what an experiment judges."""
    return {
        "metric": experiment.metric.name,
        "ablation": experiment.ablation.name,
        "reference_sha256": experiment.reference_sha256,
    }


def _question(steps: Steps[Any], experiment: Experiment) -> dict[str, Any]:
    """All that decisions depend on as far as a search knows it: what a journal must agree in."""
    return {
        **_asked(experiment),
        "graph": make_graph_record(experiment.graph).model_dump(mode="json"),
        "algorithm": {"name": steps.name, "arguments": steps.arguments},
    }
