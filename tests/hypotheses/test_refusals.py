"""Hypotheses that must be refused, as causal scrubbing's reference implementation refuses them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.hypotheses.checking import list_study_problems
from circuitgraph.hypotheses.study import Study
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.loading import load_task
from tests.hypotheses.texts import INDUCTION, change_text, load_text

ANOTHER = """

@H.var(at={at})
def another({parent}):
    return {value}


@H.var(at=head(1, 6) @ "A2", {routes})
def copied(current, seen_before, successor, another):"""


def with_another(at: str, parent: str, value: str, routes: str) -> tuple[tuple[str, str], ...]:
    """The shipped hypothesis with one more variable that feeds `copied`."""
    old = """

@H.var(at=head(1, 6) @ "A2", q="current", k="seen_before", v="successor")
def copied(current, seen_before, successor):"""
    return ((old, ANOTHER.format(at=at, parent=parent, value=value, routes=routes)),)


USUAL = 'q="current", k="seen_before"'
REFUSED = {
    "duplicate path": (
        with_another('embed @ "B1"', "p", "len(p)", f'{USUAL}, v=("successor", "another")'),
        "`copied`: successor and another, both at embed@B1, claim the same path into a1.h6@A2<v>: "
        "one path carries one variable; make them one, or keep one of them",
    ),
    "path subsumed by another": (
        with_another("embed", "p", "len(p)", f'{USUAL}, v=("successor", "another")'),
        "`copied`: successor at embed@B1 and another at embed claim the same path into a1.h6@A2<v>",
    ),
    "path that shares a role": (
        with_another('embed @ ("A1", "B1")', "p", "len(p)", f'{USUAL}, v=("successor", "another")'),
        "`copied`: successor at embed@B1 and another at embed@A1+B1 claim the same path into "
        "a1.h6@A2<v>",
    ),
    "backwards tree": (
        (('at=head(0, 3) @ "B1", v="earlier"', 'at=head(1, 3) @ "B1", v="earlier"'),),
        "`copied`: seen_before at a1.h3@B1 cannot feed a1.h6@A2<k>: either it is computed no "
        "earlier, or its positions are not the ones that are read there",
    ),
    "child of the wrong parent": (
        (("def answer(copied):", "def answer(copied, seen_before):"),),
        "`answer`: seen_before at a0.h3@B1 cannot feed logits@A2",
    ),
    "input at another position": (
        (('q="current", k="seen_before"', 'q="seen_before", k="current"'),),
        "`copied`: seen_before at a0.h3@B1 cannot feed a1.h6@A2<q>",
    ),
    "input that comes later": (
        (('at=embed @ "A1"', 'at=embed @ "A2"'),),
        "`seen_before`: earlier at embed@A2 cannot feed a0.h3@B1<v>",
    ),
    "child of what reads nothing": (
        (
            (
                'def current(p):\n    return p.token["A2"]',
                "def current(earlier):\n    return earlier",
            ),
        ),
        "`current`: earlier at embed@A1 cannot feed embed@A2, which reads nothing",
    ),
    "two roots": (
        (
            (
                '@H.var(at=head(1, 6) @ "A2", q="current", k="seen_before", v="successor")',
                '@H.output(at=logits @ "A2")',
            ),
        ),
        "2 outputs are declared: a model says one thing",
    ),
    "an output with children": (
        (
            ("def answer(copied):", "def answer(copied, reply):"),
            (
                '@H.output(at=logits @ "A2")',
                """\
@H.var(at=logits @ "A2")
def reply(copied):
    return copied


@H.output(at=logits @ "A2")""",
            ),
        ),
        "`reply` is at the logits: only the output is there",
    ),
}


@pytest.fixture(scope="module")
def study(shipped: LanguageModel) -> Callable[..., Study]:
    """The study of a file's text, with few prompts."""

    def opened(folder: Path, text: str) -> Study:
        hypothesis = load_text(folder, text)
        opened_study = Study(hypothesis, shipped, load_task("induction", shipped, seed=0))
        vars(opened_study)["sample"] = opened_study.prompts(20, "discovery")
        return opened_study

    return opened


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, study: Callable[..., Study], tmp_path: Path) -> None:
    changes, sentence = REFUSED[case]
    messages = [
        finding.message for finding in list_study_problems(study(tmp_path, change_text(*changes)))
    ]
    assert [m for m in messages if m.startswith(sentence)], messages


def test_a_root_alone_is_no_error(study: Callable[..., Study], tmp_path: Path) -> None:
    """It claims nothing, so that all is resampled: what the losses of scrubs are compared with."""
    head = INDUCTION[: INDUCTION.index("@H.var")]
    text = f'{head}@H.output(at=logits @ "A2")\ndef answer(p):\n    return p.answer\n'
    root = study(tmp_path, text)
    assert list_study_problems(root) == []
    assert root.tree().children == ()


def test_one_token_under_two_roles_is_claimed_once(
    shipped_ioi: LanguageModel, tmp_path: Path
) -> None:
    text = """\
from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis("twice", task="ioi", model="ioi")


@H.var(at=embed @ "N1")
def first(p):
    return p.token["N1"]


@H.var(at=embed @ "IO")
def other(p):
    return p.token["IO"]


@H.var(at=head(2, 2) @ "end", v=("first", "other"))
def moved(first, other):
    return other


@H.output(at=logits @ "end")
def answer(moved):
    return moved
"""
    study = Study(load_text(tmp_path, text), shipped_ioi, load_task("ioi", shipped_ioi, seed=0))
    sample = vars(study)["sample"] = study.prompts(50, "discovery")
    same = sum(p.position["N1"] == p.position["IO"] for p in sample)
    assert 0 < same < 50
    (problem,) = list_study_problems(study)
    assert problem.message.startswith(
        f"first at embed@N1 and other at embed@IO both feed a2.h2@end, but in {same} of 50 prompts "
        "these roles are one token, which would be claimed twice"
    )
    assert problem.location.line == 16


@pytest.fixture(scope="module")
def shipped_ioi() -> LanguageModel:
    """A shipped model of a task some of whose roles are one token."""
    from circuitgraph.models.loading import load_model

    return load_model("ioi")
