"""``circuitgraph test``: what it runs, what it says, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from circuitgraph import pytest_plugin
from circuitgraph.cli import test as command
from circuitgraph.errors import ModelError
from circuitgraph.hypotheses.claims import Claim, Context, Untested
from circuitgraph.hypotheses.diagnostics import Verdict
from tests.cli.conftest import Ran

FILE = """
from circuitgraph.hypotheses import Hypothesis
H = Hypothesis("by hand", task="induction", model="induction-2l")
H.expect("accuracy", at_least=0.95)
H.rival("nothing")
"""
IDS = ["program", "rival[nothing]", "scrub", "expect[accuracy >= 0.95]"]
Run = Callable[..., Ran]
Tester = Callable[[Context, Claim], Verdict]


@pytest.fixture
def file(run: Run) -> Path:
    """A hypothesis file in the folder in which commands run."""
    Path("hypotheses").mkdir()
    path = Path("hypotheses") / "copying.py"
    path.write_text(FILE)
    return path


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Callable[[Tester], None]:
    """Claims are tested by a function, with no model anywhere."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(pytest_plugin, "_keep_compiled_programs", lambda: None)
    return lambda tester: monkeypatch.setattr(Context, "test_claim", tester)


def held(context: Context, claim: Claim) -> Verdict:
    return Verdict(True, f"{claim.id} was tested")


def no_rival(context: Context, claim: Claim) -> Verdict:
    return Verdict(claim.kind != "rival", f"{claim.kind} summed up", "prompt: dog cat")


def test_all_held(run: Run, file: Path, judged: Callable[[Tester], None]) -> None:
    judged(held)
    for named in ("hypotheses", file, file.resolve()):
        ran = run("test", named)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.splitlines()[-1] == "4 claims: 4 held"
        assert "hypotheses/copying.py::scrub PASSED (scrub was tested)" in ran.out


def test_one_refuted(run: Run, file: Path, judged: Callable[[Tester], None]) -> None:
    judged(no_rival)
    ran = run("test", "hypotheses")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.splitlines()[-1] == "4 claims: 3 held, 1 refuted"
    assert "rival summed up\nprompt: dog cat\n" in ran.out
    assert (
        run("test", f"{file}::rival[nothing]").out.splitlines()[-1] == "1 claim: 0 held, 1 refuted"
    )
    assert run("test", file, "-k", "not rival").code == 0
    assert run("test", file, "--quiet") == Ran(1, "", "")


def test_json_is_all_that_goes_to_stdout(
    run: Run, file: Path, judged: Callable[[Tester], None]
) -> None:
    judged(no_rival)
    ran = run("test", file, "--json")
    record = json.loads(ran.out)
    assert ran.code == 1
    assert "copying.py::scrub PASSED" in ran.err
    assert [claim["claim"] for claim in record["claims"]] == IDS
    assert {claim.pop("seconds") >= 0 for claim in record["claims"]} == {True}
    assert record["claims"][1] == {
        "file": "hypotheses/copying.py",
        "hypothesis": "by hand",
        "claim": "rival[nothing]",
        "verdict": "refuted",
        "summary": "rival summed up",
        "detail": "prompt: dog cat",
    }
    assert record["errors"] == []
    assert record["counts"] == {
        "held": 3,
        "refuted": 1,
        "not shown": 0,
        "not tested": 0,
        "failed": 0,
        "error": 0,
    }


@pytest.mark.parametrize(
    ("end", "code", "line"),
    [
        (ModelError("no such model"), 2, "4 claims: 3 held, 1 error"),
        (ZeroDivisionError("ours"), 1, "4 claims: 3 held, 1 failed"),
        (Untested(False, "not tested: no program"), 2, "4 claims: 3 held, 1 not tested"),
        (Verdict(False, "too few", undecided=True), 1, "4 claims: 3 held, 1 not shown"),
    ],
)
def test_what_could_not_be_tested_is_not_refuted(
    run: Run,
    file: Path,
    judged: Callable[[Tester], None],
    end: Exception | Verdict,
    code: int,
    line: str,
) -> None:
    def tester(context: Context, claim: Claim) -> Verdict:
        if claim.kind != "rival":
            return Verdict(True, "held")
        if isinstance(end, Exception):
            raise end
        return end

    judged(tester)
    ran = run("test", file)
    assert (ran.code, ran.out.splitlines()[-1]) == (code, line)
    rival = json.loads(run("test", file, "--json").out)["claims"][1]
    assert str(end) in rival["summary"] + rival["detail"]


def test_a_file_that_cannot_be_used_does_not_keep_others_from_being_tested(
    run: Run, file: Path, judged: Callable[[Tester], None]
) -> None:
    judged(held)
    file.with_name("broken.py").write_text(FILE + "\n1 / 0\n")
    ran = run("test", "hypotheses")
    assert ran.code == 2
    assert ran.out.splitlines()[-1] == "4 claims: 4 held, 1 file cannot be used"
    located = "hypotheses/broken.py:7: ZeroDivisionError: division by zero"
    assert located in ran.out
    assert "Traceback" not in ran.out
    assert run("test", "hypotheses", "--quiet") == Ran(2, "", f"Error: {located}\n")
    assert json.loads(run("test", "hypotheses", "--json").out)["errors"] == [
        {"file": "hypotheses/broken.py", "message": located}
    ]


