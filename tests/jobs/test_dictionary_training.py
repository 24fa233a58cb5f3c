"""Training on a model: interrupted or not, the same dictionary; saved where others read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import circuitgraph as cg
from circuitgraph.catalog.dictionary_record import TrainingRecord
from circuitgraph.cli.main import main
from circuitgraph.errors import ArgumentError, ModelError
from circuitgraph.jobs import train_dictionary as dictionary_training
from circuitgraph.jobs.train_dictionary import train_dictionary
from circuitgraph.models.dictionaries.hooks import Hook
from circuitgraph.models.dictionaries.training import TrainingSettings
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task

OUT = Hook("attention_output", 1)
SETTINGS = TrainingSettings(n_features=160, k=8, steps=120, batch=64)


@pytest.fixture
def task(shipped: LanguageModel) -> Task:
    return cg.load_task("induction", shipped, seed=0)


def test_interrupted_or_not_the_same_dictionary(
    shipped: LanguageModel, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(folder: str, **arguments: Any) -> TrainingRecord:
        places = (OUT, OUT, SETTINGS, tmp_path / folder)
        return train_dictionary(shipped, task, *places, n_prompts=40, **arguments)

    whole = train("whole")
    assert whole.splice.answer is not None
    assert whole.splice.answer.recovered is not None
    assert whole.splice.answer.recovered.mean > 0.5
    assert whole.unexplained < 0.9
    dictionary = cg.load_dictionary(tmp_path / "whole")
    assert (dictionary.spec.reads, dictionary.spec.activation) == (OUT, "jump_relu")
    stored = TrainingRecord.model_validate_json((tmp_path / "whole" / "training.json").read_text())
    assert stored == whole

    runs: Iterator[int] = iter(range(9))
    steps = dictionary_training.train_steps

    def stop_second(*arguments: Any) -> Any:
        if next(runs) == 1:
            raise KeyboardInterrupt
        return steps(*arguments)

    monkeypatch.setattr(dictionary_training, "_SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(dictionary_training, "train_steps", stop_second)
    with pytest.raises(KeyboardInterrupt):
        train("parts")
    train("parts", resume=True)
    again = cg.load_dictionary(tmp_path / "parts")
    for name in ("w_enc", "b_enc", "w_dec", "b_dec", "threshold"):
        np.testing.assert_array_equal(getattr(again, name), getattr(dictionary, name))


def test_what_cannot_be_trained(shipped: LanguageModel, task: Task, tmp_path: Path) -> None:
    def train(reads: Hook, writes: Hook) -> None:
        train_dictionary(shipped, task, reads, writes, SETTINGS, tmp_path / "d", n_prompts=4)

    with pytest.raises(ModelError, match="is in layer 7, but the model's last layer is 1"):
        train(Hook("attention_output", 7), Hook("attention_output", 7))
    with pytest.raises(ModelError, match="belongs to an MLP, and the model's layers have none"):
        train(Hook("mlp_normed", 0), Hook("mlp_output", 0))
    with pytest.raises(ArgumentError, match="cannot be trained from"):
        train(Hook("resid_pre", 1), OUT)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = "circuitgraph train-transcoder --task addition --layer 0 --features 40 --k 4 --steps 5"
    words += f" --batch 32 --limit 12 --out {tmp_path / 'made'} --json"
    monkeypatch.setattr("sys.argv", words.split())
    with pytest.raises(SystemExit, match="0"):
        main()
    record = TrainingRecord.model_validate_json(capsys.readouterr().out)
    assert (record.reads, record.writes) == ("blocks.0.mlp.hook_in", "blocks.0.hook_mlp_out")
    assert cg.load_dictionary(tmp_path / "made").spec.kind == "transcoder"
