"""ACDC by the frontier and by whole masked runs are one search, whatever shape or threshold."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.precision import estimate_noise
from circuitgraph.models.language_model import LanguageModel
from tests.checkpoints import random_prompts, save_tiny

SHAPES = {"deep and narrow": (5, 1, False), "attention only": (3, 2, True)}


@cache
def model(shape: str) -> LanguageModel:
    n_layer, n_head, silent = SHAPES[shape]
    folder = Path(mkdtemp(prefix="circuitgraph-test-"))
    return save_tiny(folder, seed=n_layer, silent_mlp=silent, n_layer=n_layer, n_head=n_head).ours


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=6)  # each number of moved positions compiles programs of its own
@given(
    seed=st.integers(0, 1000),
    threshold=st.one_of(st.floats(-0.05, 0.05), st.floats(0.05, 2.0), st.just(0.0)),
    absolute=st.booleans(),
    heads=st.sampled_from(["ascending", "descending"]),
    n_shared=st.sampled_from([(0, 1, 2), (2, 2, 2)]),
)
# One prompt needs all positions, another one's first does not differ from its corrupted one.
@example(seed=0, threshold=0.0, absolute=True, heads="ascending", n_shared=(0, 1, 0))
def test_both_routes_decide_alike(
    shape: str,
    seed: int,
    threshold: float,
    absolute: bool,
    heads: str,
    n_shared: tuple[int, int, int],
) -> None:
    """Effects are equal up to rounding, whether or not a prompt needs all positions; where all do,
    `test_agreement` holds both routes against the oracle.

    Decisions are equal too, unless an effect is nearer to the threshold than rounding.
    """
    algorithm = Acdc(
        threshold=abs(threshold) if absolute else threshold, absolute=absolute, heads=heads
    )
    prompts = random_prompts(batch=3, longest=6, seed=seed)  # the first has six tokens
    assert prompts.corrupted is not None
    for row, n in enumerate(n_shared):
        prompts.corrupted[row, :n] = prompts.clean[row, :n]
    fast, plain = (
        run_search(
            algorithm,
            Experiment(model(shape), prompts, metric="log_probability", frontier=route),
        )
        for route in (True, False)
    )
    assert fast.scores is not None
    assert plain.scores is not None
    different = np.flatnonzero(fast.mask != plain.mask)
    if len(different):  # from a close call on, the two may go different ways
        assert plain.provenance["algorithm"]["close_calls"], fast.graph.edges[different[0]]
        return
    np.testing.assert_allclose(
        fast.scores,
        plain.scores,
        atol=20 * estimate_noise("float32") * max(1.0, np.abs(plain.scores).max()),
    )
