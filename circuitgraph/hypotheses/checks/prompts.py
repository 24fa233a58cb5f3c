"""Checks of the program on prompts, without the network: it never fails, and is right on paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from circuitgraph.hypotheses.checks.declared import check_rival
from circuitgraph.hypotheses.diagnostics import Diagnostic, format_error, format_share, locate_error
from circuitgraph.hypotheses.language import Location, Variable
from circuitgraph.hypotheses.program import Program, collect_answers, format_value, make_key
from circuitgraph.hypotheses.prompt import Prompt, order_prompts
from circuitgraph.hypotheses.study import Study

_MOST_CHARACTERS = 120  # of a value in a message


@dataclass
class _ProgramRun:
    """A program on prompts: its functions' values, and how functions failed."""

    values: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, list[tuple[Prompt, Exception]]] = field(default_factory=dict)
    unhashable: dict[str, tuple[Prompt, Any]] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every function gave values that can be compared."""
        return not self.failures and not self.unhashable


def check_on_prompts(
    study: Study, prompts: Sequence[Prompt]
) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """What is wrong with the program on these prompts, and what is worth knowing of it."""
    program = study.program
    run = _run_program(program, prompts)
    problems = _describe_failures(program.variables, run, len(prompts))
    notes: list[Diagnostic] = []
    for name in program.order:
        if name not in run.unhashable and all(name in row for row in run.values):
            new_problems, new_notes = _check_classes(program, name, [r[name] for r in run.values])
            problems += new_problems
            notes += new_notes
    if program.output not in run.unhashable and not run.failures:
        problems += _check_answers(study, prompts, run.values)
    for rival in study.hypothesis.rivals:
        if run.is_whole and not check_rival(study.hypothesis, rival):
            rival_run = _run_program(program.with_rival(rival), prompts)
            failures = _describe_failures(
                program.variables, rival_run, len(prompts), rival.location
            )
            problems += [
                Diagnostic(f.location, f"the rival {rival.name!r}: {f.message}") for f in failures
            ]
    return problems, notes


def _run_program(program: Program, prompts: Sequence[Prompt]) -> _ProgramRun:
    run = _ProgramRun()
    for prompt in prompts:
        row: dict[str, Any] = {}
        for name in program.order:
            variable = program.variables[name]
            if not all(parent in row for parent in variable.parents):
                continue  # the parent's failure is the one to tell
            try:
                value = variable.call_with(prompt, row)
            except Exception as error:
                run.failures.setdefault(name, []).append((prompt, error))
                continue
            row[name] = value
            if name not in run.unhashable:
                try:
                    make_key(value)
                except TypeError:
                    run.unhashable[name] = (prompt, value)
        run.values.append(row)
    return run


def _describe_failures(
    variables: Mapping[str, Variable],
    run: _ProgramRun,
    n_prompts: int,
    location: Location | None = None,
) -> list[Diagnostic]:
    """Functions that raise or give what cannot be compared.

    Args:
        location: in place of the variable's own, where an error is not in the file.
    """
    problems: list[Diagnostic] = []
    for name, failures in run.failures.items():
        prompt, error = min(failures, key=lambda failure: order_prompts(failure[0]))
        own = location or variables[name].location
        share = format_share(len(failures), n_prompts)
        message = f"`{name}` raises {format_error(error)} on {share} prompts, as on {prompt!r}"
        problems.append(Diagnostic(locate_error(error, own.file) or own, message))
    for name, (prompt, value) in run.unhashable.items():
        message = (
            f"`{name}` gives {_format_short(value)} on {prompt!r}: values are compared, so they "
            f"must be hashable; a {type(value).__name__} is not. Return a text, a number, a tuple, "
            "a frozenset or a small array"
        )
        problems.append(Diagnostic(location or variables[name].location, message))
    return problems


def _check_classes(
    program: Program, name: str, values: Sequence[Any]
) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """A variable with one value only, or mostly with values that no other prompt shares.

    The output is exempt: the output of a scrubbed model is compared with the reference itself, not
    with a donor. So are steps without a site, of which nothing is resampled.

    Returns:
        Problems and notes.
    """
    variable, n = program.variables[name], len(values)
    if not variable.sites or name == program.output:
        return [], []
    counts = Counter(map(make_key, values))
    if len(counts) == 1:
        message = (
            f"`{name}` is {_format_short(values[0])} on all of {n:,} prompts: nothing is claimed "
            "to be carried there"
        )
        return [Diagnostic(variable.location, message)], []
    n_alone = sum(size == 1 for size in counts.values())
    if not n_alone:
        return [], []
    who = f"`{name}` has a value that no other prompt has on {format_share(n_alone, n)} prompts"
    if 2 * n_alone > n:
        message = (
            f"{who}: such a prompt could only be its own donor, so that scrubbing would test "
            "nothing. Let it say less, or draw from fewer words"
        )
        return [Diagnostic(variable.location, message)], []
    return [], [Diagnostic(variable.location, f"{who}: there it is hardly tested")]


def _check_answers(
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
    prompt, row = min(wrong, key=lambda case: order_prompts(case[0]))
    right = sorted(prompt.right)
    expected = " or ".join(map(repr, right[:4]))
    if len(right) > 4:
        expected += f" or one of {len(right) - 4} others"
    values = "\n".join(f"        {key} = {_format_short(row[key])}" for key in study.program.order)
    message = (
        f"`{name}` is wrong on paper, in {format_share(len(wrong), len(prompts))} prompts. The "
        f"shortest: {prompt!r}\n        right is {expected}, but the program says "
        f"{_format_short(row[name])}:\n{values}"
    )
    return [Diagnostic(study.program.variables[name].location, message)]


def _format_short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else format_value(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 3]}..."
