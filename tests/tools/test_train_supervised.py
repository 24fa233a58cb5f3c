"""The training scripts of models that are taught answers: a few steps learn something, on rows that
may be seen.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from circuitgraph.models.loading import load_model
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.base import GrammarTask, tasks
from circuitgraph.tasks.prompts import assign_split

TRAIN = Path(__file__).resolve().parents[2] / "tools" / "train"
SCRIPTS = {"greater_than": "greater-than", "agreement": "agreement", "docstring": "docstring"}
TASKS = ("induction", "ioi", "addition", "greater-than", "agreement")


@pytest.fixture(scope="module")
def scripts() -> Iterator[Any]:
    """The modules of the folder, by name."""
    sys.path.insert(0, str(TRAIN))
    try:
        names = [*SCRIPTS, "multitask", "supervised", "supervised_card"]
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(TRAIN))


def prepared(scripts: Any, name: str, **changes: Any) -> tuple[ModuleType, Any, Tokenizer]:
    """A script, settings that take no time, and its tokenizer."""
    script = getattr(scripts, name)
    sizes: dict[str, Any] = {
        "layers": 1,
        "heads": 2,
        "width": 32,
        "mlp": 32,
        "batch": 12,
        "pool": 60,
        "steps": 40,
    }
    settings = replace(script.SETTINGS, **{**sizes, **changes})
    return (
        script,
        settings,
        Tokenizer(scripts.supervised.build_tokenizer(script.WORDS, settings.context)),
    )


def losses_of(scripts: Any, name: str, **changes: Any) -> list[float]:
    script, settings, tokenizer = prepared(scripts, name, **changes)
    model = scripts.supervised.build_model(settings, len(tokenizer))
    return scripts.supervised.train_model(
        model, script.make_batches(tokenizer, len(tokenizer), settings), settings
    )


@pytest.mark.parametrize("name", [*SCRIPTS, "multitask"])
def test_some_steps_learn_something(scripts: Any, name: str) -> None:
    losses = losses_of(scripts, name, lr=2e-2)  # so few steps are all warm-up
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_training_is_reproducible(scripts: Any) -> None:
    assert losses_of(scripts, "agreement", steps=5) == losses_of(scripts, "agreement", steps=5)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_vocabulary_has_all_words_of_its_task(scripts: Any, name: str) -> None:
    _, _, tokenizer = prepared(scripts, name)
    task = GrammarTask(tasks[SCRIPTS[name]], tokenizer, 0, {})
    assert task.notes == ()
    assert not (task.prompts(20).clean == tokenizer.unknown_id).any()


@pytest.mark.parametrize("name", TASKS)
def test_one_vocabulary_has_all_words_of_five_tasks(scripts: Any, name: str) -> None:
    _, settings, tokenizer = prepared(scripts, "multitask")
    task = GrammarTask(tasks[name], tokenizer, 0, {})
    prompts = task.prompts(30)
    assert task.notes == ()
    assert prompts.clean.shape[1] <= settings.context
    assert not (prompts.clean == tokenizer.unknown_id).any()


def test_a_batch_wants_every_right_answer_equally_at_the_last_token(scripts: Any) -> None:
    _, settings, tokenizer = prepared(scripts, "greater_than")
    pairs = scripts.supervised.draw_pairs("greater-than", tokenizer, settings)
    pool = scripts.supervised.Pool(pairs, tokenizer, len(tokenizer))
    batch = pool.batch(np.random.default_rng(0), 20)
    known = {tuple(tokenizer.encode(pair.clean)): pair for pair in pairs}
    for row, position, wanted in zip(
        batch.tokens, batch.position, batch.probabilities, strict=True
    ):
        pair = known[tuple(row[: position + 1].tolist())]
        expected = np.zeros(len(tokenizer), np.float32)
        expected[[tokenizer.encode(text)[0] for text in pair.right]] = 1 / len(pair.right)
        np.testing.assert_allclose(wanted.numpy(), expected, rtol=1e-6)
        assert assign_split(tokenizer.encode(pair.clean)) == "discovery"


def test_docstring_rows_are_the_grammars_and_none_is_of_the_evaluation_split(scripts: Any) -> None:
    script, settings, tokenizer = prepared(scripts, "docstring", pool=20)
    (batch,) = script.make_batches(tokenizer, len(tokenizer), settings)(np.random.default_rng(0))
    assert len(batch.tokens) == settings.batch
    for i, row in enumerate(batch.tokens.tolist()):
        words = tokenizer.tokens(row)
        start, end = words.index("self"), words.index("):")
        defined = words[start + 2 : end : 2]
        described = [words[at + 1] for at, word in enumerate(words) if word == "param"]
        assert len(set(defined)) == 6
        assert described == defined[defined.index(described[0]) :]
        at = batch.position[batch.row == i].tolist()
        assert at == [place for place, word in enumerate(words) if word == "param"][1:]
        assert (
            tokenizer.tokens(batch.probabilities[batch.row == i].argmax(1).tolist())
            == described[1:]
        )
        assert assign_split(row[: at[1] + 1]) == "discovery"


def test_copied_words_are_wanted_only_where_the_prompt_tells_them(scripts: Any) -> None:
    script, settings, tokenizer = prepared(scripts, "multitask")
    pairs = scripts.supervised.draw_pairs("induction", tokenizer, settings)
    (batch,) = script.make_copying(pairs, tokenizer, len(tokenizer), 30)(np.random.default_rng(0))
    rows = batch.tokens.tolist()
    for row, position, wanted in zip(
        batch.row.tolist(), batch.position.tolist(), batch.probabilities, strict=True
    ):
        before = rows[row][:position]
        assert before[before.index(rows[row][position]) + 1 :][0] == int(wanted.argmax())


def test_arithmetic_is_right_and_of_the_discovery_split_of_the_task(scripts: Any) -> None:
    script, _, tokenizer = prepared(scripts, "multitask")
    taught = {pair.clean: pair.answer for pair in script.list_arithmetic(tokenizer)}
    assert all(int(answer) == eval(text[:-1]) for text, answer in taught.items())  # noqa: S307  (our own sums)
    task = GrammarTask(tasks["addition"], tokenizer, 0, {})
    assert all(taught[pair.clean] == pair.answer for pair in task.pairs(300, "discovery"))
    assert all(pair.clean not in taught for pair in task.pairs(300, "evaluation"))


@pytest.mark.slow
def test_a_folder_is_complete_loads_and_has_a_card(
    scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts.supervised_card, "N_ABLATION", 8)
    script, settings, _ = prepared(scripts, "greater_than", steps=3)

    def card(folder: Path, name: str, s: Any, run: Any) -> None:
        variants = [scripts.supervised_card.Variant("all of them", "greater-than", n=8)]
        scripts.supervised_card.write_card(folder, name, s, run, script.TEXT, variants)

    try:
        scripts.supervised.build_folder(
            tmp_path / "small", settings, script.WORDS, script.make_batches, card
        )
    finally:
        torch.use_deterministic_algorithms(False)
    files = {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
    }
    assert {file.name for file in (tmp_path / "small").iterdir()} == files
    assert list(tmp_path.iterdir()) == [tmp_path / "small"]
    assert load_model(tmp_path / "small").spec.d_model == settings.width
    text = (tmp_path / "small" / "README.md").read_text()
    assert "| all of them | " in text
    assert all(f"\n| {node} | " in text for node in ("nothing", "a0.h0", "a0.h1", "m0"))
