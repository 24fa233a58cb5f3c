"""A name on the hub, offline: from a cache as huggingface_hub leaves it to a record and back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest

from circuitgraph.catalog.files import load_record
from circuitgraph.models.loading import shipped_models
from tests.cli.conftest import Ran

COMMITS = {"main": "0123456789abcdef0123456789abcdef01234567", "v1": "a" * 40}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two revisions of one model: blobs, links to them, and refs."""
    cache = tmp_path / "hub"
    repository = cache / "models--somebody--tiny"
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    for name, commit in COMMITS.items():
        (repository / "refs" / name).write_text(commit)
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in shipped_models()["induction-2l"].glob("*.*"):
            blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
            blob.write_bytes(file.read_bytes())
            (snapshot / file.name).symlink_to(blob)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    return cache


def search(run: Callable[..., Ran], *options: str) -> Ran:
    """The cheapest search, not judged."""
    asked = ("--model", "somebody/tiny", "--algorithm", "random", "--n-edges", 3, "--limit", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("circuitgraph.jobs.evaluate.evaluate_circuit", lambda *_: None)
        return run("discover", "induction", *asked, *options)


@pytest.mark.parametrize(
    ("options", "revision"),
    [(("--local-only",), "main"), (("--revision", "v1"), "v1")],
)
def test_a_record_names_the_commit_and_is_judged_by_it(
    run: Callable[..., Ran], cache: Path, options: tuple[str, ...], revision: str
) -> None:
    ran = search(run, *options)
    assert ran.code == 0, ran.err
    model = load_record("runs/induction").model
    assert model is not None
    assert (model.name, model.revision) == ("somebody/tiny", COMMITS[revision])
    # what the name stands for moves on; the record's commit does not
    (cache / "models--somebody--tiny" / "refs" / revision).write_text("b" * 40)
    judged = run("evaluate", "runs/induction", "--limit", 2, "--measures", "curve", "--quiet")
    assert judged.code == 0, judged.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--revision", "v2", "--local-only"), "at revision 'v2'"),
        (("--revision", "c" * 40), "at revision 'cccc"),
    ],
)
def test_a_revision_that_is_not_there(
    run: Callable[..., Ran], cache: Path, options: tuple[str, ...], message: str
) -> None:
    del cache
    ran = search(run, *options)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert "Give a folder" in ran.err
