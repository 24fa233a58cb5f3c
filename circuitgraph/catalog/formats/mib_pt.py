"""EAP-IG's and MIB's ``.pt``: the scores and the mask as matrices of writers by readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from circuitgraph.catalog.formats.base import Decoded, Encoded, decoder, encoder
from circuitgraph.catalog.formats.mib_layout import (
    check_numbers,
    describe_graph,
    find_kept_nodes,
    fit_graph,
    lay_out,
    list_edge_names,
    list_writer_names,
    make_mib_graph,
    note_bos,
    order_columns,
)
from circuitgraph.errors import DataError, check_at_least
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.torch_files import load_arrays, pack_arrays

_NEEDED = ("cfg", "src_nodes", "dst_nodes", "edges_in_graph", "nodes_in_graph")
_ADVICE = "Save or download it again."


@encoder("mib-pt", suffix=".pt")
def encode_mib_pt(circuit: Circuit, d_model: int) -> Encoded:
    """EAP-IG and MIB: the same as matrices in a torch file, a twentieth of the size.

    Args:
        d_model: width of the model's stream, which the format asks for.
    """
    whole, notes = lay_out(circuit, "mib-pt")
    content = pack_arrays(make_matrices(whole, d_model))
    return Encoded(content, (*notes, *note_bos(circuit)))


def make_matrices(circuit: Circuit, d_model: int) -> dict[str, Any]:
    """The content of a file, of a circuit as `lay_out` makes it.

    Scores are float32, as EAP-IG has them, unless that would round one.
    """
    check_at_least("d_model", d_model, 1)
    graph, columns = circuit.graph, order_columns(circuit.graph)
    assert circuit.scores is not None  # noqa: S101 - laid out with scores
    scores = np.zeros((len(graph.writers), len(columns)))
    mask = np.zeros(scores.shape, bool)
    dst, src = graph.ends
    column = np.argsort(columns)[dst]
    scores[src, column], mask[src, column] = circuit.scores, circuit.mask
    with np.errstate(over="ignore"):
        short = scores.astype(np.float32)
    return {
        "cfg": describe_graph(graph, d_model),
        "src_nodes": list_writer_names(graph),
        "dst_nodes": [graph.readers[reader].name for reader in columns],
        "edges_scores": short if np.array_equal(short, scores) else scores,
        "edges_in_graph": mask,
        "nodes_in_graph": find_kept_nodes(circuit),
    }


@decoder("mib-pt", suffix=".pt", bos="yes")
def decode_mib_pt(path: Path, graph: Graph | None) -> Decoded:
    """EAP-IG and MIB: scores and mask as matrices in a torch file."""
    content = load_arrays(path, "The file", _ADVICE)
    missing = [key for key in _NEEDED if key not in content]
    if missing:
        raise DataError(f"it has not the keys {', '.join(missing)} of EAP-IG's and MIB's files")
    whole = make_mib_graph(content["cfg"], path.stat().st_size)
    columns = order_columns(whole)
    rows, names = list_writer_names(whole), [whole.readers[reader].name for reader in columns]
    for key, expected in (("src_nodes", rows), ("dst_nodes", names)):
        if content[key] != expected:
            raise DataError(f"its {key} are not those of {whole}, in their order")
    shape = (len(rows), len(names))
    mask = _take_matrix(content, "edges_in_graph", shape, "b")
    has_scores = "edges_scores" in content
    scores = _take_matrix(content, "edges_scores", shape, "f") if has_scores else np.zeros(shape)
    dst, src = whole.ends
    column = np.argsort(columns)[dst]
    _refuse_others(mask, whole, src, column)
    values = check_numbers(scores[src, column], list_edge_names(whole))
    circuit = Circuit(whole, mask[src, column], values if has_scores else None)
    return Decoded(fit_graph(circuit, graph), _list_notes(content))


def _take_matrix(
    content: dict[str, Any], key: str, shape: tuple[int, int], kind: str
) -> np.ndarray:
    value = content[key]
    if not isinstance(value, np.ndarray) or value.shape != shape:
        given = list(value.shape) if isinstance(value, np.ndarray) else type(value).__name__
        raise DataError(f"its {key} is {given}, but must be a matrix of {list(shape)}")
    if kind == "b":
        if value.dtype != bool:
            raise DataError(f"its {key} is of {value.dtype}, but must say true or false")
        return value
    if value.dtype.kind not in "fV" and value.dtype.name != "bfloat16":
        raise DataError(f"its {key} is of {value.dtype}, but must be of real numbers")
    return value.astype(np.float64)


def _refuse_others(mask: np.ndarray, graph: Graph, src: np.ndarray, column: np.ndarray) -> None:
    """Refuse what is kept where there is no edge."""
    others = mask.copy()
    others[src, column] = False
    if others.any():
        raise DataError(f"it keeps {int(others.sum())} edges that {graph} does not have")


def _list_notes(content: dict[str, Any]) -> tuple[str, ...]:
    neurons = content.get("neurons_in_graph")
    if isinstance(neurons, np.ndarray) and not neurons.all():
        raise DataError("of some nodes only some dimensions are kept, which no circuit here says")
    notes = []
    if "nodes_scores" in content:
        notes.append("Scores of nodes are left out: circuits here have scores of edges.")
    if "neurons_scores" in content or neurons is not None:
        notes.append("Scores of single dimensions of nodes are left out.")
    return tuple(notes)
