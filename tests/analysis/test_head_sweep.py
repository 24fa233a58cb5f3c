"""Heads knocked out one by one: as hooks on transformers' own model, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.analysis.head_sweep import read_head_sweep
from circuitgraph.catalog.records import Interval
from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.readings import head_sweep
from circuitgraph.engine.readings.head_sweep import sweep_everywhere, sweep_scored
from circuitgraph.engine.readings.knockouts import keep_all, run_knocked_out
from circuitgraph.errors import ArgumentError, CircuitGraphError, DataError
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.metrics import metrics
from tests.analysis.hooked_neurons import log_softmax, run_hooked
from tests.checkpoints import Tiny, random_prompts, score_two_positions
from tests.parity.cases import CASES
from tests.parity.harness import save_random

METRICS = (metrics["log_probability"],)
PROMPTS = random_prompts(batch=3)


@pytest.mark.parametrize("at", ["everywhere", "scored"])
def test_every_head_as_by_a_hook(tiny: Tiny, at: str) -> None:
    spec, rows = tiny.ours.spec, np.arange(len(PROMPTS))
    sweep = (sweep_everywhere if at == "everywhere" else sweep_scored)(
        tiny.ours.transformer, PROMPTS, METRICS
    )
    assert PROMPTS.answer is not None

    def read(run: dict[str, np.ndarray]) -> np.ndarray:
        return log_softmax(run["logits"][rows, PROMPTS.score_at])[rows, PROMPTS.answer]

    np.testing.assert_allclose(sweep.whole[0], read(run_hooked(tiny, PROMPTS)), atol=1e-4)
    for layer in range(spec.n_layers):
        for head in range(spec.n_heads):
            columns = slice(head * spec.d_head, (head + 1) * spec.d_head)

            def silence(z: Any, columns: slice = columns) -> None:
                if at == "everywhere":
                    z[..., columns] = 0
                else:
                    z[torch.arange(len(rows)), torch.tensor(PROMPTS.score_at), columns] = 0

            expected = read(run_hooked(tiny, PROMPTS, (layer, "z", silence)))
            np.testing.assert_allclose(sweep.without[layer, head, 0], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["gemma2", "bloom"])
def test_copies_of_a_token_see_what_it_sees(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Windows, turns, biases by position: where a head is silent in the last layer alone, both
    sweeps are the same. Few copies at a time give the same as all.
    """
    folder = save_random(tmp_path_factory.mktemp("m"), name, **CASES[name])
    model = load_model(str(folder))
    prompts = random_prompts(vocab=model.spec.d_vocab, batch=2)
    scored = sweep_scored(model.transformer, prompts, METRICS)
    everywhere = sweep_everywhere(model.transformer, prompts, METRICS)
    np.testing.assert_allclose(scored.whole, everywhere.whole, atol=1e-4)
    np.testing.assert_allclose(scored.without[-1], everywhere.without[-1], atol=1e-4)
    monkeypatch.setattr(head_sweep, "_COPIES", model.spec.n_heads)
    few = sweep_scored(model.transformer, prompts, METRICS)
    np.testing.assert_allclose(few.without, scored.without, atol=1e-4)


def test_several_scored_positions(tiny: Tiny) -> None:
    """Everywhere, all scored positions count; alone, they are refused."""
    several = score_two_positions(random_prompts(batch=2))
    sweep = sweep_everywhere(tiny.ours.transformer, several, METRICS)
    kept = keep_all(tiny.ours.spec, 2)
    kept.z[1, 2] = 0
    expected = run_knocked_out(tiny.ours.transformer, make_batch(several), METRICS, kept)
    np.testing.assert_allclose(sweep.without[1, 2], expected, atol=1e-5)
    with pytest.raises(DataError, match="have 2 scored positions: use 'everywhere'"):
        read_head_sweep(tiny.ours, several, at="scored", by="log_probability")


def test_the_reading_names_the_heads_of_the_task(shipped: LanguageModel) -> None:
    """Without its previous-token heads or induction heads, the induction model fails."""
    task = cg.load_task("induction", shipped)
    reading = read_head_sweep(shipped, task.prompts(8), top=2)
    table = reading.tables[0]
    assert table.rows[0][0] == "none"
    losses = [row[1] for row in table.rows[1:]]
    assert all(isinstance(cell, Interval) and cell.mean > 0.3 for cell in losses)
    assert reading.pictures[0].kind == "heatmap"
    assert "heads have at least a tenth" in reading.notes[0]


def test_what_is_refused(tiny: Tiny) -> None:
    with pytest.raises(CircuitGraphError, match="by is 'kl': expected one of"):
        read_head_sweep(tiny.ours, PROMPTS, by="kl")
    with pytest.raises(ArgumentError, match="top is 13, but must be at most 12"):
        read_head_sweep(tiny.ours, PROMPTS, top=13)
    both_ways = replace(tiny.ours.transformer, spec=replace(tiny.ours.spec, causal=False))
    with pytest.raises(ArgumentError, match="other positions see the scored one"):
        read_head_sweep(replace(tiny.ours, transformer=both_ways), PROMPTS, at="scored")
    with pytest.raises(DataError, match="needs an answer"):
        read_head_sweep(tiny.ours, replace(PROMPTS, answer=None, distractor=None))
