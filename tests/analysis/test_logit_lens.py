"""The logit lens against transformers' hidden states, and on a model whose circuit is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.analysis.logit_lens import read_logit_lens
from circuitgraph.catalog.records import Interval
from circuitgraph.errors import ArgumentError, DataError, UnknownNameError
from circuitgraph.models.language_model import LanguageModel
from tests.checkpoints import Tiny, load_tiny, random_prompts
from tests.parity.cases import CASES
from tests.parity.harness import save_random

PROMPTS = random_prompts(batch=4, longest=8)


@pytest.mark.parametrize("at", ["scored", 1])
def test_each_layer_is_read_as_transformers_would(tiny: Tiny, at: str | int) -> None:
    table = read_logit_lens(tiny.ours, PROMPTS, at=at).tables[0]
    streams: list[torch.Tensor] = []
    handles = [
        block.register_forward_pre_hook(lambda _, args: streams.append(args[0]))
        for block in tiny.hf.transformer.h
    ]
    handles.append(
        tiny.hf.transformer.ln_f.register_forward_pre_hook(lambda _, args: streams.append(args[0]))
    )
    with torch.no_grad():
        tiny.hf(
            input_ids=torch.tensor(PROMPTS.clean).long(),
            attention_mask=torch.tensor(PROMPTS.mask).long(),
        )
        for handle in handles:
            handle.remove()
        logits = [tiny.hf.lm_head(tiny.hf.transformer.ln_f(x)).numpy() for x in streams]
    rows = np.arange(len(PROMPTS))
    places = PROMPTS.score_at if at == "scored" else np.full(len(PROMPTS), at)
    for row, everywhere in zip(table.rows, logits, strict=True):
        x = everywhere[rows, places]
        own = x[rows, PROMPTS.answer]
        expected = {
            "logit": own,
            "logit_difference": own - x[rows, PROMPTS.distractor],
            "rank": (x > own[:, None]).sum(axis=1),
        }
        for name, values in expected.items():
            cell = row[table.columns.index(name)]
            assert isinstance(cell, Interval)
            assert cell.mean == pytest.approx(values.mean(), abs=1e-5)


def test_a_capped_model_is_itself_after_its_last_layer(tmp_path: Path) -> None:
    model = load_tiny(save_random(tmp_path, "gemma2", **CASES["gemma2"])).ours
    assert model.spec.logit_softcap is not None
    prompts = random_prompts(model.spec.d_vocab, batch=2, longest=6)
    table = read_logit_lens(model, prompts, top=1).tables[0]
    assert prompts.answer is not None
    own = [
        model.logits([row[mask].tolist()])[0, -1, answer]
        for row, mask, answer in zip(prompts.clean, prompts.mask, prompts.answer, strict=True)
    ]
    cell = table.rows[-1][table.columns.index("logit")]
    assert isinstance(cell, Interval)
    assert cell.mean == pytest.approx(np.mean(own), abs=1e-4)


def test_the_induction_model_knows_its_answer_after_the_last_layer_alone(
    shipped: LanguageModel,
) -> None:
    prompts = cg.load_task("induction", shipped).prompts(24, "evaluation")
    table = read_logit_lens(shipped, prompts).tables[0]
    at = table.columns.index("accuracy")
    first, last = (table.rows[i][at] for i in (0, -1))
    assert isinstance(first, Interval)
    assert isinstance(last, Interval)
    assert first.high < 0.3
    assert last.low > 0.8


def test_places_that_do_not_exist_are_refused(tiny: Tiny) -> None:
    with pytest.raises(UnknownNameError, match="Unknown role of these prompts 'S2'"):
        read_logit_lens(tiny.ours, PROMPTS, at="S2")
    with pytest.raises(ArgumentError, match="The position is 30"):
        read_logit_lens(tiny.ours, PROMPTS, at=30)
    with pytest.raises(ArgumentError, match="top is 51, but must be at most 50"):
        read_logit_lens(tiny.ours, PROMPTS, top=51)
    alone = random_prompts(batch=4, longest=8)
    object.__setattr__(alone, "score_at", np.stack([alone.score_at - 1, alone.score_at], axis=1))
    with pytest.raises(DataError, match="several scored positions: read those, not 1"):
        read_logit_lens(tiny.ours, alone, at=1)
