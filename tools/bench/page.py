"""How large, how soon and how smooth: pages of circuits, measured in Chromium.

    python tools/bench/page.py

Circuits are random, in a graph of GPT-2 small's shape, with effects as uneven as real ones. Needs
selenium, chromium and chromedriver. Interactive: milliseconds from the start of loading until every
control works; laid out: until Graphviz's layout is there. Frames a second: while the slider is
dragged from end to end, a step for each frame, for three seconds.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from circuitgraph.drawing.page.circuit_page import make_circuit_page
from circuitgraph.drawing.page.entry import make_entry
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

SIZES = (50, 500, 2000)
_SECONDS = 3
_DRAG = """
const done = arguments[1], slider = document.getElementById('threshold'), times = [];
const most = Number(slider.max), start = performance.now();
function drag(now) {
  times.push(now);
  const share = Math.min(1, (now - start) / (1000 * arguments_seconds));
  slider.value = String(Math.round(most * share));
  slider.dispatchEvent(new Event('input'));
  if (share < 1) requestAnimationFrame(drag);
  else done(times.slice(1).map((time, i) => time - times[i]));
}
requestAnimationFrame(drag);
"""


def make_circuit(n_edges: int, seed: int = 0) -> Circuit:
    """A random circuit near the size asked for, all of whose edges lie on paths."""
    graph, rng = Graph(12, 12), np.random.default_rng(seed)
    scores = rng.standard_t(2, graph.n_edges)
    # edges among few nodes, as in circuits, so that nearly all of them lie on paths
    weight = {writer.name: rng.pareto(1.0) + 0.01 for writer in graph.writers}
    dst, src = graph.ends
    ranks = np.array([weight[graph.writers[s].name] for s in src])
    ranks *= np.array([weight.get(str(graph.readers[d].node), 3.0) for d in dst])
    mask = np.zeros(graph.n_edges, bool)
    mask[np.argsort(-ranks)[:n_edges]] = True
    return Circuit(graph, mask, scores)


def open_browser() -> Any:
    """Chromium without a window, as large as a laptop's screen."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1440,900")
    return Chrome(options, ChromeService(shutil.which("chromedriver") or "chromedriver"))


def measure_page(driver: Any, file: Path) -> tuple[float, float, float, float]:
    """Milliseconds until interactive and until laid out, frames a second, the slowest frame."""
    driver.get(file.as_uri())
    read = "return Number(document.documentElement.dataset.{})"
    interactive = driver.execute_script(read.format("interactive"))
    while not driver.execute_script("return document.documentElement.dataset.layouts"):
        time.sleep(0.05)
    laid_out = driver.execute_script("return performance.now()")
    script = _DRAG.replace("arguments_seconds", str(_SECONDS))
    frames = np.array(driver.execute_async_script(script, None))
    return interactive, laid_out, 1000 / frames.mean(), float(frames.max())


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    driver = open_browser()
    print("| edges | page, MB | interactive, ms | laid out, ms | frames a second | slowest, ms |")
    print("|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            file, circuit = Path(folder, "page.html"), make_circuit(size)
            file.write_bytes(make_circuit_page([make_entry(circuit, "bench")]))
            soon, later, frames, slowest = measure_page(driver, file)
            print(
                f"| {len(circuit):,} ({len(circuit.nodes)} nodes) | "
                f"{file.stat().st_size / 1e6:.2f} | {soon:.0f} | {later:.0f} | {frames:.0f} | "
                f"{slowest:.0f} |",
                flush=True,
            )
    driver.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
