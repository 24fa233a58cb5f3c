"""From a discovered circuit to a hypothesis file that is ready to fill in: sites and routes, but no
functions yet.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from circuitgraph.catalog.hypothesis_record import HypothesisRecord, VariableRecord
from circuitgraph.errors import DataError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.site import Site
from circuitgraph.hypotheses.writing.file import quoted, source_of
from circuitgraph.hypotheses.writing.roles import Roles

Place = tuple[str, str]  # a node and a role
Feed = tuple[str, str, float | None]  # which input, of which writer, and the effect of that edge


@dataclass
class _Claim:
    """One variable of the skeleton.

    Attributes:
        reads: for each input, the variables' places that enter it.
        effects: of the circuit's edges into the node.
    """

    node: str
    role: str
    reads: dict[str, list[Place]] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)


def writers_of(circuit: Circuit) -> list[str]:
    """The nodes of a circuit that write, embedding included, as far as they lie on a path to the
    logits.
    """
    return [node for node in circuit.pruned().nodes if node != "logits"]


def skeleton(
    circuit: Circuit,
    roles: Roles,
    *,
    task: str,
    model: str,
    settings: Mapping[str, Any] | None = None,
    metric: str | None = None,
) -> str:
    """The text of a hypothesis file with one variable for each node of a circuit at each role where
    it is read.

    Args:
        roles: at which positions nodes work.
        task, model, settings, metric: what the hypothesis is about; ``metric`` None for the task's
            own.

    Raises:
        DataError: nothing in the circuit leads from the embedding to the logits.
    """
    claims = _claims(circuit, roles)
    names = _names(claims)
    order = sorted(claims, key=lambda place: (_stage(circuit, place[0]), list(claims).index(place)))
    variables = [_variable(claims[place], names, _looks(roles, place)) for place in order]
    record = HypothesisRecord(
        name=f"{task} in {model}",
        task=task,
        model=model,
        settings=dict(settings or {}),
        metric=metric,
        variables=variables,
        output=names["logits", roles.last],
    )
    heads = [v.name for v in variables if v.sites[0].startswith("a")]
    first = {node: (node, role) for node, role in reversed(order) if node != "logits"}
    comments = {
        names[place]: textwrap.wrap(roles.costs_of(node), 110) for node, place in first.items()
    }
    return source_of(record, comments=comments, end=_examples(heads or [variables[0].name]))


def _looks(roles: Roles, place: Place) -> str:
    return roles.looks_of(*place) if place[0].startswith("a") else ""


def _claims(circuit: Circuit, roles: Roles) -> dict[Place, _Claim]:
    """Backwards from the logits: every node at the roles at which a claim reads it."""
    feeds = _feeds(circuit.pruned())
    if "logits" not in feeds:
        raise DataError(
            "Nothing in this circuit leads from the embedding to the logits: there is nothing to "
            "claim."
        )
    waiting: list[Place] = [("logits", roles.last)]
    claims: dict[Place, _Claim] = {}
    while waiting:
        node, role = waiting.pop(0)
        if (node, role) in claims:
            continue
        claim = claims[node, role] = _Claim(node, role)
        for into, writer, effect in feeds.get(node, ()):
            shown = f"{writer}->{node}<{into}>" if into in "qkv" else f"{writer}->{node}"
            claim.effects.append(shown if effect is None else f"{shown} {effect:.3g}")
            there = roles.read(node, role, writer) if into in ("k", "v") else [role]
            claim.reads.setdefault(into, []).extend((writer, name) for name in there)
            waiting += [(writer, name) for name in there]
    return claims


def _feeds(circuit: Circuit) -> dict[str, list[Feed]]:
    """For each node of a circuit what enters it, the embedding first."""
    graph = circuit.graph
    found: dict[str, list[Feed]] = {}
    for edge in np.flatnonzero(circuit.mask & (graph.ends[1] >= 0)):
        reader, writer = graph.readers[graph.ends[0][edge]], graph.writers[graph.ends[1][edge]]
        effect = circuit.effect_of(edge)
        into = reader.kind if reader.kind in ("q", "k", "v") else "x"
        for node in graph.reader_nodes(reader):
            found.setdefault(node, []).append((into, writer.name, effect))
    return found


def _stage(circuit: Circuit, node: str) -> int:
    graph = circuit.graph
    return len(graph.writers) if node == "logits" else graph.writer_index(node)


def _names(claims: Mapping[Place, _Claim]) -> dict[Place, str]:
    """A readable name for each place: ``a0_h3``, with its role where the node works at several;
    ``embed_A1``.
    """
    nodes = [node for node, _ in claims]
    found: dict[Place, str] = {}
    for node, role in claims:
        several = node == "embed" or nodes.count(node) > 1
        name = (
            "answer"
            if node == "logits"
            else re.sub(r"\W", "_", f"{node}_{role}" if several else node)
        )
        number, unique = 2, name
        while unique in found.values():
            number, unique = number + 1, f"{name}_{number}"
        found[node, role] = unique
    return found


def _variable(claim: _Claim, names: Mapping[Place, str], looks: str) -> VariableRecord:
    reads = {
        into: list(dict.fromkeys(names[place] for place in places))
        for into, places in claim.reads.items()
    }
    parents = list(dict.fromkeys(name for entering in reads.values() for name in entering))
    name = names[claim.node, claim.role]
    return VariableRecord(
        name=name,
        parents=parents,
        sites=[str(Site.parse(claim.node) @ claim.role)],
        routes={
            into: entering
            for into, entering in reads.items()
            if into in ("q", "k", "v") and entering
        },
        role="output" if claim.node == "logits" else "",
        source=_function(name, claim, parents, looks),
    )


def _function(name: str, claim: _Claim, parents: Sequence[str], looks: str) -> str:
    """The text of a function that is still to be written; the embedding holds the token, which
    needs no guess.
    """
    if claim.node == "embed":
        return f"def {name}(p):\n    return p.token[{quoted(claim.role)}]"
    said = f"{looks} Effects of its edges: {', '.join(claim.effects)}.".strip()
    said = said.replace("\\", "/").replace('"', "'")
    lines = textwrap.wrap(said, 100, break_long_words=False, break_on_hyphens=False)
    docstring = '"""' + "\n    ".join(lines) + ('\n    """' if len(lines) > 1 else '"""')
    return f"def {name}({', '.join(parents)}):\n    {docstring}\n    ..."


def _examples(heads: Sequence[str]) -> list[str]:
    """What a hypothesis is tested by, to be uncommented."""
    return [
        "When the functions are written, say what should hold; for example:",
        "",
        'H.expect("accuracy", at_least=0.9)  # the model says what the program says',
        'H.expect("loss_recovered", at_least=0.8, rivals_below=0.5)  # and still does when all '
        "else is resampled",
        f'H.rival("no {heads[0]}", drop="{heads[0]}")  # which should do worse',
        "",
        "",
        "@H.holds",
        "def words_do_not_matter(p, run, relabel):",
        "    assert run(relabel(p)).answer == relabel(run(p).answer)",
    ]
