"""The pytest plugin: what is collected, how claims end, what is shown, and that other projects do
not notice it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

# A run in this process forgets the modules that it imported first; these are to stay.
import circuitgraph.hypotheses.claims
import circuitgraph.hypotheses.loading
import circuitgraph.hypotheses.study  # noqa: F401
from circuitgraph import pytest_plugin
from circuitgraph.errors import ModelError
from circuitgraph.hypotheses.claims import Claim, Context, Untested
from circuitgraph.hypotheses.diagnostics import Verdict
from circuitgraph.pytest_plugin import is_hypothesis_file

pytest_plugins = ["pytester"]

Tester = Callable[[Context, Claim], Verdict]

FILE = """
from circuitgraph.hypotheses import Hypothesis, embed, logits

H = Hypothesis("copying by hand", task="induction", model="induction-2l")

@H.var(at=embed @ "B1")
def successor(p):
    return p.token["B1"]

@H.output(at=logits @ "A2")
def answer(successor):
    return successor

H.expect("accuracy", at_least=0.95)
H.rival("nothing at all", drop=successor)

@H.holds
def names_do_not_matter(p, run): ...

@H.never
def blue(p, run): ...

H.property("equality", of=successor)
"""
IDS = [
    "program",
    "holds[names_do_not_matter]",
    "never[blue]",
    "property[equality of successor]",
    "rival[nothing at all]",
    "scrub",
    "expect[accuracy >= 0.95]",
]
FAKE = """
import circuitgraph.pytest_plugin
from circuitgraph.hypotheses.claims import Context
from circuitgraph.hypotheses.diagnostics import Verdict

