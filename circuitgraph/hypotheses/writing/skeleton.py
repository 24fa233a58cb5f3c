"""From a circuit to a hypothesis file to fill in: sites and routes, but no functions yet."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from circuitgraph.catalog.hypothesis_record import HypothesisRecord, VariableRecord
from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.site import Site
from circuitgraph.hypotheses.writing.file import quote_text, write_source
from circuitgraph.hypotheses.writing.roles import Roles

NodeAtRole = tuple[str, str]  # a node and a role
Feed = tuple[str, str, float | None]  # an input, the writer that feeds it, and the edge's effect


@dataclass
class _NodeClaim:
    """One variable of the skeleton.

    Attributes:
        reads: for each input, the nodes at roles that enter it.
        effects: of the circuit's edges into the node.
    """

    node: str
    role: str
    reads: dict[str, list[NodeAtRole]] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)


def list_writers(circuit: Circuit) -> list[str]:
    """The writers of a circuit, embedding included, that lie on a path to the logits."""
    return [node for node in circuit.pruned().nodes if node != "logits"]


def check_whole_heads(circuit: Circuit) -> None:
    """Refuse a circuit in whose graph heads are cut by where they fetch.

    Raises:
        ArgumentError: there are such heads.
    """
    if splits := circuit.graph.head_splits:
        listed = ", ".join(str(split.whole) for split in splits)
        raise ArgumentError(
            f"No claims are written of heads in parts, and this circuit has some (of {listed}). "
            "Search with whole heads, and narrow the claims by hand: "
            "head(3, 5).fetched_from('ROLE')."
        )


def write_skeleton(
    circuit: Circuit,
    roles: Roles,
    *,
    task: str,
    model: str,
    settings: Mapping[str, Any] | None = None,
    metric: str | None = None,
) -> str:
    """The text of a hypothesis file: a variable for each node of a circuit at each role it is read.

    Args:
        roles: at which positions nodes work.
        task, model, settings, metric: what the hypothesis is about; ``metric`` None for the task's
            own.

    Raises:
        DataError: nothing in the circuit leads from the embedding to the logits.
    """
    claims = _collect_claims(circuit, roles)
    names = _name_variables(claims)
    # By stage; a stable sort, so that claims of one node keep the order in which they were met.
    order = sorted(claims, key=lambda key: _find_stage(circuit, key[0]))
    variables = []
    for node, role in order:
        attention = roles.describe_attention(node, role) if node.startswith("a") else ""
        variables.append(_make_variable(claims[node, role], names, attention))
    record = HypothesisRecord(
        name=f"{_shorten_path(task)} in {_shorten_path(model)}",
        task=task,
        model=model,
        settings=dict(settings or {}),
        metric=metric,
        variables=variables,
        output=names["logits", roles.last_role],
    )
    heads = [v.name for v in variables if v.sites[0].startswith("a")]
    first = {node: (node, role) for node, role in reversed(order) if node != "logits"}
    comments = {
        names[key]: textwrap.wrap(roles.describe_costs(node), 110) for node, key in first.items()
    }
    return write_source(
        record,
        comments=comments,
        end=_write_examples(heads or [variables[0].name], roles.has_words),
    )


def _shorten_path(name: str) -> str:
    """The name of a file or folder without its path; any other name as it is."""
    return PurePath(name).stem if PurePath(name).is_absolute() else name


def _collect_claims(circuit: Circuit, roles: Roles) -> dict[NodeAtRole, _NodeClaim]:
    """Backwards from the logits: every node at the roles at which a claim reads it."""
    feeds = _collect_feeds(circuit.pruned())
    if "logits" not in feeds:
        raise DataError(
            "Nothing in this circuit leads from the embedding to the logits: there is nothing to "
            "claim."
        )
    pending: list[NodeAtRole] = [("logits", roles.last_role)]
    claims: dict[NodeAtRole, _NodeClaim] = {}
    while pending:
        node, role = pending.pop(0)
        if (node, role) in claims:
            continue
        claim = claims[node, role] = _NodeClaim(node, role)
        for into, writer, effect in feeds.get(node, ()):
            edge = f"{writer}->{node}<{into}>" if into in "qkv" else f"{writer}->{node}"
            claim.effects.append(edge if effect is None else f"{edge} {effect:.3g}")
            read_at = [role]
            if into in ("k", "v"):
                read_at = roles.find_read_roles(node, role, writer)
            read = [(writer, name) for name in read_at]
            claim.reads.setdefault(into, []).extend(read)
            pending += read
    return claims


def _collect_feeds(circuit: Circuit) -> dict[str, list[Feed]]:
    """For each node of a circuit what enters it, the embedding first."""
    graph = circuit.graph
    feeds: dict[str, list[Feed]] = {}
    for edge in np.flatnonzero(circuit.mask & (graph.ends[1] >= 0)):
        reader, writer = graph.readers[graph.ends[0][edge]], graph.writers[graph.ends[1][edge]]
        into = reader.kind if reader.kind in ("q", "k", "v") else "x"
        for node in graph.reader_nodes(reader):
            feeds.setdefault(node, []).append((into, writer.name, circuit.effect_of(edge)))
    return feeds


def _find_stage(circuit: Circuit, node: str) -> int:
    graph = circuit.graph
    return len(graph.writers) if node == "logits" else graph.writer_index(node)


def _name_variables(claims: Mapping[NodeAtRole, _NodeClaim]) -> dict[NodeAtRole, str]:
    """Readable names: ``a0_h3``, with the role where a node works at several; ``embed_A1``."""
    nodes = [node for node, _ in claims]
    names: dict[NodeAtRole, str] = {}
    for node, role in claims:
        text = f"{node}_{role}" if node == "embed" or nodes.count(node) > 1 else node
        name = "answer" if node == "logits" else re.sub(r"\W", "_", text)
        number, unique = 2, name
        while unique in names.values():
            number, unique = number + 1, f"{name}_{number}"
        names[node, role] = unique
    return names


def _make_variable(
    claim: _NodeClaim, names: Mapping[NodeAtRole, str], attention: str
) -> VariableRecord:
    reads = {
        into: list(dict.fromkeys(names[key] for key in keys)) for into, keys in claim.reads.items()
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
        source=_write_function(name, claim, parents, attention),
    )


def _write_function(name: str, claim: _NodeClaim, parents: Sequence[str], attention: str) -> str:
    """The text of a function that is still to be written.

    That of the embedding is written: it gives the token, which needs no guess.
    """
    if claim.node == "embed":
        return f"def {name}(p):\n    return p.token[{quote_text(claim.role)}]"
    text = f"{attention} Effects of its edges: {', '.join(claim.effects)}.".strip()
    text = text.replace("\\", "/").replace('"', "'")
    lines = textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)
    docstring = '"""' + "\n    ".join(lines) + ('\n    """' if len(lines) > 1 else '"""')
    return f"def {name}({', '.join(parents)}):\n    {docstring}\n    ..."


def _write_examples(heads: Sequence[str], has_words: bool) -> list[str]:
    """What a hypothesis is tested by, to be uncommented; relabelling only if words are alike."""
    examples = [
        "When the functions are written, say what should hold; for example:",
        "",
        'H.expect("accuracy", at_least=0.9)  # the model says what the program says',
        'H.expect("loss_recovered", at_least=0.8, rivals_below=0.5)  # and still does when all '
        "else is resampled",
        f'H.rival("no {heads[0]}", drop="{heads[0]}")  # which should do worse',
    ]
    if not has_words:
        return [*examples, 'H.property("behaviour")  # on every prompt the model says it']
    return [
        *examples,
        "",
        "",
        "@H.holds",
        "def words_do_not_matter(p, run, relabel):",
        "    assert run(relabel(p)).answer == relabel(run(p).answer)",
    ]
