"""What several devices answer: run by itself, by `test_devices`, with a folder to write to.

It imports neither torch nor pytest, which take as long to start as all this takes to run.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

from circuitgraph.discovery.base import make_algorithm
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.frontier import search as frontiers
from circuitgraph.engine.frontier.machine import run_candidates
from circuitgraph.engine.masked import runs
from circuitgraph.engine.masked.programs import run_masks
from circuitgraph.engine.memory import estimate_row_bytes
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.loading import load_task

N_POS = 15  # of the task's prompts
COLLECTIVE = re.compile(r" (all-\w+|collective-permute|reduce-scatter)(?:-start)?\(")
Answers = dict[str, np.ndarray]


def experiment_of(model: LanguageModel, n_prompts: int, **settings: Any) -> Experiment:
    prompts = load_task("induction", model).prompts(n_prompts, "discovery")
    return Experiment(model, prompts, **{"frontier": True, **settings})


def acdc(experiment: Experiment, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    circuit = run_search(make_algorithm("acdc", threshold=threshold), experiment)
    assert circuit.scores is not None
    return circuit.mask, circuit.scores


def in_chunks(model: LanguageModel, room: int, **settings: Any) -> Experiment:
    """Seven prompts in chunks, ``room`` on a device at most: as if more were too much for a
    computer's caches.
    """
    row = estimate_row_bytes(model.spec, model.graph(), N_POS)
    with mock.patch("circuitgraph.engine.memory.CPU_LAUNCH_BYTES", room * row):
        return experiment_of(model, 7, **settings)


def answers(model: LanguageModel) -> Answers:
    """What is compared: searches with six prompts, which devices can share, and values with six and
    one.
    """
    whole = experiment_of(model, 6)
    masks = np.random.default_rng(0).random((5, whole.graph.n_edges)) < 0.6
    results: Answers = {
        "gradient": whole.gradient(masks[0]),
        "eap": whole.attribution.at_interpolated_embedding(1.0),
    }
    results["mask"], results["scores"] = acdc(whole, 0.05)
    chunked = in_chunks(model, 6, ablation="zero")
    assert chunked.sizes.prompts == 6
    values = chunked.values(masks)
    results["six"], results["one"] = values[:, :6], values[:, 6:]
    return results


def limited(model: LanguageModel) -> Answers:
    """Searches in one piece, in chunks, and with so little memory that the frontier's state does
    not fit.
    """
    chunked, tight = in_chunks(model, 4), experiment_of(model, 7, memory=3 * 2**20)
    assert chunked.sizes.prompts == 4
    assert chunked.frontier is not None
    assert tight.sizes.prompts < 7
    assert tight.sizes.bytes_needed <= 3 * 2**20
    assert tight.frontier is None
    piece = experiment_of(model, 7, frontier=False)
    assert piece.sizes.prompts == 7
    cases = {"piece": piece, "chunked": chunked, "tight": tight}
    return {name: np.stack(acdc(case, 0.05)) for name, case in cases.items()}


def record(out: Path) -> None:
    """Run by itself: the answers, and what is seen of the compiled programs that gave them."""
    seen: dict[str, Any] = {"devices": jax.device_count(), "collectives": {}, "shares": []}

    def watched(program: Any, name: str) -> Any:
        def run(*args: Any) -> jax.Array:
            values = program(*args)
            # compiled once more to be read, where there is something to read
            if seen["devices"] > 1 and name not in seen["collectives"]:
                compiled = program.lower(*args).compile().compiled
                seen["collectives"][name] = COLLECTIVE.findall(compiled.as_text())
            seen["shares"].append((name, values.shape, values.sharding.shard_shape(values.shape)))
            return values

        return run

    runs.run_masks = watched(run_masks, "run_masks")
    frontiers.run_candidates = watched(run_candidates, "run_candidates")
    model = load_model("induction-2l")
    results = answers(model) | (limited(model) if seen["devices"] == 1 else {})
    np.savez(out / "answers.npz", **results)  # pyright: ignore[reportArgumentType]
    (out / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    record(Path(sys.argv[1]))
