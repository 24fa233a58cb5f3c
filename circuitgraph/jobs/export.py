"""Circuits written in the formats of other tools; no model is run, so that it starts at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from circuitgraph.catalog.folders import new_folder
from circuitgraph.catalog.formats.base import Encoded, choose_format, encoder, encoders
from circuitgraph.catalog.single_files import write_file
from circuitgraph.drawing.dot import to_dot
from circuitgraph.drawing.marks import mark_picture
from circuitgraph.errors import OutputError
from circuitgraph.graph.circuit import Circuit


@encoder("dot", suffix=".dot")
def encode_dot(circuit: Circuit) -> Encoded:
    """Graphviz: the drawing of `circuitgraph render`, as text."""
    notes = []
    if n_direct := int((circuit.mask & (circuit.graph.ends[1] < 0)).sum()):
        notes.append(f"{n_direct} direct q, k and v edges are not drawn.")
    if circuit.scores is not None:
        notes.append("Scores are held as they are shown: four digits, of kept edges only.")
    return Encoded(mark_picture(to_dot(circuit).source.encode(), "dot"), tuple(notes))


def export_circuit(
    circuit: Circuit,
    path: str | Path,
    format: str | None = None,
    *,
    overwrite: bool = False,
    **options: Any,
) -> tuple[str, ...]:
    """Write a circuit in the format of another tool.

    Args:
        path: of the file, or of the new folder where the format is one.
        format: its name; by default the one whose files end as ``path`` does.
        overwrite: replace a file that is there.
        options: of the format, such as ``d_model=768`` for ``mib-json``.

    Returns:
        What the format could not hold, a sentence each.

    Raises:
        UnknownNameError: no such format or option.
        ArgumentError: a circuit that would be another one in that format, an option that is missing
            or makes no sense, or an ending from which the format cannot be told.
        OutputError: the file is there already, or cannot be written.
    """
    path = Path(path)
    chosen = choose_format(encoders, format, path)
    if os.path.lexists(path) and not overwrite:
        raise OutputError(
            f"{str(path)!r} exists already: choose another name, or say to overwrite it "
            "(--overwrite)."
        )
    encoded = chosen.encode_circuit(circuit, options)
    if isinstance(encoded.content, Mapping):
        _write_folder(path, encoded.content)
    else:
        write_file(path, encoded.content, is_own=lambda _: overwrite)
    return encoded.notes


def _write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    with new_folder(path) as inside:
        for name, content in files.items():
            (inside / name).write_bytes(content)
