"""The page of analyses lists every method, with a section of the same form for each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from circuitgraph.analysis.base import analyses

DOCS = Path(__file__).parents[2] / "docs"
ROWS = dict(re.findall(r"^\| \[([\w-]+)\]\(([^)]+)\) \|", (DOCS / "analyses.md").read_text(), re.M))
PARTS = ("Source", "It tells", "It cannot tell", "Beside an exact edge effect", "Output")


def find_section(link: str) -> str:
    page, _, name = link.partition("#")
    return (DOCS / page).read_text().partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def test_the_table_lists_every_method() -> None:
    assert set(ROWS) == set(analyses.names())


@pytest.mark.parametrize("name", sorted(ROWS))
def test_each_method_has_a_section_of_the_same_form(name: str) -> None:
    section = find_section(ROWS[name])
    assert ROWS[name].endswith(f"#{name}")
    assert [part for part in PARTS if f"**{part}" not in section] == []


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_links_to_analyses_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]*analyses[^)]*)\)", page.read_text()):
        file, _, name = link.partition("#")
        target = (page.parent / file).resolve()
        assert target.exists(), link
        assert not name or f"## {name}\n" in target.read_text(), link
