"""From a stored hypothesis to a hypothesis file. Nothing is executed here."""

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


def write_source(
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
    parts = [_write_head(record)]
    if record.dictionaries:
        parts.append(_write_call("H.dictionary", [quote_text(n) for n in record.dictionaries], {}))
    for variable in record.variables:
        lines = [_write_comment(line) for line in (comments or {}).get(variable.name, ())]
        lines.append(_write_variable(variable, variable.name == record.output))
        parts.append("\n".join(lines))
    parts.append("\n".join(map(_write_expectation, record.expectations)))
    parts += map(_write_rival, record.rivals)
    parts += map(_write_property, record.properties)
    parts.append("\n".join(map(_write_comment, end)))
    return "\n\n\n".join(filter(None, parts)) + "\n"


def quote_text(text: str) -> str:
    """A text as Python, in double quotes where that is simple."""
    return f'"{text}"' if _is_plain(text) else repr(text)


def _is_plain(text: str) -> bool:
    return text.isprintable() and not set(text) & {'"', "\\"}


def _write_head(record: HypothesisRecord) -> str:
    """Docstring, imports, support, and the hypothesis itself."""
    sites = [site for v in record.variables for site in (*v.sites, *v.through.values())]
    sites += [e.site for e in record.expectations if e.site is not None]
    sites += [site for r in record.rivals for moved in r.move.values() for site in moved]
    sites += [site for p in record.properties for site in _find_sites(p.settings)]
    names = ", ".join(["Hypothesis", *sorted({Site.parse(site).kind for site in sites})])
    arguments = {"task": quote_text(record.task), "model": quote_text(record.model)}
    if record.settings:
        arguments["settings"] = _write_value(record.settings)
    if record.where is not None:
        arguments["where"] = _refer_to_function(record.where)
    if record.metric is not None:
        arguments["metric"] = quote_text(record.metric)
    if record.unclaimed != "joint":
        arguments["unclaimed"] = quote_text(record.unclaimed)
    if record.align != "role":
        arguments["align"] = quote_text(record.align)
    blocks = [
        f'"""{record.name}."""' if _is_plain(record.name) else "",
        f"from circuitgraph.hypotheses import {names}",
        record.support,
        _write_def(record.where),
        f"H = {_write_call('Hypothesis', [quote_text(record.name)], arguments)}",
    ]
    return "\n\n".join(filter(None, blocks))


def _write_comment(line: str) -> str:
    return f"# {' '.join(line.splitlines())}".rstrip()


def _write_variable(variable: VariableRecord, is_output: bool) -> str:
    arguments: dict[str, str] = {}
    if variable.sites:
        arguments["at"] = _write_several([_write_site(site) for site in variable.sites])
    for name, parents in variable.routes.items():
        arguments[name] = _quote_texts(parents)
    if variable.through:
        sites = {name: _write_site(site) for name, site in variable.through.items()}
        arguments["through"] = _write_dict(sites)
    if variable.role and not is_output:
        arguments["role"] = quote_text(variable.role)
    if variable.together:
        arguments["together"] = "True"
    decorator = _write_call("H.output" if is_output else "H.var", [], arguments)
    return f"@{decorator}\n{variable.source}"


def _write_expectation(expected: ExpectationRecord) -> str:
    arguments = {"of": _write_site(expected.site)} if expected.site is not None else {}
    if expected.of:
        arguments["of"] = _quote_texts(expected.of)
    for name in ("to", "at_least", "at_most", "n", "rivals_below"):
        if getattr(expected, name) is not None:
            arguments[name] = repr(getattr(expected, name))
    return _write_call("H.expect", [quote_text(expected.quantity)], arguments)


def _write_rival(rival: RivalRecord) -> str:
    arguments = {"drop": _quote_texts(rival.drop)} if rival.drop else {}
    if rival.move:
        moves = {
            name: _write_several([_write_site(site) for site in sites])
            for name, sites in rival.move.items()
        }
        arguments["move"] = _write_dict(moves)
    for name, text in rival.replace.items():
        arguments[name] = _refer_to_function(text)
    call = _write_call("H.rival", [quote_text(rival.name)], arguments)
    return "\n\n\n".join(filter(None, [*map(_write_def, rival.replace.values()), call]))


def _write_property(declared: PropertyRecord) -> str:
    arguments = {"of": _quote_texts(declared.of)} if declared.of else {}
    if declared.allow:
        arguments["allow"] = repr(declared.allow)
    if declared.max_examples is not None:
        arguments["max_examples"] = repr(declared.max_examples)
    if declared.exceptions:
        arguments["exceptions"] = _write_value(declared.exceptions)
    if declared.source is None:  # of the library
        arguments |= {name: _write_value(value) for name, value in declared.settings.items()}
        return _write_call("H.property", [quote_text(declared.kind)], arguments)
    name = f"H.{declared.kind}"
    return f"@{_write_call(name, [], arguments) if arguments else name}\n{declared.source}"


def _write_call(name: str, values: Sequence[str], keywords: Arguments) -> str:
    """A call, one argument a line if it is too long for one."""
    arguments = [*values, *(f"{key}={value}" for key, value in keywords.items())]
    line = f"{name}({', '.join(arguments)})"
    if len(line) < WIDTH - 4:
        return line
    return "\n".join([f"{name}(", *(f"    {argument}," for argument in arguments), ")"])


def _write_site(name: str) -> str:
    """A site as Python: ``head(0, 3) @ "B1"``, ``head(0, 3).fetched_from("A1") @ "B1"``."""
    site = Site.parse(name)
    numbers = [str(number) for number in (site.layer, site.index) if number >= 0]
    kind = site.node.whole.kind if site.is_of_head else site.kind
    node = f"{kind}({', '.join(numbers)})" if numbers else kind
    if site.kind == "source":
        node += f".fetched_from({quote_text(site.node.source)})"
    if not site.roles:
        return node
    roles = ", ".join(map(quote_text, site.roles))
    return f"{node} @ {roles}" if len(site.roles) == 1 else f"{node} @ ({roles})"


def _write_several(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"[{', '.join(items)}]"


def _quote_texts(texts: Sequence[str]) -> str:
    return _write_several([quote_text(text) for text in texts])


def _write_dict(items: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{quote_text(name)}: {value}" for name, value in items.items()) + "}"


def _write_value(value: Any) -> str:
    """Plain data as Python; sites among them as sites."""
    if isinstance(value, dict):
        if set(value) == {SITE}:
            return _write_site(value[SITE])
        return _write_dict({key: _write_value(inner) for key, inner in value.items()})
    if isinstance(value, list):
        return f"[{', '.join(map(_write_value, value))}]"
    return quote_text(value) if isinstance(value, str) else repr(value)


def _find_sites(value: Any) -> list[str]:
    """The sites among plain data."""
    if isinstance(value, dict):
        if set(value) == {SITE}:
            return [value[SITE]]
        value = list(value.values())
    return (
        [site for inner in value for site in _find_sites(inner)] if isinstance(value, list) else []
    )


def _refer_to_function(text: str) -> str:
    """How a call refers to a function: by the name of its def, or by the lambda itself."""
    function = parse_function(text)
    return function.name if isinstance(function, ast.FunctionDef) else text


def _write_def(text: str | None) -> str:
    """A function's text if it is a def; nothing for a lambda, which a call holds itself."""
    return text if text is not None and isinstance(parse_function(text), ast.FunctionDef) else ""
