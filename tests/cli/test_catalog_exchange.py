"""``circuitgraph catalog export`` and ``import``: what is written, said, refused and recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import circuitgraph as cg
from tests.cli.conftest import Ran, files_below

ROOT = Path(__file__).parents[2]
CIRCUIT = ROOT / "catalog" / "circuits" / "induction-2l" / "induction" / "acdc"


@pytest.mark.parametrize("name", ["it.pt", "it.csv"])
def test_out_and_in_again(run: Callable[..., Ran], tmp_path: Path, name: str) -> None:
    ran = run("catalog", "export", CIRCUIT, "-o", name)
    assert (ran.code, ran.out) == (0, f"{name}\n")
    assert "Note: " in ran.err
    words = ("--model", "induction-2l", "--task", "induction", "-o", "back", "--json")
    ran = run("catalog", "import", name, *words)
    assert ran.code == 0
    record = json.loads(ran.out)
    assert record["imported"]["file"] == name
    assert record["task"]["name"] == "induction"
    assert record["algorithm"] is None
    original, back = cg.load_circuit(CIRCUIT), cg.load_circuit("back")
    assert back == original
    assert back.scores is not None
    assert np.array_equal(back.scores, np.asarray(original.scores))
    assert back.provenance["model"] == original.provenance["model"]
    ran = run("catalog", "import", name, *words)
    assert (ran.code, "--overwrite" in ran.err or "overwrite it" in ran.err) == (2, True)
    assert run("catalog", "import", name, *words, "--overwrite").code == 0
    assert files_below(tmp_path) == {name, "back", "back/circuit.json", "back/scores.safetensors"}


def test_an_entry_is_exported_by_its_name(run: Callable[..., Ran]) -> None:
    for circuit, name in ((CIRCUIT, "one.csv"), ("induction-2l/induction/acdc", "two.csv")):
        assert run("catalog", "export", circuit, "-o", name).code == 0
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes()
    ran = run("catalog", "export", "induction-2l/induction/acd", "-o", "three.csv")
    assert (ran.code, "Did you mean 'induction-2l/induction/acdc'" in ran.err) == (2, True)


def test_the_result_is_json_and_notes_are_on_stderr(run: Callable[..., Ran]) -> None:
    ran = run("catalog", "export", CIRCUIT, "-o", "it.graphml", "--json")
    content = json.loads(ran.out)
    assert (content["path"], content["format"]) == ("it.graphml", "graphml")
    assert all(note in ran.err for note in content["notes"])
    ran = run("catalog", "export", CIRCUIT, "-o", "it.dot", "--quiet")
    assert ran == Ran(0, "", "")


def test_the_width_is_asked_for_or_read_from_the_model(run: Callable[..., Ran]) -> None:
    for words, expected in ((("--d-model", "64"), 64), ((), 128)):
        ran = run("catalog", "export", CIRCUIT, "-o", "it.json", "--format", "mib-json", *words)
        assert ran.code == 0
        width = json.loads(Path("it.json").read_text())["cfg"]["d_model"]
        assert width == expected
        Path("it.json").unlink()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("export", CIRCUIT, "-o", "it.json"),
            "at the end of 'it.json' may be mib-json or",
        ),
        (("export", CIRCUIT, "-o", "it.csv", "--format", "mib"), "Did you mean 'mib-pt'"),
        (("export", "nowhere", "-o", "it.csv"), "There is no circuit at 'nowhere'"),
        (("export", CIRCUIT, "-o", "it.csv", "--d-model", "5"), "Unknown option of the format"),
        (("import", "no.csv", "--model", "induction-2l", "--task", "induction"), "No such file"),
        (("import", "no.csv", "--model", "induction-2l"), "Give either a task"),
    ],
)
def test_bad_lines(run: Callable[..., Ran], words: tuple[str, ...], message: str) -> None:
    ran = run("catalog", *words)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert files_below(Path.cwd()) == set()


def test_mib_files_are_of_prompts_with_bos(run: Callable[..., Ran]) -> None:
    run("catalog", "export", CIRCUIT, "-o", "it.pt", "--quiet")
    words = ("--model", "induction-2l", "--task", "induction", "-o", "back")
    ran = run("catalog", "import", "it.pt", *words)
    assert "begin with BOS, which this tokenizer does not have" in ran.err


def test_a_prompt_of_the_search_is_shown(run: Callable[..., Ran]) -> None:
    words = ("catalog", "export", CIRCUIT, "--format", "neuronpedia")
    assert run(*words, "-o", "it.json", "--prompt", "3", "--quiet").code == 0
    content = json.loads(Path("it.json").read_text())
    tokens = content["metadata"]["prompt_tokens"]
    shown = next(node for node in content["nodes"] if node["feature_type"] == "logit")
    assert tokens[-1] in tokens[:-1]  # what comes again
    assert shown["token_prob"] > 0.9
    assert shown["clerp"].split('"')[1].strip() in tokens
    ran = run(*words, "-o", "other.json", "--prompt", "99999")
    assert (ran.code, "--prompt is 99999, but must be at most" in ran.err) == (2, True)
    ran = run("catalog", "export", CIRCUIT, "-o", "it.csv", "--prompt", "0")
    assert (ran.code, "--prompt is for neuronpedia" in ran.err) == (2, True)


def test_a_submission_is_one_command(run: Callable[..., Ran]) -> None:
    words = ("--format", "mib-submission", "--d-model", "128", "--signed")
    ran = run("catalog", "export", CIRCUIT, "-o", "submission/ioi_gpt2", *words)
    assert (ran.code, ran.out) == (0, "submission/ioi_gpt2\n")
    assert len(list(Path("submission/ioi_gpt2").iterdir())) == 9


def test_the_formats_start_without_jax_and_torch() -> None:
    code = "import sys, circuitgraph.jobs.export as e; e.encoders.names(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"jax", "torch", "equinox", "transformers"} & set(done.stdout.split())
