"""One checkpoint whose weights are large enough that every setting shows in the logits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.checkpoint_files import write


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of two heads, tied; never changed, only copied."""
    return write(tmp_path_factory.mktemp("base"))
