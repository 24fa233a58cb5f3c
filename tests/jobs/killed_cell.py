"""A cell of a sweep that kills its process, for tests of machines that are lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from circuitgraph.jobs import sweep_grid


def run_killed_cell(job: dict[str, Any]) -> dict[str, Any]:
    """A cell of a sweep. Seed 1 kills its process between search and judgement, at the first try;
    all searches are noted beside the sweep.
    """
    folder, seed = Path(job["folder"]), job["question"]["seed"]
    usual = sweep_grid.find_circuit, sweep_grid.evaluate_circuit
    log = folder.parent / f"searches-{seed}"

    def search(bench: Any, plan: Any) -> Any:
        size = plan.journal.stat().st_size if plan.journal.is_file() else 0
        with log.open("a") as file:
            file.write(f"{size}\n")
        return usual[0](bench, plan)

    def kill(bench: Any, circuit: Any) -> Any:
        if seed == 1 and len(log.read_text().splitlines()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return usual[1](bench, circuit)

    sweep_grid.find_circuit, sweep_grid.evaluate_circuit = search, kill
    try:
        return sweep_grid.run_cell(job)
    finally:
        sweep_grid.find_circuit, sweep_grid.evaluate_circuit = usual
