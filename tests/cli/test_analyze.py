"""``circuitgraph analyze``: what it prints, draws, and refuses before a model is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, files_below

BAD = {
    "method": ("logit-lense --task induction", "Unknown analysis 'logit-lense'. Did you mean 'lo"),
    "setting": ("logit-lens --task induction --set tpo=1", "'tpo'. Did you mean 'top'?"),
    "type": ("logit-lens --task induction --set top=x", "top is 'x', but must be a whole number"),
    "choice": (
        "activation-patching --task induction --set kind=heads",
        "kind is 'heads': expected one of residual, attention, mlp, head, neuron",
    ),
    "missing": ("causal-tracing --task induction", "'causal-tracing' needs the setting 'subject'"),
    "no prompts": ("logit-lens --model gpt2", "Give either a task"),
    "split": ("logit-lens --task induction --split eval", "Unknown split 'eval'"),
    "picture": ("logit-lens --task induction -o a.gif", "Unknown format of a picture 'gif'"),
    "a setting is missing": ("units --task addition", "needs the setting 'units'"),
    "no prompt": ("logit-lens --task induction --limit 0", "--limit is 0"),
}


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("case", BAD)
def test_refused_before_a_model_is_loaded(
    run: Callable[..., Ran], tmp_path: Path, case: str
) -> None:
    args, message = BAD[case]
    ran = run("analyze", *args.split())
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert files_below(tmp_path) == set()


def test_text_json_and_picture(run: Callable[..., Ran], tmp_path: Path) -> None:
    asked = ("analyze", "logit-lens", "--task", "induction", "--limit", 4)
    shown = run(*asked, "-o", "lens.svg")
    assert (shown.code, shown.err) == (0, "")
    words = ("logit-lens of induction-2l, 4 prompts of induction", "log probability", "layer 1")
    assert [word for word in (*words, "It cannot tell: whether") if word not in shown.out] == []
    picture = (tmp_path / "lens.svg").read_text()
    assert "after each layer" in picture
    record = json.loads(run(*asked, "--json").out)
    assert record["method"] == "logit-lens"
    assert {picture["kind"] for picture in record["reading"]["pictures"]} == {"heatmap", "curves"}
    assert run(*asked, "-o", "lens.svg", "--quiet") == Ran(0, "", ""), "our own file is replaced"


def test_one_prompt_has_numbers_without_intervals(run: Callable[..., Ran]) -> None:
    ran = run("analyze", "logit-lens", "--task", "induction", "--limit", 1, "--json")
    cells = json.loads(ran.out)["reading"]["tables"][0]["rows"][0]
    assert all(isinstance(cell, float) for cell in cells[1:])


def test_a_unit_report_of_texts_as_html(run: Callable[..., Ran], tmp_path: Path) -> None:
    """Of a file of texts, one a line; an unknown unit is refused by name."""
    sums = [f"{i}{i + 3}+{i}=" for i in range(1, 7)] + [f"9{i}-1{i}=" for i in range(7)]
    (tmp_path / "sums.txt").write_text("\n\n".join(sums))
    asked = ("analyze", "units", "--model", "addition", "--data", "sums.txt", "--split")
    units = ("discovery", "--set", "units=m1.n30,m0.n3", "--set", "top=2")
    shown = run(*asked, *units, "-o", "units.html")
    assert (shown.code, shown.err) == (0, "")
    assert "m1.n30  raises" in shown.out
    html = (tmp_path / "units.html").read_text()
    assert html.startswith('<section class="circuitgraph-reading">')
    assert "Texts with the largest values of m0.n3" in html
    record = json.loads(run(*asked, *units, "--json").out)
    assert record["settings"]["units"] == ["m1.n30", "m0.n3"]
    assert {picture["kind"] for picture in record["reading"]["pictures"]} == {"texts"}
    no_picture = run(*asked, *units, "-o", "units.svg")
    assert no_picture.code == 1
    assert "has no picture of that kind: units.svg was not written" in no_picture.err
    refused = run(*asked, "discovery", "--set", "units=m1.n256")
    assert refused.code == 2
    assert "m1.n256: its MLPs have 256 neurons, 0 to 255" in refused.err
