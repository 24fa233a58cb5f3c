"""Units set, scaled, ablated and added to, beside transformers' model with hooks that do the same,
and in constructed programs, beside the program with another value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import Module

import circuitgraph as cg
from circuitgraph.analysis.interventions import MEAN, locate_interventions
from circuitgraph.errors import ArgumentError, CircuitGraphError, DataError, ModelError
from circuitgraph.models.attaching import attach_dictionaries
from circuitgraph.models.constructed.interpreter import UNDECIDED, run_program
from circuitgraph.models.constructed.rasp import Map
from circuitgraph.models.constructed.rasp_program import Use
from circuitgraph.models.constructed.vocabulary import to_sequence, to_word
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.name_tokenizer import TokenNames
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Pair
from circuitgraph.tasks.tokenise import tokenise_pairs
from tests.checkpoints import Tiny, load_tiny
from tests.evaluation.test_splice_quality import draw_dictionary, make_spec
from tests.models.constructed.agreement import list_owners
from tests.models.constructed.common import model_of_common_size
from tests.parity.cases import CASES
from tests.parity.harness import save_random

TEXTS = ["3 17 41 5 9", "8 2 30", "11 49 0 1"]
Change = Callable[[torch.Tensor], torch.Tensor]


def run_torch(tiny: Tiny, text: str, hooks: Sequence[tuple[Module, str, Change]]) -> np.ndarray:
    """transformers' logits after a text, with the inputs or outputs of modules changed."""
    with ExitStack() as stack:
        for module, side, change in hooks:
            stack.callback(_add_hook(module, side, change).remove)
        with torch.no_grad():
            ids = torch.tensor([[int(word) for word in text.split()]])
            return tiny.hf(ids).logits[0, -1].numpy()


def _add_hook(module: Any, side: str, change: Change) -> Any:
    if side == "input":
        return module.register_forward_pre_hook(lambda _, args: (change(args[0]), *args[1:]))

    def replace_output(_: Module, __: Any, output: Any) -> Any:
        if isinstance(output, torch.Tensor):
            return change(output)
        return (change(output[0]), *output[1:])

    return module.register_forward_hook(replace_output)


