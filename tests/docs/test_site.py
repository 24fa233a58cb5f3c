"""The site has all pages and all public names, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import circuitgraph

ROOT = Path(__file__).resolve().parents[2]
SETTINGS: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def list_pages(nav: Any) -> Iterator[str]:
    """The pages of a navigation, whatever its depth."""
    if isinstance(nav, str):
        yield nav
    else:
        for inner in nav.values() if isinstance(nav, dict) else nav:
            yield from list_pages(inner)


def test_every_page_is_in_the_navigation() -> None:
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(list_pages(SETTINGS["nav"])) == sorted(pages), "add the page to nav in mkdocs.yml"


def test_every_public_name_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: circuitgraph\.(\w+)$", page, re.MULTILINE)
    assert sorted(names) == sorted(circuitgraph.__all__), "add the name to docs/api.md"


def test_the_site_asks_nobody_for_fonts() -> None:
    assert SETTINGS["theme"]["font"] is False
    assert SETTINGS["strict"] is True


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "tools" / "docs_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_out_of_the_pages_go_to_the_repository(hooks: ModuleType) -> None:
    page = "[a](../SECURITY.md#x) [b](own-data.md) [c](https://example.org/d) [e](#f)"
    shown = hooks.replace_outside_links(page, "page.md", "https://host/r")
    assert shown == page.replace("../SECURITY.md", "https://host/r/SECURITY.md")
    deeper = hooks.replace_outside_links("[a](../own-data.md)", "analyses/heads.md", "https://h")
    assert deeper == "[a](../own-data.md)"


def test_a_link_to_nowhere_ends_the_build(hooks: ModuleType) -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/page.md links to ../NOTHING.md"):
        hooks.replace_outside_links("[a](../NOTHING.md)", "page.md", "https://host/r")
