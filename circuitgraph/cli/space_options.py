"""The search space on the command line: what to leave out, protect, stay inside, start from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import circuitgraph as cg
from circuitgraph.cli.circuit_places import find_circuit
from circuitgraph.cli.options import SPACE

if TYPE_CHECKING:
    from circuitgraph.graph.circuit import Circuit

WithoutOption = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        rich_help_panel=SPACE,
        metavar="NODE",
        help="Never in the circuit: a node, mlps, heads, 'layer 2', an edge, or a pattern as in "
        "'m*'. Repeatable.",
    ),
]
ProtectOption = Annotated[
    list[str] | None,
    typer.Option(
        "--protect",
        rich_help_panel=SPACE,
        metavar="NODE|RUN",
        help="Always in the circuit, by the same names; or all edges of a stored circuit. "
        "Repeatable.",
    ),
]
InsideOption = Annotated[
    Path | None,
    typer.Option(
        "--inside",
        rich_help_panel=SPACE,
        metavar="RUN",
        help="Keep edges of this stored circuit only.",
    ),
]
StartFromOption = Annotated[
    Path | None,
    typer.Option(
        "--start-from",
        rich_help_panel=SPACE,
        metavar="RUN",
        help="Begin with this stored circuit. ACDC only removes, so it stays inside as well; "
        "learned masks can bring edges back.",
    ),
]


def read_space(
    without: Sequence[str] | None,
    protect: Sequence[str] | None,
    inside: Path | None,
    start_from: Path | None,
) -> dict[str, Any]:
    """The keywords of `circuitgraph.discover` that these options stand for; none if none is given.

    Raises:
        DataError: no circuit at a path.
    """
    space = {
        "without": without or None,
        "protect": [edge for name in protect or () for edge in _read_protected(name)] or None,
        "inside": _load_circuit(inside),
        "start_from": _load_circuit(start_from),
    }
    return {name: value for name, value in space.items() if value is not None}


def _load_circuit(path: Path | None) -> Circuit | None:
    return None if path is None else cg.load_circuit(find_circuit(path))


def _read_protected(name: str) -> list[str]:
    """A name as it is, or the edges of the circuit that is stored at this path."""
    return cg.load_circuit(name).edges if os.path.exists(name) else [name]
