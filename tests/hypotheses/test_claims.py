"""Claims: their ids, and what they share while they are tested."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from circuitgraph.catalog.records import Interval
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses import Hypothesis, checking, embed, evidence, expecting, head, logits
from circuitgraph.hypotheses.claims import (
    PROMPTS,
    Claim,
    Context,
    Profile,
    Untested,
    list_claims,
    make_slug,
    number_repeats,
)
from circuitgraph.hypotheses.diagnostics import Verdict
from circuitgraph.hypotheses.properties import hunting
from circuitgraph.hypotheses.properties.profiles import PROFILES
from circuitgraph.hypotheses.scrubbing import scrub
from circuitgraph.pytest_plugin import PROFILES as OFFERED


def make_hypothesis() -> Hypothesis:
    """Induction, with a claim of every kind."""
    h = Hypothesis("Induction, by hand", task="induction", model="induction-2l")

    @h.var(at=embed @ "B1")
    def successor(p):
        return p.token["B1"]

    @h.var(at=head(1, 6) @ "A2", v="successor")
    def copied(successor):
        return successor

    @h.output(at=logits @ "A2")
    def answer(copied):
        return copied

    h.expect("accuracy", at_least=0.9)
    h.expect("necessity", of=copied, at_most=0.5, n=40)
    h.rival("another\nvariable", drop=copied)
    h.holds(lambda p: None)
    h.never(lambda p: None)
    h.property("equality", of=copied)
    h.property("equality", of=copied)
    return h


def find_claim(name: str, about: Hypothesis) -> Claim:
    return next(claim for claim in list_claims(about) if claim.id.startswith(name))


class Measured:
    """Evidence as far as claims look at it, and how often it was gathered."""

    gathered: list[tuple[int, int]]

    def __init__(self, study: Any, n: int, seed: int) -> None:
        self.gathered.append((n, seed))
        self.n = n

    def scrub(self) -> Any:
        """A scrub in which one rival is beaten, one may not be, and one is better."""
        rivals = [
            SimpleNamespace(
                name=name, recovered=Interval(mean=0.2, low=0.1, high=0.3), difference=difference
            )
            for name, difference in (
                ("beaten", Interval(mean=0.7, low=0.6, high=0.8)),
                ("perhaps", Interval(mean=0.1, low=0.0, high=0.2)),
                ("better", Interval(mean=-0.1, low=-0.2, high=-0.01)),
            )
        ]
        recovered = Interval(mean=0.9, low=0.85, high=0.95)
        return SimpleNamespace(
            held=False,
            outcome="not shown",
            verdict="not shown",
            n=self.n,
            notes=["few donors"],
            rivals=rivals,
            recovered=recovered,
        )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Studies are opened on paper only; what they were opened with."""
    arguments: list[tuple[Any, ...]] = []

    def open_checked(hypothesis: Hypothesis, *, model: str | None, seed: int, **_: Any) -> Any:
        arguments.append((model, seed))
        return SimpleNamespace(hypothesis=hypothesis, limit_prompts=lambda n: n)

    monkeypatch.setattr(checking, "open_checked", open_checked)
    monkeypatch.setattr(checking, "check_study", lambda study: ["one thing"])
    monkeypatch.setattr(evidence, "Evidence", Measured)
    monkeypatch.setattr(scrub, "scrub_evidence", Measured.scrub)
    Measured.gathered = []
    return arguments


