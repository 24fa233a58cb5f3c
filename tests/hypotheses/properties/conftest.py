"""Small pools, since under type checks each prompt that is drawn costs a millisecond."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def small_pools() -> Iterator[None]:
    """Of 500 prompts, and rates of 1,000 as ever."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("circuitgraph.hypotheses.properties.prompt_source.POOL", 500)
        patched.setattr("circuitgraph.hypotheses.properties.prompt_source._DRAWS", 10_000)
        yield