def test_files_outside_the_working_directory_keep_their_names(
    run: Run, file: Path, judged: Callable[[Tester], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(held)
    below = Path("below").absolute()
    below.mkdir()
    monkeypatch.chdir(below)
    ran = run("test", f"../{file}", "--json")
    assert (ran.code, {claim["file"] for claim in json.loads(ran.out)["claims"]}) == (
        0,
        {f"../{file}"},
    )
    assert f"../{file}::scrub PASSED" in ran.err


def test_what_is_no_hypothesis_is_refused_all_at_once(run: Run, file: Path) -> None:
    Path("plain.py").write_text("def test_it(): pass")
    Path("notes.txt").write_text(FILE)
    ran = run("test", file, "plain.py", "notes.txt", "missing.py")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        "Error: These cannot be tested:",
        "  - 'plain.py' holds no hypothesis: expected an import from circuitgraph.hypotheses and "
        "a Hypothesis(...), as UTF-8 text",
        "  - 'notes.txt' is no Python file: its name must end in .py",
        "  - there is no file or folder 'missing.py': name a hypothesis file, or its folder",
    ]


def test_without_any_claim_nothing_was_shown(
    run: Run, file: Path, judged: Callable[[Tester], None]
) -> None:
    judged(held)
    Path("empty").mkdir()
    for args in (
        ("empty",),
        ("hypotheses", "-k", "nonsense"),
        ("hypotheses/copying.py::nonsense",),
    ):
        ran = run("test", *args, "--quiet")
        assert (ran.code, ran.out) == (2, "")
        assert "Error: No claim was found.\n" in ran.err
    assert json.loads(run("test", "empty", "--json").out)["claims"] == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--seed", -1), "--seed is -1, but must be at least 0"),
        (("--prompts", 1), "--prompts is 1, but must be at least 2"),
        (("-n", "0"), "-n is '0': expected a number of processes from 1, or auto"),
        (("--profile", "quick"), "'quick' is not one of"),
    ],
)
def test_bad_options(run: Run, file: Path, options: tuple[object, ...], problem: str) -> None:
    ran = run("test", file, *options)
    assert (ran.code, ran.out) == (2, "")
    assert problem in ran.err


def test_several_processes_need_xdist(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    ran = run("test", file, "-n", "2")
    assert (ran.code, ran.err) == (2, "Error: -n needs pytest-xdist: pip install pytest-xdist\n")


def test_options_reach_the_claims_and_the_rest_reaches_pytest(
    run: Run, file: Path, judged: Callable[[Tester], None]
) -> None:
    def tester(context: Context, claim: Claim) -> Verdict:
        told = f"{context.profile} {context.model} {context.seed} {context.n_prompts}"
        return Verdict(claim.kind == "program", told)

    judged(tester)
    options = (
        "--profile",
        "hunt",
        "--model",
        "other",
        "--seed",
        7,
        "--prompts",
        50,
        "--junitxml",
        "claims.xml",
    )
    ran = run("test", *options, file, "--", "-x", "--durations", "3")
    assert ran.code == 1
    assert ran.out.splitlines()[-1] == "2 claims: 1 held, 1 refuted"
    assert "PASSED (hunt other 7 50)" in ran.out
    assert "slowest 3 durations" in ran.out
    assert len(ElementTree.parse("claims.xml").getroot().findall(".//testcase")) == 2  # noqa: S314 (our own file)


def test_a_project_around_the_files_does_not_count(
    run: Run, file: Path, judged: Callable[[Tester], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(held)
    Path("pytest.ini").write_text("[pytest]\naddopts = --no-such-option\nfilterwarnings = error\n")
    Path("conftest.py").write_text("1 / 0")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    renamed = file.rename("hypotheses/test_copying.py")
    assert run("test", "hypotheses").out.splitlines()[-1] == "4 claims: 4 held"
    assert run("test", renamed).out.splitlines()[-1] == "4 claims: 4 held"
    assert {path.name for path in Path().iterdir()} == {"pytest.ini", "conftest.py", "hypotheses"}


def test_without_a_home_nothing_is_kept_and_nothing_is_said(
    run: Run, file: Path, judged: Callable[[Tester], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(held)
    monkeypatch.setenv("HOME", "/proc/nowhere")
    monkeypatch.delenv("XDG_CACHE_HOME")
    ran = run("test", file)
    assert (ran.code, ran.err) == (0, "")
    assert "warning" not in ran.out
    assert {path.name for path in Path().iterdir()} == {"hypotheses"}


def test_help_warns_and_loads_nothing_heavy() -> None:
    code = "import atexit, sys; sys.argv = ['circuitgraph', 'test', '--help']; atexit.register(lambda: "  # noqa: E501
    code += "print({'jax', 'torch', 'pytest', 'equinox'} & {*sys.modules})); from circuitgraph.cli.main import main; main()"  # noqa: E501
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "HYPOTHESIS FILES ARE EXECUTED AS PYTHON" in ended.stdout
    assert "circuitgraph test hypotheses/" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "set()"
