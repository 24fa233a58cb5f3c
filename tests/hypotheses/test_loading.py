"""Loading hypothesis files: what is in them, and a located sentence for each failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.loading import NoHypothesisError, load_hypotheses
from tests.hypotheses.texts import INDUCTION, SHIPPED, change_text, load_text


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.py")), ids=lambda path: path.stem)
def test_shipped_files_load(path: Path) -> None:
    hypotheses = load_hypotheses(path)
    assert hypotheses
    assert all(h.variables and h.output_variable is not None for h in hypotheses)


def test_locations_are_lines_of_the_file(tmp_path: Path) -> None:
    hypothesis = load_text(tmp_path, INDUCTION)
    lines = INDUCTION.splitlines()
    assert Path(hypothesis.location.file) == tmp_path / "mine.py"
    assert lines[hypothesis.location.line - 1].startswith("H = Hypothesis")
    assert all(lines[v.location.line - 1].startswith("@H.") for v in hypothesis.variables)


def test_all_hypotheses_come_back_once_and_in_order(tmp_path: Path) -> None:
    text = (
        "from circuitgraph.hypotheses import Hypothesis\n"
        "b, a = (Hypothesis(name, task='t', model='m') for name in 'ba')\nagain = b\n"
    )
    (tmp_path / "two.py").write_text(text)
    assert [h.name for h in load_hypotheses(tmp_path / "two.py")] == ["b", "a"]


def test_a_changed_file_is_read_anew_and_leaves_nothing(tmp_path: Path) -> None:
    modules, path = set(sys.modules), list(sys.path)
    assert load_text(tmp_path, INDUCTION).name == "induction"
    assert load_text(tmp_path, change_text(('"induction",', '"conduction",'))).name == "conduction"
    assert set(sys.modules) == modules
    assert sys.path == path
    assert [p.name for p in tmp_path.iterdir()] == ["mine.py"]


def test_files_of_one_name_do_not_clash(tmp_path: Path) -> None:
    for name in ("json.py", "circuitgraph.py"):
        assert load_text(tmp_path, INDUCTION, name).name == "induction"
    import json

    assert json.loads("1") == 1


def test_dataclasses_and_prints_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
    text += "@dataclass\nclass Place:\n    name: str\n\nprint('hello')\n" + INDUCTION
    assert load_text(tmp_path, text).name == "induction"
    assert capsys.readouterr() == ("", "hello\n")


CASES = {
    "syntax": ("x = 1\ndef f(:\n    pass\n", ["mine.py:2: SyntaxError: invalid syntax", "def f(:"]),
    "indent": ("x = 1\n    y = 2\n", ["mine.py:2: IndentationError"]),
    "null": ("x = 1\0", ["null bytes"]),
    "encoding": ("# coding: klingon\n", ["SyntaxError", "klingon"]),
    "own error": (
        "def f():\n    return 1 / 0\n\nf()\n",
        ["mine.py:2: ZeroDivisionError: division by zero"],
    ),
    "import": (
        "import no_such_module\n",
        ["mine.py:1: ModuleNotFoundError: No module named 'no_such_module'"],
    ),
    "exit": ("import sys\nsys.exit(3)\n", ["mine.py:2: SystemExit: 3", "must not end the program"]),
    "deep": ("import json\njson.loads('{')\n", ["mine.py:2: json.decoder.JSONDecodeError"]),
    "bad head": (
        change_text(("head(0, 3)", "head(0, -3)")),
        ["mine.py:21: TypeError: a head is given by its number"],
    ),
    "none": ("x = 1\n", ["holds no hypothesis", "H = Hypothesis("]),
}


# Errors of types, which in these tests other eyes see first: they are looked at in a process
# without them.
TYPES = {
    "bad role": (change_text(('head(0, 3) @ "B1"', "head(0, 3) @ 3")), ":21: TypeError: "),
    "bad site": (
        change_text(('embed @ "A1"', '"embed"')),
        ":6: TypeError: at= takes sites such as head(0, 3)",
    ),
    "bad route": (
        change_text(('v="earlier"', "v=3")),
        ":21: TypeError: expected a variable or its name",
    ),
    "bad setting": (change_text(('task="induction"', 'tusk="induction"')), ":3: TypeError: "),
}
LOAD = """
import sys
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.loading import load_hypotheses
for name in sys.argv[1:]:
    try:
        load_hypotheses(name)
    except HypothesisError as error:
        print(str(error).splitlines()[0])
assert not {"jax", "torch", "numpy"} & set(sys.modules)
"""


def test_errors_of_types_are_located_and_loading_is_light(tmp_path: Path) -> None:
    files = []
    for i, (text, _) in enumerate(TYPES.values()):
        files.append(tmp_path / f"{i}.py")
        files[-1].write_text(text)
    ran = subprocess.run(
        [sys.executable, "-c", LOAD, *map(str, files)], capture_output=True, text=True, check=True
    )
    lines = ran.stdout.splitlines()
    assert len(lines) == len(files)
    for line, file, (_, expected) in zip(lines, files, TYPES.values(), strict=True):
        assert line.startswith(f"{file}{expected}")


@pytest.mark.parametrize("case", CASES)
def test_failures_are_located(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, phrases = CASES[case]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HypothesisError) as caught:
        load_text(tmp_path, text)
    message = str(caught.value)
    assert not [phrase for phrase in phrases if phrase not in message], message
    assert "Traceback" not in message
    assert "circuitgraph/" not in message
    assert isinstance(caught.value, NoHypothesisError) == (case == "none")


def test_a_module_beside_the_file_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "my_words.py").write_text("WORDS = 3\n")
    with pytest.raises(HypothesisError, match="stands alone"):
        load_text(tmp_path, "import my_words\n")


def test_ctrl_c_passes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_text(tmp_path, "raise KeyboardInterrupt\n")


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("absent.py", "There is no hypothesis file"),
        ("folder.py", "is a folder"),
        ("notes.txt", "ends in .py"),
    ],
)
def test_what_is_no_file_of_python(name: str, phrase: str, tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(HypothesisError, match=phrase):
        load_hypotheses(tmp_path / name)
