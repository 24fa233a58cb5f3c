"""A hypothesis that names the dictionary whose features it is about."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from circuitgraph.hypotheses.checking import list_study_problems
from circuitgraph.hypotheses.study import Study
from circuitgraph.models.dictionaries.files import shipped_dictionaries
from circuitgraph.models.loading import load_model
from tests.hypotheses.texts import load_text

TEXT = """\
from circuitgraph.hypotheses import Hypothesis, feature, logits

H = Hypothesis("a feature", task="addition", model="addition")
H.dictionary({names})


@H.var(at=feature({layer}, 30) @ "end")
def tens(p):
    return p.answer


@H.output(at=logits @ "end")
def answer(tens):
    return tens
"""


def open_text(folder: Path, names: str, layer: int, given: list[str] | None = None) -> Study:
    text = TEXT.format(names=names, layer=layer)
    keywords = {} if given is None else {"dictionaries": given}
    return Study.open(load_text(folder, text), loading=keywords)


def test_dictionaries_that_a_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "inner"
    (inner / "sets").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    shipped = shipped_dictionaries()
    shutil.copytree(shipped["addition-m1"], inner / "sets" / "mine")

    study = open_text(inner, '"addition-m0", "sets/mine"', 1)
    named = {layer: one.name for layer, one in study.model.dictionaries.items()}
    assert named == {0: "addition-m0", 1: str(inner / "sets" / "mine")}
    assert not [problem for problem in list_study_problems(study) if "dictionary" in str(problem)]
    own = load_model("addition", dictionaries=[shipped["addition-m1"]]).dictionaries[1]
    assert study.model.dictionaries[1].fingerprint == own.fingerprint

    study = open_text(inner, '"sets/mine"', 0, ["addition-m0"])
    assert list(study.model.dictionaries) == [0]
