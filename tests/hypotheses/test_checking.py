"""Checks before any model runs: each problem is found, located and said, all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.checking import (
    check_study,
    list_study_problems,
    list_text_problems,
    open_checked,
)
from circuitgraph.hypotheses.checks.declared import OF
from circuitgraph.hypotheses.expecting import QUANTITIES
from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.loading import load_hypotheses
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.study import N_SAMPLE, Study
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.loading import load_task
from tests.hypotheses.texts import INDUCTION, SHIPPED, change_text, load_text

Messages = list[str]


@pytest.fixture(scope="module")
def sample(shipped: LanguageModel) -> list[Prompt]:
    """Some of the prompts that the shipped hypothesis is checked on."""
    return make_study(load_hypotheses(SHIPPED / "induction.py")[0], shipped).sample[:100]


def make_study(
    hypothesis: Hypothesis, model: LanguageModel, sample: list[Prompt] | None = None
) -> Study:
    """The study of a hypothesis, with prompts that are drawn already."""
    study = Study(
        hypothesis, model, load_task(hypothesis.task, model, seed=0, **hypothesis.settings)
    )
    if sample is not None:
        vars(study)["sample"] = sample
    return study


@pytest.fixture
def list_problems(
    shipped: LanguageModel, sample: list[Prompt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Messages]:
    """What is wrong with a hypothesis file of this text."""
    monkeypatch.chdir(tmp_path)

    def list_file_problems(text: str) -> Messages:
        return [
            str(f)
            for f in list_study_problems(make_study(load_text(tmp_path, text), shipped, sample))
        ]

    return list_file_problems


def check_only(problems: Messages, *phrases: str) -> None:
    """One problem, which says all this."""
    assert len(problems) == 1, problems
    missing = [phrase for phrase in phrases if phrase not in problems[0]]
    assert not missing, problems[0]


def test_a_sound_file_has_no_problems(list_problems: Callable[..., Messages]) -> None:
    assert list_problems(INDUCTION) == []


def test_the_shipped_hypothesis_is_checked_on_a_thousand_prompts(shipped: LanguageModel) -> None:
    study = make_study(load_hypotheses(SHIPPED / "induction.py")[0], shipped)
    assert check_study(study) == []
    assert len(study.sample) == N_SAMPLE


VARIABLES = {
    "unknown parent": (
        (
            "def copied(current, seen_before, successor)",
            "def copied(current, seen_before, sucessor)",
        ),
        [
            "mine.py:26: `copied` has the parameter 'sucessor'. Unknown variable 'sucessor'. Did "
            "you mean 'successor'?"
        ],
    ),
    "star": (
        (
            "def copied(current, seen_before, successor)",
            "def copied(current, seen_before, *successor)",
        ),
        ["mine.py:26:", "'*successor'", "name of one variable, or `p`"],
    ),
    "not routed here": (
        ('q="current"', 'q="earlier"'),
        [
            "mine.py:26: `copied` has q='earlier', which is none of its parameters (current, "
            "seen_before, successor)"
        ],
    ),
    "routed nobody": (
        ('q="current"', 'q="curent"'),
        ["which is no variable", "Did you mean 'current'"],
    ),
    "no head": (
        (
            '@H.var(at=embed @ "A2")\ndef current(p)',
            '@H.var(at=mlp(0) @ "A2", q="earlier")\ndef current(earlier)',
        ),
        ["mine.py:16: `current` is at m0@A2, but q=, k= and v= are inputs of heads only"],
    ),
    "no site": (
        ('at=head(0, 3) @ "B1", v="earlier"', 'v="earlier"'),
        ["mine.py:21: `seen_before` has no site, but q=, k= and v= are inputs of heads only"],
    ),
    "through nobody": (
        ('v="successor")', 'v="successor", through={"last": mlp(0)})'),
        ["has through='last', which is no variable"],
    ),
    "through embed": (
        ('v="successor")', 'v="successor", through={"current": embed})'),
        ["nothing passes through embed; name a head or an MLP"],
    ),
    "no output": (
        ("@H.output(", "@H.var("),
        ["mine.py:3: there is no output: decorate the last function with @H.output"],
    ),
    "output at a head": (
        ('@H.output(at=logits @ "A2")', '@H.output(at=head(1, 6) @ "A2")'),
        ["mine.py:31: the output `answer` is at a1.h6@A2, but an output is at logits @ one role"],
    ),
    "output everywhere": (
        ('@H.output(at=logits @ "A2")', "@H.output(at=logits)"),
        ["the output `answer` is at logits, but"],
    ),
    "output at two roles": (
        ('@H.output(at=logits @ "A2")', '@H.output(at=logits @ ("A2", "B1"))'),
        ["is at logits@A2+B1, but"],
    ),
    "circle": (
        ("def earlier(p):", "def earlier(copied):"),
        ["mine.py:", "variables need each other: `", "needs"],
    ),
    "itself": (
        ("def seen_before(earlier)", "def seen_before(earlier, seen_before)"),
        ["mine.py:21: variables need each other: `seen_before` needs `seen_before`"],
    ),
    "unclaimed": (
        ('model="induction-2l")', 'model="induction-2l")\nH.unclaimed = "random"'),
        ["mine.py:3: unclaimed='random': expected one of joint, everywhere, separate, keep"],
    ),
    "align": (
        ('model="induction-2l")', 'model="induction-2l")\nH.align = "left"'),
        ["align='left': expected one of role, index"],
    ),
}


@pytest.mark.parametrize("case", VARIABLES)
def test_problems_of_variables(case: str, list_problems: Callable[..., Messages]) -> None:
    change, phrases = VARIABLES[case]
    problems = list_problems(change_text(change))
    assert any(all(phrase in problem for phrase in phrases) for problem in problems), problems


def test_two_of_one_name(list_problems: Callable[..., Messages]) -> None:
    twin = '\n\n@H.var(at=embed @ "A2")\ndef current(p):\n    return 1\n'
    check_only(
        list_problems(INDUCTION + twin),
        "mine.py:36: two variables are called `current`, the first in line 16: rename one",
    )


def test_two_outputs(list_problems: Callable[..., Messages]) -> None:
    twin = '\n\n@H.output(at=logits @ "A2")\ndef reply(answer):\n    return answer\n'
    check_only(list_problems(INDUCTION + twin), "mine.py:36: 2 outputs are declared")


def test_a_variable_that_nobody_uses(list_problems: Callable[..., Messages]) -> None:
    more = '\n\n@H.var(at=head(0, 1) @ "A2", v="earlier")\ndef idle(earlier):\n    return earlier\n'
    check_only(
        list_problems(INDUCTION + more),
        "mine.py:36: nobody uses `idle`: make it a parameter of what reads it, or remove it",
    )


@pytest.mark.parametrize("body", ["...", "return ...", "pass", '"""What it is."""\n    ...'])
def test_a_function_that_is_still_to_be_written(
    body: str, list_problems: Callable[..., Messages]
) -> None:
    text = change_text(("    return earlier\n", f"    {body}\n"))
    check_only(
        list_problems(text), "mine.py:21: `seen_before` is still `...`: say what it computes"
    )


DECLARED = {
    'H.expect("acuracy", at_least=0.5)': ["Unknown quantity 'acuracy'. Did you mean 'accuracy'"],
    'H.expect("accuracy")': [
        "the expectation of accuracy has no bound: give at_least=, at_most= or both"
    ],
    'H.expect("kl", at_most=float("nan"))': [
        "the expectation of kl has at_most=nan: expected a number"
    ],
    'H.expect("kl", at_least=2, at_most=1)': ["at least 2 and at most 1: nothing can be both"],
    'H.expect("accuracy", rivals_below=0.5)': ["rivals_below, which belongs to loss_recovered"],
    'H.expect("accuracy", at_least=0.5, n=1)': ["has n=1: expected a number of prompts, 2 or more"],
    'H.expect("accuracy", at_least=0.5, of="copied")': [
        "is of the whole hypothesis: leave of= out"
    ],
    'H.expect("interchange_accuracy", at_least=0.5)': [
        "needs of=: the variable, or several, to be swapped"
    ],
    'H.expect("interchange_accuracy", at_least=0.5, of="copid")': [
        "is of 'copid'. Unknown variable",
        "'copied'",
    ],
    'H.expect("necessity", at_least=0.5, of=answer)': ["is of the output `answer`"],
    'H.expect("attention", of=head(1, 6), to="B1", at_least=0.5)': ["needs one head at one role"],
    'H.expect("attention", of=head(1, 6) @ "A2", at_least=0.5)': [
        "needs one head at one role, and where it looks"
    ],
    'H.expect("attention", of=head(1, 6) @ "A2", to="C1", at_least=0.5)': [
        "Unknown role 'C1'",
        "A1, B1, A2",
    ],
    'H.expect("attention", of=head(1, 9) @ "A2", to="B1", at_least=0.5)': [
        "is at a1.h9@A2, but",
        "8 heads",
    ],
    'H.expect("accuracy", at_least=0.5, of=head(1, 6))': [
        "has of=a site, which belongs to attention"
    ],
    'H.rival("r")': [
        "the rival 'r' changes nothing: give drop=, move=, or a function for a variable"
    ],
    'H.rival("r", move={"seen_before": head(0, 3) @ "B1"})': ["changes nothing"],
    'H.rival("r", drop="seen")': [
        "the rival 'r' drops 'seen'. Unknown variable 'seen'. Did you mean 'seen_before'?"
    ],
    'H.rival("r", move={"seen": embed @ "A1"})': ["the rival 'r' moves 'seen'. Unknown variable"],
    'H.rival("r", seen=lambda p: 1)': ["the rival 'r' replaces 'seen'. Unknown variable"],
    'H.rival("r", drop="answer")': ["drops the output `answer`"],
    'H.rival("r", copied=lambda curent: 1)': [
        "the function for `copied` has the parameter 'curent'",
        "'current'",
    ],
    'H.rival("r", earlier=lambda copied: copied)': ["the rival 'r': variables need each other: `"],
    'H.rival("r", earlier=lambda p: 1 / 0)': ["the rival 'r': `earlier` raises ZeroDivisionError"],
    'H.rival("r", move={"earlier": embed @ "C1"})': [
        "`earlier` of the rival 'r': Unknown role 'C1'"
    ],
    'H.rival("r", move={"seen_before": head(0, 3) @ "A2"}, drop="earlier")\nH.rival("r", '
    'drop="copied")': ["two rivals are called 'r'"],
    'H.property("equalitty", of="copied")': ["Unknown property 'equalitty'"],
    'H.property("behaviour", of="copied")': ["takes nothing in of=, not copied"],
    'H.property("behaviour", colour=3)': ["Unknown setting 'colour'"],
    'H.property("attention", of="copied")': ["the property 'attention of copied' needs to="],
    'H.property("attention", of="copid", to="B1")': ["is of 'copid'. Unknown variable"],
    'H.property("behaviour", allow=1.5)': [
        "has allow=1.5: expected a share of prompts, from 0 to below 1"
    ],
    'H.property("behaviour", max_examples=0)': ["has max_examples=0: expected 1 or more"],
    "@H.holds\ndef law(p, runs):\n    pass": [
        "the property 'law' has the parameter 'runs'",
        "Did you mean 'run'?",
    ],
}


@pytest.mark.parametrize("line", DECLARED)
def test_problems_of_expectations_rivals_and_properties(
    line: str, list_problems: Callable[..., Messages]
) -> None:
    check_only(
        list_problems(f"{INDUCTION}\n\n{line}\n"),
        "mine.py:36: " if "\n" not in line else "mine.py:3",
        *DECLARED[line],
    )


def test_quantities_are_those_that_can_be_measured() -> None:
    assert set(OF) == set(QUANTITIES)


PLACES = {
    "layer": (
        ("head(0, 3)", "head(2, 3)"),
        ["mine.py:21: `seen_before` is at a2.h3@B1, but the model has 2 layers"],
    ),
    "head": (
        ("head(0, 3)", "head(0, 8)"),
        ["`seen_before` is at a0.h8@B1, but a layer of the model has 8 heads"],
    ),
    "mlp": (("head(0, 3)", "mlp(0)"), ["the model has no MLPs"]),
    "neuron": (("head(0, 3)", "neuron(0, 3)"), ["the model has no MLPs"]),
    "feature": (
        ("head(0, 3)", "feature(0, 3)"),
        ["no dictionary of m0 is loaded with this model (loaded: none)"],
    ),
    "role": (
        ('embed @ "A1"', 'embed @ "A3"'),
        ["mine.py:6: `earlier`: Unknown role 'A3'.", "have: A1, B1, A2."],
    ),
    "not last": (
        ('logits @ "A2"', 'logits @ "B1"'),
        ["mine.py:31: the output `answer` is at 'B1'", "the role of the last token is 'A2'"],
    ),
}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ('"/data/sae"', "the dictionary '/data/sae' is a whole path"),
        ('"~/sae"', "is a whole path"),
        ('"sets/../../sae"', "leads upwards ('..')"),
        ('" "', "a dictionary is named ' ': expected a text"),
        ('"sae", "sae"', "the dictionary 'sae' is named twice"),
    ],
)
def test_names_of_dictionaries(
    name: str, problem: str, list_problems: Callable[..., Messages]
) -> None:
    messages = list_problems(f"{INDUCTION}\n\nH.dictionary({name})\n")
    assert all("mine.py:36" in message and problem in message for message in messages)
    assert messages


@pytest.mark.parametrize("case", PLACES)
def test_sites_and_roles_that_are_not_there(
    case: str, list_problems: Callable[..., Messages]
) -> None:
    change, phrases = PLACES[case]
    routes = (', v="earlier"', "") if case in ("mlp", "neuron", "feature") else change
    check_only(
        list_problems(change_text(change, routes) if routes != change else change_text(change)),
        *phrases,
    )


def test_a_role_that_some_prompts_lack(
    shipped: LanguageModel, sample: list[Prompt], tmp_path: Path
) -> None:
    short = min(sample, key=len)
    roles = {name: at for name, at in short.pair.roles.items() if name != "B1"}
    lacking = replace(short, pair=replace(short.pair, roles=roles))
    prompts = [lacking if p is short else p for p in sample]
    problems = list_study_problems(make_study(load_text(tmp_path, INDUCTION), shipped, prompts))
    shown = [f.message for f in problems if f.message.startswith("`successor`:")]
    check_only(
        shown,
        "only 99 of 100 prompts have the role 'B1'",
        repr(lacking),
        "where=lambda p: 'B1' in p.position",
    )


PAPER = {
    "raises": (
        ('p.token["A1"]', 'p.tokens["A1"]'),
        ["mine.py:8: `earlier` raises TypeError", "100 of 100 prompts"],
    ),
    "raises deep": (
        ("    return earlier\n", "    return (lambda x:\n        x / 2)(earlier)\n"),
        ["mine.py:24: `seen_before` raises TypeError", "on 100 of 100 prompts, as on '"],
    ),
    "unhashable": (
        ("    return earlier\n", "    return [earlier]\n"),
        ["mine.py:21: `seen_before` gives ['", "a list is not. Return a text, a number, a tuple"],
    ),
    "constant": (
        ("    return earlier\n", "    return 3\n"),
        [
            "mine.py:21: `seen_before` is 3 on all of 100 prompts: nothing is claimed to be "
            "carried there"
        ],
    ),
}


@pytest.mark.parametrize("case", PAPER)
def test_functions_on_prompts(case: str, list_problems: Callable[..., Messages]) -> None:
    change, phrases = PAPER[case]
    problems = list_problems(change_text(change))
    assert any(all(phrase in problem for phrase in phrases) for problem in problems), problems


def test_a_value_that_no_other_prompt_has(list_problems: Callable[..., Messages]) -> None:
    text = change_text(
        ('return p.token["A1"]', "return p.text"),
        ("successor if current == seen_before else None", "successor"),
    )
    problems = list_problems(text)
    who = ["mine.py:6: `earlier`", "mine.py:21: `seen_before`"]
    assert [
        p.partition(" has a value that no other prompt has on 100 of 100 prompts")[0]
        for p in problems
    ] == who


def test_few_lonely_values_are_a_note(
    shipped: LanguageModel, sample: list[Prompt], tmp_path: Path
) -> None:
    text = change_text(
        ('return p.token["A1"]', f"return p.token['A1'], p.text == {sample[0].text!r}")
    )
    text = text.replace("current == seen_before", "current == seen_before[0]")
    notes = check_study(make_study(load_text(tmp_path, text), shipped))
    assert [n.message.partition(" on 1 of 1,000 prompts")[0] for n in notes] == [
        f"`{name}` has a value that no other prompt has" for name in ("earlier", "seen_before")
    ]


def test_a_program_that_is_wrong_on_paper_shows_its_shortest_counterexample(
    list_problems: Callable[..., Messages], sample: list[Prompt]
) -> None:
    (problem,) = list_problems(change_text(("successor if current", "seen_before if current")))
    shortest = min(sample, key=lambda p: (len(p), p.text))
    assert "mine.py:31: `answer` is wrong on paper, in 100 of 100 prompts." in problem
    assert repr(shortest) in problem
    assert f"right is {shortest.answer!r}, but the program says {shortest.token['A1']!r}" in problem
    assert f"successor = {shortest.answer!r}" in problem


def test_a_program_that_says_nothing_is_wrong(list_problems: Callable[..., Messages]) -> None:
    problems = list_problems(change_text(("current == seen_before", "current != seen_before")))
    check_only([problem for problem in problems if "`answer`" in problem], "the program says None")


def test_everything_at_once_in_the_order_of_the_file(
    shipped: LanguageModel, sample: list[Prompt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = change_text(
        ('embed @ "A2"', 'embed @ "A9"'),
        ("head(1, 6)", "head(7, 6)"),
        ("return copied", "return 1 / 0"),
    )
    hypothesis = load_text(tmp_path, text + '\n\nH.expect("nothing", at_least=1)\nH.rival("r")\n')
    with pytest.raises(HypothesisError) as caught:
        check_study(make_study(hypothesis, shipped, sample))
    lines = str(caught.value).splitlines()
    assert lines[0] == "The hypothesis 'induction' cannot be tested as it is written:"
    assert [line.split(":")[1] for line in lines[1:]] == ["16", "26", "33", "36", "37"]


@pytest.mark.parametrize(
    ("change", "phrases"),
    [
        (
            ('task="induction"', 'task="inductoin"'),
            ["mine.py:3: Unknown task 'inductoin'. Did you mean 'induction'"],
        ),
        (('model="induction-2l"', 'model="./none"'), ["mine.py:3: There is no folder './none'"]),
        (('-2l")', '-2l", metric="kll")'), ["mine.py:3: Unknown metric 'kll'. Did you mean 'kl'"]),
        (
            ('-2l")', '-2l", settings={"words": 3})'),
            ["mine.py:3: Unknown argument of task 'induction' 'words'"],
        ),
        (('-2l")', '-2l", settings={"min_words": 99})'), ["mine.py:3: min_words = 99"]),
        (('model="induction-2l"', 'model="addition"'), ["mine.py:3: ", "words"]),
    ],
    ids=["task", "model", "metric", "setting", "value", "fit"],
)
def test_names_of_task_and_model(
    change: tuple[str, str], phrases: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hypothesis = load_text(tmp_path, change_text(change) + '\nH.rival("r")\n')
    with pytest.raises(HypothesisError) as caught:
        open_checked(hypothesis)
    message = str(caught.value)
    assert (
        "mine.py:35: the rival 'r' changes nothing" in message
    )  # a model is no reason to keep silent of the rest
    assert not [phrase for phrase in phrases if phrase not in message], message


def test_a_condition_that_fails_or_lets_nothing_pass(
    shipped: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    where = partial('-2l", where={})'.format)
    fails = make_study(
        load_text(tmp_path, change_text(('-2l")', where("lambda p: p.colour == 3")))), shipped
    )
    check_only(
        [str(f) for f in list_study_problems(fails)],
        "mine.py:3: the condition where= raises AttributeError",
    )
    empty = make_study(
        load_text(tmp_path, change_text(('-2l")', where("lambda p: False")))), shipped
    )
    check_only(
        [str(f) for f in list_study_problems(empty)],
        "mine.py:3: Only 0 of",
        "pass the hypothesis's `where`",
    )
    no_function = load_text(tmp_path, change_text(('-2l")', '-2l")\nH.selects = 3')))
    check_only(
        [str(f) for f in list_text_problems(no_function)],
        "where=3: expected a function of the prompt",
    )
