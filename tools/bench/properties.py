"""How many prompts (or pairs) a second property tests take, and how often they compile.

    python tools/bench/properties.py [--examples 100]

The first example, which compiles, is not counted in the rate; compilations after it are counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import jax
from hypothesis import HealthCheck, given, settings

from circuitgraph.choices import Choices
from circuitgraph.graph.site import embed, head, logits
from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.properties.base import PropertyCase, make_check
from circuitgraph.hypotheses.properties.context import PropertyContext
from circuitgraph.hypotheses.properties.strategies import case_lists
from circuitgraph.hypotheses.study import Study

EVENT = "/jax/core/compile/backend_compile_duration"
CASES = {  # task, model, and the roles of an input and of the end
    "induction": ("induction-2l", "A1", "A2"),
    "ioi": ("ioi", "S1", "end"),
    "greater-than": ("greater-than", "YY", "XX2"),
    "addition": ("addition", "a", "end"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100)
    n = parser.parse_args(arguments).examples
    compiled: list[str] = []

    def count_compilation(event: str, duration_secs: float, **_: str | int) -> None:
        if event == EVENT:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(count_compilation)
    print(
        "| task | property | pairs | pairs a second | pairs a CPU second | compiled first | later |"
    )
    print("|---|---|---:|---:|---:|---:|---:|")
    for task, (model, first, end) in CASES.items():
        context = PropertyContext.of_study(Study.open(_make_hypothesis(task, model, first, end)))
        for property in context.study.hypothesis.properties:
            print(_measure_property(task, context, property, n, compiled))


def _make_hypothesis(task: str, model: str, first: str, end: str) -> Hypothesis:
    """A word that a head carries; whether it is true does not matter to how long it takes."""
    h = Hypothesis(f"bench {task}", task=task, model=model)

    @h.var(at=embed @ first)
    def word(p):
        return p.token[first]

    @h.var(at=head(0, 0) @ end, v="word")
    def carried(word):
        return word

    @h.output(at=logits @ end)
    def answer(p, carried):
        return p.right

    h.property("behaviour")
    h.property("equality", of="carried", at_most=1e9)
    return h


def _measure_property(
    task: str, context: PropertyContext, property, n: int, compiled: list[str]
) -> str:
    check = make_check(context, property)
    source, n_bytes = context.source, context.source.bytes_per_prompt + check.n_bytes

    def draw_case(rng: Choices) -> PropertyCase:
        return check.draw_case(rng, source.draw_prompt(rng))

    seen: list[int] = []

    @settings(
        max_examples=n,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(case_lists(draw_case, n_bytes))
    def check_cases(cases: list[PropertyCase]) -> None:
        check.check_cases(cases)
        seen.append(len(cases))
        if len(seen) == 1:
            state.update(start=time.perf_counter(), cpu=time.process_time(), compiled=len(compiled))

    state: dict[str, float] = {}
    before = len(compiled)
    check_cases()
    wall, cpu = time.perf_counter() - state["start"], time.process_time() - state["cpu"]
    pairs, first = sum(seen[1:]), int(state["compiled"])
    later = len(compiled) - first
    rates = f"{pairs / wall:.0f} | {pairs / cpu:.0f}"
    return f"| {task} | {property.kind} | {pairs} | {rates} | {first - before} | {later} |"


if __name__ == "__main__":
    main()
