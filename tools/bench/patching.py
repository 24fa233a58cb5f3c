"""What patching layers x positions costs, beside one plain run of the model for each patch.

    python tools/bench/patching.py  # about a minute on two idle cores

A random model of GPT-2 small's shape, 16 prompts of up to 16 tokens, residual stream, one
direction, all metrics. Plain runs are timed a few times and multiplied with the number of patches.
On a busy machine look at the seconds of processors: on two idle cores the time is about half of
them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from circuitgraph.analysis.activation_patching import patch_activations
from circuitgraph.engine.masked.runs import run_whole_model
from circuitgraph.models.loading import load_model
from tools.bench.search_cases import Compiling, list_cases, matrix_product_rate, median_seconds


def measure_patching(work: Path, tiny: bool) -> Table:
    """All patches in one row of a table."""
    case = list_cases(tiny)["gpt2"]
    model, prompts = load_model(str(case.folder(work))), case.random_prompts()
    plain = median_seconds(lambda: run_whole_model(model.transformer, prompts), 3)
    compiling, start = Compiling(), time.perf_counter()
    reading = patch_activations(model, prompts)
    first, compiled = time.perf_counter() - start, compiling.seconds
    before, start = time.process_time(), time.perf_counter()
    patch_activations(model, prompts)
    again, of_processors = time.perf_counter() - start, time.process_time() - before
    (picture,) = reading.pictures
    assert picture.kind == "heatmap"
    n_patches = len(picture.row_labels) * len(picture.column_labels)
    headings = ("s, first time", "of it compiling", "s, again", "of processors", "one by one")
    table = Table("patches", *headings, "ratio")
    numbers = (first, compiled, again, of_processors, plain * n_patches, plain * n_patches / again)
    table.add_row(f"{n_patches:,}", *(f"{number:.1f}" for number in numbers))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="only show that the tool works")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        table = measure_patching(Path(work), arguments.tiny)
    console = Console()
    console.print(table)
    console.print(f"one matrix product: {matrix_product_rate(arguments.tiny) / 1e9:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
