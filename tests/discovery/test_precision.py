"""Searches in bfloat16: decisions within its noise are marked, memory is that of its numbers."""

from __future__ import annotations

import numpy as np
import pytest

import circuitgraph as cg
from circuitgraph.discovery.base import make_algorithm
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.memory import choose_batch_sizes, estimate_replacement_bytes
from circuitgraph.engine.precision import count_bytes, estimate_noise
from circuitgraph.jobs.setup import Terms
from circuitgraph.jobs.workbench import Workbench
from tests.engine.test_experiment import GPT2_SMALL


@pytest.mark.parametrize(
    ("dtype", "noise"),
    [("float32", 8 * 2**-23), ("float64", 8 * 2**-23), ("float16", 2**-7), ("bfloat16", 2**-4)],
)
def test_noise_is_eight_roundings(dtype: str, noise: float) -> None:
    assert estimate_noise(dtype) == noise


@pytest.fixture(scope="module")
def searches() -> dict[str, cg.Circuit]:
    """The same search in two precisions."""
    circuits = {}
    for dtype in ("float32", "bfloat16"):
        model = cg.load_model("induction-2l", dtype=dtype)
        task = cg.load_task("induction", model, seed=0)
        experiment, _ = Workbench(model, task, Terms(n_prompts=8)).prepare()
        assert experiment.precision == dtype
        circuits[dtype] = run_search(make_algorithm("acdc", threshold=0.2), experiment)
    return circuits


def test_decisions_within_the_noise_of_the_precision_are_marked(
    searches: dict[str, cg.Circuit],
) -> None:
    rough, fine = searches["bfloat16"], searches["float32"]
    marked = set(rough.provenance["algorithm"]["close_calls"])
    assert fine.provenance["algorithm"]["close_calls"] == []
    assert 0 < len(marked) < rough.provenance["algorithm"]["n_tested"]
    assert rough.scores is not None
    assert rough.tested is not None
    # what is as near as the noise of a loss of 1 is marked at the least
    near = rough.tested & (np.abs(np.abs(rough.scores) - 0.2) <= 2**-4)
    assert {rough.graph.edges[i] for i in np.flatnonzero(near)} <= marked
    # and the strongest edges of the circuit are beyond any noise, in both precisions
    assert fine.scores is not None
    strongest = [rough.graph.edges[int(np.abs(c).argmax())] for c in (rough.scores, fine.scores)]
    assert strongest[0] == strongest[1]
    assert strongest[0] not in marked


def test_half_as_many_bytes_need_half_as_much_memory() -> None:
    graph = GPT2_SMALL.graph()
    half, whole = (
        choose_batch_sizes(GPT2_SMALL, graph, 16, 16, itemsize=count_bytes(dtype))
        for dtype in ("bfloat16", "float32")
    )
    assert half.prompts == whole.prompts
    assert 0.45 < half.bytes_needed / whole.bytes_needed < 0.6  # logits stay in float32
    kept = [estimate_replacement_bytes(GPT2_SMALL, graph, 16, 16, itemsize=n) for n in (2, 4)]
    assert 2 * kept[0] == kept[1]
