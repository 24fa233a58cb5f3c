"""A line every half minute where standard error is no terminal."""

from __future__ import annotations

import io

import pytest

from circuitgraph.progress import LineProgress, format_duration, send_progress, show_progress


class Clock:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run_units(n: int, seconds: float, total: int = 1000) -> list[str]:
    """The lines of ``n`` units that take so many seconds each."""
    clock, stream = Clock(), io.StringIO()
    with send_progress(stream):
        progress = LineProgress(total, "acdc", "edge", clock=clock)
        for number in range(1, n + 1):
            clock.now += seconds
            progress.advance(1, f"{number // 10} kept")
        progress.finish()
    return stream.getvalue().splitlines()


def test_a_line_every_half_minute_with_what_is_done_kept_and_left() -> None:
    lines = run_units(90, 1.0)
    assert lines[0] == "acdc: 30 of 1,000 edges, 3 kept, 0:30 elapsed, about 16:10 left"
    assert lines[1] == "acdc: 60 of 1,000 edges, 6 kept, 1:00 elapsed, about 15:40 left"
    assert [line[:8] for line in lines] == ["acdc: 30", "acdc: 60", "acdc: 90", "acdc: 90"]


def test_what_ends_sooner_says_nothing() -> None:
    assert run_units(29, 1.0) == []


def test_the_last_line_says_that_all_is_done() -> None:
    assert run_units(40, 1.0, total=40)[-1] == "acdc: 40 of 40 edges, 4 kept, 0:40 elapsed"


def test_units_that_are_long_get_a_line_each() -> None:
    assert len(run_units(3, 45.0)) == 4


def test_the_time_left_follows_the_pace_of_the_last_minutes() -> None:
    clock, stream = Clock(), io.StringIO()
    with send_progress(stream):
        progress = LineProgress(10_000, "acdc", "edge", clock=clock)
        for seconds in [1.0] * 60 + [40.0] * 12:  # it has become forty times as slow
            clock.now += seconds
            progress.advance()
    assert (
        stream.getvalue().splitlines()[-1].endswith("about 110:18:40 left".replace("110:", "110:"))
    )


def test_units_done_before_are_no_pace(capsys: pytest.CaptureFixture[str]) -> None:
    clock, stream = Clock(), io.StringIO()
    with send_progress(stream):
        progress = LineProgress(100, "acdc", "edge", done=90, clock=clock)
        clock.now += 30
        progress.advance(1)
    assert stream.getvalue() == "acdc: 91 of 100 edges, 0:30 elapsed, about 4:30 left\n"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("bar", [True, False])
def test_lines_go_to_stderr_if_anything_is_shown(
    bar: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuitgraph.progress.SECONDS_BETWEEN_LINES", 0.0)
    with show_progress(2, "trees", "run", bar=bar) as progress:
        progress.rename("leaves")
        progress.advance()
        progress.advance()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("leaves: 1 of 2 runs, ") if bar else said.err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3599.0, "59:59"), (3723.0, "1:02:03")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_notebook_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class CellOutput(io.StringIO):
        """What ipykernel puts in the place of standard error: no terminal."""

    CellOutput.__module__ = "ipykernel.iostream"
    stream = CellOutput()
    monkeypatch.setattr("sys.stderr", stream)
    with show_progress(2, "trees", "run", bar=True) as progress:
        progress.advance(2)
    assert "trees: 100%" in stream.getvalue()
