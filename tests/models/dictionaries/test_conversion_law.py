"""The conversion law: one dictionary, written in each layout, computes the same once it is read."""

from __future__ import annotations

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from circuitgraph.models.dictionaries import layouts
from circuitgraph.models.dictionaries.loading import load_dictionary, open_dictionary
from tests.models.dictionaries.cases import CASES
from tests.models.dictionaries.oracle import WIDTH, compute, draw_weights

INPUTS = np.random.default_rng(1).normal(size=(5, WIDTH)).astype(np.float32) + 0.3


@pytest.mark.parametrize("name", CASES)
def test_features_and_reconstruction_are_those_of_the_layouts_own_code(
    name: str, tmp_path: Path
) -> None:
    case = CASES[name]
    weights = draw_weights(n_writes=case.n_writes)
    path = case.write(tmp_path / "d", weights)
    dictionary = load_dictionary(path, **case.arguments)
    features, written = compute(weights, case.formula, INPUTS)
    x = jnp.asarray(INPUTS)
    ours = dictionary.encode(x)
    assert ((features != 0) == (np.asarray(ours) != 0)).all()
    assert 0 < (features != 0).mean() < 1, "a case in which all features are on tests nothing"
    np.testing.assert_allclose(ours, features, rtol=2e-5, atol=2e-5)
    for write, expected in enumerate(written):
        reconstruction = dictionary.reconstruct(x, write)
        np.testing.assert_allclose(reconstruction, expected, rtol=2e-5, atol=2e-5)
    spec = dictionary.spec
    first_write = str(spec.writes[0]) if spec.writes else None
    assert (spec.layout, str(spec.reads)) == (case.layout, case.reads)
    assert first_write == (case.writes or case.reads)
    assert len(spec.writes) == case.n_writes


@pytest.mark.parametrize("name", CASES)
def test_rows_of_some_features_are_those_of_the_whole_decoder(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = case.write(tmp_path / "d", draw_weights(n_writes=case.n_writes))
    stored = open_dictionary(path, **case.arguments)
    dictionary = load_dictionary(path, **case.arguments)
    chosen = [7, 2, 3, 3, 11]
    rows = stored.read_decoder_rows(chosen)
    assert rows.shape == (case.n_writes, 5, WIDTH)
    np.testing.assert_array_equal(rows, dictionary.decoder_rows(chosen))
    np.testing.assert_array_equal(rows, dictionary.decoder_rows()[:, np.array(chosen)])
    assert stored.read_decoder_rows([]).shape == (case.n_writes, 0, WIDTH)


def test_every_layout_has_a_case_and_a_row_of_the_page() -> None:
    assert {case.layout for case in CASES.values()} == set(layouts.names())
    page = (Path(__file__).parents[3] / "docs" / "dictionaries.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(layouts.names())
