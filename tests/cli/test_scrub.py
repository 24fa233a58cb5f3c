"""``circuitgraph scrub``: what it prints, how it ends, and what it refuses before any model is
loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.catalog.scrub_record import ScrubRecord
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import SPLITS
from tests.cli.conftest import Ran, call

N = 256
RIGHT, WRONG = "head(1, 6)", "head(1, 0)"


def hypothesis(heads: str = RIGHT, at_least: float = 0.7, name: str = "H") -> str:
    """A file about the shipped model; so few prompts show no more than a modest bound."""
    return f"""
from circuitgraph.hypotheses import Hypothesis, embed, head, logits

{name} = Hypothesis("induction", task="induction", model="induction-2l")

@{name}.var(at=embed @ "A1")
def earlier(p):
    return p.token["A1"]

@{name}.var(at=head(0, 3) @ "B1", v="earlier", role="previous-token head")
def seen_before(earlier):
    return earlier

@{name}.var(at=embed @ "B1")
def successor(p):
    return p.token["B1"]

@{name}.var(at=embed @ "A2")
def current(p):
    return p.token["A2"]

@{name}.var(at={heads} @ "A2", q="current", k="seen_before", v="successor")
def copied(seen_before, successor, current):
    return successor if seen_before == current else None

@{name}.output(at=logits @ "A2")
def answer(copied):
    return copied

{name}.expect("loss_recovered", at_least={at_least})
{name}.rival("no previous-token head", drop=seen_before)
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    """The shipped hypothesis with everything to look at, and its drawing."""
    folder = tmp_path_factory.mktemp("scrub")
    picture, file = folder / "tree.dot", folder / "mine.py"
    file.write_text(hypothesis())
    return call("scrub", file, "--limit", N, "--draw", picture), picture


def test_the_report_shows_every_part(shown: tuple[Ran, Path]) -> None:
    ran = shown[0]
    assert ran.code == 0, ran.err
    for part in (
        "the hypothesis",
        "rival: no previous-token head",
        "null: all donors drawn without condition",
        "null: variables exchanged among the sites",
        "null: random functions with classes of the same sizes",
        "zero point: logits of random other prompts",
        "Standard error",
        "worst tenth",
        "a0.h3@B1 into k carries seen_before (previous-token head): alone",
        "effective donors",
        "not refuted",
        "Expected: loss_recovered",
    ):
        assert part in ran.out
    assert re.search(
        r"19 trees on 256 prompts, \d\d,\d{3} values of nodes to compute, about \d+ MiB", ran.err
    )


def test_the_first_lines_are_the_harshest(shown: tuple[Ran, Path]) -> None:
    first = shown[0].out.lstrip().partition("95 % intervals")[0]
    assert first.startswith("induction: the harshest first")
    for part in (
        "copied at a1.h6@A2 alone",
        "worst tenth",
        "own answer is kept",
        "The nearest rival",
    ):
        assert part in first
    assert 'H.property("equality"' in first


def test_the_tree_is_drawn(shown: tuple[Ran, Path]) -> None:
    source = shown[1].read_text()
    assert source.count(" -> ") == 5
    assert "a1.h6@A2" in source


def test_a_hypothesis_that_is_no_better_than_chance_ends_with_1_and_its_json_is_one_record(
    run: Callable[..., Ran],
) -> None:
    Path("wrong.py").write_text(hypothesis(WRONG))
    ran = run("scrub", "wrong.py", "--n", N, "--json")
    assert ran.code == 1, ran.err
    record = ScrubRecord.model_validate_json(ran.out)
    assert (record.held, record.outcome) == (False, "not shown")
    assert "the interval does not tell it from logits of random other prompts" in record.verdict


def test_an_expectation_that_fails_ends_with_1_and_several_hypotheses_are_a_list(
    run: Callable[..., Ran],
) -> None:
    Path("two.py").write_text(hypothesis(at_least=0.999) + hypothesis(at_least=0.999, name="G"))
    ran = run("scrub", "two.py", "--n", N, "--json", "--unclaimed", "everywhere")
    assert ran.code == 1, ran.err
    records = [ScrubRecord.model_validate(content) for content in json.loads(ran.out)]
    assert [record.held for record in records] == [True, True]
    assert {(record.n, record.unclaimed, record.metric) for record in records} == {
        (N, "everywhere", "logit_difference")
    }
    ran = run("scrub", "two.py", "--draw", "two.svg")
    assert ran.code == 2
    assert "--draw draws one hypothesis, but 'two.py' holds 2" in ran.err


def test_help_says_that_files_are_executed(run: Callable[..., Ran]) -> None:
    ran = run("scrub", "--help")
    assert ran.code == 0
    assert "EXECUTED AS PYTHON" in ran.out
    assert "circuitgraph scrub hypotheses/induction.py" in ran.out


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "logit_diference"], "logit_difference"),
        (["--unclaimed", "jiont"], "joint, everywhere, separate, keep"),
        (["--align", "places"], "role, index"),
        (["--limit", "1"], "at least 2"),
        (["--seed", "-1"], "at least 0"),
        (["--memory", "0"], "positive number"),
        (["--draw", "tree.gif"], "picture format 'gif'"),
    ],
)
def test_bad_options_are_refused_before_anything_runs(
    run: Callable[..., Ran], options: list[str], message: str
) -> None:
    Path("mine.py").write_text(hypothesis())
    ran = run("scrub", "mine.py", *options)
    assert ran.code == 2
    assert message in ran.err
    assert ran.out == ""


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no hypothesis file 'mine.py'"),
        ("H = Hypothesis(", "SyntaxError"),
        ("import no_such_module", "no_such_module"),
        ("x = 1", "holds no hypothesis"),
    ],
)
def test_bad_files_are_refused_in_words(
    run: Callable[..., Ran], content: str | None, message: str
) -> None:
    if content is not None:
        Path("mine.py").write_text(content)
    ran = run("scrub", "mine.py")
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_a_file_of_pairs_is_a_task(
    run: Callable[..., Ran], tmp_path: Path, shipped: LanguageModel
) -> None:
    """With the roles that its lines name; the last token has one without being named."""
    pairs = [pair for split in SPLITS for pair in load_task("induction", shipped).pairs(300, split)]
    lines = [
        {"clean": p.clean, "corrupted": p.corrupted, "answer": p.answer, "distractor": p.distractor}
        | {"roles": {"A1": p.roles["A1"], "B1": p.roles["B1"]}}
        for p in pairs
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    text = hypothesis().replace('task="induction"', 'task="pairs.jsonl"').replace('"A2"', '"end"')
    (tmp_path / "mine.py").write_text(text + 'H.property("behaviour")\n')
    ran = run("scrub", "mine.py", "--limit", N, "--json")
    assert ran.code == 0, ran.err
    record = ScrubRecord.model_validate_json(ran.out)
    assert (record.task.name, record.n) == ("pairs", N)
    assert record.recovered.mean > 0.7
    assert "1 held" in run("test", "mine.py", "-k", "behaviour").out
