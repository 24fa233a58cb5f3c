"""Time and size of a circuit of GPT-2 small's shape in each format; whether it comes back whole.

    python tools/bench/formats.py
    python tools/bench/formats.py --mib ioi-eap-ig.json  # a file of theirs: read, written, compared

Writing is measured once with what it imports (torch, of .pt) and once without. Exits 1 where a
format that is read comes back otherwise, bit for bit, or takes more than 2 seconds without imports.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from circuitgraph.catalog.formats.base import decoders
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.jobs.export import export_circuit

SECONDS = 2.0
WIDTH = {"d_model": 768}
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "mib-json": ("it.json", WIDTH),
    "mib-pt": ("it.pt", WIDTH),
    "mib-submission": ("it", WIDTH),
    "edge-list": ("it.csv", {}),
    "node-link": ("it.node.json", {}),
    "graphml": ("it.graphml", {}),
    "dot": ("it.dot", {}),
}


def draw_circuit() -> Circuit:
    """A tenth of GPT-2 small's edges, each with a score."""
    graph, rng = Graph(12, 12), np.random.default_rng(0)
    return Circuit(graph, rng.random(graph.n_edges) < 0.1, rng.normal(size=graph.n_edges))


def measure_format(name: str, folder: Path) -> tuple[str, bool]:
    """A line of the table, and whether all is as it should be."""
    file, options = FORMATS[name]
    first = _time_writing(name, folder / "first" / file, options)
    path = folder / "second" / file
    second = _time_writing(name, path, options)
    files = list(path.iterdir()) if path.is_dir() else [path]
    size = sum(each.stat().st_size for each in files) / 2**20
    reading, same = "-", "-"
    if name in decoders.names():
        graph, start = Graph(12, 12), time.perf_counter()
        back = decoders[name].decode_file(path, graph).circuit
        reading = f"{time.perf_counter() - start:.2f}"
        scores = np.asarray(draw_circuit().scores)
        is_same = back == draw_circuit() and np.asarray(back.scores).tobytes() == scores.tobytes()
        same = "yes" if is_same else "no"
    row = (name, f"{first:.2f}", f"{second:.2f}", reading, f"{size:.1f}", same)
    return f"| {' | '.join(row)} |", second <= SECONDS and same != "no"


def _time_writing(name: str, path: Path, options: dict[str, Any]) -> float:
    circuit, start = draw_circuit(), time.perf_counter()
    export_circuit(circuit, path, name, **options)
    return time.perf_counter() - start


def compare_file(path: Path, folder: Path) -> bool:
    """Whether a JSON file of EAP-IG's, read and written again, says the same, nodes and all."""
    theirs = json.loads(path.read_text())
    circuit = decoders["mib-json"].decode_file(path, None).circuit
    export_circuit(circuit, folder / "ours.json", "mib-json", d_model=theirs["cfg"]["d_model"])
    same = json.loads((folder / "ours.json").read_text()) == theirs
    print(f"\n{path.name}: {circuit}; written again it is {'the same' if same else 'another one'}.")
    return same


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--mib", type=Path, help="a circuit that EAP-IG's to_json wrote")
    options = parser.parse_args()
    print("| format | first, s | again, s | read, s | MB | bit for bit |")
    print("|---|--:|--:|--:|--:|---|")
    with tempfile.TemporaryDirectory() as folder:
        measured = [measure_format(name, Path(folder)) for name in FORMATS]
        print("\n".join(line for line, _ in measured))
        good = [is_good for _, is_good in measured]
        if options.mib is not None:
            good.append(compare_file(options.mib, Path(folder)))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
