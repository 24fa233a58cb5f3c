"""How long a search will take, told from a timed sample of its own steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.acdc_forecast import predict_scores, sample_steps
from circuitgraph.discovery.base import Algorithm, Search
from circuitgraph.discovery.hybrid import Hybrid
from circuitgraph.engine.experiment import Experiment

# Seconds of steps from the beginning: a search that ends within them is told exactly.
BEGINNING_SECONDS = 10.0

Result = TypeVar("Result")


@dataclass(frozen=True)
class Forecast:
    """Seconds that a search will take.

    Attributes:
        low, likely, high: by how much of the model the circuit will be.
        sampled: seconds of the steps that were timed.
        n_kept: about how many edges the circuit will have, where the search decides one by one.
    """

    low: float
    likely: float
    high: float
    sampled: float
    n_kept: int | None = None


class StepClock:
    """Times calls, and leaves out what is compiled, which the search itself finds kept.

    Attributes:
        seconds: of all calls.
        preparing: seconds in which programs were traced, which every process does anew.
    """

    def __init__(self) -> None:
        self.seconds, self.preparing, self._compiling = 0.0, 0.0, 0.0

    def time_call(self, call: Callable[..., Result], *given: Any) -> tuple[Result, float]:
        """What a call returns, and its seconds."""
        compiling = self._compiling
        jax.monitoring.register_event_duration_secs_listener(self._add_compilation)
        start = time.perf_counter()
        try:
            result = call(*given)
        finally:
            spent = time.perf_counter() - start
            jax.monitoring.unregister_event_duration_listener(self._add_compilation)
        seconds = max(0.0, spent - (self._compiling - compiling))
        self.seconds += seconds
        return result, seconds

    def _add_compilation(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            self._compiling += duration_secs
            if not event.endswith("backend_compile_duration"):
                self.preparing += duration_secs


def forecast_seconds(
    algorithm: Algorithm[Any], experiment: Experiment, beginning: float = BEGINNING_SECONDS
) -> Forecast:
    """Run the first steps of a search, and some later ones as they will be, and extrapolate.

    Args:
        beginning: seconds of first steps.

    Raises:
        SearchError: a value is not finite.
    """
    clock = StepClock()
    algorithm, _ = clock.time_call(algorithm.settle_settings, experiment)
    state, _ = clock.time_call(algorithm.init_state, experiment)
    while clock.seconds < beginning and not _is_over(algorithm, state):
        state, _ = clock.time_call(algorithm.take_step, experiment, state)
    if _is_over(algorithm, state):
        circuit, _ = clock.time_call(algorithm.make_circuit, experiment, state)
        seconds = clock.seconds + clock.preparing
        return Forecast(seconds, seconds, seconds, clock.seconds, len(circuit))
    if isinstance(algorithm, Hybrid):
        while state.exact is None:
            state, _ = clock.time_call(algorithm.take_step, experiment, state)
        algorithm, state = algorithm.exact_search, state.exact
    begun = clock.seconds
    if not isinstance(algorithm, Acdc):
        done, total = algorithm.count_progress(state)
        rest = begun * (total - done) / max(1, done)
        seconds = begun + rest + clock.preparing
        return Forecast(seconds, seconds, seconds, begun)
    scores, _ = clock.time_call(predict_scores, experiment)
    outlook = sample_steps(algorithm, experiment, state, scores, clock.time_call)
    fixed = begun + clock.preparing
    low, likely, high = (fixed + rest for rest in outlook.seconds)
    return Forecast(low, likely, high, clock.seconds, outlook.n_kept)


def _is_over(search: Search[Any], state: Any) -> bool:
    done, total = search.count_progress(state)
    return done >= total
