"""Checks of the text alone: expectations, rivals, properties, and the hypothesis's own settings."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from circuitgraph.graph.site import Site
from circuitgraph.hypotheses.checks.structure import cycle_in, parameter_problems
from circuitgraph.hypotheses.diagnostics import Diagnostic, describe_unknown
from circuitgraph.hypotheses.language import (
    ALIGN,
    GIVEN,
    UNCLAIMED,
    Expectation,
    Hypothesis,
    Property,
    Rival,
)

OF = {
    "accuracy": "none",
    "scrubbed_accuracy": "none",
    "loss_recovered": "none",
    "interchange_accuracy": "needed",
    "necessity": "possible",
    "attention": "site",
}
"""Quantities that can be expected beside any metric, and whether they are `of` something."""


def declared_problems(hypothesis: Hypothesis) -> list[Diagnostic]:
    """What is wrong with everything in the file but its variables."""
    found = [*_settings(hypothesis), *_twice(hypothesis)]
    for expectation in hypothesis.expectations:
        found += [
            Diagnostic(expectation.location, message)
            for message in _expectation(hypothesis, expectation)
        ]
    for rival in hypothesis.rivals:
        found += [
            Diagnostic(rival.location, message) for message in rival_problems(hypothesis, rival)
        ]
    for declared in hypothesis.properties:
        found += [
            Diagnostic(declared.location, message) for message in _property(hypothesis, declared)
        ]
    return found


def rival_problems(hypothesis: Hypothesis, rival: Rival) -> list[str]:
    """What is wrong with a rival, in words. It may say what is false, but it must say something."""
    known = {v.name: v for v in hypothesis.variables}
    output = hypothesis.output_variable
    who = f"the rival {rival.name!r}"
    found: list[str] = []
    for how, names in (("drops", rival.drop), ("replaces", rival.replace), ("moves", rival.move)):
        found += [
            f"{who} {how} {name!r}. {describe_unknown('variable', name, known)}"
            for name in names
            if name not in known
        ]
        if output is not None and output.name in names and how != "replaces":
            found.append(
                f"{who} {how} the output `{output.name}`, which stays where the model speaks"
            )
    for name, function in rival.replace.items():
        if not callable(function):
            found.append(
                f"{who} has {name}={function!r}: expected a function of the variable's parents"
            )
        else:
            found += parameter_problems(f"{who}: the function for `{name}`", function, known)
    same = all(name in known and known[name].sites == sites for name, sites in rival.move.items())
    if not rival.drop and not rival.replace and same:
        found.append(f"{who} changes nothing: give drop=, move=, or a function for a variable")
    if not found:
        changed = {name: v.parents for name, v in known.items()}
        changed |= {
            n: tuple(p for p in _parameters(f) if p != "p") for n, f in rival.replace.items()
        }
        circle = cycle_in(changed)
        found += [f"{who}: variables need each other: {circle}"] if circle else []
    return found


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _settings(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    for name, given, allowed in (
        ("unclaimed", hypothesis.unclaimed, UNCLAIMED),
        ("align", hypothesis.align, ALIGN),
    ):
        if given not in allowed:
            yield Diagnostic(
                hypothesis.location, f"{name}={given!r}: expected one of {', '.join(allowed)}"
            )
    if hypothesis.selects is not None and not callable(hypothesis.selects):
        yield Diagnostic(
            hypothesis.location,
            f"where={hypothesis.selects!r}: expected a function of the prompt, such as lambda p: "
            "...",
        )


def _twice(hypothesis: Hypothesis) -> Iterator[Diagnostic]:
    for what, several in (("rivals", hypothesis.rivals), ("properties", hypothesis.properties)):
        counted = Counter(item.name for item in several)
        for item in several:
            if counted[item.name] > 1:
                counted[item.name] = 0
                yield Diagnostic(
                    item.location,
                    f"two {what} are called {item.name!r}: reports could not tell them apart",
                )


def _expectation(hypothesis: Hypothesis, expectation: Expectation) -> Iterator[str]:
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
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    if not given:
        yield f"{who} has no bound: give at_least=, at_most= or both"
    for name, bound in given.items():
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
    yield from _about(who, expectation, OF.get(quantity, "none"))
    for name in expectation.of:
        if name not in known:
            yield f"{who} is of {name!r}. {describe_unknown('variable', name, known)}"
        elif not known[name].sites:
            yield f"{who} is of `{name}`, which has no site that could be intervened on"
        elif known[name] is hypothesis.output_variable:
            yield f"{who} is of the output `{name}`: name variables inside the model"


def _about(who: str, expectation: Expectation, wanted: str) -> Iterator[str]:
    site = expectation.site
    if wanted == "site":
        if (
            not isinstance(site, Site)
            or site.kind != "head"
            or len(site.roles) != 1
            or expectation.to is None
        ):
            yield f"{who} needs one head at one role, and where it looks: of=head(l, h) @ 'ROLE', to='ROLE'"
        return
    if site is not None or expectation.to is not None:
        yield f"{who} has {'of=a site' if site is not None else 'to='}, which belongs to attention"
    if wanted == "needed" and not expectation.of and site is None:
        yield f"{who} needs of=: the variable, or several, to be swapped"
    if wanted == "none" and expectation.of:
        yield f"{who} is of the whole hypothesis: leave of= out"


def _property(hypothesis: Hypothesis, declared: Property) -> Iterator[str]:
    known = [v.name for v in hypothesis.variables]
    who = f"the property {declared.name!r}"
    if declared.function is not None:
        for name in _parameters(declared.function):
            if name not in GIVEN:
                yield f"{who} has the parameter {name!r}. {describe_unknown('parameter', name, GIVEN)}"
    else:
        yield from _of_library(declared, who)
    for name in declared.of:
        if name not in known:
            yield f"{who} is of {name!r}. {describe_unknown('variable', name, known)}"
    if not isinstance(declared.allow, (int, float)) or not 0 <= declared.allow < 1:
        yield f"{who} has allow={declared.allow!r}: expected a share of prompts, from 0 to below 1"
    if declared.max_examples is not None and (
        not isinstance(declared.max_examples, int) or declared.max_examples < 1
    ):
        yield f"{who} has max_examples={declared.max_examples!r}: expected 1 or more"


def _of_library(declared: Property, who: str) -> Iterator[str]:
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