circuitgraph.pytest_plugin._keep_compiled_programs = lambda: None
Context.test_claim = lambda context, claim: Verdict(claim.kind != "rival", f"{claim.id} was tested")
"""
HEAVY = ("jax", "jaxlib", "torch", "transformers", "equinox")


@pytest.fixture
def files(pytester: pytest.Pytester) -> Path:
    """A folder with one hypothesis file, and nothing of an outer pytest's settings."""
    pytester.makeini(
        "[pytest]\naddopts = -p no:unraisableexception\n"
    )  # which collects garbage for a second
    folder = pytester.mkdir("hypotheses")
    (folder / "copying.py").write_text(FILE)
    return folder


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Callable[[Tester], None]:
    """Let claims be tested by a function of their context, with no model anywhere."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(pytest_plugin, "_keep_compiled_programs", lambda: None)
    return lambda tester: monkeypatch.setattr(Context, "test_claim", tester)


def python(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def held(context: Context, claim: Claim) -> Verdict:
    return Verdict(True, f"{claim.id} was tested")


def collected(result: pytest.RunResult) -> list[str]:
    return [line.partition("::")[2] for line in result.outlines if "::" in line]


# What is loaded, and what is collected


def test_loading_the_plugin_costs_nothing() -> None:
    code = f"import circuitgraph.pytest_plugin, sys; print([n for n in sys.modules if n.split('.')[0] in {HEAVY}])"  # noqa: E501
    code += "; print([n for n in sys.modules if n.startswith('circuitgraph')])"
    ended = python("-c", code)
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == ["[]", "['circuitgraph', 'circuitgraph.pytest_plugin']"]


def test_collecting_loads_neither_a_model_nor_jax_nor_torch(files: Path) -> None:
    code = "import pytest, sys; pytest.main(['--collect-only', '-q', 'hypotheses'])"
    ended = python("-c", f"{code}; print([n for n in {HEAVY} if n in sys.modules])")
    assert ended.stderr == ""
    assert [line.partition("::")[2] for line in ended.stdout.splitlines() if "::" in line] == IDS
    assert ended.stdout.splitlines()[-1] == "[]"


def test_each_claim_is_an_item(files: Path, pytester: pytest.Pytester) -> None:
    assert collected(pytester.runpytest("--collect-only", "-q", "hypotheses")) == IDS
    shown = pytester.runpytest("--collect-only", "hypotheses").stdout.str()
    assert "<HypothesisFile copying.py>" in shown
    assert "<ClaimItem rival[nothing at all]>" in shown


def test_with_several_hypotheses_each_has_its_name_in_front(
    files: Path, pytester: pytest.Pytester, judged: Callable[[Tester], None]
) -> None:
    judged(held)
    text = 'A = Hypothesis("One, by hand!", task="t", model="m")\nB = Hypothesis("One by hand", task="t", model="m")\n'  # noqa: E501
    (files / "two.py").write_text(f"from circuitgraph.hypotheses import Hypothesis\n{text}")
    found = collected(pytester.runpytest("--collect-only", "-q", "hypotheses/two.py"))
    first, second = "one-by-hand", "one-by-hand #2"
    assert found == [
        f"{first}::program",
        f"{first}::scrub",
        f"{second}::program",
        f"{second}::scrub",
    ]
    pytester.runpytest("hypotheses/two.py::one-by-hand").assert_outcomes(passed=2)
    pytester.runpytest("hypotheses/two.py::one-by-hand #2::scrub").assert_outcomes(passed=1)


def test_a_file_is_executed_once_even_if_it_is_named(
    files: Path, pytester: pytest.Pytester
) -> None:
    with (files / "copying.py").open("a") as file:
        file.write("open('executed', 'a').write('once ')\n")
    for named in ("hypotheses", "hypotheses/copying.py"):
        assert collected(pytester.runpytest("--collect-only", "-q", named)) == IDS
        assert Path("executed").read_text() == "once "
        Path("executed").unlink()


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("import circuitgraph.hypotheses as c\nc.Hypothesis('a')", True),
        ("from circuitgraph import load_model, hypotheses\nH = hypotheses.Hypothesis('a')", True),
        (
            "if True:\n    from circuitgraph.hypotheses.language import Hypothesis\n    H = "
            "Hypothesis()",
            True,
        ),
        (
            "from circuitgraph.hypotheses import Hypothesis\nH = Hypothesis(",
            True,
        ),  # its author wants to know
        ("from circuitgraph.hypotheses import Hypothesis", False),
        ("from elsewhere import Hypothesis\nH = Hypothesis()", False),
        ("import circuitgraph\nH = Hypothesis()", False),
        ("'''\nfrom circuitgraph.hypotheses import Hypothesis\nH = Hypothesis()\n'''", False),
        ("# from circuitgraph.hypotheses import Hypothesis\nH = Hypothesis()", False),
        ("from circuitgraph.hypotheses import Hypothesis\nH = AnotherHypothesis()", False),
        ("", False),
    ],
)
def test_only_files_that_make_a_hypothesis_are_ours(tmp_path: Path, text: str, ours: bool) -> None:
    file = tmp_path / "a.py"
    file.write_text(text)
    assert is_hypothesis_file(file) == ours


def test_what_cannot_be_read_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes(FILE.encode() + "# é".encode("latin-1"))
    assert not is_hypothesis_file(tmp_path / "latin.py")
    assert not is_hypothesis_file(tmp_path / "missing.py")
    assert not is_hypothesis_file(tmp_path)


def test_other_names_and_other_peoples_names_are_left_alone(
    files: Path, pytester: pytest.Pytester
) -> None:
    (files / "copying.py").unlink()
    for name in ("setup.py", "copying.txt", "test_copying.py"):
        (files / name).write_text(FILE + "def test_one(): pass")
    assert collected(pytester.runpytest("--collect-only", "-q", "hypotheses")) == ["test_one"]
    assert collected(
        pytester.runpytest("--collect-only", "-q", "hypotheses", "-o", "python_files=*s/test_*.py")
    ) == ["test_one"]
    assert (
        collected(pytester.runpytest("--collect-only", "-q", "hypotheses", "-o", "python_files=x"))
        == IDS
    )


def test_a_file_that_does_not_import_is_one_located_sentence(
    files: Path, pytester: pytest.Pytester
) -> None:
    (files / "copying.py").write_text(FILE + "\n1 / 0\n")
    line = len(FILE.splitlines()) + 2
    for named in ("hypotheses", "hypotheses/copying.py"):
        result = pytester.runpytest(named)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(
            [f"hypotheses/copying.py:{line}: ZeroDivisionError: division by zero"]
        )
        assert "Traceback" not in result.stdout.str()
        assert "pytest_plugin.py" not in result.stdout.str()


def test_helpers_without_a_hypothesis_are_passed_over_unless_named(
    files: Path, pytester: pytest.Pytester
) -> None:
    helper = "from circuitgraph.hypotheses import Hypothesis\ndef make(): return Hypothesis('a', task='t', model='m')"  # noqa: E501
    (files / "copying.py").write_text(helper)
    assert pytester.runpytest("hypotheses").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result = pytester.runpytest("hypotheses/copying.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*'*copying.py' holds no hypothesis. Expected*"])


# How claims end


def test_ends_of_claims(
    files: Path, pytester: pytest.Pytester, judged: Callable[[Tester], None]
) -> None:
    def tester(context: Context, claim: Claim) -> Verdict:
        ends = {
            "expect": Verdict(False, "accuracy: 0.5, refuted", "shortest counterexample: dog cat"),
            "scrub": Untested(False, "not tested: no program"),
            "rival": Verdict(True, "rival: beaten", "note: by far"),
            "property": Verdict(False, "equality: too few", undecided=True),
        }
        if claim.kind == "holds":
            raise ModelError("There is no model 'nowhere'.")
        if claim.kind == "never":
            raise ZeroDivisionError("ours")
        return ends.get(claim.kind, Verdict(True, "held"))

    judged(tester)
    result = pytester.runpytest("hypotheses", "-rA", "-v")
    result.assert_outcomes(passed=2, failed=5)
    text = result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            "hypotheses/copying.py::program PASSED (held) *",
            "hypotheses/copying.py::property* FAILED (not shown) *",
            "hypotheses/copying.py::rival* PASSED (rival: beaten) *",
            "hypotheses/copying.py::scrub FAILED (not tested) *",
            "hypotheses/copying.py::expect* FAILED *",
            "*_ holds[[]names_do_not_matter[]] _*",
            "Error: There is no model 'nowhere'.",
            "*_ never[[]blue[]] _*",
            "*ZeroDivisionError: ours",
            "*_ scrub _*",
            "not tested: no program",
            "*_ expect[[]accuracy >= 0.95[]] _*",
            "accuracy: 0.5, refuted",
            "shortest counterexample: dog cat",
            "*_ rival[[]nothing at all[]] _*",
            "rival: beaten",
            "note: by far",
            "FAILED hypotheses/copying.py::expect* - accuracy: 0.5*",
        ]
    )
    assert "_pytest/runner.py" not in text, "what pytest does around a claim is of no interest"
    assert "NotHeld" not in text


def test_selection(
    files: Path, pytester: pytest.Pytester, judged: Callable[[Tester], None]
) -> None:
    def tester(context: Context, claim: Claim) -> Verdict:
        return Verdict(claim.kind not in ("expect", "rival"), claim.id)

    judged(tester)
    (files / "test_plain.py").write_text("def test_plain(): pass")
    run = pytester.runpytest
    run("hypotheses").assert_outcomes(passed=6, failed=2)
    run("hypotheses", "-k", "rival and not program").assert_outcomes(failed=1, deselected=7)
    run("hypotheses", "-m", "circuitgraph").assert_outcomes(passed=5, failed=2, deselected=1)
    run("hypotheses", "-m", "not circuitgraph").assert_outcomes(passed=1, deselected=7)
    run("hypotheses", "-x").assert_outcomes(passed=4, failed=1)
    run("hypotheses").assert_outcomes(passed=6, failed=2)
    run("hypotheses", "--lf").assert_outcomes(failed=2)
    run("hypotheses/copying.py::rival[nothing at all]").assert_outcomes(failed=1)
    run(
        "hypotheses/copying.py::holds[names_do_not_matter]", "hypotheses/copying.py::scrub"
    ).assert_outcomes(passed=2)


def test_junit_says_what_was_found(
    files: Path, pytester: pytest.Pytester, judged: Callable[[Tester], None]
) -> None:
    judged(
        lambda context, claim: Verdict(claim.kind != "rival", f"{claim.id} summed up", "and\nmore")
    )
    pytester.runpytest("hypotheses", "--junitxml=claims.xml").assert_outcomes(passed=6, failed=1)
    cases = ElementTree.parse("claims.xml").getroot().findall(".//testcase")  # noqa: S314 (our own file)
    assert [case.get("name") for case in cases] == IDS
    found = {
        case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in cases
    }
    assert found["program"] == {
        "circuitgraph hypothesis": "copying by hand",
        "circuitgraph verdict": "held",
        "circuitgraph summary": "program summed up",
        "circuitgraph detail": "and\nmore",
    }
    assert found["rival[nothing at all]"]["circuitgraph verdict"] == "refuted"
    failure = cases[4].find("failure")
    assert failure is not None
    assert failure.text == "rival[nothing at all] summed up\nand\nmore"


def test_claims_of_a_file_share_a_context_which_goes_with_the_file(
    files: Path, pytester: pytest.Pytester, judged: Callable[[Tester], None]
) -> None:
    seen: list[Context] = []

    def tester(context: Context, claim: Claim) -> Verdict:
        seen.append(context)
        return Verdict(True, "held")

    judged(tester)
    (files / "second.py").write_text(FILE)
    pytester.runpytest("hypotheses").assert_outcomes(passed=14)
    assert (
        len({id(context) for context in seen[:7]})
        == len({id(context) for context in seen[7:]})
        == 1
    )
    assert seen[0] is not seen[7]


# Options


def test_options_reach_the_claims(
    files: Path,
    pytester: pytest.Pytester,
    judged: Callable[[Tester], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def tester(context: Context, claim: Claim) -> Verdict:
        return Verdict(
            True, f"{context.profile} {context.model} {context.seed} {context.n_prompts}"
        )

    def told(*options: str) -> str:
        lines = pytester.runpytest("hypotheses", "-v", "-k", "scrub", *options).outlines
        return next(line for line in lines if "::scrub" in line).partition("(")[2].partition(")")[0]

    judged(tester)
    assert told() == "dev None 0 None"
    given = ["profile=hunt", "model=other", "seed=7", "prompts=50"]
    assert told(*[f"--circuitgraph-{option}" for option in given]) == "hunt other 7 50"
    for value, profile in (("true", "ci"), ("false", "dev"), ("", "dev")):
        monkeypatch.setenv("CI", value)
        assert told().startswith(profile)


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("--circuitgraph-profile=quick", "invalid choice: 'quick'"),
        ("--circuitgraph-seed=-1", "expected a whole number from 0, not '-1'"),
        ("--circuitgraph-prompts=1", "expected a whole number from 2, not '1'"),
        ("--circuitgraph-prompts=many", "expected a whole number from 2, not 'many'"),
    ],
)
def test_bad_options_are_refused(
    files: Path, pytester: pytest.Pytester, option: str, problem: str
) -> None:
    result = pytester.runpytest("hypotheses", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert problem in result.stderr.str()


def test_hypothesis_options_keep_working(
    files: Path, pytester: pytest.Pytester, judged: Callable[[Tester], None]
) -> None:
    import hypothesis
    from hypothesis import core, strategies

    seeds = []

    def tester(context: Context, claim: Claim) -> Verdict:
        @hypothesis.settings(database=None, max_examples=3, derandomize=False)
        @hypothesis.given(strategies.integers())
        def hunt(number: int) -> None:
            hypothesis.event("an event")

        hunt()
        seeds.append(core.global_force_seed)
        return Verdict(True, "held")

    judged(tester)
    before = core.global_force_seed
    try:
        result = pytester.runpytest(
            "hypotheses", "-k", "holds", "--hypothesis-show-statistics", "--hypothesis-seed=5"
        )
    finally:
        core.global_force_seed = before
    result.stdout.fnmatch_lines(
        ["*Hypothesis Statistics*", "hypotheses/copying.py::holds*", "*an event*"]
    )
    assert seeds == [5]


# Other projects


@pytest.mark.parametrize("strict", [["-W", "error"], []])
def test_warnings_of_libraries_are_no_errors(
    files: Path, pytester: pytest.Pytester, judged: Callable[[Tester], None], strict: list[str]
) -> None:
    def tester(context: Context, claim: Claim) -> Verdict:
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        warnings.warn("worth knowing", UserWarning, stacklevel=1)
        return Verdict(True, "held")

    judged(tester)
    (files / "copying.py").write_text(
        f"import warnings\nwarnings.warn('old', DeprecationWarning)\n{FILE}"
    )
    result = pytester.runpytest("hypotheses", *strict)
    result.assert_outcomes(passed=7, warnings=7)
    assert "worth knowing" in result.stdout.str()
    assert "Deprecation" not in result.stdout.str()


def test_a_strict_project_without_hypotheses_does_not_notice(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml("""
        [tool.pytest.ini_options]
        addopts = [
            "--strict-markers", "--strict-config", "--import-mode=importlib", "--doctest-modules"
        ]
        filterwarnings = ["error"]
        markers = ["mine: of this project"]
        xfail_strict = true
    """)
    pytester.makepyfile(
        words="def twice(a):\n    '''\n    >>> twice(2)\n    4\n    '''\n    return 2 * a",
        test_words="""
            import sys
            import hypothesis
            import pytest

            @pytest.mark.mine
            @hypothesis.given(hypothesis.strategies.integers())
            def test_hypothesis_is_as_it_was(number):
                assert hypothesis.settings.get_current_profile_name() in ("default", "ci")

            def test_nothing_heavy_is_here():
                loaded = {name for name in sys.modules if name.startswith("circuitgraph")}
                assert loaded <= {"circuitgraph", "circuitgraph.pytest_plugin"}
                assert not {"jax", "torch"} & set(sys.modules)
        """,
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=3)
    assert "warning" not in result.stdout.str()
    assert result.stderr.str() == ""


def test_in_several_processes_a_files_claims_can_stay_together(
    files: Path, pytester: pytest.Pytester
) -> None:
    pytest.importorskip("xdist")
    (files / "second.py").write_text(FILE)
    pytester.makeconftest(FAKE)
    result = pytester.runpytest_subprocess("hypotheses", "-n2", "--dist=loadfile", "-v")
    result.assert_outcomes(passed=12, failed=2)
    ended = [line for line in result.outlines if line.startswith("[gw") and "::" in line]
    assert sum("(program was tested)" in line for line in ended) == 2
    for file in ("copying.py", "second.py"):
        assert len({line[:5] for line in ended if f"hypotheses/{file}" in line}) == 1
