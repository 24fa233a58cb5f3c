"""Checks of the text alone: expectations, rivals, properties, and the hypothesis's own settings."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePath, PureWindowsPath
from typing import Any

from circuitgraph.graph.site import Site
from circuitgraph.hypotheses.checks.structure import check_parameters, find_cycle
from circuitgraph.hypotheses.diagnostics import Diagnostic, describe_unknown
from circuitgraph.hypotheses.language import (
    ALIGN,
    GIVEN,
    UNCLAIMED,
    Expectation,
    Hypothesis,
    NamedDictionary,
    Property,
    Rival,
)

_BESIDE = "beside this file or above it, or give it with --dictionary"
OF = {
    "accuracy": "none",
    "scrubbed_accuracy": "none",
    "loss_recovered": "none",
    "interchange_accuracy": "needed",
    "necessity": "possible",
    "attention": "site",
}
"""Quantities that can be expected beside any metric, and whether they are `of` something."""


def check_declarations(hypothesis: Hypothesis) -> list[Diagnostic]:
    """What is wrong with everything in the file but its variables."""
    problems = [*_check_settings(hypothesis), *_check_repeats(hypothesis)]
    for expectation in hypothesis.expectations:
        messages = _check_expectation(hypothesis, expectation)
        problems += [Diagnostic(expectation.location, message) for message in messages]
    for rival in hypothesis.rivals:
        messages = check_rival(hypothesis, rival)
        problems += [Diagnostic(rival.location, message) for message in messages]
    for named in hypothesis.dictionaries:
        messages = _check_dictionary(hypothesis, named)
        problems += [Diagnostic(named.location, message) for message in messages]
    for declared in hypothesis.properties:
        messages = _check_property(hypothesis, declared)
        problems += [Diagnostic(declared.location, message) for message in messages]
    return problems


def _check_dictionary(hypothesis: Hypothesis, named: NamedDictionary) -> list[str]:
    """What is wrong with a dictionary's name. It leads nowhere but beside the file and above it."""
    name = named.name
    if not isinstance(name, str) or not name.strip():
        return [f"a dictionary is named {name!r}: expected a text"]
    path = PurePath(name)
    if path.is_absolute() or PureWindowsPath(name).is_absolute() or name.startswith("~"):
        return [f"the dictionary {name!r} is a whole path: name a place {_BESIDE}"]
    if ".." in PureWindowsPath(name).parts:
        return [f"the dictionary {name!r} leads upwards ('..'): name a place {_BESIDE}"]
    if [each.name for each in hypothesis.dictionaries].count(name) > 1:
        return [f"the dictionary {name!r} is named twice"]
    return []


def check_rival(hypothesis: Hypothesis, rival: Rival) -> list[str]:
    """What is wrong with a rival, in words. It may say what is false, but it must say something."""
    known = {v.name: v for v in hypothesis.variables}
    output = hypothesis.output_variable
    who = f"the rival {rival.name!r}"
    problems: list[str] = []
    for verb, names in (("drops", rival.drop), ("replaces", rival.replace), ("moves", rival.move)):
        problems += [
            f"{who} {verb} {name!r}. {describe_unknown('variable', name, known)}"
            for name in names
            if name not in known
        ]
        if output is not None and output.name in names and verb != "replaces":
            problems.append(
                f"{who} {verb} the output `{output.name}`, which stays where the model speaks"
            )
    for name, function in rival.replace.items():
        if not callable(function):
            problems.append(
                f"{who} has {name}={function!r}: expected a function of the variable's parents"
            )
        else:
            problems += check_parameters(f"{who}: the function for `{name}`", function, known)
    same = all(name in known and known[name].sites == sites for name, sites in rival.move.items())
    if not rival.drop and not rival.replace and same:
        problems.append(f"{who} changes nothing: give drop=, move=, or a function for a variable")
    if not problems:  # a cycle of unknown variables would only repeat them
        parents = {name: v.parents for name, v in known.items()}
        for name, function in rival.replace.items():
            parents[name] = tuple(p for p in _list_parameters(function) if p != "p")
        cycle = find_cycle(parents)
        problems += [f"{who}: variables need each other: {cycle}"] if cycle else []
    return problems


