"""From a hypothesis to its stored form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from circuitgraph.catalog.hypothesis_record import (
    ExpectationRecord,
    HypothesisRecord,
    PropertyRecord,
    RivalRecord,
    VariableRecord,
)
from circuitgraph.catalog.records import Record
from circuitgraph.errors import HypothesisError
from circuitgraph.graph.site import Site
from circuitgraph.hypotheses.language import Hypothesis, Property, Rival, Variable
from circuitgraph.hypotheses.writing.file import SITE
from circuitgraph.hypotheses.writing.source import find_source, find_support

AnyRecord = TypeVar("AnyRecord", bound=Record)


def store_hypothesis(hypothesis: Hypothesis) -> HypothesisRecord:
    """The record of a hypothesis; functions go into it as text, with what of their file they need.

    Raises:
        HypothesisError: it has no output, a function's text is not known, or a setting is not plain
            data.
    """
    output, where = hypothesis.output_variable, hypothesis.selects
    if output is None:
        raise HypothesisError(f"{hypothesis.name!r} has no output, and cannot be stored without.")
    functions = [
        *(v.function for v in hypothesis.variables),
        *(f for rival in hypothesis.rivals for f in rival.replace.values()),
        *(p.function for p in hypothesis.properties if p.function is not None),
        *([where] if where is not None else []),
    ]
    return HypothesisRecord(
        name=hypothesis.name,
        task=hypothesis.task,
        settings=make_plain(hypothesis.settings),
        model=hypothesis.model,
        dictionaries=[each.name for each in hypothesis.dictionaries],
        metric=hypothesis.metric,
        unclaimed=hypothesis.unclaimed,
        align=hypothesis.align,
        where=None if where is None else find_source(where),
        support=find_support(functions, [getattr(f, "__name__", "") for f in functions]),
        variables=[_store_variable(variable) for variable in hypothesis.variables],
        output=output.name,
        expectations=[_fill_record(ExpectationRecord, e) for e in hypothesis.expectations],
        rivals=[_store_rival(rival) for rival in hypothesis.rivals],
        properties=[_store_property(declared) for declared in hypothesis.properties],
    )


def _store_variable(variable: Variable) -> VariableRecord:
    return _fill_record(VariableRecord, variable, source=find_source(variable.function))


def _store_rival(rival: Rival) -> RivalRecord:
    replace = {name: find_source(function) for name, function in rival.replace.items()}
    return _fill_record(RivalRecord, rival, replace=replace)


def _store_property(declared: Property) -> PropertyRecord:
    source = None if declared.function is None else find_source(declared.function)
    settings = make_plain(declared.settings)
    return _fill_record(PropertyRecord, declared, source=source, settings=settings)


def _fill_record(record: type[AnyRecord], part: object, **fields: Any) -> AnyRecord:
    """A record of a part of the language; other fields have the names of the part's attributes."""
    names = record.model_fields.keys() - fields.keys()
    return record(**fields, **{name: _encode_attribute(getattr(part, name)) for name in names})


def _encode_attribute(value: Any) -> Any:
    """An attribute as records have it: a site by its name, tuples as lists."""
    if isinstance(value, Site):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _encode_attribute(inner) for name, inner in value.items()}
    return [_encode_attribute(inner) for inner in value] if isinstance(value, tuple) else value


def make_plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON holds them; a site as ``{"$site": "a0.h3@B1"}``.

    Raises:
        HypothesisError: a value is no text, number, list, mapping or site.
    """
    try:
        return json.loads(json.dumps(dict(settings), default=_encode_setting, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise HypothesisError(
            f"The settings {dict(settings)!r} cannot be stored: {error}"
        ) from error


def _encode_setting(value: Any) -> Any:
    if isinstance(value, Site):  # a dataclass, which json does not know
        return {SITE: str(value)}
    if isinstance(value, Variable):
        return value.name
    raise TypeError(f"{value!r} is no text, number, list, mapping or site")
