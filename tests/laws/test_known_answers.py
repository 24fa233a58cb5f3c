"""Law 7. On constructed models discovery returns the true circuit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from circuitgraph.errors import ProgramError
from circuitgraph.models.constructed.compile import compile_program
from circuitgraph.models.constructed.named_programs import named_programs
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Prompts
from tests.models.constructed.agreement import (
    random_prompts,
    search_and_compare,
    search_neurons_and_compare,
)
from tests.models.constructed.common import SIZES, model_of_common_size
from tests.models.constructed.generator import SIZES as RANDOM_SIZES
from tests.models.constructed.generator import random_program


def _pad_prompts(prompts: Prompts, n_pos: int) -> Prompts:
    """Prompts of one shape, so that one compiled program serves all tests."""
    more = ((0, 0), (0, n_pos - prompts.mask.shape[1]))
    arrays = {name: np.pad(getattr(prompts, name), more) for name in ("clean", "corrupted", "mask")}
    return replace(prompts, **arrays)


@pytest.mark.parametrize("corruption", ["other-prompt", "one-token"])
@pytest.mark.parametrize("name", named_programs)
def test_named_programs(name: str, corruption: str) -> None:
    constructed = model_of_common_size(name)
    prompts = load_task(f"constructed:{name}", constructed.model, corruption=corruption).prompts(60)
    result = search_and_compare(constructed, _pad_prompts(prompts, SIZES.n_ctx))
    assert result.truth.edges
    assert result.truth.unique
    assert result.exact, result.difference


@pytest.mark.slow
@pytest.mark.parametrize("name", named_programs)
def test_neurons_of_named_programs(name: str) -> None:
    """With every hidden unit a node, the circuit is the true one, and has no unit beside it."""
    constructed = model_of_common_size(name)
    prompts = load_task(f"constructed:{name}", constructed.model).prompts(20)
    result = search_neurons_and_compare(constructed, _pad_prompts(prompts, SIZES.n_ctx), 42)
    assert result.exact, (result.edges ^ set(result.truth.edges), result.strangers)
    assert result.loss < 1e-5


@pytest.mark.slow
@pytest.mark.optimised
@settings(max_examples=80, phases=[Phase.generate, Phase.shrink])
@given(data=st.data(), seed=st.integers(0, 1000))
def test_random_programs(data: st.DataObject, seed: int) -> None:
    """Wherever one circuit is true. A program on which the search fails is shrunk and printed."""
    program = random_program(data.draw)
    try:
        constructed = compile_program(program, sizes=RANDOM_SIZES, exact=True)
    except ProgramError as error:
        assert "larger transformer" in str(error)  # noqa: PT017 - too large for the common size is no failure
        return
    result = search_and_compare(constructed, random_prompts(constructed, 24, seed))
    assert result.exact or not result.truth.unique, result.difference
