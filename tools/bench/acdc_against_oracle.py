"""Time per tested edge: our ACDC against the plain torch oracle, in one run on one machine.

    python tools/bench/acdc_against_oracle.py

Both search the same model, prompts, metric and threshold; the oracle runs one forward pass per edge, as the ACDC
reference implementation does. GPT-2 small's shape has too many edges for either, so there both evaluate a few masks.
Quote the ratios: the absolute times are those of this machine and of what else it is doing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.base import search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.circuit import Circuit
from circuitgraph.models.loading import shipped_models
from circuitgraph.tasks.base import Prompts
from tests import oracle
from tests.checkpoints import Tiny, load_tiny, oracle_run, random_prompts, save_tiny
from tests.oracle.losses import negative_logit_difference

PLAIN = {
    "activation_function": "gelu_new",
    "n_inner": None,
    "scale_attn_by_inverse_layer_idx": False,
    "tie_word_embeddings": True,
    "layer_norm_epsilon": 1e-5,
}


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    """What an action returns, and its seconds."""
    start = time.perf_counter()
    result = action()
    return result, time.perf_counter() - start


def whole_search(tiny: Tiny, prompts: Prompts, threshold: float) -> list[str]:
    """Seconds per tested edge of a whole search: compilation apart from running, and the oracle."""
    experiment, preparing = timed(lambda: Experiment(tiny.ours, prompts))
    _, compiling = timed(lambda: experiment.losses(np.ones((1, experiment.graph.n_edges), bool)))
    circuit, ours = timed(lambda: search(Acdc(threshold=threshold), experiment))
    run = oracle_run(tiny, prompts, "resample")
    loss = negative_logit_difference(torch.tensor(prompts.answer).long(), torch.tensor(prompts.distractor).long())
    mlp = tiny.ours.spec.d_mlp is not None
    decisions, theirs = timed(lambda: oracle.oracle_acdc(run, loss, threshold, mlp=mlp))
    if {d.edge for d in decisions if d.kept} != set(circuit.edges):
        raise SystemExit("the two searches disagree; a speed means nothing then")
    tested = sum(d.tested for d in decisions)
    return row(tested, experiment.graph.n_edges, len(circuit), preparing + compiling, ours / tested, theirs / tested)


def some_masks(tiny: Tiny, prompts: Prompts, n: int) -> list[str]:
    """Seconds per mask where a whole search would take too long."""
    experiment, preparing = timed(lambda: Experiment(tiny.ours, prompts))
    rng = np.random.default_rng(0)
    masks = rng.random((n, experiment.graph.n_edges)) < 0.98
    _, compiling = timed(lambda: experiment.values(masks[:1]))
    _, ours = timed(lambda: experiment.values(masks))
    run = oracle_run(tiny, prompts, "resample")
    kept = set(Circuit(experiment.graph, masks[0]).edges)
    _, theirs = timed(lambda: run.run(kept))
    return row(n, experiment.graph.n_edges, int(masks[0].sum()), preparing + compiling, ours / n, theirs)


def row(tested: int, edges: int, kept: int, once: float, ours: float, theirs: float) -> list[str]:
    times = [f"{once:.1f}", f"{1e3 * ours:.1f}", f"{1e3 * theirs:.1f}", f"{theirs / ours:.1f}"]
    return [f"{edges:,}", f"{tested:,}", f"{kept:,}", *times]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--skip-large", action="store_true", help="leave out GPT-2 small's shape")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    table = Table(title="resample ablation, logit difference, 16 prompts x 16 tokens", title_justify="left")
    for heading in ("model", "edges", "tested", "kept", "once, s", "ours, ms/edge", "oracle, ms/edge", "ratio"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    with tempfile.TemporaryDirectory() as folder:
        trained = load_tiny(shipped_models()["induction-2l"])
        table.add_row("induction-2l", *whole_search(trained, random_prompts(98, 16, 16), 0.1))
        four = save_tiny(Path(folder) / "4x8", n_layer=4, n_head=8, n_embd=128, n_positions=64, **PLAIN)
        table.add_row("random 4 x 8, d_model 128", *whole_search(four, random_prompts(50, 16, 16), 0.1))
        if not given.skip_large:
            sizes = {"n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 64, "vocab_size": 50257}
            large = save_tiny(Path(folder) / "small", initializer_range=0.02, **{**PLAIN, **sizes})
            table.add_row("random, GPT-2 small's shape", *some_masks(large, random_prompts(50257, 16, 16), 3))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
