"""Compiled models compute what their programs say, and an edge is static iff the weights say so."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from circuitgraph.errors import ProgramError
from circuitgraph.graph.graph import Reader, Writer
from circuitgraph.models.constructed.compile import ConstructedModel, Sizes, compile_program
from circuitgraph.models.constructed.named_programs import named_programs
from circuitgraph.models.constructed.truth import find_static_edges
from circuitgraph.models.constructed.weights import MARGIN
from tests.models.constructed.common import SIZES, least_margin, model_of_common_size
from tests.models.constructed.generator import ALPHABET, LONGEST, SHORTEST, random_program
from tests.models.constructed.generator import SIZES as RANDOM_SIZES

ROUNDING = 0.01 * MARGIN  # of logits that are as large as 10 / gap^2
ALL = [s for n in range(SHORTEST, LONGEST + 1) for s in product(ALPHABET, repeat=n)]


@pytest.mark.parametrize("name", named_programs)
def test_named_programs_on_short_sequences(name: str) -> None:
    """Every sequence of up to four symbols and a hundred of the greatest length, all positions."""
    constructed = model_of_common_size(name)
    program, rng = constructed.program, np.random.default_rng(0)
    short = [s for n in range(program.min_length, 5) for s in product(program.alphabet, repeat=n)]
    if len(short) > 1000:  # eight symbols
        short = [short[i] for i in rng.choice(len(short), 1000, replace=False)]
    long = [tuple(rng.choice(program.alphabet, program.max_length).tolist()) for _ in range(100)]
    assert least_margin(constructed, short + long) > MARGIN - ROUNDING


@settings(max_examples=40)
@given(data=st.data(), at=st.integers(0, len(ALL) - 1))
def test_random_programs(data: st.DataObject, at: int) -> None:
    program = random_program(data.draw)
    try:
        constructed = compile_program(program, sizes=RANDOM_SIZES, exact=True)
    except ProgramError as error:
        assert "larger transformer" in str(error)  # noqa: PT017 - too large for the common size is no failure
        return
    around = [ALL[(at + step) % len(ALL)] for step in range(0, len(ALL), len(ALL) // 50)]
    assert least_margin(constructed, around) > MARGIN - ROUNDING, str(program)


@pytest.mark.parametrize("name", named_programs)
def test_static_edges_are_those_of_the_weights(name: str) -> None:
    constructed = model_of_common_size(name)
    graph = constructed.model.graph()
    written = {w.name: _directions_written(constructed, w) for w in graph.writers}
    read = {r.name: _directions_read(constructed, r) for r in graph.readers}
    by_weights = [
        edge
        for edge in graph.edges
        if (written[edge.split("->")[0]] & read[edge.split("->")[1]]).any()
    ]
    assert tuple(by_weights) == find_static_edges(constructed)


def test_sizes_change_no_answer_and_no_true_edge() -> None:
    small, large = (
        compile_program(named_programs["reverse"].make()),
        model_of_common_size("reverse"),
    )
    assert small.model.spec.n_layers < large.model.spec.n_layers
    assert find_static_edges(small) == find_static_edges(large)
    with pytest.raises(ProgramError, match="n_layers: 3, but only 2 given"):
        compile_program(named_programs["reverse"].make(), sizes=Sizes(n_layers=2), exact=True)


def test_named_programs_fit_the_common_size() -> None:
    spec = model_of_common_size("reverse").model.spec
    assert all(model_of_common_size(name).model.spec == spec for name in named_programs), SIZES


def _directions_written(constructed: ConstructedModel, writer: Writer) -> NDArray[np.bool_]:
    """Directions in which a node writes."""
    model = constructed.model.transformer
    if writer.kind == "embed":
        assert model.positional is not None
        table = np.concatenate([model.embedding, model.positional])
    elif writer.kind == "head":
        table = np.asarray(model.blocks.attention.w_o)[writer.node.layer, writer.node.index].T
    else:
        assert model.blocks.mlp is not None
        table = np.asarray(model.blocks.mlp.w_out)[writer.node.layer].T
    return np.asarray(table.any(axis=0))


def _directions_read(constructed: ConstructedModel, reader: Reader) -> NDArray[np.bool_]:
    """Directions that a reader does not ignore."""
    model = constructed.model.transformer
    if reader.kind == "logits":
        table = np.asarray(model.unembedding)
    elif reader.kind == "mlp":
        assert model.blocks.mlp is not None
        table = np.asarray(model.blocks.mlp.w_in)[reader.node.layer]
    else:
        table = np.asarray(getattr(model.blocks.attention, f"w_{reader.kind}"))[
            reader.node.layer, reader.node.index
        ]
    return np.asarray(table.any(axis=0))
