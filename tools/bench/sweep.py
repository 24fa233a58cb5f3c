"""A sweep of small cells on one Dask worker and on two: how much faster are two?

    python tools/bench/sweep.py                # 100 cells
    python tools/bench/sweep.py --cells 8      # to see that it runs

Each worker is a process with one thread, and is warm: it has loaded the model and compiled its
programs in a sweep of other seeds before. Prints the seconds of each and the ratio.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import circuitgraph as cg

TASK = "induction"
_FIRST = 10_000  # seed of the sweep that warms the workers up


def time_sweep(folder: Path, address: str, seeds: range, prompts: int) -> float:
    """Seconds of a sweep with a cell for each seed.

    Raises:
        RuntimeError: a cell failed.
    """
    start = time.perf_counter()
    record = cg.sweep_grid(
        folder,
        tasks=[TASK],
        algorithms=["acdc"],
        seeds=seeds,
        n_prompts=prompts,
        n_evaluation=prompts,
        scheduler=address,
    )
    seconds = time.perf_counter() - start
    if failures := [cell.failed for cell in record.cells if cell.score is None]:
        raise RuntimeError(f"{len(failures)} cells failed: {failures[0]}")
    return seconds


def measure_workers(n_workers: int, n_cells: int, prompts: int) -> float:
    """Seconds of the sweep on that many warm workers."""
    from distributed import LocalCluster

    one_thread = {"NPROC": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    options: dict[str, Any] = {"dashboard_address": None, "env": one_thread}
    cluster: Any = LocalCluster(n_workers=n_workers, threads_per_worker=1, **options)
    with tempfile.TemporaryDirectory() as made, cluster as workers:
        address, folder = workers.scheduler_address, Path(made)
        warm = range(_FIRST, _FIRST + 4 * n_workers)
        time_sweep(folder / "warm", address, warm, prompts)
        return time_sweep(folder / "cells", address, range(n_cells), prompts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--prompts", type=int, default=8, help="of each search and judgement")
    options = parser.parse_args()
    seconds = {n: measure_workers(n, options.cells, options.prompts) for n in (1, 2)}
    for n, each in seconds.items():
        print(f"{n} worker{'s' * (n > 1)}: {options.cells} cells in {each:.1f} s")
    print(f"two are {seconds[1] / seconds[2]:.2f} times as fast as one")


if __name__ == "__main__":
    main()
