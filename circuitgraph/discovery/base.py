"""What every search is: an algorithm with settings, whose steps lead from one state to the next.

An algorithm is a frozen dataclass of its settings, with an immutable state: `init_state` makes the
first state, `take_step` makes the next from what the experiment measures, `count_progress` says how
far a state is, `make_circuit` reads the result off. All that was decided lies in the state, so that
a search can be stopped and resumed between any two steps. `discovery.loop` runs it.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, get_type_hints

from circuitgraph.discovery.journal_lines import Entry
from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError
from circuitgraph.foreign import convert_settings
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.space import SearchSpace
from circuitgraph.registry import Registry
from circuitgraph.tasks.metrics import Metric

State = TypeVar("State")

NOISES = 10  # how many times the noise of a loss two measurements of one thing may lie apart


class Search(ABC, Generic[State]):
    """What the loop needs: steps from one state to the next, and how a journal keeps the steps."""

    name: ClassVar[str]
    unit: ClassVar[str] = "edge"  # what `count_progress` counts
    n_rechecks: ClassVar[int] = 3  # steps that are measured again on resuming, beside the last one

    @property
    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """All settings, as plain JSON values."""

    @abstractmethod
    def init_state(self, experiment: Experiment) -> State:
        """The state before the first step."""

    @abstractmethod
    def take_step(self, experiment: Experiment, state: State) -> State:
        """The state after one more call of the experiment."""

    @abstractmethod
    def count_progress(self, state: State) -> tuple[int, int]:
        """How many units of work are done, and how many there are; at the end they are equal."""

    def describe_progress(self, state: State) -> str:
        """What else there is to say of a state while the search goes on; empty by default."""
        del state
        return ""

    @abstractmethod
    def make_entries(self, experiment: Experiment, before: State, after: State) -> list[Entry]:
        """What a journal keeps of the step from ``before`` to ``after``, an entry per decision.

        Entries are JSON objects, floats in full, without the keys ``seconds`` and ``check``, which
        the journal adds.
        """

    @abstractmethod
    def resume_state(self, experiment: Experiment, start: State, entries: Sequence[Entry]) -> State:
        """The state at the end of the journal, bit for bit; ``start`` is what `init_state` gives.

        Args:
            entries: entries of whole steps: the journal leaves out a last step that did not end.

        Raises:
            DataError: the entries are of another search.
        """

    def check_step(self, experiment: Experiment, before: State, after: State) -> str | None:
        """Take the step that a journal says led from ``before`` to ``after`` once more.

        Returns:
            What does not agree; None if nothing is further off than rounding.
        """
        entries = self.make_entries(experiment, before, after)
        again = self.make_entries(experiment, before, self.take_step(experiment, before))
        if _agree(entries, again, NOISES * experiment.noise):
            return None
        return f"it has {str(entries)[:200]}, and {str(again)[:200]} is measured now"


def _agree(one: Any, two: Any, noise: float) -> bool:
    """Whether two JSON values are the same, numbers up to a share of their size."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_agree(one[k], two[k], noise) for k in one)
    if isinstance(one, list) and isinstance(two, list):
        pairs = zip(one, two, strict=False)
        return len(one) == len(two) and all(_agree(a, b, noise) for a, b in pairs)
    if isinstance(one, float) and isinstance(two, float):
        return abs(one - two) <= noise * max(1.0, abs(two))
    return one == two


class Algorithm(Search[State]):
    """A search for the edges that carry a behaviour.

    Subclasses are frozen dataclasses whose fields are the search's settings, with defaults. Making
    one refuses settings that make no sense, before any model is loaded. ``score`` says what an
    edge's effect means.
    """

    score: ClassVar[str] = "what removing the edge added to the mean loss when it was tested"
    takes_space: ClassVar[bool] = False  # whether it honours an experiment's search space
    has_start: ClassVar[bool] = False  # whether it begins with a mask that can be given
    direct: bool = False  # whether to search the graph with the reference's direct edges

    @property
    def arguments(self) -> dict[str, Any]:
        return dataclasses.asdict(self)  # pyright: ignore[reportArgumentType]

    def check_metric(self, metric: Metric, ablation: Ablation) -> None:
        """Refuse a metric or an ablation that this search cannot work with, before anything runs.

        Raises:
            ArgumentError: names the pair and says why, and what to use.
        """
        del metric, ablation

    def check_space(self, space: SearchSpace) -> None:
        """Refuse a search space that this search would not honour, before anything runs.

        Raises:
            ArgumentError: says what cannot be honoured, and what to use.
        """
        if not space.is_whole and not self.takes_space:
            raise ArgumentError(
                f"Algorithm {self.name!r} searches all edges and takes no search space (inside, "
                "without, protect, start_from)."
            )
        if space.has_start and not self.has_start:
            raise ArgumentError(
                f"Algorithm {self.name!r} scores all edges at once and has no mask to start from: "
                "use inside, or another algorithm."
            )

    def settle_settings(self, experiment: Experiment) -> Algorithm[State]:
        """This search with the settings whose defaults depend on model and prompts."""
        del experiment
        return self

    @classmethod
    def complete_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a stored search, with those that it had before they had a name."""
        return dict(arguments)

    @abstractmethod
    def make_circuit(self, experiment: Experiment, state: State) -> Circuit:
        """The circuit that a final state stands for."""

    def find_close_calls(self, experiment: Experiment, state: State) -> list[str]:
        """Names of edges whose decision was nearer to the threshold than numerical noise."""
        del experiment, state
        return []

    @abstractmethod
    def count_evaluations(self, graph: Graph) -> int:
        """How many edges a search over this graph has to decide; each takes one mask or a few."""


MOST_STEPS = 2**31 - 1  # that any search takes: compiled programs count in 32 bits

algorithms: Registry[type[Algorithm[Any]]] = Registry("algorithm", "circuitgraph.discovery")

AlgorithmClass = TypeVar("AlgorithmClass", bound=type[Algorithm[Any]])


def algorithm(name: str) -> Callable[[AlgorithmClass], AlgorithmClass]:
    """Register a subclass of `Algorithm` under the name that ``--algorithm`` takes."""

    def decorate(cls: AlgorithmClass) -> AlgorithmClass:
        cls.name = name
        algorithms.add(name, cls)
        return cls

    return decorate


def make_algorithm(name: str, /, **settings: Any) -> Algorithm[Any]:
    """The algorithm of that name with these settings.

    Raises:
        UnknownNameError: no such algorithm, or it has no such setting.
        ArgumentError: a setting of the wrong type, or one that makes no sense.
    """
    cls = algorithms[name]
    hints = get_type_hints(cls)
    fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
    known = [field.name for field in fields]
    return cls(**convert_settings(f"setting of algorithm {name!r}", known, hints, settings))


def list_defaults(name: str) -> dict[str, Any]:
    """The settings of an algorithm with their default values."""
    return make_algorithm(name).arguments
