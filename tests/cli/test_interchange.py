"""``circuitgraph interchange``: each variable and each pair swapped, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.catalog.interchange_record import InterchangeRecord
from tests.cli.conftest import Ran, call
from tests.cli.test_scrub import hypothesis

NAMES = {"earlier", "seen_before", "successor", "current", "copied"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> InterchangeRecord:
    file = tmp_path_factory.mktemp("interchange") / "mine.py"
    file.write_text(hypothesis())
    ran = call("interchange", file, "--limit", 128, "--json")
    assert ran.code == 0, ran.err
    return InterchangeRecord.model_validate_json(ran.out)


def test_each_variable_and_each_pair_is_swapped_once(found: InterchangeRecord) -> None:
    swapped = [frozenset(swap.variables) for swap in found.swaps]
    assert len(swapped) == len(set(swapped)) == 5 + 10
    assert {name for (name,) in (s for s in swapped if len(s) == 1)} == NAMES
    assert found.n == found.task.n_prompts == 128


def test_what_the_head_copies_decides_what_is_said(found: InterchangeRecord) -> None:
    of = {tuple(swap.variables): swap for swap in found.swaps}
    copied = of["copied",]
    assert (
        64 < copied.n_changed == copied.n_defined == copied.n_prompts
    )  # others have no donor of their layout
    assert copied.accuracy == copied.accuracy_changed
    assert copied.accuracy is not None
    assert copied.accuracy.mean > 0.97
    alone = of["earlier",]  # another word before B1 than A2, so that the program says nothing
    assert (alone.n_defined, alone.accuracy, alone.accuracy_changed) == (0, None, None)


def test_without_its_variables_the_behaviour_goes(found: InterchangeRecord) -> None:
    needs = {tuple(need.variables): need.necessity for need in found.necessity}
    assert set(needs) == {(), *((name,) for name in NAMES)}
    assert all(need.low > 0.6 for need in needs.values())


def test_the_report_says_on_which_prompts_the_model_does_not_follow(
    run: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(hypothesis(heads="head(1, 0)"))  # which copies nothing
    ran = run("interchange", "mine.py", "--limit", 64)
    assert ran.code == 0, ran.err
    for part in (
        "64 unseen prompts; 95 % intervals",
        "seen_before + copied",
        "- the program says nothing after the swap",
        "all leaves",
        "The model does not follow copied:\nprompt: ",
        "donor:  ",
        "the program says ",
    ):
        assert part in ran.out


def test_a_wrong_file_is_refused(run: Callable[..., Ran], tmp_path: Path, no_model: None) -> None:
    (tmp_path / "mine.py").write_text("1 / 0")
    ran = run("interchange", "mine.py")
    assert (ran.code, ran.out) == (2, "")
    assert "mine.py:1: ZeroDivisionError" in ran.err
    ran = run("interchange", "mine.py", "--limit", 1)
    assert ran.code == 2
    assert json.dumps(1) in ran.err
