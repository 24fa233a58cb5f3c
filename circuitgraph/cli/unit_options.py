"""How commands read units, what is done to them, and the dictionaries whose features are named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from circuitgraph.errors import ArgumentError
from circuitgraph.printable import NAME, shorten_text

if TYPE_CHECKING:
    from circuitgraph.analysis.interventions import Intervention, InterventionKind
    from circuitgraph.graph.node import Node
    from circuitgraph.models.dictionaries.stored_dictionary import StoredDictionary

DictionaryOption = Annotated[
    list[str] | None,
    typer.Option(
        "--dictionary",
        metavar="NAME",
        help="Folder, file, or place on the hub of the dictionary (or the set of them) whose "
        "features are named; may be given several times.",
    ),
]


def read_intervention(kind: InterventionKind, text: str) -> Intervention:
    """The intervention of ``UNIT=VALUE``, where the value may be several between commas.

    Raises:
        CircuitGraphError: no unit, or no value for it.
    """
    from circuitgraph.analysis.interventions import MEAN, Intervention

    unit, equals, given = (part.strip() for part in text.partition("="))
    if kind == "ablate" and (not equals or given == MEAN):
        return Intervention(unit, kind, MEAN if equals else 0.0)
    try:
        values = tuple(float(number) for number in given.split(","))
    except ValueError as error:
        expected = "UNIT or UNIT=mean" if kind == "ablate" else "UNIT=NUMBER, or several numbers"
        raise ArgumentError(
            f"--{kind} {shorten_text(text, NAME)!r} cannot be read: expected {expected}, such as "
            f"--{kind} m3.n117{'' if kind == 'ablate' else '=5'}."
        ) from error
    return Intervention(unit, kind, values[0] if len(values) == 1 else values)


def open_named_dictionaries(
    names: Sequence[str] | None, nodes: Sequence[Node], local_only: bool
) -> list[StoredDictionary]:
    """Those dictionaries whose features are named; no weights are read.

    Raises:
        CircuitGraphError: dictionaries that cannot be read, or without any feature to be read.
    """
    from circuitgraph.models.dictionaries.loading import open_dictionaries

    layers = {node.layer for node in nodes if node.kind == "feature"}
    if names and not layers:
        raise ArgumentError(
            "--dictionary is given, but no feature of it is named, such as m3.f20: name one, or "
            "leave it out."
        )
    stored = [one for name in names or () for one in open_dictionaries(name, local_only=local_only)]
    return [one for one in stored if one.spec.reads is None or one.spec.reads.layer in layers]
