"""Models that an installed package brings; the packages here are made up."""

from __future__ import annotations

from importlib.metadata import PackagePath
from pathlib import Path

import pytest

from circuitgraph.errors import ModelError
from circuitgraph.models.gguf import packages
from circuitgraph.models.gguf.packages import find_packaged_file
from circuitgraph.models.loading import find_model, load_model


class _Dist:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate_file(self, path: PackagePath) -> Path:
        return self.folder / path


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str) -> None:
    """Let the package ``models`` have these files."""
    listed = [PackagePath(name) for name in names]
    for path in listed:
        path.dist = _Dist(folder)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(packages, "files", {"models": listed}.__getitem__)


def test_the_only_model_of_a_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, "models/__init__.py", "models/small.gguf")
    assert find_packaged_file("package:models") == tmp_path / "models" / "small.gguf"
    assert find_model("package:models", tmp_path) == "package:models"


def test_one_of_several(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, "models/a.gguf", "models/b.gguf")
    assert find_packaged_file("package:models/b.gguf") == tmp_path / "models" / "b.gguf"
    with pytest.raises(ModelError, match=r"(?s)several.*package:models/a.gguf.*package:models/b"):
        find_packaged_file("package:models")
    with pytest.raises(ModelError, match=r"no file 'c\.gguf'"):
        find_packaged_file("package:models/c.gguf")


@pytest.mark.parametrize("name", ["package:no-such-package", "package:", "package:../evil"])
def test_what_is_not_installed(name: str) -> None:
    with pytest.raises(ModelError, match="not installed here: pip install"):
        load_model(name)
