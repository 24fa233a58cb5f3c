"""GraphML, which Gephi, yEd, Cytoscape and igraph read."""

from __future__ import annotations

import io

import networkx as nx

from circuitgraph.catalog.formats.base import Encoded, encoder
from circuitgraph.catalog.formats.network import make_multigraph
from circuitgraph.graph.circuit import Circuit
from circuitgraph.printable import make_printable


@encoder("graphml", suffix=".graphml")
def encode_graphml(circuit: Circuit) -> Encoded:
    """Gephi, yEd, Cytoscape, igraph: nodes and kept edges with their scores."""
    network, notes = make_multigraph(circuit)
    # Names of tasks and models may hold what XML cannot.
    network.graph = {
        name: make_printable(value) if isinstance(value, str) else value
        for name, value in network.graph.items()
    }
    buffer = io.BytesIO()
    nx.write_graphml_xml(network, buffer)
    return Encoded(buffer.getvalue(), tuple(notes))
