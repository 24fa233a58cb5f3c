"""The map of the floors in docs/architecture.md is the import contract's, and names real rooms."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("map_floors", ROOT / "tools" / "map_floors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_floors_of_the_contract(tool: ModuleType) -> None:
    page = tool.PAGE.read_text(encoding="utf-8")
    assert tool.insert_floors(page) == page, "run tools/map_floors.py"


def test_every_room_of_the_package_is_on_a_floor(tool: ModuleType) -> None:
    """But those that stand above all floors or hold no code of their own."""
    package = ROOT / "circuitgraph"
    rooms = {path.stem for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    outside = {"__init__", "__main__", "__pycache__", "py", "_shipped"}
    on_floors = {room for floor in tool.read_floors() for room in floor}
    assert rooms - outside == on_floors


def test_modules_that_the_page_names_exist(tool: ModuleType) -> None:
    page = tool.PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py)?)`", page))
    roots = (ROOT / "circuitgraph", ROOT, ROOT / "circuitgraph" / "engine")
    missing = {name for name in named if not any((root / name).exists() for root in roots)}
    assert not missing
