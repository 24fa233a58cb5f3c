"""How large, how soon and how smooth: pages of circuits, measured in Chromium.

    python tools/bench/page.py

Circuits are random, in a graph of GPT-2 small's shape, with effects as uneven as real ones. Needs
selenium, chromium and chromedriver. Interactive: milliseconds from the start of loading until every
control works; laid out: until Graphviz's layout is there. Frames a second: while the slider is
dragged from end to end, a step for each frame, for three seconds. CPU: of all of the browser's
processes, for each of these frames, which says what a machine that is not busy could do.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from circuitgraph.drawing.page.circuit_page import make_circuit_page
from circuitgraph.drawing.page.entry import make_entry
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

SIZES = (50, 500, 2000)
_SECONDS = 3
_DRAG = """
const [seconds, done] = arguments, slider = document.getElementById('threshold'), times = [];
const most = Number(slider.max), start = performance.now();
function drag(now) {
  times.push(now);
  const share = Math.min(1, (now - start) / (1000 * seconds));
  slider.value = String(Math.round(most * share));
  slider.dispatchEvent(new Event('input'));
  if (share < 1) requestAnimationFrame(drag);
  else done(times.slice(1).map((time, i) => time - times[i]));
}
requestAnimationFrame(drag);
"""


def make_circuit(n_edges: int, seed: int = 0) -> Circuit:
    """A random circuit of about that size, all of whose edges lie on paths.

    Its edges are among few nodes, as in circuits that were searched for.
    """
    graph, rng = Graph(12, 12), np.random.default_rng(seed)
    scores = rng.standard_t(2, graph.n_edges)
    weights = {writer.name: rng.pareto(1.0) + 0.01 for writer in graph.writers}
    weights |= {"embed": 9.0, "logits": 9.0}
    dst, src = graph.ends
    ranks = np.array([weights[graph.writers[writer].name] for writer in src])
    ranks *= np.array([weights[str(graph.readers[reader].node)] for reader in dst])
    order, n_taken = np.argsort(-ranks), n_edges
    while True:
        circuit = Circuit(graph, np.isin(np.arange(len(order)), order[:n_taken]), scores).pruned()
        if len(circuit) >= n_edges:
            return circuit
        n_taken += max(1, n_edges - len(circuit))


def open_browser() -> Any:
    """Chromium without a window, as large as a laptop's screen."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1440,900")
    return Chrome(options, ChromeService(shutil.which("chromedriver") or "chromedriver"))


class PageFigures(NamedTuple):
    """Milliseconds, but for ``frames``, which is a second."""

    interactive: float
    laid_out: float
    frames: float
    slowest: float
    cpu: float


def measure_page(driver: Any, file: Path, seconds: float = _SECONDS) -> PageFigures:
    """What the page takes.

    Args:
        seconds: how long the slider is dragged.
    """
    driver.get(file.as_uri())
    read = "return Number(document.documentElement.dataset.{})"
    interactive = driver.execute_script(read.format("interactive"))
    while not driver.execute_script("return document.documentElement.dataset.layouts"):
        time.sleep(0.05)
    laid_out = driver.execute_script("return performance.now()")
    before = read_cpu(driver.service.process.pid)
    frames = np.array(driver.execute_async_script(_DRAG, seconds))
    cpu = 1000 * (read_cpu(driver.service.process.pid) - before) / len(frames)
    return PageFigures(interactive, laid_out, 1000 / frames.mean(), float(frames.max()), cpu)


def read_cpu(process: int) -> float:
    """Seconds that a process and all below it have run; needs Linux."""
    parents, seconds = {}, {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended
            continue
        number = int(file.parent.name)
        parents[number] = int(fields[1])
        seconds[number] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    below = {process}
    while more := {n for n, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(seconds.get(number, 0.0) for number in below)


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    driver = open_browser()
    print(
        "| edges | page, MB | interactive, ms | laid out, ms | frames a second | slowest, ms | "
        "CPU a frame, ms |\n|--:|--:|--:|--:|--:|--:|--:|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            file, circuit = Path(folder, "page.html"), make_circuit(size)
            file.write_bytes(make_circuit_page([make_entry(circuit, "bench")]))
            told = measure_page(driver, file)
            print(
                f"| {len(circuit):,} ({len(circuit.nodes)} nodes) | "
                f"{file.stat().st_size / 1e6:.2f} | {told.interactive:.0f} | {told.laid_out:.0f} | "
                f"{told.frames:.0f} | {told.slowest:.0f} | {told.cpu:.0f} |",
                flush=True,
            )
    driver.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
