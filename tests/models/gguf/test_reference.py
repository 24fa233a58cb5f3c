"""``compile --verify`` on GGUF files: transformers' own loader reads the weights once more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.evaluation.parity import verify
from circuitgraph.models.gguf import checkpoint
from circuitgraph.models.loading import load_model
from tests.gguf_files import make_model, write_gguf

_PLAIN = {"rope_parameters": {"rope_type": "default", "rope_theta": 600.0}}
_NO_BIASES = {"attention_bias": False, "mlp_bias": False}


@pytest.mark.parametrize(
    ("architecture", "fields", "not_proved"),
    [
        ("llama", {**_PLAIN, **_NO_BIASES}, []),
        ("qwen2", _PLAIN, []),
        ("qwen3", _PLAIN, ["head_dim"]),  # transformers takes 128 of any Qwen 3
        ("gemma", {}, ["transformers reads no gemma from GGUF"]),
        ("gemma3", {}, ["final_logit_softcapping", "query_pre_attn_scalar", "rope_parameters"]),
    ],
)
def test_transformers_reads_the_same_weights(
    architecture: str, fields: Mapping[str, Any], not_proved: list[str], tmp_path: Path
) -> None:
    model = make_model(architecture, **fields)
    path = write_gguf(tmp_path / "t.gguf", architecture, model, "Q8_0", has_vocabulary=True)
    parity = verify(load_model(path))
    assert parity.held
    assert len(parity.not_proved) == bool(not_proved)
    assert all(name in parity.not_proved[0] for name in not_proved)


def test_rows_in_llama_cpps_order_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("llama", **_PLAIN, **_NO_BIASES)
    path = write_gguf(tmp_path / "t.gguf", "llama", model, has_vocabulary=True)
    monkeypatch.setattr(checkpoint, "_make_unpermute", lambda heads: lambda rows: rows)
    assert not verify(load_model(path)).held
