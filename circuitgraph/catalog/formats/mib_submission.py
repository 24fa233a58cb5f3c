"""A folder for MIB's circuit track: nine circuits of at most 0.1 to 50 % of the edges."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from circuitgraph.catalog.formats.base import Encoded, encoder
from circuitgraph.catalog.formats.mib_layout import lay_out, note_bos
from circuitgraph.catalog.formats.mib_pt import make_matrices
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.selection import rank_edges, select_greedy
from circuitgraph.torch_files import pack_arrays

PERCENTAGES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
NAME = "mib-submission"


@encoder(NAME, suffix="")
def encode_submission(
    circuit: Circuit,
    d_model: int,
    absolute: bool = True,
    selection: Literal["top", "greedy"] = "top",
) -> Encoded:
    """MIB's circuit track: a folder of nine .pt files, of at most 0.1 to 50 % of the edges.

    Args:
        d_model: width of the model's stream, which the format asks for.
        absolute: rank edges by the size of their scores (for MIB's CMD), or by their sign as well
            (for its CPR).
        selection: the strongest edges, or those that greedy search adds from the logits.
    """
    whole, notes = lay_out(circuit, NAME)
    ranks, is_ranked = _choose_ranks(circuit)
    ranking, _ = lay_out(replace(circuit, scores=ranks, tested=None), NAME)
    assert ranking.scores is not None  # noqa: S101 - laid out with scores
    if is_ranked:
        notes.append(
            "Its search did not score all edges before it chose: its own edges come first, by "
            "their scores, then those that it removed, then those never tested."
        )
    files = {}
    for percentage in PERCENTAGES:
        n = int(whole.graph.n_edges * percentage / 100)
        chosen = _select_edges(whole.graph, ranking.scores, n, absolute, selection)
        content = make_matrices(replace(whole, mask=chosen.mask), d_model)
        files[f"{percentage}.pt"] = pack_arrays(content)
    return Encoded(files, (*notes, *note_bos(circuit)))


def _choose_ranks(circuit: Circuit) -> tuple[Float[np.ndarray, " edges"], bool]:
    """By what edges are ranked, and whether that is by the search's decisions, not its scores."""
    search = circuit.provenance.get("algorithm")
    complete = circuit.tested is None or bool(circuit.tested.all())
    # of a search that ranks all edges by score, the record says how many it selected
    by_score = search is None or search.get("n_selected") is not None
    if circuit.scores is not None and complete and by_score:
        return circuit.scores, False
    return rank_edges(circuit), True


def _select_edges(
    graph: Graph,
    scores: Float[np.ndarray, " edges"],
    n: int,
    absolute: bool,
    selection: Literal["top", "greedy"],
) -> Circuit:
    if selection == "greedy":
        return select_greedy(graph, scores, n, absolute=absolute)
    return Circuit.top(graph, scores, n, absolute=absolute)
