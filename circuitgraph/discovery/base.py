"""The one loop that every search runs in.

An algorithm is a frozen dataclass of its settings, with an immutable state: `init` makes the first one, `step`
makes the next from what the experiment answers, `progress` says how far it is, `circuit` reads the result off.
What has been decided lies in the state alone, so that a search can be stopped and taken up between any two steps.
"""

from __future__ import annotations

import dataclasses
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

from tqdm.auto import tqdm

from circuitgraph.catalog.records import AlgorithmRecord
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import unknown_name
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.registry import Registry

State = TypeVar("State")


class Algorithm(ABC, Generic[State]):
    """A search for the edges that carry a behaviour.

    Subclasses are frozen dataclasses whose fields are the search's settings, with defaults. Settings that make no
    sense are refused when one is made, before any model is loaded.
    """

    name: ClassVar[str]
    direct: bool  # whether it searches the graph with the reference's direct edges

    @abstractmethod
    def init(self, experiment: Experiment) -> State:
        """The state before the first step."""

    @abstractmethod
    def step(self, experiment: Experiment, state: State) -> State:
        """The state after one more question to the experiment."""

    @abstractmethod
    def progress(self, state: State) -> tuple[int, int]:
        """How many units of work are done, and how many there are. The search ends when they are equal."""

    @abstractmethod
    def circuit(self, experiment: Experiment, state: State) -> Circuit:
        """The circuit that a final state stands for."""

    @abstractmethod
    def close_calls(self, experiment: Experiment, state: State) -> list[str]:
        """Names of edges whose decision was nearer to the threshold than numerical noise."""

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
        ArgumentError: a setting that makes no sense.
    """
    cls = algorithms[name]
    known = [f.name for f in dataclasses.fields(cls)]  # pyright: ignore[reportArgumentType]
    for setting in settings:
        if setting not in known:
            raise unknown_name(f"setting of algorithm {name!r}", setting, known)
    return cls(**settings)


def search(algorithm: Algorithm[State], experiment: Experiment, *, bar: bool = False) -> Circuit:
    """Run a search to its end.

    Args:
        bar: show progress and time left on standard error, if that is a terminal.

    Returns:
        The circuit; its provenance says what search with which settings found it, by which metric and ablation.
    """
    start = time.perf_counter()
    state = algorithm.init(experiment)
    done, total = algorithm.progress(state)
    with tqdm(total=total, initial=done, desc=algorithm.name, unit="edge", disable=None if bar else True) as shown:
        while done < total:
            state = algorithm.step(experiment, state)
            now, total = algorithm.progress(state)
            shown.update(now - done)
            done = now
    circuit = algorithm.circuit(experiment, state)
    record = AlgorithmRecord(
        name=algorithm.name,
        arguments=dataclasses.asdict(algorithm),  # pyright: ignore[reportArgumentType]
        n_tested=0 if circuit.tested is None else int(circuit.tested.sum()),
        close_calls=algorithm.close_calls(experiment, state),
        seconds=round(time.perf_counter() - start, 3),
    )
    facts = {
        "metric": experiment.metric.name,
        "ablation": experiment.ablation.name,
        "reference_sha256": experiment.reference_sha256,
    }
    return dataclasses.replace(circuit, provenance={**facts, "algorithm": record.model_dump(mode="json")})
