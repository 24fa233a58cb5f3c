"""A GGUF file runs as the model does that it was made of, whatever its architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from tests.gguf_files import FIELDS, make_model, write_gguf

_KINDS = ["F32", "Q8_0", "Q4_1"]


def assert_same_logits(model: Any, ours: LanguageModel, length: int = 30) -> None:
    """The same logits as transformers' model, to the rounding of float32."""
    tokens = np.random.default_rng(1).integers(0, model.config.vocab_size, (3, length))
    with torch.no_grad():
        expected = model(torch.tensor(tokens)).logits.numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(ours.logits(tokens), expected, atol=2e-5 * scale, rtol=0)


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [(name, _KINDS[number % len(_KINDS)]) for number, name in enumerate(FIELDS)]
    + [("llama", "Q4_1"), ("phi3", "Q8_0"), ("gemma3", "BF16")],
)
def test_logits_of_every_architecture(architecture: str, kind: str, tmp_path: Path) -> None:
    model = make_model(architecture)
    ours = load_model(write_gguf(tmp_path / "tiny.gguf", architecture, model, kind))
    assert_same_logits(model, ours)
    if architecture == "phi3":  # short prompts have frequencies of their own
        assert_same_logits(model, ours, 11)
