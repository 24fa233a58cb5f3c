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


def structure_problems(hypothesis: Hypothesis) -> list[Diagnostic]:
    """What keeps the variables from being a program: with any of these nothing further can be
    checked.
    """
    return [
        *_names(hypothesis),
        *_parameters(hypothesis),
        *_cycle(hypothesis),
        *_outputs(hypothesis),
        *_routes(hypothesis),
    ]


def unused(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    """Variables that nothing on the way to the output uses."""
    known = {v.name: v for v in hypothesis.variables}
    output = hypothesis.output_variable
    seen: set[str] = set()
    waiting = [output.name] if output else []
    while waiting:
        name = waiting.pop()
        if name in known and name not in seen:
            seen.add(name)
            waiting += known[name].parents
    for variable in hypothesis.variables:
        if variable.name not in seen:
            yield Diagnostic(
                variable.location,
                f"nobody uses `{variable.name}`: make it a parameter of what reads it, or remove "
                "it",
            )


def unwritten(hypothesis: Hypothesis) -> list[Diagnostic]:
    """Functions whose body is still ``...``."""
    return [
        Diagnostic(v.location, f"`{v.name}` is still `...`: say what it computes")
        for v in hypothesis.variables
        if _is_stub(v.function)
    ]


def behind(variable: Variable, known: Mapping[str, Variable]) -> set[str]:
    """A variable's parents, and those of steps without a site among them, which enter it as well."""
    found: set[str] = set()
    waiting = list(variable.parents)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in known and not known[name].sites:
            waiting += known[name].parents
    return found


def parameter_problems(
    owner: str, function: Callable[..., Any], known: Mapping[str, Variable]
) -> Iterator[str]:
    """What is wrong with the parameters of a variable's function, in words."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in _PLAIN:
            yield f"{owner} has the parameter {str(parameter)!r}: each parameter is the name of one variable, or `p`"
        elif parameter.name != PROMPT and parameter.name not in known:
            unheard = describe_unknown("variable", parameter.name, [*known, PROMPT])
            yield f"{owner} has the parameter {parameter.name!r}. {unheard}"


def cycle_in(parents: Mapping[str, tuple[str, ...]]) -> str | None:
    """Variables that need each other, such as ```a` needs `b` needs `a```; None if there are none."""
    try:
        TopologicalSorter(parents).prepare()
    except CycleError as error:
        return " needs ".join(f"`{name}`" for name in reversed(error.args[1]))
    return None


def _names(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    first: dict[str, Variable] = {}
    for variable in hypothesis.variables:
        name = variable.name
        if not name.isidentifier() or keyword.iskeyword(name):
            yield Diagnostic(
                variable.location,
                f"a variable cannot be called {name!r}: write its function with def",
            )
        elif name == PROMPT:
            yield Diagnostic(
                variable.location, "a variable cannot be called `p`: that is the prompt"
            )
        elif name in first:
            yield Diagnostic(
                variable.location,
                f"two variables are called `{name}`, the first in line {first[name].location.line}: "
                "rename one",
            )
        first.setdefault(name, variable)


def _parameters(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    known = {v.name: v for v in hypothesis.variables}
    for variable in hypothesis.variables:
        for problem in parameter_problems(f"`{variable.name}`", variable.function, known):
            yield Diagnostic(variable.location, problem)


def _cycle(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    circle = cycle_in({v.name: v.parents for v in hypothesis.variables})
    if circle is not None:
        where = next(v.location for v in hypothesis.variables if circle.startswith(f"`{v.name}`"))
        yield Diagnostic(where, f"variables need each other: {circle}")


def _outputs(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
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
        at = variable.sites
        if variable is output:
            if len(at) != 1 or at[0].kind != "logits" or len(at[0].roles) != 1:
                shown = ", ".join(map(str, at)) or "nowhere"
                yield Diagnostic(
                    variable.location,
                    f"the output `{variable.name}` is at {shown}, but an output is at logits @ one "
                    f"role: {_OUTPUT}",
                )
        elif any(site.kind == "logits" for site in at) and variable.role != "output":
            yield Diagnostic(
                variable.location,
                f"`{variable.name}` is at the logits: only the output is there ({_OUTPUT})",
            )


def _routes(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    known = {v.name: v for v in hypothesis.variables}
    for variable in hypothesis.variables:
        entering = behind(variable, known)
        routed = [(f"{i}=", name) for i, names in variable.routes.items() for name in names]
        for how, name in [*routed, *(("through=", name) for name in variable.through)]:
            if name not in entering:
                why = (
                    "which is none of its parameters "
                    f"({', '.join(variable.parents) or 'it has none'})"
                    if name in known
                    else f"which is no variable. {describe_unknown('variable', name, known)}"
                )
                yield Diagnostic(variable.location, f"`{variable.name}` has {how}{name!r}, {why}")
        no_heads = [str(site) for site in variable.sites if site.kind != "head"]
        if routed and (no_heads or not variable.sites):
            at = f"is at {', '.join(no_heads)}" if no_heads else "has no site"
            yield Diagnostic(
                variable.location,
                f"`{variable.name}` {at}, but q=, k= and v= are inputs of heads only: leave them "
                "out",
            )
        yield from _passed(variable, known)


def _passed(variable: Variable, known: Mapping[str, Variable]) -> Iterator[Diagnostic]:
    for name, site in variable.through.items():
        if not isinstance(site, Site):
            yield Diagnostic(
                variable.location,
                f"`{variable.name}` has through={{{name!r}: {site!r}}}: expected one site, such as "
                "mlp(0)",
            )
        elif site.kind in ("embed", "logits"):
            yield Diagnostic(
                variable.location,
                f"`{variable.name}`: nothing passes through {site}; name a head or an MLP",
            )
        elif name in known and not known[name].sites:
            yield Diagnostic(
                variable.location,
                f"`{variable.name}` has through={name!r}, but `{name}` has no site that could pass "
                "anything on",
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
