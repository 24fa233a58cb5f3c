"""Text of others is printable, short, and stays where it is put."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.catalog.leaderboard_record import Cell, Question
from circuitgraph.cli.leaderboard_report import format_markdown
from circuitgraph.drawing.graphviz_output import to_label
from circuitgraph.errors import ModelError, list_problems, unknown_name
from circuitgraph.models.checkpoint import list_shards
from circuitgraph.printable import make_printable, to_markdown_cell

NASTY = "a\x1b[2J|b\n# c\0\ufffe\u202e<b>`" + "x" * 16_384
ANY = st.text(st.characters(), max_size=30)


@given(ANY)
@settings(max_examples=100, deadline=None)
def test_all_is_printable_and_what_was_printable_stays(text: str) -> None:
    shown = make_printable(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


@given(ANY)
@settings(max_examples=100, deadline=None)
def test_a_label_is_xml_with_the_same_letters(text: str) -> None:
    element = ElementTree.fromstring(f"<TD>{to_label(text)}</TD>")  # noqa: S314 - our own
    lines = [make_printable(line, 200) for line in text.split("\n")]
    assert "".join(element.itertext()) == "".join(lines)
    assert len(element.findall("BR")) == text.count("\n")


def test_a_long_text_says_how_long_it_was() -> None:
    shown = make_printable("x" * 16_384, 100)
    assert len(shown) < 140
    assert "16,384 characters" in shown


def test_names_in_messages_forge_no_line() -> None:
    message = list_problems("These:", [NASTY])
    assert message.count("\n") == 1
    assert all(line.isprintable() and len(line) < 1200 for line in message.split("\n"))
    assert len(str(unknown_name("edge", NASTY, ["a"]))) < 1200


def test_a_cell_of_a_table_stays_one_cell() -> None:
    assert to_markdown_cell("a|b\nc`<i>") == r"a\|b\nc\`&lt;i>".replace(r"\nc", r"\\nc")
    question = Question(
        task=NASTY,
        model="m",
        weights_sha256="0",
        algorithm=NASTY,
        arguments={},
        metric="kl",
        ablation="zero",
        seed=0,
        n_discovery=1,
        n_evaluation=2,
        n_bootstraps=0,
    )
    text = format_markdown([Cell(question=question, score=None, refused=NASTY)])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert np.unique([row.replace("\\|", "").count("|") for row in rows]).tolist() == [12]
    assert "\x1b" not in text


def test_an_index_with_a_shard_of_a_megabyte_is_refused_briefly(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "' + "x" * 2**20 + '"}}')
    with pytest.raises(ModelError, match="1,048,576 letters") as caught:
        list_shards("m", index)
    assert len(str(caught.value)) < 600