def _list_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _check_settings(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    for name, value, allowed in (
        ("unclaimed", hypothesis.unclaimed, UNCLAIMED),
        ("align", hypothesis.align, ALIGN),
    ):
        if value not in allowed:
            yield Diagnostic(
                hypothesis.location, f"{name}={value!r}: expected one of {', '.join(allowed)}"
            )
    if hypothesis.selects is not None and not callable(hypothesis.selects):
        yield Diagnostic(
            hypothesis.location,
            f"where={hypothesis.selects!r}: expected a function of the prompt, such as lambda p: "
            "...",
        )


def _check_repeats(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    """Rivals, and properties, of one name."""
    for kind, items in (("rivals", hypothesis.rivals), ("properties", hypothesis.properties)):
        counts = Counter(item.name for item in items)
        for item in items:
            if counts[item.name] > 1:
                counts[item.name] = 0  # told once, at the first of them
                yield Diagnostic(
                    item.location,
                    f"two {kind} are called {item.name!r}: reports could not tell them apart",
                )


def _check_expectation(hypothesis: Hypothesis, expectation: Expectation) -> Iterator[str]:
    from circuitgraph.tasks.metrics import metrics

    quantity, known = expectation.quantity, {v.name: v for v in hypothesis.variables}
    if quantity not in OF and quantity not in metrics:
        yield describe_unknown("quantity", quantity, [*OF, *metrics.names()])
        return
    who = f"the expectation of {quantity}"
    bounds = {
        "at_least": expectation.at_least,
        "at_most": expectation.at_most,
        "rivals_below": expectation.rivals_below,
    }
    bounds = {name: bound for name, bound in bounds.items() if bound is not None}
    if not bounds:
        yield f"{who} has no bound: give at_least=, at_most= or both"
    for name, bound in bounds.items():
        if (
            isinstance(bound, bool)
            or not isinstance(bound, (int, float))
            or not math.isfinite(bound)
        ):
            yield f"{who} has {name}={bound!r}: expected a number"
            return
    low, high = expectation.at_least, expectation.at_most
    if low is not None and high is not None and low > high:
        yield f"{who} is at least {low:g} and at most {high:g}: nothing can be both"
    if expectation.rivals_below is not None and quantity != "loss_recovered":
        yield f"{who} has rivals_below, which belongs to loss_recovered"
    if expectation.n is not None and (not isinstance(expectation.n, int) or expectation.n < 2):
        yield f"{who} has n={expectation.n!r}: expected a number of prompts, 2 or more"
    yield from _check_of(who, expectation, OF.get(quantity, "none"))
    for name in expectation.of:
        if name not in known:
            yield f"{who} is of {name!r}. {describe_unknown('variable', name, known)}"
        elif not known[name].sites:
            yield f"{who} is of `{name}`, which has no site that could be intervened on"
        elif known[name] is hypothesis.output_variable:
            yield f"{who} is of the output `{name}`: name variables inside the model"


def _check_of(who: str, expectation: Expectation, needs: str) -> Iterator[str]:
    """What is wrong with ``of=`` and ``to=``, given what the quantity needs (a value of `OF`)."""
    site = expectation.site
    if needs == "site":
        if (
            not isinstance(site, Site)
            or site.kind != "head"
            or len(site.roles) != 1
            or expectation.to is None
        ):
            yield (
                f"{who} needs one head at one role, and where it looks: of=head(l, h) @ 'ROLE', "
                "to='ROLE'"
            )
        return
    if site is not None or expectation.to is not None:
        yield f"{who} has {'of=a site' if site is not None else 'to='}, which belongs to attention"
    if needs == "needed" and not expectation.of and site is None:
        yield f"{who} needs of=: the variable, or several, to be swapped"
    if needs == "none" and expectation.of:
        yield f"{who} is of the whole hypothesis: leave of= out"


def _check_property(hypothesis: Hypothesis, declared: Property) -> Iterator[str]:
    known = [v.name for v in hypothesis.variables]
    who = f"the property {declared.name!r}"
    if declared.function is not None:
        for name in _list_parameters(declared.function):
            if name not in GIVEN:
                advice = describe_unknown("parameter", name, GIVEN)
                yield f"{who} has the parameter {name!r}. {advice}"
    else:
        yield from _check_library_property(declared, who)
    for name in declared.of:
        if name not in known:
            yield f"{who} is of {name!r}. {describe_unknown('variable', name, known)}"
    if not isinstance(declared.allow, (int, float)) or not 0 <= declared.allow < 1:
        yield f"{who} has allow={declared.allow!r}: expected a share of prompts, from 0 to below 1"
    if declared.max_examples is not None and (
        not isinstance(declared.max_examples, int) or declared.max_examples < 1
    ):
        yield f"{who} has max_examples={declared.max_examples!r}: expected 1 or more"


def _check_library_property(declared: Property, who: str) -> Iterator[str]:
    from circuitgraph.hypotheses.properties.base import library, list_settings

    if declared.kind not in library:
        yield f"{who}: {describe_unknown('property', declared.kind, library.names())}"
        return
    kind = library[declared.kind]
    allowed = {p.name: p for p in list_settings(kind)}
    for name in declared.settings:
        if name not in allowed:
            yield f"{who}: {describe_unknown('setting', name, allowed)}"
    for name, parameter in allowed.items():
        if parameter.default is parameter.empty and name not in declared.settings:
            yield f"{who} needs {name}="
    if len(declared.of) != kind.n_about:
        wanted = "of= one variable" if kind.n_about else "nothing in of="
        yield f"{who} takes {wanted}, not {', '.join(declared.of) or 'none'}"
