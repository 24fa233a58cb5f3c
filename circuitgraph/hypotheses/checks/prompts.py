"""Checks of the program on prompts, without running the network: its functions are total, and right
on paper.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from circuitgraph.hypotheses.checks.declared import rival_problems
from circuitgraph.hypotheses.diagnostics import Diagnostic, format_error, format_share, locate_error
from circuitgraph.hypotheses.language import PROMPT, Location, Variable
from circuitgraph.hypotheses.program import Program, collect_answers, format_value, make_key
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.study import Study


@dataclass
class _Run:
    """A program on prompts: values where its functions gave any, and for each function that failed,
    how.
    """

    values: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, list[tuple[Prompt, Exception]]] = field(default_factory=dict)
    unhashable: dict[str, tuple[Prompt, Any]] = field(default_factory=dict)


def prompt_problems(
    study: Study, prompts: Sequence[Prompt]
) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """What is wrong with the program on these prompts, and what is worth knowing of it."""
    program = study.program
    ran = _run(program, prompts)
    problems = _broken(program.variables, ran, len(prompts))
    notes: list[Diagnostic] = []
    whole = [
        name for name in program.order if name not in ran.failed and name not in ran.unhashable
    ]
    for name in whole:
        if len(ran.values) == len(prompts) and all(name in row for row in ran.values):
            found, known = _classes(program, name, [row[name] for row in ran.values])
            problems += found
            notes += known
    if program.output in whole and not ran.failed:
        problems += _wrong(study, prompts, ran.values)
    for rival in study.hypothesis.rivals:
        if not rival_problems(study.hypothesis, rival) and not ran.failed and not ran.unhashable:
            theirs = _run(study.program.with_rival(rival), prompts)
            broken = _broken(program.variables, theirs, len(prompts), rival.location)
            problems += [
                Diagnostic(f.location, f"the rival {rival.name!r}: {f.message}") for f in broken
            ]
    return problems, notes


def _run(program: Program, prompts: Sequence[Prompt]) -> _Run:
    ran = _Run()
    for prompt in prompts:
        row: dict[str, Any] = {}
        for name in program.order:
            variable = program.variables[name]
            if not all(parent == PROMPT or parent in row for parent in variable.parameters):
                continue
            try:
                value = variable.function(
                    *(prompt if p == PROMPT else row[p] for p in variable.parameters)
                )
            except Exception as error:
                ran.failed.setdefault(name, []).append((prompt, error))
                continue
            row[name] = value
            if name not in ran.unhashable:
                try:
                    make_key(value)
                except TypeError:
                    ran.unhashable[name] = (prompt, value)
        ran.values.append(row)
    return ran


def _broken(
    variables: Mapping[str, Variable], ran: _Run, n: int, location: Location | None = None
) -> list[Diagnostic]:
    """Functions that raise or give what cannot be compared; ``location`` is used if the error is not
    in the file.
    """
    found: list[Diagnostic] = []
    for name, cases in ran.failed.items():
        prompt, error = min(cases, key=lambda case: _simplest(case[0]))
        own = location or variables[name].location
        at = locate_error(error, own.file) or own
        message = f"`{name}` raises {format_error(error)} on {format_share(len(cases), n)} prompts, as on {prompt!r}"
        found.append(Diagnostic(at, message))
    for name, (prompt, value) in ran.unhashable.items():
        found.append(
            Diagnostic(
                location or variables[name].location,
                f"`{name}` gives {_short(value)} on {prompt!r}: values are compared, so they must "
                f"be hashable; a {type(value).__name__} is not. Return a text, a number, a tuple, "
                "a frozenset or a small array",
            )
        )
    return found


def _classes(
    program: Program, name: str, values: Iterable[Any]
) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """A variable with a site that has one value only, or mostly values that no other prompt shares.

    The output is exempt: the output of a scrubbed model is compared with the reference itself, not
        with a donor. So
    are steps without a site, of which nothing is resampled.
    """
    variable = program.variables[name]
    if not variable.sites or name == program.output:
        return [], []
    values = list(values)
    counted = Counter(map(make_key, values))
    if len(counted) == 1:
        why = f"`{name}` is {_short(values[0])} on all of {len(values):,} prompts: nothing is claimed to be carried there"
        return [Diagnostic(variable.location, why)], []
    alone = sum(size == 1 for size in counted.values())
    if not alone:
        return [], []
    who = f"`{name}` has a value that no other prompt has on {format_share(alone, len(values))} prompts"
    if 2 * alone > len(values):
        return [
            Diagnostic(
                variable.location,
                f"{who}: such a prompt could only be its own donor, so that scrubbing would test "
                "nothing. Let it say less, or draw from fewer words",
            )
        ], []
    return [], [Diagnostic(variable.location, f"{who}: there it is hardly tested")]


def _wrong(
    study: Study, prompts: Sequence[Prompt], rows: Sequence[dict[str, Any]]
) -> list[Diagnostic]:
    """The simplest prompt on which the program does not give the task's answer."""
    name = study.program.output
    wrong: list[tuple[Prompt, dict[str, Any]]] = []
    for prompt, row in zip(prompts, rows, strict=True):
        answers = collect_answers(row[name])
        if not answers or not answers <= prompt.right:
            wrong.append((prompt, row))
    if not wrong:
        return []
    prompt, row = min(wrong, key=lambda case: _simplest(case[0]))
    right = sorted(prompt.right)
    expected = " or ".join(map(repr, right[:4])) + (
        f" or one of {len(right) - 4} others" if len(right) > 4 else ""
    )
    values = "\n".join(f"        {key} = {_short(row[key])}" for key in study.program.order)
    return [
        Diagnostic(
            study.program.variables[name].location,
            f"`{name}` is wrong on paper, in {format_share(len(wrong), len(prompts))} prompts. The "
            f"shortest: {prompt!r}\n        right is {expected}, but the program says "
            f"{_short(row[name])}:\n{values}",
        )
    ]


def _simplest(prompt: Prompt) -> tuple[int, str]:
    return len(prompt), prompt.text


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else format_value(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
