"""networkx's node-link JSON, which d3 and many others read too."""

from __future__ import annotations

import json

import networkx as nx

from circuitgraph.catalog.formats.base import Encoded, encoder
from circuitgraph.catalog.formats.network import make_multigraph
from circuitgraph.graph.circuit import Circuit


@encoder("node-link", suffix=".json")
def encode_node_link(circuit: Circuit) -> Encoded:
    """networkx, d3: nodes and kept edges with their scores (``networkx.node_link_graph``)."""
    network, notes = make_multigraph(circuit)
    content = nx.node_link_data(network, edges="links")
    return Encoded(json.dumps(content, indent=1).encode(), tuple(notes))