def test_the_list_loads_neither_jax_nor_torch() -> None:
    code = (
        "import sys; import circuitgraph.hypotheses.claims; "
        "print({'jax', 'torch', 'equinox'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_each_thing_that_is_said_is_a_claim() -> None:
    listed = list_claims(make_hypothesis())
    assert [claim.id for claim in listed] == [
        "program",
        "holds[<lambda>]",
        "never[<lambda>]",
        "property[equality of copied]",
        "property[equality of copied] #2",
        "rival[another variable]",
        "scrub",
        "expect[accuracy >= 0.9]",
        "expect[necessity of copied <= 0.5]",
    ]
    assert [claim.kind for claim in listed] == [
        *("program", "holds", "never", "property", "property", "rival", "scrub", "expect", "expect")
    ]
    # only the scrub has no line but the hypothesis's
    assert len({claim.location.line for claim in listed}) == 8
    assert {claim.location.file for claim in listed} == {__file__}
    study: Any = SimpleNamespace(hypothesis=make_hypothesis())
    assert [claim.id for claim in list_claims(study)] == [claim.id for claim in listed]


def test_names_for_ids() -> None:
    assert make_slug("IOI, with name movers (9.9)!") == "ioi-with-name-movers-9-9"
    assert make_slug("¿?") == "hypothesis"
    assert number_repeats(["a", "b", "a", "a"]) == ["a", "b", "a #2", "a #3"]


def test_profiles_are_the_same_everywhere() -> None:
    assert set(OFFERED) == set(PROMPTS) == set(PROFILES) == set(get_args(Profile))
    assert PROMPTS["dev"] == evidence.N_PROMPTS


def test_one_study_serves_all_claims(
    opened: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        expecting, "judge_expectation", lambda evidence, expectation: Verdict(True, str(evidence.n))
    )
    monkeypatch.setattr(
        hunting,
        "test_property",
        lambda study, prop, profile: Verdict(True, f"{prop.kind} {profile}"),
    )
    about = make_hypothesis()
    context = Context(about, "ci", "other", 3)
    verdicts = {
        claim.id: context.test_claim(claim) for claim in list_claims(about) if claim.kind != "rival"
    }
    assert opened == [("other", 3)]
    assert verdicts["program"] == Verdict(
        True, "program: 3 variables that give the task's answers, 1 notes", "note: one thing"
    )
    assert verdicts["scrub"] == Verdict(
        False, "not shown, 2000 prompts", "note: few donors", undecided=True
    )
    assert verdicts["expect[necessity of copied <= 0.5]"].summary == "40"
    assert verdicts["never[<lambda>]"].summary == "never ci"
    assert Measured.gathered == [(2000, 3), (40, 3)]


def test_the_number_of_prompts_is_the_users_then_the_files_then_the_profiles(
    opened: list[tuple[Any, ...]],
) -> None:
    for given, expected in (
        ((None, 40), 40),
        ((7, 40), 7),
        ((7, None), 7),
        ((None, None), PROMPTS["dev"]),
    ):
        context = Context(make_hypothesis(), n_prompts=given[0])
        assert context.gather_evidence(given[1]).n == expected
        assert context.gather_evidence(given[1]) is context.gather_evidence(given[1])


def test_a_rival_is_beaten_only_if_the_whole_interval_says_so(
    opened: list[tuple[Any, ...]],
) -> None:
    about = Hypothesis("h", task="induction", model="induction-2l")
    about.rival("beaten")
    about.rival("perhaps")
    about.rival("better")
    context = Context(about, n_prompts=100)
    assert context.test_claim(find_claim("rival[beaten]", about)) == Verdict(
        True,
        "rival 'beaten': it recovers 0.200 of the loss, the hypothesis 0.900, more by 0.700 "
        "[0.600, 0.800], 100 prompts: held",
    )
    perhaps = context.test_claim(find_claim("rival[perhaps]", about))
    assert perhaps.word == "not shown"
    assert "[0.000, 0.200], 100 prompts: not shown" in perhaps.summary
    assert context.test_claim(find_claim("rival[better]", about)).word == "refuted"
    assert context.test_claim(find_claim("scrub", about)).word == "not shown"


def test_what_cannot_be_used_is_said_once_and_nothing_else_is_tested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []

    def refuse(hypothesis: Hypothesis, **given: Any) -> Any:
        tried.append(hypothesis)
        raise HypothesisError("It cannot be tested as it is written:\n  - h.py:3: no parent 'x'")

    monkeypatch.setattr(checking, "open_checked", refuse)
    about = make_hypothesis()
    context = Context(about)
    for one in list_claims(about):
        if one.kind == "program":
            with pytest.raises(HypothesisError, match="no parent 'x'"):
                context.test_claim(one)
        else:
            expected = "not tested: It cannot be tested as it is written: - h.py:3: no parent 'x'"
            assert context.test_claim(one) == Untested(False, expected)
    assert len(tried) == 1
