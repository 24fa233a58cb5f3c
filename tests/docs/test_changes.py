"""Fragments of changes have names and kinds that towncrier takes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
KINDS = [kind["directory"] for kind in SETTINGS["type"]]


def test_fragments_have_a_topic_a_kind_and_a_sentence() -> None:
    files = [p for p in (ROOT / SETTINGS["directory"]).iterdir() if p.name != "README.md"]
    name = re.compile(rf"(\+[a-z0-9-]+|\d+)\.({'|'.join(KINDS)})\.md")
    assert [p.name for p in files if not name.fullmatch(p.name)] == []
    assert [p.name for p in files if not p.read_text(encoding="utf-8").strip().endswith(".")] == []


def test_the_changelog_has_the_place_where_they_go() -> None:
    text = (ROOT / SETTINGS["filename"]).read_text(encoding="utf-8")
    assert text.count(SETTINGS["start_string"]) == 1


def test_every_kind_is_explained() -> None:
    page = (ROOT / SETTINGS["directory"] / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == KINDS
