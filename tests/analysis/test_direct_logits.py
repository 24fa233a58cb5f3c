"""Direct logit attribution against torch hooks and numpy, and on a model whose circuit is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.analysis.direct_logits import read_direct_logits
from circuitgraph.catalog.records import Interval
from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.models.language_model import LanguageModel
from tests.checkpoints import Tiny, random_prompts

PROMPTS = random_prompts(batch=3, longest=8)


def explain_by_hooks(tiny: Tiny) -> dict[str, float]:
    """Mean direct effects of heads, MLPs and neurons by the definition, from captured values."""
    caught: dict[str, Any] = {}
    body, handles = tiny.hf.transformer, []

    def catch(name: str) -> Any:
        return lambda module, args: caught.__setitem__(name, args[0].detach().double())

    for layer, block in enumerate(body.h):
        handles.append(block.attn.c_proj.register_forward_pre_hook(catch(f"a{layer}")))
        handles.append(block.mlp.c_proj.register_forward_pre_hook(catch(f"m{layer}")))
    handles.append(body.ln_f.register_forward_pre_hook(catch("final")))
    with torch.no_grad():
        tiny.hf(
            input_ids=torch.tensor(PROMPTS.clean).long(),
            attention_mask=torch.tensor(PROMPTS.mask).long(),
        )
    for handle in handles:
        handle.remove()
    rows, at = np.arange(len(PROMPTS)), PROMPTS.score_at
    unembed = tiny.hf.lm_head.weight.detach().double().numpy()
    direction = unembed[PROMPTS.answer] - unembed[PROMPTS.distractor]
    final = caught["final"].numpy()[rows, at]
    scale = np.sqrt(final.var(axis=1, keepdims=True) + body.ln_f.eps)
    weight = body.ln_f.weight.detach().double().numpy()

    def attribute(written: np.ndarray) -> float:
        centred = written - written.mean(axis=1, keepdims=True)
        return float((centred / scale * weight * direction).sum(axis=1).mean())

    effects = {}
    for layer, block in enumerate(body.h):
        w_o = block.attn.c_proj.weight.detach().double().numpy()  # [heads * d_head, d]
        z = caught[f"a{layer}"].numpy()[rows, at]
        for head, dims in enumerate(np.split(np.arange(len(w_o)), tiny.ours.spec.n_heads)):
            effects[f"a{layer}.h{head}"] = attribute(z[:, dims] @ w_o[dims])
        w_out = block.mlp.c_proj.weight.detach().double().numpy()  # [d_mlp, d]
        bias, hidden = block.mlp.c_proj.bias.detach().double().numpy(), caught[f"m{layer}"].numpy()
        hidden = hidden[rows, at]
        effects[f"m{layer}"] = attribute(hidden @ w_out + bias)
        for neuron, row in enumerate(w_out):
            effects[f"m{layer}.n{neuron}"] = attribute(hidden[:, [neuron]] * row)
    return effects


def mean_of(cell: Any) -> float:
    assert isinstance(cell, Interval)
    return cell.mean


def test_every_node_is_as_hooks_and_numpy_have_it(tiny: Tiny) -> None:
    expected = explain_by_hooks(tiny)
    reading = read_direct_logits(tiny.ours, PROMPTS, neuron_layers=(0, 1, 2), top=10_000)
    ours = {str(name): mean_of(cell) for table in reading.tables[2:] for name, cell in table.rows}
    assert ours.keys() == expected.keys()
    np.testing.assert_allclose([ours[n] for n in expected], list(expected.values()), atol=2e-5)
    assert max(map(abs, ours.values())) > 0.1
    sizes = [abs(mean_of(row[1])) for row in reading.tables[2].rows]
    assert sizes == sorted(sizes, reverse=True)


def test_parts_by_key_sum_to_the_head(tiny: Tiny) -> None:
    equal = random_prompts(batch=3, longest=8)
    object.__setattr__(equal, "mask", np.ones_like(equal.mask))
    reading = read_direct_logits(tiny.ours, equal, top=5)
    heads, keys = reading.pictures
    assert heads.kind == keys.kind == "heatmap"
    assert keys.column_labels == tuple(map(str, range(8)))
    for name, row in zip(keys.row_labels, keys.values, strict=True):
        layer, head = name[1:].split(".h")
        known = heads.values[int(layer)][int(head)]
        assert known is not None
        assert sum(x or 0 for x in row) == pytest.approx(known, abs=1e-5)


def test_the_induction_head_adds_the_answer_from_where_it_stands(shipped: LanguageModel) -> None:
    """The shipped circuit's last edges go from induction heads to the logits; these fetch what
    follows the earlier copy.
    """
    prompts = cg.load_task("induction", shipped).prompts(24, "evaluation")
    reading = read_direct_logits(shipped, prompts, top=1)
    name, cell = reading.tables[2].rows[0]
    assert isinstance(cell, Interval)
    total = mean_of(reading.tables[0].rows[-1][1])
    assert str(name).startswith("a1.")
    assert cell.low > 0.2 * total
    keys = reading.pictures[1]
    assert keys.kind == "heatmap"
    values = [x or 0.0 for x in keys.values[0]]
    assert keys.column_labels[int(np.argmax(values))].endswith("B1")


def test_what_cannot_be_read_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ArgumentError, match=r"layers is \[3\], but the model has the layers 0"):
        read_direct_logits(tiny.ours, PROMPTS, neuron_layers=(3,))
    alone = random_prompts(batch=3, longest=8)
    object.__setattr__(alone, "distractor", None)
    with pytest.raises(DataError, match="needs a distractor"):
        read_direct_logits(tiny.ours, alone, target="difference")
    assert read_direct_logits(tiny.ours, alone).tables[0].columns[1] == "logit"
