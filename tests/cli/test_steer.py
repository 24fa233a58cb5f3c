"""``circuitgraph steer``: what it shows, records, and refuses before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.catalog.steering_record import SteeringRecord
from circuitgraph.models.dictionaries.saving import save_dictionary
from circuitgraph.models.loading import load_model
from tests.cli.compiled import rows
from tests.cli.conftest import Ran
from tests.evaluation.test_splice_quality import identity, make_spec

ONE = ("--model", "addition", "--prompt", "56-3=")
TASK = ("--task", "addition", "--limit", 6)


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An identity on what the MLP of layer 0 adds."""
    width, folder = load_model("addition").spec.d_model, tmp_path_factory.mktemp("d") / "sae"
    save_dictionary(identity(make_spec("blocks.0.hook_mlp_out"), width), folder)
    return folder


def test_a_task_with_several_strengths(run: Callable[..., Ran]) -> None:
    arguments = ("--scale", "m1.n38@end=0,2", "--ablate", "m1.n30=mean", "--top", 2)
    record = SteeringRecord.model_validate_json(run("steer", *TASK, *arguments, "--json").out)
    assert record.task is not None
    assert (record.task.name, record.metric, record.n_prompts) == (
        "addition",
        "logit_difference",
        6,
    )
    scaled, ablated = record.interventions
    assert (scaled.unit, scaled.kind, scaled.values) == ("m1.n38@end", "scale", [0, 2])
    assert scaled.after[0] == 0
    assert scaled.after[1] == pytest.approx(2 * scaled.before, rel=1e-3)
    assert (ablated.unit, ablated.kind) == ("m1.n30", "ablate")
    assert ablated.after == pytest.approx([ablated.before] * 2, abs=0.5)
    assert [len(top) for top in record.prompts[0].top_after] == [2, 2]
    ran = run("steer", *TASK, *arguments)
    shown = rows(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert shown["m1.n38@end"].split()[1:3] == ["x", "0"]
    assert "addition, 6 prompts of addition" in ran.out
    assert "and 1 more: --json has all prompts" in ran.out
    assert "likeliest next" in ran.out
    assert run("steer", *TASK, *arguments, "--quiet") == Ran(0, "", "")


def test_a_text_and_a_feature(run: Callable[..., Ran], sae: Path) -> None:
    arguments = (*ONE, "--add", "m0.f3=40", "--dictionary", sae, "--continue", 2)
    record = SteeringRecord.model_validate_json(run("steer", *arguments, "--json").out)
    assert record.dictionaries == ["blocks.0.hook_mlp_out"]
    assert (record.metric, record.before, record.after) == ("kl", None, [None])
    (prompt,) = record.prompts
    assert prompt.before == pytest.approx(0, abs=1e-6)
    assert prompt.after[0] > 0.01
    (unit,) = record.interventions
    assert unit.after[0] == pytest.approx(unit.before + 40, rel=1e-5)
    assert str(prompt.continuation_before).startswith("5 3")
    out = run("steer", *arguments).out
    assert "addition, 1 prompt, features read at blocks.0.hook_mlp_out" in out
    assert repr(prompt.continuation_after[0]) in out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (ONE, "Nothing is done to any unit: give --set, --scale, --add or --ablate."),
        (("--set", "m0.n1=2"), "There are no prompts: give --task, --data or --prompt."),
        (("--prompt", "1+1=", "--set", "m0.n1=2"), "--prompt needs --model"),
        ((*ONE, "--limit", 3, "--set", "m0.n1=2"), "--prompt is given instead of --task"),
        ((*ONE, "--set", "m0.n1"), "--set 'm0.n1' cannot be read: expected UNIT=NUMBER"),
        ((*ONE, "--ablate", "m0.n1=x"), "--ablate 'm0.n1=x' cannot be read: expected UNIT or"),
        ((*ONE, "--set", "a0.h1=2"), "'a0.h1' is no unit"),
        ((*ONE, "--set", "m0.n256=2"), "m0.n256: its MLPs have 256 neurons, 0 to 255"),
        ((*ONE, "--set", "m0.f1=2"), "m0.f1: no dictionary reads in layer 0"),
        ((*ONE, "--set", "m0.n1=2", "--metric", "klx"), "Unknown metric 'klx'"),
        ((*ONE, "--set", "m0.n1=2", "--top", 0), "n_top is 0"),
        ((*ONE, "--set", "m0.n1=2", "--continue", 999), "the model's context is"),
        ((*ONE, "--set", "m0.n1=2", "--metric", "logit"), "needs an answer for every pair"),
    ],
)
def test_what_is_refused(
    run: Callable[..., Ran], arguments: tuple[object, ...], problem: str
) -> None:
    ran = run("steer", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert problem in ran.err


def test_a_dictionary_that_is_not_used_or_does_not_fit(
    run: Callable[..., Ran], sae: Path, tmp_path: Path
) -> None:
    ran = run("steer", *ONE, "--set", "m0.n1=2", "--dictionary", sae)
    assert "no feature of it is named, such as m3.f20" in ran.err
    ran = run("steer", *ONE, "--set", "m1.f1=2", "--dictionary", sae)
    assert "m1.f1: no dictionary reads in layer 1" in ran.err
    narrow = identity(make_spec("blocks.0.hook_mlp_out"), 3)
    save_dictionary(narrow, tmp_path / "narrow")
    ran = run("steer", *ONE, "--set", "m0.f1=2", "--dictionary", tmp_path / "narrow")
    assert "it reads 3 numbers at blocks.0.hook_mlp_out, where the model has" in ran.err
