"""Readings in a hypothesis file: what is asserted of an analysis is a claim like others."""

from __future__ import annotations

from typing import Any

import pytest

from circuitgraph.catalog.analysis_record import Reading, TableRecord
from circuitgraph.errors import HypothesisError, UnknownNameError
from circuitgraph.hypotheses import Hypothesis
from circuitgraph.hypotheses.claims import list_claims
from circuitgraph.hypotheses.readings import judge_reading
from circuitgraph.hypotheses.study import Study

H = Hypothesis("induction", task="induction", model="induction-2l")


@H.reading("head-types")
def a_head_of_layer_1_is_an_induction_head(reading: Reading) -> None:
    assert reading.look_up("a1.h6", "score", "induction").low > 0.9  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]


@H.reading("head-types", top=16)
def so_is_one_of_layer_0(reading: Reading) -> None:
    assert reading.look_up("a0.h3", "named", "induction"), "it is not"


@H.reading("direct-logits", n=4, top=3)
def nothing(reading: Reading) -> bool:
    return bool(reading.tables) and False


@H.reading("head-types")
def a_typing_error(reading: Reading) -> None:
    reading.look_up("a1.h66", "score")


@H.reading("head-typs")
def no_such_method(_: Reading) -> None: ...


@H.reading("head-types", depth=3)
def no_such_setting(_: Reading) -> None: ...


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.open(H)


def test_what_is_asserted_holds_or_is_refuted(study: Study) -> None:
    one, two, three = (judge_reading(study, claim) for claim in H.readings[:3])
    assert one.held
    assert one.summary.endswith("(head-types, no prompts of the task): held")
    assert (two.held, two.word) == (False, "refuted")
    assert "test_readings.py" in two.detail
    assert "it is not" in two.detail
    assert (three.held, three.detail) == (False, "the function returned False")
    assert "(direct-logits, 4 prompts)" in three.summary


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (3, HypothesisError, "Did you mean"),
        (4, UnknownNameError, "head-types"),
        (5, UnknownNameError, "depth"),
    ],
)
def test_what_cannot_be_asked(study: Study, index: int, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        judge_reading(study, H.readings[index])


def test_readings_are_claims() -> None:
    claims = [claim for claim in list_claims(H) if claim.kind == "reading"]
    assert [claim.id for claim in claims][:2] == [
        "reading[a_head_of_layer_1_is_an_induction_head]",
        "reading[so_is_one_of_layer_0]",
    ]
    assert claims[0].location.line < claims[1].location.line


def test_cells_are_looked_up_by_name() -> None:
    tables = [
        TableRecord(title="one", columns=["a", "b"], rows=[["x", 1], ["y", 2], ["x", 3]]),
        TableRecord(title="other", columns=["a", "b"], rows=[["x", 5]]),
    ]
    reading = Reading(tables=tables)
    assert (reading.look_up("x", "b"), reading.look_up("y", "b")) == (1, 2)
    assert reading.look_up("x", "b", "oth") == 5
    for arguments in (("z", "b"), ("x", "c"), ("x", "b", "third")):
        with pytest.raises(UnknownNameError):
            reading.look_up(*arguments)
