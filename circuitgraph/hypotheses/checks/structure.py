"""Checks of the text alone: whether variables, their parents and the output fit together."""

from __future__ import annotations

import ast
import inspect
import keyword
import textwrap
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from circuitgraph.graph.site import Site
from circuitgraph.hypotheses.diagnostics import Diagnostic, describe_unknown
from circuitgraph.hypotheses.language import PROMPT, Hypothesis, Variable

_PLAIN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_OUTPUT = "@H.output(at=logits @ 'ROLE')"


def check_structure(hypothesis: Hypothesis) -> list[Diagnostic]:
    """What keeps the variables from being a program, so that nothing further can be checked."""
    return [
        *_check_names(hypothesis),
        *_check_variable_parameters(hypothesis),
        *_check_cycles(hypothesis),
        *_check_outputs(hypothesis),
        *_check_routes(hypothesis),
    ]


def find_unused(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    """Variables that nothing on the way to the output uses."""
    known = {v.name: v for v in hypothesis.variables}
    output = hypothesis.output_variable
    used: set[str] = set()
    pending = [output.name] if output else []
    while pending:
        name = pending.pop()
        if name in known and name not in used:
            used.add(name)
            pending += known[name].parents
    for variable in hypothesis.variables:
        if variable.name not in used:
            yield Diagnostic(
                variable.location,
                f"nobody uses `{variable.name}`: make it a parameter of what reads it, or remove "
                "it",
            )


def find_unwritten(hypothesis: Hypothesis) -> list[Diagnostic]:
    """Functions whose body is still ``...``."""
    return [
        Diagnostic(v.location, f"`{v.name}` is still `...`: say what it computes")
        for v in hypothesis.variables
        if _is_stub(v.function)
    ]


def check_parameters(
    owner: str, function: Callable[..., Any], known: Mapping[str, Variable]
) -> Iterator[str]:
    """What is wrong with the parameters of a variable's function, in words."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in _PLAIN:
            yield (
                f"{owner} has the parameter {str(parameter)!r}: each parameter is the name of one "
                "variable, or `p`"
            )
        elif parameter.name != PROMPT and parameter.name not in known:
            advice = describe_unknown("variable", parameter.name, [*known, PROMPT])
            yield f"{owner} has the parameter {parameter.name!r}. {advice}"


def find_cycle(parents: Mapping[str, tuple[str, ...]]) -> str | None:
    """Variables that need each other, as ```a` needs `b` needs `a```; None without any."""
    try:
        TopologicalSorter(parents).prepare()
    except CycleError as error:
        return " needs ".join(f"`{name}`" for name in reversed(error.args[1]))
    return None


def _check_names(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    first: dict[str, Variable] = {}
    for variable in hypothesis.variables:
        name = variable.name
        problem = None
        if not name.isidentifier() or keyword.iskeyword(name):
            problem = f"a variable cannot be called {name!r}: write its function with def"
        elif name == PROMPT:
            problem = "a variable cannot be called `p`: that is the prompt"
        elif name in first:
            line = first[name].location.line
            problem = f"two variables are called `{name}`, the first in line {line}: rename one"
        if problem is not None:
            yield Diagnostic(variable.location, problem)
        first.setdefault(name, variable)


def _check_variable_parameters(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    known = {v.name: v for v in hypothesis.variables}
    for variable in hypothesis.variables:
        for problem in check_parameters(f"`{variable.name}`", variable.function, known):
            yield Diagnostic(variable.location, problem)


def _check_cycles(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    cycle = find_cycle({v.name: v.parents for v in hypothesis.variables})
    if cycle is not None:
        first = next(v for v in hypothesis.variables if cycle.startswith(f"`{v.name}`"))
        yield Diagnostic(first.location, f"variables need each other: {cycle}")


def _check_outputs(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    output = hypothesis.output_variable
    if output is None:
        yield Diagnostic(
            hypothesis.location, f"there is no output: decorate the last function with {_OUTPUT}"
        )
    elif hypothesis.outputs > 1:
        yield Diagnostic(
            output.location,
            f"{hypothesis.outputs} outputs are declared: a model says one thing, so one function "
            "is the output and the others are variables",
        )
    for variable in hypothesis.variables:
        sites = variable.sites
        if variable is output:
            if len(sites) != 1 or sites[0].kind != "logits" or len(sites[0].roles) != 1:
                yield Diagnostic(
                    variable.location,
                    f"the output `{variable.name}` is at {', '.join(map(str, sites)) or 'nowhere'},"
                    f" but an output is at logits @ one role: {_OUTPUT}",
                )
        elif any(site.kind == "logits" for site in sites) and variable.role != "output":
            yield Diagnostic(
                variable.location,
                f"`{variable.name}` is at the logits: only the output is there ({_OUTPUT})",
            )


def _check_routes(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    known = {v.name: v for v in hypothesis.variables}
    for variable in hypothesis.variables:
        entering = _find_entering(variable, known)
        routed = [(f"{i}=", name) for i, names in variable.routes.items() for name in names]
        for argument, name in [*routed, *(("through=", name) for name in variable.through)]:
            if name not in entering:
                reason = (
                    "which is none of its parameters "
                    f"({', '.join(variable.parents) or 'it has none'})"
                    if name in known
                    else f"which is no variable. {describe_unknown('variable', name, known)}"
                )
                yield Diagnostic(
                    variable.location, f"`{variable.name}` has {argument}{name!r}, {reason}"
                )
        not_heads = [str(site) for site in variable.sites if not site.is_of_head]
        if routed and (not_heads or not variable.sites):
            position = f"is at {', '.join(not_heads)}" if not_heads else "has no site"
            yield Diagnostic(
                variable.location,
                f"`{variable.name}` {position}, but q=, k= and v= are inputs of heads only: leave "
                "them out",
            )
        for problem in _check_through(variable, known):
            yield Diagnostic(variable.location, problem)


def _find_entering(variable: Variable, known: Mapping[str, Variable]) -> set[str]:
    """A variable's parents, and, behind parents without a site, the parents of those."""
    entering: set[str] = set()
    pending = list(variable.parents)
    while pending:
        name = pending.pop()
        if name in entering:
            continue
        entering.add(name)
        if name in known and not known[name].sites:
            pending += known[name].parents
    return entering


def _check_through(variable: Variable, known: Mapping[str, Variable]) -> Iterator[str]:
    """What is wrong with the sites that parents pass on their way, in words."""
    who = f"`{variable.name}`"
    for name, site in variable.through.items():
        if not isinstance(site, Site):
            yield f"{who} has through={{{name!r}: {site!r}}}: expected one site, such as mlp(0)"
        elif site.kind in ("embed", "logits"):
            yield f"{who}: nothing passes through {site}; name a head or an MLP"
        elif name in known and not known[name].sites:
            yield (
                f"{who} has through={name!r}, but `{name}` has no site that could pass anything on"
            )


def _is_stub(function: Callable[..., Any]) -> bool:
    """Whether a function says nothing but ``...``, ``pass`` or its docstring."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # no source to read, or a lambda amid something else
        return False
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        return False
    return all(_says_nothing(statement) for statement in tree.body[0].body)


def _says_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Return):
        return isinstance(statement.value, ast.Constant) and statement.value.value is ...
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return statement.value.value is ... or isinstance(statement.value.value, str)
    return isinstance(statement, ast.Pass)
