"""A circuit as a matrix of heads by layer, MLPs beside them: for circuits with too many arrows.

A node is coloured by what the kept edges that leave it do together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import graphviz

from circuitgraph.drawing.arrows import list_arrows
from circuitgraph.drawing.graphviz_output import to_label
from circuitgraph.drawing.html_parts import show_text
from circuitgraph.drawing.titles import write_title
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.node import ATTENTION_INPUTS

_RAISES, _LOWERS = (68, 119, 170), (238, 102, 119)  # Paul Tol's blue and red
_ABSENT = "#F4F4F4"
_PALEST = 0.15  # of the full colour: a node of the circuit differs from one outside


@dataclass
class _Square:
    """What is shown of one node, or of all parts of one MLP."""

    names: list[str] = field(default_factory=list)
    reads: set[str] = field(default_factory=set)
    n_in: int = 0
    n_out: int = 0
    effect: float = 0.0
    strength: float = 0.0
    is_measured: bool = True


@dataclass(frozen=True)
class _Shown:
    """A square as it is drawn: its fill, its lines of text, and all about it in one line."""

    fill: str
    is_dark: bool
    lines: tuple[str, ...]
    tip: str


_Rows = Sequence[tuple[str, Sequence[_Shown | None]]]


def matrix_to_dot(
    circuit: Circuit, title: str | None = None, captions: Mapping[str, str] | None = None
) -> graphviz.Digraph:
    """The matrix as a drawing of one table, the last layer on top.

    Args:
        captions: what to write below the effects of nodes, such as types of heads.
    """
    rows = [_write_row("", [f"<B>{name}</B>" for name in _list_columns(circuit)])]
    for layer, squares in _list_rows(circuit, captions or {}):
        rows.append(_write_row(layer, [_draw_square(square) for square in squares]))
    legend = "<BR/>".join(map(to_label, _explain_squares(circuit)))
    font = '<FONT POINT-SIZE="10" COLOR="#666666">'
    rows.append(
        f'<TR><TD COLSPAN="{len(_list_columns(circuit)) + 1}">{font}{legend}</FONT></TD></TR>'
    )
    table = (
        f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="2" CELLPADDING="3">{"".join(rows)}</TABLE>'
    )
    dot = graphviz.Digraph("matrix")
    dot.attr(bgcolor="white", fontname="Helvetica", labelloc="t", fontsize="16")
    dot.attr(label=write_title(circuit, title, 11))
    dot.node("matrix", f"<{table}>", shape="plain", fontname="Helvetica", fontsize="11")
    return dot


def matrix_to_html(circuit: Circuit) -> str:
    """The matrix as a table of HTML, which needs no Graphviz."""
    head = "".join(f"<th>{show_text(name)}</th>" for name in ("", *_list_columns(circuit)))
    rows = [f"<tr>{head}</tr>"]
    for layer, squares in _list_rows(circuit, {}):
        cells = "".join(_write_cell(square) for square in squares)
        rows.append(f"<tr><th>{show_text(layer)}</th>{cells}</tr>")
    legend = "<br/>".join(map(show_text, _explain_squares(circuit)))
    return "\n".join(["<table>", *rows, "</table>", f"<p>{legend}</p>"])


# What a square shows


def _list_columns(circuit: Circuit) -> list[str]:
    heads = [f"h{head}" for head in range(circuit.graph.n_heads)]
    return [*heads, "MLP"] if circuit.graph.mlp else heads


def _list_rows(circuit: Circuit, captions: Mapping[str, str]) -> _Rows:
    """Each layer with its squares, the last layer first; at last the embedding alone."""
    squares = _fill_squares(circuit)
    largest = max((square.strength for square in squares.values()), default=0.0)
    graph = circuit.graph

    def show(place: tuple[int, int]) -> _Shown:
        return _show_square(squares.get(place), largest, captions)

    n_columns = len(_list_columns(circuit))
    layers = [
        (f"layer {layer}", [show((layer, column)) for column in range(n_columns)])
        for layer in reversed(range(graph.n_layers))
    ]
    return [*layers, ("embed", [show((-1, 0)), *[None] * (n_columns - 1)])]


def _fill_squares(circuit: Circuit) -> dict[tuple[int, int], _Square]:
    """The squares of the nodes that a kept edge touches, by layer and column."""
    graph = circuit.graph
    drawn = set(circuit.nodes)
    places, squares = {}, {}
    for writer in graph.writers:
        node = writer.node
        column = graph.n_heads if node.is_in_mlp else max(node.index, 0)
        place = places[writer.name] = (-1 if node.kind == "embed" else node.layer, column)
        if writer.name in drawn:
            squares.setdefault(place, _Square()).names.append(writer.name)
    for arrow in list_arrows(circuit):
        square = squares[places[arrow.source]]
        square.n_out += 1
        square.effect += arrow.effect or 0.0
        square.strength += abs(arrow.effect or 0.0)
        square.is_measured &= arrow.effect is not None
        for place in {places[name] for name in arrow.targets if name in places} & set(squares):
            squares[place].n_in += 1
            squares[place].reads.add(arrow.kind)
    return squares


def _show_square(square: _Square | None, largest: float, captions: Mapping[str, str]) -> _Shown:
    if square is None:
        return _Shown(_ABSENT, False, (), "")
    share = square.strength / largest if largest else 0.0
    # By the root of the share, because most nodes do little, and all are to be seen.
    depth = _PALEST + (1 - _PALEST) * share**0.5
    full = _RAISES if square.effect >= 0 else _LOWERS
    fill = "#" + "".join(f"{round(255 + (end - 255) * depth):02X}" for end in full)
    names = ", ".join(square.names)
    effect = f"{square.effect:.2g}" if square.n_out and square.is_measured else "-"
    reads = "".join(kind for kind in ATTENTION_INPUTS if kind in square.reads)
    known = [captions[name] for name in square.names if name in captions]
    tip = f"{names}: edges in {square.n_in}, out {square.n_out}; effect {effect}"
    return _Shown(fill, depth > 0.8, (effect, reads, *known), tip)


def _explain_squares(circuit: Circuit) -> tuple[str, str, str]:
    unit = circuit.provenance.get("metric")
    return (
        f"number: sum of effects{f' on {unit}' if unit else ''} of the kept edges that leave it",
        "blue: removal hurts; red: removal helps; grey: not in the circuit",
        "q, k, v: what it reads through kept edges",
    )


# Squares as text of Graphviz and of HTML


def _write_row(label: str, cells: Sequence[str]) -> str:
    shown = "".join(cell if cell.startswith("<TD") else f"<TD>{cell}</TD>" for cell in cells)
    named = f'<FONT COLOR="#888888">{label}</FONT>' if label else ""
    return f'<TR><TD ALIGN="RIGHT">{named}</TD>{shown}</TR>'


def _draw_square(square: _Shown | None) -> str:
    if square is None:
        return "<TD></TD>"
    ink = "white" if square.is_dark else "black"
    effect, *rest = [to_label(line) for line in square.lines] or [""]
    small = "".join(f'<BR/><FONT POINT-SIZE="8">{line}</FONT>' for line in rest if line)
    text = f'<FONT COLOR="{ink}">{effect}{small}</FONT>' if effect else ""
    return f'<TD BGCOLOR="{square.fill}" WIDTH="38" HEIGHT="28">{text}</TD>'


def _write_cell(square: _Shown | None) -> str:
    if square is None:
        return "<td></td>"
    ink = "white" if square.is_dark else "black"
    lines = "<br/>".join(show_text(line) for line in square.lines if line)
    style = f"background: {square.fill}; color: {ink}; text-align: center"
    return f'<td style="{style}" title="{show_text(square.tip)}">{lines}</td>'
