"""The split of heads by source position, beside transformers' patterns and torch's gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.analysis.attention_sources import number_places, read_attention_sources
from circuitgraph.catalog.records import Interval
from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.readings.sources import run_source_effects
from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.tasks.metrics import metrics
from tests.checkpoints import load_tiny, random_prompts, save_tiny
from tests.parity.cases import CASES
from tests.parity.harness import save_random

PROMPTS = random_prompts(batch=4, longest=7)


def explicit_parts(hf: Any, tokens: np.ndarray, mask: np.ndarray) -> tuple[list[Any], Any, Any]:
    """Of each layer of a GPT-2: what each head writes by key [b, h, q, k, d], and the attention's
    output; and the logits.
    """
    outputs: list[Any] = []
    handles = []
    for block in hf.transformer.h:

        def keep(_: Any, args: Any, out: Any) -> None:
            out[0].retain_grad()
            outputs.append(out[0])

        handles.append(block.attn.register_forward_hook(keep))
    hf.set_attn_implementation("eager")
    run = hf(
        torch.tensor(tokens).long(),
        attention_mask=torch.tensor(mask).long(),
        output_attentions=True,
        output_hidden_states=True,
    )
    parts = []
    for block, pattern, x in zip(hf.transformer.h, run.attentions, run.hidden_states, strict=False):
        v = block.attn.c_attn(block.ln_1(x)).split(x.shape[-1], dim=2)[2]
        v = v.view(*v.shape[:2], pattern.shape[1], -1).transpose(1, 2)  # [b, h, k, e]
        w_o = block.attn.c_proj.weight.view(pattern.shape[1], v.shape[-1], -1)
        parts.append(torch.einsum("bhqk,bhke,hed->bhqkd", pattern, v, w_o).detach())
    for handle in handles:
        handle.remove()
    return parts, outputs, run.logits


def test_effects_are_those_of_explicit_parts(tmp_path: Any) -> None:
    tiny = save_tiny(tmp_path, n_layer=2)
    hf = tiny.hf.eval()
    assert PROMPTS.corrupted is not None
    far, _, _ = explicit_parts(hf, PROMPTS.corrupted, PROMPTS.mask)
    near, outputs, logits = explicit_parts(hf, PROMPTS.clean, PROMPTS.mask)
    rows = torch.arange(len(logits))
    answer, distractor = (
        torch.tensor(side).long() for side in (PROMPTS.answer, PROMPTS.distractor)
    )
    final = logits[rows, torch.tensor(PROMPTS.score_at).long()]
    (final[rows, distractor] - final[rows, answer]).sum().backward()
    metric = metrics["logit_difference"]
    ours = np.asarray(run_source_effects(tiny.ours.transformer, make_batch(PROMPTS), metric))
    for layer, (here, there, out) in enumerate(zip(near, far, outputs, strict=True)):
        theirs = torch.einsum("bhqkd,bqd->hbk", there - here, out.grad).numpy()
        np.testing.assert_allclose(ours[layer], theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_parts_of_a_head_sum_to_the_head(family: str, tmp_path: Any) -> None:
    """Grouped key-value heads, and a post-norm; the sum is the score of the whole head."""
    tiny = load_tiny(save_random(tmp_path, family, **CASES[family]))
    metric = metrics["logit_difference"]
    ours = np.asarray(run_source_effects(tiny.ours.transformer, make_batch(PROMPTS), metric))
    of_heads = np.abs(ours.sum(-1)).mean(-1)  # [layers, heads]
    graph = tiny.ours.graph()
    importances = Experiment(tiny.ours, PROMPTS).attribution.importances()
    expected = [x for w, x in zip(graph.writers[1:], importances, strict=True) if w.kind == "head"]
    np.testing.assert_allclose(of_heads.reshape(-1), expected, atol=1e-5 * np.max(expected))


def test_the_induction_head_fetches_the_successor() -> None:
    model = cg.load_model("induction-2l")
    task = cg.load_task("induction", model)
    reading = read_attention_sources(model, task.prompts(16), task, top=3)
    (table,) = reading.tables
    assert table.rows[0][0] == "a1.h6"
    row = dict(zip(table.columns, table.rows[0], strict=True))
    # the corrupted prompt has another token there, and lets the head fetch a wrong one elsewhere
    effects = {name: cell for name, cell in row.items() if isinstance(cell, Interval)}
    assert effects["B1"].low > 0
    assert max(abs(effects[role].mean) for role in ("A1", "A2")) < 0.01 * effects["B1"].mean


def test_prompts_without_roles_need_one_length() -> None:
    with pytest.raises(DataError, match="places cannot be compared"):
        number_places(PROMPTS)


@pytest.mark.parametrize("metric", ["accuracy", "kl"])
def test_metrics_without_gradient_are_refused(metric: str) -> None:
    model = cg.load_model("induction-2l")
    task = cg.load_task("induction", model)
    with pytest.raises(ArgumentError, match=f"that of '{metric}' is zero"):
        read_attention_sources(model, task.prompts(2), task, metric=metric)
