"""What models answer whose weights are cut over devices: run by itself, by `test_sharding`.

It imports neither torch nor pytest, which take as long to start as all this takes to run.
"""

from __future__ import annotations

import json
import pickle
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

from circuitgraph.discovery.base import make_algorithm
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.frontier import search as frontiers
from circuitgraph.engine.masked import runs
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.models.sharding import measure_weights
from circuitgraph.tasks.prompts import Prompts

# where an operation brings parts together that lie on several devices
GATHERED = re.compile(r" (all-gather|all-to-all|collective-permute)(?:-start)?\(")
WATCHED = ((runs, "run_masks"), (frontiers, "run_candidates"), (frontiers, "run_update"))
Answers = dict[str, np.ndarray]


def answer(model: LanguageModel, prompts: Prompts, threshold: float) -> Answers:
    """Values, gradients, scores and a search, of GPT-2 by the frontier too."""
    terms: dict[str, Any] = {"frontier": True}
    if model.family == "llama":
        terms = {"frontier": False, "ablation": "mean"}
    experiment = Experiment(model, prompts, **terms)
    masks = np.random.default_rng(0).random((3, experiment.graph.n_edges)) < 0.6
    circuit = run_search(make_algorithm("acdc", threshold=threshold), experiment)
    assert circuit.scores is not None
    return {
        "logits": model.logits([[1, 2, 3]]),
        "values": experiment.values(masks),
        "gradient": experiment.gradient(masks[0]),
        "eap": experiment.attribution.at_interpolated_embedding(1.0),
        "scores": circuit.scores,
        "mask": circuit.mask,
        "of_circuit": experiment.values(circuit.mask[None]),
    }


@contextmanager
def watch_programs(seen: dict[str, Any]) -> Iterator[None]:
    """Note what programs bring together that lies on several devices."""

    def watch(program: Any, name: str) -> Any:
        def run(*args: Any) -> Any:
            if name not in seen:
                compiled = program.lower(*args).compile().compiled
                seen[name] = GATHERED.findall(compiled.as_text())
            return program(*args)

        return run

    patches = [mock.patch.object(m, name, watch(getattr(m, name), name)) for m, name in WATCHED]
    for patch in patches:
        patch.start()
    yield
    for patch in patches:
        patch.stop()


def load_cut(folder: Path, n: int) -> LanguageModel:
    """The model, of which no device ever held more than its part."""
    placed = jax.make_array_from_callback
    largest = 0

    def place(shape: Any, sharding: Any, part: Any) -> jax.Array:
        nonlocal largest
        array = placed(shape, sharding, part)
        parts = [shard.data.nbytes for shard in array.addressable_shards if shard.data is not None]
        largest = max(largest, array.nbytes // max(parts))
        return array

    with (
        mock.patch("jax.device_put", side_effect=AssertionError("a whole weight was placed")),
        mock.patch("jax.make_array_from_callback", place),
    ):
        model = load_model(str(folder), shard=n)
    assert largest == n
    return model


def record(folder: Path) -> None:
    """Run by itself: for each model in the folder its answers, and what was seen."""
    prompts = pickle.loads((folder / "prompts.pickle").read_bytes())  # noqa: S301 - the test wrote it
    for place in sorted(path.parent for path in folder.glob("*/config.json")):
        seen: dict[str, Any] = {}
        model = load_cut(place, jax.device_count())
        with watch_programs(seen):
            answers = answer(model, prompts, float((place / "threshold").read_text()))
        memory = measure_weights(model.transformer)
        seen["weights"] = memory.whole, memory.largest, memory.replicated
        seen["fingerprint"] = model.fingerprint
        np.savez(place / "answers.npz", **answers)  # pyright: ignore[reportArgumentType]
        (place / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    record(Path(sys.argv[1]))
