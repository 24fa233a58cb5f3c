"""How a notebook shows circuits, and the graphs that they lie in."""

from __future__ import annotations

from html import escape

from circuitgraph.cli.discover_report import make_edge_table, make_headline
from circuitgraph.cli.tables import make_table
from circuitgraph.drawing.dot import to_dot
from circuitgraph.drawing.graphviz_output import LayoutError, draw_svg
from circuitgraph.drawing.html_parts import show_text, wrap_section
from circuitgraph.drawing.matrix import matrix_to_html
from circuitgraph.drawing.page.circuit_page import make_circuit_page
from circuitgraph.drawing.page.entry import make_entry
from circuitgraph.errors import CircuitGraphError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.notebook.parts import draw_part, draw_parts
from circuitgraph.showable import pictures

_MOST_ARROWS = 100  # as wide as a cell is
_SECONDS = 10.0  # of a layout; a cell is not kept waiting longer


@pictures.register("Circuit")
def draw_circuit(circuit: Circuit) -> str:
    """A drawing of a circuit, the matrix of its heads where that is not all, and its edges."""
    strongest = f"<details><summary>edges</summary>{draw_part(make_edge_table(circuit))}</details>"
    return wrap_section([draw_part(make_headline(circuit, None)), *_draw_nodes(circuit), strongest])


def _draw_nodes(circuit: Circuit) -> list[str]:
    """Nodes and arrows by Graphviz; without it the page that lays them out in the browser, and the
    matrix for where a notebook is shown without its scripts.
    """
    try:
        drawing = draw_svg(to_dot(circuit, most_arrows=_MOST_ARROWS), _SECONDS)
    except LayoutError as error:
        return [f"<p>{show_text(str(error))}</p>", *_frame_page(circuit), matrix_to_html(circuit)]
    return [drawing] if len(circuit) <= _MOST_ARROWS else [matrix_to_html(circuit), drawing]


def _frame_page(circuit: Circuit) -> list[str]:
    """The page inside a cell: it may run its scripts, and reach nothing of the notebook.

    A circuit with a provenance that is none has no page.
    """
    try:
        page = make_circuit_page([make_entry(circuit, "circuit")])
    except CircuitGraphError:
        return []
    return [
        '<iframe sandbox="allow-scripts allow-downloads" title="circuit" '
        f'style="width: 100%; height: 40em; border: 0" srcdoc="{escape(page.decode())}"></iframe>'
    ]


@pictures.register("Graph")
def draw_graph(graph: Graph) -> str:
    """The counts of a graph, and what is special about it."""
    table = make_table("Graph", "", "")
    counts = {
        "layers": graph.n_layers,
        "heads in each": graph.n_heads,
        "key-value heads in each": graph.n_kv_heads,
        "MLPs": graph.n_layers if graph.mlp else 0,
        "units that are nodes": graph.n_units or None,
        "writers": len(graph.writers),
        "readers": len(graph.readers),
        "edges": graph.n_edges,
    }
    for name, count in counts.items():
        if count is not None:
            table.add_row(name, f"{count:,}")
    for fact in ("direct", "parallel", "coupled"):
        if getattr(graph, fact):
            table.add_row(fact, "yes")
    return draw_parts([table])
