"""The benchmark of pages runs, and the figures that need no clock hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from circuitgraph.drawing.page.circuit_page import make_circuit_page
from circuitgraph.drawing.page.entry import make_entry
from tools.bench.page import make_circuit, measure_page


def test_a_page_is_measured(driver: Any, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_bytes(make_circuit_page([make_entry(make_circuit(40), "bench")]))
    told = measure_page(driver, file, 0.3)
    assert 0 < told.interactive < told.laid_out
    assert told.slowest >= 1000 / told.frames > 0
    assert told.cpu > 0


def test_a_page_of_500_edges_is_below_three_megabytes() -> None:
    circuit = make_circuit(500)
    assert 500 <= len(circuit.pruned()) < 560
    assert len(make_circuit_page([make_entry(circuit, "bench")])) < 3e6
