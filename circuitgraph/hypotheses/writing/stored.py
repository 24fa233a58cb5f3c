"""From a hypothesis to its stored form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from circuitgraph.catalog.hypothesis_record import (
    ExpectationRecord,
    HypothesisRecord,
    PropertyRecord,
    RivalRecord,
    VariableRecord,
)
from circuitgraph.errors import HypothesisError
from circuitgraph.graph.site import Site
from circuitgraph.hypotheses.language import Hypothesis, Variable
from circuitgraph.hypotheses.writing.file import SITE
from circuitgraph.hypotheses.writing.source import find_source, find_support


def store_hypothesis(hypothesis: Hypothesis) -> HypothesisRecord:
    """The record of a hypothesis; functions go into it as text, with what of their file they need.

    Raises:
        HypothesisError: it has no output, a function's text is not known, or a setting is not plain
            data.
    """
    output = hypothesis.output_variable
    if output is None:
        raise HypothesisError(f"{hypothesis.name!r} has no output, and cannot be stored without.")
    functions = [
        *(v.function for v in hypothesis.variables),
        *(f for rival in hypothesis.rivals for f in rival.replace.values()),
        *(p.function for p in hypothesis.properties if p.function is not None),
        *([hypothesis.selects] if hypothesis.selects is not None else []),
    ]
    return HypothesisRecord(
        name=hypothesis.name,
        task=hypothesis.task,
        settings=make_plain(hypothesis.settings),
        model=hypothesis.model,
        metric=hypothesis.metric,
        unclaimed=hypothesis.unclaimed,
        align=hypothesis.align,
        where=None if hypothesis.selects is None else find_source(hypothesis.selects),
        support=find_support(functions, [getattr(f, "__name__", "") for f in functions]),
        variables=[_store_variable(v) for v in hypothesis.variables],
        output=output.name,
        expectations=[
            ExpectationRecord(
                quantity=e.quantity,
                at_least=e.at_least,
                at_most=e.at_most,
                of=list(e.of),
                site=None if e.site is None else str(e.site),
                to=e.to,
                n=e.n,
                rivals_below=e.rivals_below,
            )
            for e in hypothesis.expectations
        ],
        rivals=[
            RivalRecord(
                name=r.name,
                drop=list(r.drop),
                replace={name: find_source(f) for name, f in r.replace.items()},
                move={name: [str(site) for site in sites] for name, sites in r.move.items()},
            )
            for r in hypothesis.rivals
        ],
        properties=[
            PropertyRecord(
                name=p.name,
                kind=p.kind,
                source=None if p.function is None else find_source(p.function),
                of=list(p.of),
                settings=make_plain(p.settings),
                allow=p.allow,
                max_examples=p.max_examples,
                exceptions=list(p.exceptions),
            )
            for p in hypothesis.properties
        ],
    )


def make_plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON holds them; a site as ``{"$site": "a0.h3@B1"}``.

    Raises:
        HypothesisError: a value is no text, number, list, mapping or site.
    """
    try:
        return json.loads(json.dumps(dict(settings), default=_encode_value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise HypothesisError(
            f"The settings {dict(settings)!r} cannot be stored: {error}"
        ) from error


def _encode_value(value: Any) -> Any:
    if isinstance(value, Site):  # a dataclass, which json does not know
        return {SITE: str(value)}
    if isinstance(value, Variable):
        return value.name
    raise TypeError(f"{value!r} is no text, number, list, mapping or site")


def _store_variable(variable: Variable) -> VariableRecord:
    return VariableRecord(
        name=variable.name,
        parents=list(variable.parents),
        sites=[str(site) for site in variable.sites],
        routes={name: list(parents) for name, parents in variable.routes.items()},
        through={name: str(site) for name, site in variable.through.items()},
        role=variable.role,
        together=variable.together,
        source=find_source(variable.function),
    )
