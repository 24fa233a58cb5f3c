"""From a stored hypothesis to a hypothesis file. Nothing is executed; a file is, when it is used."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from circuitgraph.catalog.hypothesis_record import (
    ExpectationRecord,
    HypothesisRecord,
    PropertyRecord,
    RivalRecord,
    VariableRecord,
    parse_function,
)
from circuitgraph.graph.site import Site

SITE = "$site"  # the key of a site among settings
WIDTH = 120
Arguments = Mapping[str, str]


def source_of(
    record: HypothesisRecord,
    *,
    comments: Mapping[str, Sequence[str]] | None = None,
    end: Sequence[str] = (),
) -> str:
    """The text of a hypothesis file that says what the record says.

    Args:
        comments: lines to write above a variable, by its name.
        end: lines of comment to end with.
    """
    parts = [_head(record)]
    for variable in record.variables:
        said = [_comment(line) for line in (comments or {}).get(variable.name, ())]
        parts.append("\n".join([*said, _variable(variable, variable.name == record.output)]))
    parts += filter(None, ["\n".join(map(_expectation, record.expectations))])
    parts += map(_rival, record.rivals)
    parts += map(_property, record.properties)
    parts += filter(None, ["\n".join(map(_comment, end))])
    return "\n\n\n".join(parts) + "\n"


def _head(record: HypothesisRecord) -> str:
    """Docstring, imports, support, and the hypothesis itself."""
    sites = [site for v in record.variables for site in (*v.sites, *v.through.values())]
    sites += [e.site for e in record.expectations if e.site is not None]
    sites += [site for r in record.rivals for moved in r.move.values() for site in moved]
    sites += [site for p in record.properties for site in _sites_in(p.settings)]
    names = ", ".join(["Hypothesis", *sorted({Site.parse(site).kind for site in sites})])
    given = {"task": quoted(record.task), "model": quoted(record.model)}
    if record.settings:
        given["settings"] = _value(record.settings)
    if record.where is not None:
        given["where"] = _name(record.where)
    if record.metric is not None:
        given["metric"] = quoted(record.metric)
    given |= {"unclaimed": quoted(record.unclaimed)} if record.unclaimed != "joint" else {}
    given |= {"align": quoted(record.align)} if record.align != "role" else {}
    blocks = [f"from circuitgraph.hypotheses import {names}", record.support, _def(record.where)]
    blocks.append(f"H = {_call('Hypothesis', [quoted(record.name)], given)}")
    return "\n\n".join(filter(None, [_docstring(record.name), *blocks]))


def _comment(line: str) -> str:
    return f"# {' '.join(line.splitlines())}".rstrip()


def _docstring(text: str) -> str:
    plain = text.isprintable() and not set(text) & {'"', "\\"}
    return f'"""{text}."""' if plain else ""


def _variable(variable: VariableRecord, output: bool) -> str:
    given: dict[str, str] = {}
    if variable.sites:
        given["at"] = _several([_site(site) for site in variable.sites])
    given |= {name: _texts(parents) for name, parents in variable.routes.items()}
    if variable.through:
        given["through"] = _braced({name: _site(site) for name, site in variable.through.items()})
    if variable.role and not output:
        given["role"] = quoted(variable.role)
    given |= {"together": "True"} if variable.together else {}
    return f"@{_call('H.output' if output else 'H.var', [], given)}\n{variable.source}"


def _expectation(expected: ExpectationRecord) -> str:
    given = {"of": _site(expected.site)} if expected.site is not None else {}
    given |= {"of": _texts(expected.of)} if expected.of else {}
    for name in ("to", "at_least", "at_most", "n", "rivals_below"):
        if getattr(expected, name) is not None:
            given[name] = repr(getattr(expected, name))
    return _call("H.expect", [quoted(expected.quantity)], given)


def _rival(rival: RivalRecord) -> str:
    given = {"drop": _texts(rival.drop)} if rival.drop else {}
    if rival.move:
        given["move"] = _braced(
            {name: _several([_site(s) for s in sites]) for name, sites in rival.move.items()}
        )
    given |= {name: _name(text) for name, text in rival.replace.items()}
    defs = [_def(text) for text in rival.replace.values()]
    return "\n\n\n".join([*filter(None, defs), _call("H.rival", [quoted(rival.name)], given)])


def _property(declared: PropertyRecord) -> str:
    given = {"of": _texts(declared.of)} if declared.of else {}
    given |= {"allow": repr(declared.allow)} if declared.allow else {}
    given |= (
        {"max_examples": repr(declared.max_examples)} if declared.max_examples is not None else {}
    )
    given |= {"exceptions": _value(declared.exceptions)} if declared.exceptions else {}
    if declared.source is None:
        return _call(
            "H.property",
            [quoted(declared.kind)],
            given | {k: _value(v) for k, v in declared.settings.items()},
        )
    decorator = _call(f"H.{declared.kind}", [], given) if given else f"H.{declared.kind}"
    return f"@{decorator}\n{declared.source}"


def _call(name: str, values: Sequence[str], given: Arguments) -> str:
    """A call, one argument a line if it is too long for one."""
    arguments = [*values, *(f"{key}={value}" for key, value in given.items())]
    line = f"{name}({', '.join(arguments)})"
    if len(line) < WIDTH - 4:
        return line
    return "\n".join([f"{name}(", *(f"    {argument}," for argument in arguments), ")"])


def _site(name: str) -> str:
    """A site as Python: ``head(0, 3) @ "B1"``."""
    site = Site.parse(name)
    roles = (
        quoted(site.roles[0]) if len(site.roles) == 1 else f"({', '.join(map(quoted, site.roles))})"
    )
    return _node(site) + (f" @ {roles}" if site.roles else "")


def _node(site: Site) -> str:
    numbers = [n for n in (site.layer, site.index) if n >= 0]
    return f"{site.kind}({', '.join(map(str, numbers))})" if numbers else site.kind


def quoted(text: str) -> str:
    """A text as Python, in double quotes where that is simple."""
    return f'"{text}"' if text.isprintable() and not set(text) & {'"', "\\"} else repr(text)


def _several(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"[{', '.join(items)}]"


def _texts(texts: Sequence[str]) -> str:
    return _several([quoted(text) for text in texts])


def _braced(items: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{quoted(name)}: {value}" for name, value in items.items()) + "}"


def _value(value: Any) -> str:
    """Plain data as Python; sites among them as sites."""
    if isinstance(value, dict):
        return (
            _site(value[SITE])
            if set(value) == {SITE}
            else _braced({k: _value(v) for k, v in value.items()})
        )
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return quoted(value) if isinstance(value, str) else repr(value)


def _sites_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return (
            [value[SITE]]
            if set(value) == {SITE}
            else [s for inner in value.values() for s in _sites_in(inner)]
        )
    return [s for inner in value for s in _sites_in(inner)] if isinstance(value, list) else []


def _name(text: str) -> str:
    """How a call refers to a function: by the name of its def, or by the lambda itself."""
    function = parse_function(text)
    return function.name if isinstance(function, ast.FunctionDef) else text


def _def(text: str | None) -> str:
    """A function's text if it is a def."""
    return text if text is not None and isinstance(parse_function(text), ast.FunctionDef) else ""
