"""``circuitgraph edit``: what it shows, records and writes, and refuses before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.catalog.edit_record import EditRecord
from circuitgraph.models.loading import load_model
from tests.cli.conftest import Ran

TASK = ("--task", "addition", "--limit", 8)


def test_edits_and_tuning_are_measured_and_written(run: Callable[..., Ran], tmp_path: Path) -> None:
    arguments = (
        *("--zero", "m1.n38,m1.n30", "--scale", "a1.h0=0.5", "--tune", "a1.h1", "--steps", 2),
        *("--other-task", "addition", "--out", tmp_path / "new"),
    )
    record = EditRecord.model_validate_json(run("edit", *TASK, *arguments, "--json").out)
    assert [(own.nodes, own.scale) for own in record.edits] == [
        (["m1.n38", "m1.n30"], 0.0),
        (["a1.h0"], 0.5),
    ]
    assert record.tuning is not None
    assert (record.tuning.nodes, record.tuning.steps) == (["a1.h1"], 2)
    assert record.tuning.n_tuned == 4 * 64 * 16 + 3 * 16
    assert len(record.tasks) == 2
    assert record.tasks[0] == record.tasks[1]
    assert record.model.weights_sha256 == load_model("addition").fingerprint
    saved = load_model(str(tmp_path / "new"))
    assert record.edited.weights_sha256 == saved.fingerprint != record.model.weights_sha256
    assert saved.tokenizer is not None
    assert "transformer.h.1.mlp.c_proj.weight" in record.tensors
    again = run("edit", *TASK, *arguments)
    assert (again.code, again.out) == (2, "")
    assert "new" in again.err


def test_what_is_shown(run: Callable[..., Ran]) -> None:
    ran = run("edit", *TASK, "--keep-only", "m0,a0.h0,a0.h1,a0.h2,a0.h3,a1.h0,a1.h1,a1.h2,a1.h3")
    assert (ran.code, ran.err) == (0, "")
    assert "kept alone of their kinds: m0, a0.h0, a0.h1, a0.h2, a0.h3, a1.h0" in ran.out
    assert "and 1 more" in ran.out
    assert "logit_difference" in ran.out


def test_a_share_is_kept_beside_random_neurons(run: Callable[..., Ran]) -> None:
    record = EditRecord.model_validate_json(run("edit", *TASK, "--keep-share", 0.25, "--json").out)
    (edit,) = record.edits
    assert (edit.keep_only, len(edit.nodes)) == (True, 128)
    assert record.random is not None
    (own,), (beside,) = record.tasks, record.random
    assert own.before == beside.before
    assert own.after != beside.after
    assert "random" in run("edit", *TASK, "--keep-share", 0.25).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Nothing is edited"),
        (("--keep-share", 1), "The share of neurons is 1.0"),
        (("--keep-share", 0.5, "--zero", "m1"), "is done alone"),
        (("--zero", "m1", "--rank", 4), "--rank is 4, but nothing is tuned"),
        (("--tune", "m1", "--lora", 1), "--tune m1 and --lora 1 were given"),
        (("--tune", "m1", "--rank", 2), "rank is 2, but lora names no layer"),
        (("--lora", 2), "lora is 2"),
        (("--zero", "m0,,m1"), "--zero 'm0,,m1' has an empty name"),
        (("--scale", "m0"), "--scale 'm0' cannot be read"),
        (("--scale", "m0=x"), "--scale 'm0=x' cannot be read"),
        (("--zero", "m7"), "m7: the model has 2 layers"),
        (("--tune", "heads"), "'heads' is not the name of a node"),
        (("--tune", "all", "--steps", 0), "steps is 0"),
        (("--zero", "m1", "--limit", 1), "--limit is 1"),
        (("--zero", "m1", "--other-task", "sums"), "sums"),
    ],
)
def test_bad_values(run: Callable[..., Ran], arguments: tuple[object, ...], message: str) -> None:
    ran = run("edit", *TASK, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
