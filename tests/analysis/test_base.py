"""What every analysis shares: settings, what is given to it, records and their shapes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import ValidationError

import circuitgraph as cg
from circuitgraph.analysis.base import Analysis, analyses
from circuitgraph.analysis.measuring import (
    choose_metrics,
    estimate_cell,
    estimate_share,
    rank_places,
)
from circuitgraph.analysis.places import (
    check_corrupted,
    choose_layers,
    choose_streams,
    find_positions,
    list_columns,
)
from circuitgraph.catalog.analysis_record import (
    AnalysisRecord,
    CurvesRecord,
    HeatmapRecord,
    Reading,
    SeriesRecord,
    TableRecord,
)
from circuitgraph.catalog.records import Interval
from circuitgraph.errors import ArgumentError, CircuitGraphError, DataError, UnknownNameError
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Pair
from tests.checkpoints import Tiny, random_prompts

TABLE = TableRecord(title="t", columns=["a"], rows=[[1]])


def read_weights(
    model: Any,
    *,
    heads: tuple[int, ...],
    side: Literal["q", "k"] = "q",
    scale: float | None = None,
) -> Reading:
    """Reads nothing.

    At all.
    """
    return Reading(tables=[TABLE], notes=[f"{model}, {heads}, {side}, {scale}"])


WEIGHTS = Analysis("weights", read_weights, "Nobody", "anything")


def test_what_a_function_takes_is_read_from_it() -> None:
    assert WEIGHTS.description == "Reads nothing."
    assert WEIGHTS.given == {"model"}
    assert not WEIGHTS.needs_prompts
    assert WEIGHTS.defaults == {"heads": None, "side": "q", "scale": None}
    assert analyses["logit-lens"].needs_prompts


def test_settings_are_converted() -> None:
    filled = {"heads": (3, 4), "side": "k", "scale": 2.0}
    assert WEIGHTS.fill_settings({"heads": [3, 4], "side": "k", "scale": 2}) == filled
    assert WEIGHTS.fill_settings({"heads": 3}) == {"heads": (3,), "side": "q", "scale": None}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "'weights' needs the setting 'heads'"),
        ({"head": 1}, "setting of analysis 'weights' 'head'. Did you mean 'heads'"),
        ({"heads": ["a"]}, "heads is 'a', but must be a whole number"),
        ({"heads": 1, "side": "v"}, "side is 'v': expected one of q, k"),
        ({"heads": 1, "side": 2}, "side is '2': expected one of q, k"),
        ({"heads": 1, "scale": "x"}, "scale is 'x', but must be a number"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CircuitGraphError) as caught:
        WEIGHTS.fill_settings(settings)
    assert message in str(caught.value)


def test_seeds_below_zero_are_refused_before_anything_is_run() -> None:
    with pytest.raises(ArgumentError, match="seed is -1, but must be at least 0"):
        analyses["compare-scores"].fill_settings({"seed": -1})


def test_layers_are_taken_once_and_in_order(shipped: LanguageModel) -> None:
    n = shipped.spec.n_layers
    assert choose_layers(shipped.spec, (1, 0, 1)) == (0, 1)
    assert choose_streams(shipped.spec, None) == tuple(range(n + 1))
    assert choose_streams(shipped.spec, (n, 1)) == (1, n)
    for wrong in ((), (n + 1,), (-1, n)):
        with pytest.raises(ArgumentError, match="layers is"):
            choose_streams(shipped.spec, wrong)


def test_shares_of_a_difference() -> None:
    start, end, values = np.zeros(3), np.full(3, 2.0), np.array([0.0, 1.0, 2.0])
    share = estimate_share(start, end, values)
    assert isinstance(share, Interval)
    assert share.mean == pytest.approx(0.5)
    assert 0 <= share.low < 0.5 < share.high <= 1
    assert estimate_share(start[:1], end[:1], values[1:2]) == 0.5
    assert estimate_share(start, start, values) is None


def test_places_are_ranked_and_missing_numbers_come_last() -> None:
    scores = np.array([[1.0, np.nan], [3.0, 2.0]])
    assert rank_places(scores, 9) == [(1, 0), (1, 1), (0, 0), (0, 1)]
    assert rank_places(scores, 1) == [(1, 0)]


def test_analyze_records_what_was_asked_and_what_came_out(shipped: LanguageModel) -> None:
    task = cg.load_task("induction", shipped)
    record = cg.analyze(shipped, task, "logit-lens", n_prompts=3, top=2)
    assert (record.method, record.settings) == ("logit-lens", {"at": "scored", "top": 2})
    assert record.task is not None
    assert (record.task.n_prompts, record.task.split) == (3, "evaluation")
    again = AnalysisRecord.model_validate_json(record.model_dump_json())
    assert again.model_dump(mode="json") == record.model_dump(mode="json")


def test_methods_without_prompts_need_no_task(
    shipped: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyses.names()  # the room is loaded
    monkeypatch.setitem(analyses._entries, "weights", WEIGHTS)
    record = cg.analyze(shipped, None, "weights", heads=1)
    assert record.task is None
    with pytest.raises(ArgumentError, match="'logit-lens' looks at prompts: give it a task"):
        cg.analyze(shipped, None, "logit-lens")
    with pytest.raises(UnknownNameError, match=r"Unknown analysis 'weigths'. Did you mean"):
        cg.analyze(shipped, None, "weigths")


def test_numbers_become_plain_ones() -> None:
    row = [np.float32(0.5), np.int64(3), float("nan"), "a", True]
    table = TableRecord(title="t", columns=list("abcde"), rows=[row])
    assert table.rows == [[0.5, 3, None, "a", True]]
    again = TableRecord.model_validate_json(table.model_dump_json())
    assert [type(cell) for cell in again.rows[0]] == [float, int, type(None), str, bool]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="a row has 1 cells for 2 columns"):
        TableRecord(title="t", columns=["a", "b"], rows=[[1]])
    axes: dict[str, Any] = {"title": "t", "unit": "u", "row_axis": "r", "column_axis": "c"}
    with pytest.raises(ValidationError, match="labels for 2 rows of 1 numbers"):
        HeatmapRecord(**axes, row_labels=["a", "b"], column_labels=["c"], values=[[1.0]])
    one = SeriesRecord(name="s", y=[1.0])
    with pytest.raises(ValidationError, match="s: 1 numbers over 2 of x"):
        CurvesRecord(title="t", x_axis="x", y_axis="y", x=[1, 2], series=[one])


def test_positions_are_found_by_role_number_and_score() -> None:
    prompts = random_prompts()
    lengths = prompts.mask.sum(axis=1)
    np.testing.assert_array_equal(find_positions(prompts, "scored")[:, 0], lengths - 1)
    np.testing.assert_array_equal(find_positions(prompts, -2)[:, 0], lengths - 2)
    np.testing.assert_array_equal(find_positions(prompts, 1)[:, 0], 1)
    pairs = tuple(Pair("a", "b", "c", roles={"S": i}) for i in range(5))
    with_roles = random_prompts()
    object.__setattr__(with_roles, "pairs", pairs)
    np.testing.assert_array_equal(find_positions(with_roles, "S")[:, 0], range(5))
    with pytest.raises(UnknownNameError, match=r"Unknown role of these prompts 'IO'\. Known: S, "):
        find_positions(with_roles, "IO")
    with pytest.raises(ArgumentError, match="The position is 30, but the shortest prompt has"):
        find_positions(prompts, 30)


def test_columns_are_places_that_all_prompts_share() -> None:
    prompts = random_prompts(batch=2, longest=4)
    full, cut = np.ones((2, 4), bool), np.array([[True] * 4, [True] * 3 + [False]])

    def columns(
        mask: np.ndarray, *roles: dict[str, int]
    ) -> tuple[tuple[str, ...], list[list[int]]]:
        pairs = tuple(Pair("a", "b", "c", roles=each) for each in roles)
        names, at = list_columns(replace(prompts, mask=mask, pairs=pairs))
        return names, at.tolist()

    everywhere = [[0, 1, 2, 3]] * 2
    assert columns(full, {"S": 1}, {"S": 1}) == (("0", "1 S", "2", "3"), everywhere)
    assert columns(full, {"S": 1}, {"S": 2}) == (("0", "1", "2", "3"), everywhere)
    both = {"S": 2, "IO": 0, "x": 1}, {"S": 1, "IO": 0}
    assert columns(cut, *both) == (("IO", "S", "last"), [[0, 2, 3], [0, 1, 2]])
    ends = {"END": 3}, {"END": 2}
    assert columns(cut, *ends) == (("END",), [[3], [2]])
    assert columns(cut, {}, {}) == (("-3", "-2", "-1"), [[1, 2, 3], [0, 1, 2]])


def test_layers_and_prompts_are_checked(tiny: Tiny) -> None:
    assert choose_layers(tiny.ours.spec, None) == (0, 1, 2)
    with pytest.raises(ArgumentError, match=r"layers is \[1, 3\], but the model has the layers 0"):
        choose_layers(tiny.ours.spec, [1, 3])
    alone = random_prompts()
    object.__setattr__(alone, "corrupted", None)
    with pytest.raises(DataError, match="patching needs a corrupted prompt for every pair"):
        check_corrupted(alone, "patching")
    object.__setattr__(alone, "distractor", None)
    names = {metric.name for metric in choose_metrics(tiny.ours, alone)}
    assert names == {"logit", "log_probability", "probability", "accuracy", "rank"}
    object.__setattr__(alone, "answer", None)
    with pytest.raises(DataError, match="needs an answer"):
        choose_metrics(tiny.ours, alone)


def test_means_have_intervals_where_there_are_several_prompts() -> None:
    cell = estimate_cell(np.array([1.0, 2.0, 3.0]))
    assert isinstance(cell, Interval)
    assert cell.low < cell.mean == 2.0 < cell.high
    assert estimate_cell(np.array([4.0])) == 4.0