def set_hidden(index: int, value: float, *, last_only: bool = False) -> Change:
    def change(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        hidden[:, -1 if last_only else slice(None), index] = value
        return hidden

    return change


def map_hidden(index: int, times: float, plus: float) -> Change:
    return lambda h: torch.cat(
        [h[..., :index], h[..., index : index + 1] * times + plus, h[..., index + 1 :]], -1
    )


def change_feature(dictionary: Dictionary, index: int, make: Change) -> Change:
    """The value with a feature of a plain ReLU dictionary changed; its error stays."""
    w_enc, b_enc, w_dec = (
        torch.tensor(np.asarray(a)) for a in (dictionary.w_enc, dictionary.b_enc, dictionary.w_dec)
    )

    def change(x: torch.Tensor) -> torch.Tensor:
        value = torch.relu(x @ w_enc[index] + b_enc[index])
        return x + (make(value) - value)[..., None] * w_dec[0, index]

    return change


def test_neurons_are_those_of_transformers_with_hooks(tiny: Tiny) -> None:
    down = [block.mlp.c_proj for block in tiny.hf.transformer.h]
    mean = np.concatenate([_watch_input(tiny, text, down[1])[0, :, 3] for text in TEXTS]).mean()
    result = cg.steer(
        tiny.ours,
        TEXTS,
        [
            cg.Intervention("m0.n5", "set", (2.0, -3.0)),
            cg.Intervention("m2.n0@end", "set", 4.0),
            cg.Intervention("m0.n39", "scale", (0.5, 7.0)),
            cg.Intervention("m1.n3", "ablate", "mean"),
            cg.Intervention("m1.n8", "add", (1.5, 0.0)),
            cg.Intervention("m2.n21", "ablate"),
        ],
    )
    values = [(2.0, 0.5, 1.5), (-3.0, 7.0, 0.0)]
    for logits, (to, times, plus) in zip(result.logits_after, values, strict=True):
        hooks = [
            (down[0], "input", set_hidden(5, to)),
            (down[0], "input", map_hidden(39, times, 0.0)),
            (down[1], "input", set_hidden(3, float(mean))),
            (down[1], "input", map_hidden(8, 1.0, plus)),
            (down[2], "input", set_hidden(0, 4.0, last_only=True)),
            (down[2], "input", set_hidden(21, 0.0)),
        ]
        for own, text in zip(logits, TEXTS, strict=True):
            np.testing.assert_allclose(own[0], run_torch(tiny, text, hooks), atol=1e-4)
    for own, text in zip(result.logits_before, TEXTS, strict=True):
        np.testing.assert_allclose(own[0], run_torch(tiny, text, ()), atol=1e-4)


def _watch_input(tiny: Tiny, text: str, module: Module) -> np.ndarray:
    seen: list[torch.Tensor] = []

    def note(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x

    run_torch(tiny, text, [(module, "input", note)])
    return seen[0].numpy()


@pytest.mark.parametrize(
    ("reads", "module", "side"),
    [
        ("hook_embed", "drop", "output"),
        ("blocks.1.hook_resid_pre", "h.1", "input"),
        ("blocks.1.attn.hook_z", "h.1.attn.c_proj", "input"),
        ("blocks.1.hook_attn_out", "h.1.attn", "output"),
        ("blocks.1.hook_mlp_out", "h.1.mlp", "output"),
        ("blocks.2.hook_resid_post", "h.2", "output"),
    ],
)
def test_features_are_those_of_transformers_with_hooks(
    tiny: Tiny, reads: str, module: str, side: str
) -> None:
    """A neuron below is changed as well, which the feature must see."""
    dictionary = draw_dictionary(make_spec(reads), 24)
    feature, layer = _choose_active(tiny, dictionary, module, side), dictionary.spec.reads
    assert layer is not None
    name = f"m{layer.layer}.f{feature}"
    result = cg.steer(
        tiny.ours,
        TEXTS,
        [cg.Intervention(name, "scale", 3.0), cg.Intervention("m0.n5", "set", 2.0)],
        dictionaries=[dictionary],
    )
    base = tiny.hf.transformer
    where = base.get_submodule(module)
    hooks = [
        (where, side, change_feature(dictionary, feature, lambda f: 3 * f)),
        (base.h[0].mlp.c_proj, "input", set_hidden(5, 2.0)),
    ]
    for own, text in zip(result.logits_after[0], TEXTS, strict=True):
        np.testing.assert_allclose(own[0], run_torch(tiny, text, hooks), atol=1e-4)
    effect = result.logits_after[0, -1, 0] - run_torch(tiny, TEXTS[-1], hooks[1:])
    assert np.abs(effect).max() > 1e-2


def _choose_active(tiny: Tiny, dictionary: Dictionary, module: str, side: str) -> int:
    """The feature that is highest on the last token of the last text."""
    where, seen = tiny.hf.transformer.get_submodule(module), []

    def note(x: torch.Tensor) -> torch.Tensor:
        seen.append(jnp.asarray(x.numpy()))
        return x

    run_torch(tiny, TEXTS[-1], [(where, side, note)])
    return int(np.asarray(dictionary.encode(seen[0]))[0, -1].argmax())


def test_features_of_a_transcoder_and_of_several_dictionaries(tiny: Tiny) -> None:
    """One that reads an MLP's normed input writes into its output; one above it sees that."""
    transcoder = draw_dictionary(make_spec("blocks.0.mlp.hook_in", "blocks.0.hook_mlp_out"), 24)
    above = draw_dictionary(make_spec("blocks.1.hook_mlp_out"), 24, seed=1)
    result = cg.steer(
        tiny.ours,
        TEXTS,
        [cg.Intervention("m1.f4", "set", 3.0), cg.Intervention("m0.f7", "set", 2.0)],
        dictionaries=[above, transcoder],
    )
    w_enc, b_enc, row = (
        torch.tensor(np.asarray(a))
        for a in (transcoder.w_enc[7], transcoder.b_enc[7], transcoder.w_dec[0, 7])
    )
    blocks, seen = tiny.hf.transformer.h, []
    hooks = [
        (blocks[0].mlp, "input", lambda x: seen.append(x) or x),
        (
            blocks[0].mlp,
            "output",
            lambda y: y + (2 - torch.relu(seen[-1] @ w_enc + b_enc))[..., None] * row,
        ),
        (blocks[1].mlp, "output", change_feature(above, 4, lambda f: torch.full_like(f, 3.0))),
    ]
    for own, text in zip(result.logits_after[0], TEXTS, strict=True):
        np.testing.assert_allclose(own[0], run_torch(tiny, text, hooks), atol=1e-4)
    assert result.record.dictionaries == ["blocks.0.mlp.hook_in", "blocks.1.hook_mlp_out"]


def test_dictionaries_beside_a_model_need_not_be_given(tiny: Tiny) -> None:
    dictionary = draw_dictionary(make_spec("blocks.1.hook_mlp_out"), 24)
    made = [cg.Intervention("m1.f4", "set", 3.0)]
    given = cg.steer(tiny.ours, TEXTS, made, dictionaries=[dictionary])
    beside = cg.steer(attach_dictionaries(tiny.ours, dictionary), TEXTS, made)
    np.testing.assert_array_equal(beside.logits_after, given.logits_after)
    assert beside.record.dictionaries == ["blocks.1.hook_mlp_out"]


def test_a_cross_layer_feature_is_changed_in_all_its_layers(tiny: Tiny) -> None:
    writes = ("blocks.0.hook_mlp_out", "blocks.2.hook_mlp_out")
    dictionary = draw_dictionary(make_spec("blocks.0.hook_resid_pre", *writes), 24)
    result = cg.steer(
        tiny.ours, TEXTS, [cg.Intervention("m0.f3", "add", 2.0)], dictionaries=[dictionary]
    )
    rows = torch.tensor(np.asarray(dictionary.w_dec[:, 3]))
    blocks = tiny.hf.transformer.h
    hooks = [
        (blocks[0].mlp, "output", lambda y: y + 2 * rows[0]),
        (blocks[2].mlp, "output", lambda y: y + 2 * rows[1]),
    ]
    for own, text in zip(result.logits_after[0], TEXTS, strict=True):
        np.testing.assert_allclose(own[0], run_torch(tiny, text, hooks), atol=1e-4)


def test_a_post_norm_norms_what_is_left(tmp_path: Path) -> None:
    gemma = load_tiny(save_random(tmp_path, "gemma2", **CASES["gemma2"]))
    result = cg.steer(gemma.ours, TEXTS[1:], [cg.Intervention("m0.n4", "set", 3.0)])
    hooks = [(gemma.hf.model.layers[0].mlp.down_proj, "input", set_hidden(4, 3.0))]
    for own, text in zip(result.logits_after[0], TEXTS[1:], strict=True):
        np.testing.assert_allclose(own[0], run_torch(gemma, text, hooks), atol=1e-4)


def test_what_is_written_down(tiny: Tiny) -> None:
    """Nothing that is done changes no bit; a prompt goes on by its likeliest tokens."""
    result = cg.steer(tiny.ours, TEXTS, [cg.Intervention("m1.n2", "scale", (1.0, 9.0))], n_new=3)
    assert (result.logits_after[0] == result.logits_before).all()
    record = result.record
    assert (record.metric, record.n_prompts, record.task) == ("kl", 3, None)
    assert record.before is not None
    assert record.change[1] is not None
    assert (record.before.mean, record.before.high) == (0, 0)
    assert record.change[1].mean == pytest.approx(result.after[1].mean())
    assert result.after[1].min() > 0
    (unit,) = record.interventions
    assert (unit.unit, unit.kind, unit.values) == ("m1.n2", "scale", [1, 9])
    assert unit.after == pytest.approx([unit.before, 9 * unit.before], rel=1e-5)
    hooks = [(tiny.hf.transformer.h[1].mlp.c_proj, "input", map_hidden(2, 9.0, 0.0))]
    for prompt in record.prompts:
        for text, own in (
            (prompt.continuation_before, ()),
            (prompt.continuation_after[1], hooks),
        ):
            words = prompt.text.split()
            for _ in range(3):
                words.append(str(run_torch(tiny, " ".join(words), own).argmax()))
            assert str(text).split() == words[-3:]
        first = prompt.top_after[1][0]
        assert first.text == prompt.continuation_after[1].split()[0] == str(first.token)
        assert [t.probability for t in prompt.top_after[1]] == sorted(
            (t.probability for t in prompt.top_after[1]), reverse=True
        )


@pytest.mark.parametrize("variable", ["pointer", "pointer_2"])
def test_a_look_up_unit_makes_a_program_take_its_value(variable: str) -> None:
    """A map has a unit for each value of its input: set to 1 alone it is the map of that value."""
    constructed = model_of_common_size("two-step-lookup")
    program, model = constructed.program, constructed.model
    (e,) = (e for e in program.expressions if program.describe(e).startswith(f"{variable} = "))
    assert isinstance(e, Map)
    (operand, source), values = next(iter(e.operands.items())), constructed.layout.domains
    units = [f"m{la}.n{n}@end" for (la, n), own in list_owners(constructed).items() if own is e]
    assert len(units) == len(values[source].values)
    pairs = load_task("constructed:two-step-lookup", model).prompts(40, "evaluation").pairs
    interventions = [
        cg.Intervention(unit, "set", [float(i == j) for j in range(len(units))])
        for i, unit in enumerate(units)
    ]
    result = cg.steer(model, [pair.clean for pair in pairs], interventions)
    changed = n = 0
    for i, pair in enumerate(pairs):
        sequence = to_sequence(pair.clean)
        plain = run_program(program, sequence)
        for j, value in enumerate(values[source].values):
            instead = [*plain[source][:-1], value]
            answer = run_program(program, sequence, {Use(e, operand): instead})[program.output][-1]
            if answer is UNDECIDED:
                continue
            n, changed = n + 1, changed + (answer != plain[program.output][-1])
            assert result.record.prompts[i].top_after[j][0].text.strip() == to_word(answer).strip()
    assert n > 100
    assert changed > n / 4


def test_interventions_stand_at_roles(shipped: LanguageModel) -> None:
    """And the end is where the prompt ends, not the answer's tokens that the model reads too."""
    prompts = cg.load_task("induction", shipped).prompts(6)
    units = ("m0.f1@B1", "m0.f2@end", "m0.f3@B1+A2")
    made = [cg.Intervention(unit, "set", 1.0) for unit in units]
    at = locate_interventions(made, prompts, n_more=2)
    assert at.shape == (6, prompts.mask.shape[1] + 2, 3)
    for own, pair, mask in zip(at, prompts.pairs, prompts.mask, strict=True):
        places = [np.flatnonzero(own[:, i]).tolist() for i in range(3)]
        first, last = pair.roles["B1"], int(mask.sum()) - 1
        assert places == [[first], [last], sorted([first, pair.roles["A2"]])]
    given = cg.Intervention("m0.f1", "set", 1.0)
    assert locate_interventions([given], prompts, n_more=2).all()
    several = tokenise_pairs([Pair("3 4", None, "7 8 9")], TokenNames.of_sizes(20, 20))
    assert several.mask.sum() == 4
    assert np.flatnonzero(locate_interventions([made[1]], several)[0, :, 0]) == [1]


@pytest.mark.parametrize(
    ("interventions", "problem"),
    [
        ([], "no interventions"),
        ([("m0.n40", "set", 1.0)], r"m0.n40: its MLPs have 40 neurons, 0 to 39"),
        ([("m3.n1", "set", 1.0)], "m3.n1: the model has 3 layers, 0 to 2"),
        ([("m1.f2", "set", 1.0)], "m1.f2: no dictionary reads in layer 1; layers with one: 2"),
        ([("m2.f30", "set", 1.0)], "m2.f30: the dictionary has 30 features, 0 to 29"),
        ([("m1.n2", "set", 1.0), ("m1.n2", "scale", 2.0)], "m1.n2 is set twice at one position"),
        ([("m1.n2", "set", 1.0), ("m1.n2@end", "add", 2.0)], "m1.n2 is set twice at one position"),
        ([("m1.n2", "set", (1, 2)), ("m1.n3", "set", (1, 2, 3))], "different numbers of values"),
        ([("m1.n2@B1", "set", 1.0)], "Unknown role 'B1'. Known: end."),
    ],
)
def test_what_cannot_be_done_is_refused(
    tiny: Tiny, interventions: list[tuple[Any, ...]], problem: str
) -> None:
    dictionary = draw_dictionary(make_spec("blocks.2.hook_mlp_out"), 24)
    made = [cg.Intervention(*one) for one in interventions]
    with pytest.raises(CircuitGraphError, match=problem):
        cg.steer(tiny.ours, TEXTS, made, dictionaries=[dictionary])


def test_interventions_that_make_no_sense_are_refused() -> None:
    for given, problem in (
        (("a0.h1", "set", 1.0), "'a0.h1' is no unit"),
        (("m1.rest", "set", 1.0), "'m1.rest' is no unit"),
        (("m1.n1", "ablate", 2.0), "ablate takes 0 or 'mean', not 2.0"),
        (("m1.n1", "set", MEAN), "set takes numbers, not 'mean'"),
        (("m1.n1", "add", float("nan")), "add takes finite numbers"),
        (("m1.n1", "add", 1e39), "add takes finite numbers"),
        (("m1.n1", "add", ()), "add takes finite numbers, one or several"),
    ):
        with pytest.raises(ArgumentError, match=problem):
            cg.Intervention(*given)  # pyright: ignore[reportArgumentType]


def test_what_does_not_fit_the_model_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    unit = [cg.Intervention("m1.f1", "set", 1.0)]
    narrow = draw_dictionary(make_spec("blocks.1.hook_mlp_out"), 23)
    with pytest.raises(ModelError, match=r"reads 23 numbers at .*, where the model has 24"):
        cg.steer(tiny.ours, TEXTS, unit, dictionaries=[narrow])
    two = [draw_dictionary(make_spec(f"blocks.1.hook_{p}"), 24) for p in ("mlp_out", "resid_post")]
    with pytest.raises(ArgumentError, match="Two dictionaries read in layer 1"):
        cg.steer(tiny.ours, TEXTS, unit, dictionaries=two)
    neuron = [cg.Intervention("m1.n1", "set", 1.0)]
    with pytest.raises(ArgumentError, match=r"makes a prompt of 14 tokens; .* context is 13"):
        cg.steer(tiny.ours, TEXTS, neuron, n_new=9)
    with pytest.raises(DataError, match="The prompts are one text"):
        cg.steer(tiny.ours, TEXTS[0], neuron)
    with pytest.raises(ArgumentError, match="too large: what the model makes of them"):
        cg.steer(tiny.ours, TEXTS, [cg.Intervention(f"m1.n{i}", "set", 3e38) for i in range(40)])
    mixture = load_tiny(save_random(tmp_path, "mixtral", **CASES["mixtral"]))
    with pytest.raises(ArgumentError, match="has a neuron once for each expert"):
        cg.steer(mixture.ours, TEXTS[1:], neuron)
