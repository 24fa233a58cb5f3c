"""Several devices give what one gives, each doing its share; plans hold the limit on each of them.

The number of devices is fixed when jax starts, so virtual ones are tried in processes of their own,
which run `virtual_devices`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitgraph.engine.devices import count_prompt_parts
from circuitgraph.engine.memory import choose_batch_sizes, choose_chunk_size
from tests.engine.test_experiment import GPT2_SMALL
from tests.engine.virtual_devices import Answers

ROOT = Path(__file__).parents[2]


def recorded(folder: Path, devices: int) -> subprocess.Popen[str]:
    """That many virtual devices, recording. Programs that are compiled with little care are ready
    sooner.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.engine.virtual_devices", str(folder)],
        cwd=ROOT,
        env={
            **os.environ,
            "XLA_FLAGS": f"{flags} --xla_backend_optimization_level=0",
            "JAX_PLATFORMS": "cpu",
        },
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Answers, dict[str, Any]]]:
    """By the number of devices: the answers, and what was seen of the programs that gave them."""
    folders = {n: tmp_path_factory.mktemp(f"devices{n}") for n in (1, 2, 4)}
    running = {n: recorded(folder, n) for n, folder in folders.items()}
    said = {n: process.communicate()[1] for n, process in running.items()}
    results = {}
    for n, folder in folders.items():
        assert running[n].returncode == 0, said[n]
        with np.load(folder / "answers.npz") as held:
            results[n] = dict(held), json.loads((folder / "seen.json").read_text())
        assert results[n][1]["devices"] == n
    return results


@pytest.mark.slow
def test_several_devices_give_what_one_gives(
    records: dict[int, tuple[Answers, dict[str, Any]]],
) -> None:
    """Bit for bit where candidates are shared out; fewer prompts on each device can be rounded
    otherwise.
    """
    alone, _ = records[1]
    for n in (2, 4):
        results, seen = records[n]
        for name in ("mask", "one"):
            np.testing.assert_array_equal(results[name], alone[name], err_msg=name)
        for name in ("six", "scores", "gradient", "eap"):
            assert_near(results[name], alone[name], name)
        # every device does its share, and in a search none waits for another's numbers
        assert seen["collectives"] == {"run_masks": [], "run_candidates": []}
        for name, shape, share in seen["shares"]:
            assert np.prod(shape) == np.prod(share) * n, name


@pytest.mark.slow
def test_a_small_limit_changes_no_decision(
    records: dict[int, tuple[Answers, dict[str, Any]]],
) -> None:
    (mask, scores), *others = (records[1][0][name] for name in ("piece", "chunked", "tight"))
    assert 0 < mask.sum() < len(mask)
    for other in others:
        np.testing.assert_array_equal(other[0], mask)
        assert_near(other[1], scores, "scores")


def assert_near(results: np.ndarray, expected: np.ndarray, name: str) -> None:
    close = 1e-6 * np.nanmax(np.abs(expected))
    np.testing.assert_allclose(results, expected, rtol=0, atol=close, err_msg=name)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 12))
def test_chunks_fill_the_devices_and_no_more(n_prompts: int, most: int, devices: int) -> None:
    size = choose_chunk_size(n_prompts, most, devices)
    sizes = [min(size, n_prompts - i) for i in range(0, n_prompts, size)]
    assert all(n // count_prompt_parts(n, devices) <= most for n in sizes)
    assert size >= min(n_prompts, most)  # never worse than one device
    if n_prompts % devices == 0 and most * devices >= n_prompts:
        assert size == n_prompts


@pytest.mark.parametrize("limit", [30 * 2**20, 2**28, 2**33])
@pytest.mark.parametrize("n_prompts", [1, 7, 100])
def test_each_of_several_devices_is_held_to_the_limit(limit: int, n_prompts: int) -> None:
    one, *more = (
        choose_batch_sizes(GPT2_SMALL, GPT2_SMALL.graph(), n_prompts, 16, limit, devices)
        for devices in (1, 2, 4, 6)
    )
    for cut in more:
        assert cut.bytes_needed <= limit
        assert one.prompts <= cut.prompts <= n_prompts
        for chunk in (cut.prompts, n_prompts % cut.prompts or cut.prompts):
            ways = cut.devices // count_prompt_parts(chunk, cut.devices)
            assert cut.lanes % ways == cut.masks % cut.lanes == cut.frontier_lanes % ways == 0
