"""Readings of neurons: known answers in compiled programs, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import circuitgraph as cg
from circuitgraph.analysis.lowest_neuron import read_lowest_neuron
from circuitgraph.analysis.neuron_choice import pick_highest
from circuitgraph.analysis.neuron_comparison import read_neuron_comparison
from circuitgraph.analysis.neuron_masks import read_neuron_masks
from circuitgraph.analysis.query_neurons import read_query_neurons
from circuitgraph.analysis.score_comparison import read_score_comparison
from circuitgraph.analysis.shallow_neurons import read_shallow_neurons
from circuitgraph.analysis.shared_heads import read_shared_heads
from circuitgraph.analysis.value_neurons import read_value_neurons
from circuitgraph.catalog.analysis_record import Reading
from circuitgraph.catalog.records import Interval
from circuitgraph.errors import ArgumentError, CircuitGraphError, DataError, UnknownNameError
from circuitgraph.models.constructed.compile import ConstructedModel, compile_program
from circuitgraph.models.constructed.rasp import Aggregate, Map, Select, indices, tokens
from circuitgraph.models.constructed.rasp_program import RaspProgram
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Prompts
from tests.checkpoints import Tiny, score_two_positions
from tests.checkpoints import random_prompts as random_tokens
from tests.models.constructed.agreement import list_owners, random_prompts
from tests.models.constructed.common import SIZES, model_of_common_size
from tests.parity.cases import CASES
from tests.parity.harness import save_random

METHODS: dict[str, Callable[..., Reading]] = {
    "compare-neurons": read_neuron_comparison,
    "lowest-neuron": read_lowest_neuron,
    "mask-neurons": read_neuron_masks,
    "query-neurons": read_query_neurons,
    "shallow-neurons": read_shallow_neurons,
    "value-neurons": read_value_neurons,
    "compare-scores": read_score_comparison,
}
NEXT = dict(zip("abcd", "bcda", strict=True))


def mean(cell: Any) -> float:
    """A cell's number."""
    return cell.mean if isinstance(cell, Interval) else cell


def list_rows(reading: Reading, number: int = 0) -> list[Any]:
    """The rows of one of a reading's tables."""
    return list(reading.tables[number].rows)


def parse_place(name: str) -> tuple[int, int]:
    layer, neuron = name.removeprefix("m").split(".n")
    return int(layer), int(neuron)


@cache
def shifted_model() -> tuple[ConstructedModel, Prompts]:
    """Each symbol's successor, looked up by an MLP and fetched by a head from the token before."""
    shifted = Map(NEXT.get, tokens, name="successor")
    before = Select(indices, indices, lambda key, query: key == query - 1)
    program = RaspProgram(Aggregate(before, shifted, name="previous"), tuple("abcd"), 5, 3)
    constructed = compile_program(program, "shifted", sizes=SIZES, exact=True)
    return constructed, random_prompts(constructed, 12, 0)


def test_the_look_up_units_that_a_head_feeds_are_those_of_the_map() -> None:
    """Of `first-equals-last`: a head fetches the first symbol, a map compares it with the last."""
    constructed = model_of_common_size("first-equals-last")
    prompts = load_task("constructed:first-equals-last", constructed.model).prompts(16)
    reading = read_neuron_comparison(constructed.model, prompts, top=12)
    owners = list_owners(constructed)
    rows = [row for row in list_rows(reading, 0) if mean(row[2]) > 1e-3]
    assert rows
    assert {owners[parse_place(row[0])].name for row in rows} == {"same"}
    heads = [row for row in list_rows(reading, 1) if row[0] != "whole stream"]
    strongest = max(heads, key=lambda row: abs(mean(row[-1])))
    uses = constructed.layout.writers
    assert strongest[0] in uses.values()
    assert strongest[0] in reading.notes[0], "the head of the sweep feeds the first unit"


def test_units_that_a_head_hands_on_are_those_of_the_map() -> None:
    """They say the answer only through the head; and they are its query neurons."""
    constructed, prompts = shifted_model()
    owners, model = list_owners(constructed), constructed.model
    head = next(name for name in constructed.layout.writers.values() if name.startswith("a"))
    reading = read_shallow_neurons(model, prompts, head=head, top=6, tokens=1)
    important = [row for row in list_rows(reading, 0) if mean(row[3]) > 1e-3]
    assert important
    for row in important:
        assert owners[parse_place(row[0])].name == "successor"
        assert row[2].strip("'\" ") in NEXT.values()
    handed_on = read_query_neurons(model, prompts, values=3, top=4, listed=4, tokens=1)
    query = [row for row in list_rows(handed_on, 0) if mean(row[3]) > 1e-3]
    assert {owners[parse_place(row[0])].name for row in query} == {"successor"}
    knocked = {row[0]: mean(row[2]) for row in list_rows(handed_on, 3)}
    assert knocked["nothing"] > 0.99
    assert knocked["query mlp"] < 0.5 < knocked["random mlp"]


def test_masked_and_kept_neurons_of_a_map() -> None:
    """The unit that looks the answer up is all that is needed, and nothing goes without it."""
    constructed = model_of_common_size("first-equals-last")
    prompts = load_task("constructed:first-equals-last", constructed.model).prompts(16)
    layers = tuple(range(constructed.model.spec.n_layers))
    reading = read_neuron_masks(constructed.model, prompts, counts=(1,), layers=layers, draws=2)
    accuracy = {row[0]: mean(row[2]) for row in list_rows(reading, 0)}
    probability = {row[0]: mean(row[3]) for row in list_rows(reading, 0)}
    assert accuracy["none masked"] == accuracy["top kept"] == accuracy["random masked"] == 1
    assert probability["top masked"] < 0.9 < probability["random masked"]
    scores = list_rows(read_score_comparison(constructed.model, prompts, top=1, draws=2))
    lost = {row[0]: mean(row[-1]) for row in scores}
    assert lost["log-probability-increase"] == pytest.approx(max(lost.values()))
    assert abs(lost["random"]) < 0.1 * lost["log-probability-increase"]


def test_a_higher_neuron_loses_what_the_lowest_gave_it(shipped: LanguageModel) -> None:
    """Values above are those of a run without the lowest neuron: unchanged without any above."""
    del shipped
    model = load_model("addition")
    prompts = cg.load_task("addition", model).prompts(8, "evaluation")
    reading = read_lowest_neuron(model, prompts, layers=(0, 1), top=6)
    none, lowest, random = list_rows(reading, 0)
    assert none[2] == none[4] == 0
    assert mean(lowest[3]) != mean(none[3])
    assert abs(random[4]) < abs(lowest[4])
    together = read_neuron_masks(model, prompts, counts=(5,), together=True, draws=1)
    assert "of the mean over prompts" in together.tables[0].title


def test_a_unit_rests_on_the_unit_below_that_looks_its_symbol_up() -> None:
    """Two maps, one after the other: without the first's unit of `a` the second has no `a` to read,
    and all other symbols are as they were.
    """
    once = Map(NEXT.get, tokens, name="successor")
    program = RaspProgram(Map(NEXT.get, once, name="second"), tuple("abcd"), 5, 3)
    constructed = compile_program(program, "twice", sizes=SIZES, exact=True)
    model, prompts = constructed.model, random_prompts(constructed, 12, 0)
    layers = tuple(range(model.spec.n_layers))
    reading = read_lowest_neuron(model, prompts, layers=layers, top=2)
    _, lowest, _ = list_rows(reading, 0)
    ((masked, n, _),) = list_rows(reading, 1)
    assert (list_owners(constructed)[parse_place(masked)].name, n) == ("successor", 12)
    last = np.take_along_axis(prompts.clean, prompts.score_at[:, None], axis=1)[:, 0]
    symbols = [model.text_tokenizer.decode([token]) for token in last.tolist()]
    share = symbols.count("abcd"[parse_place(masked)[1]]) / len(symbols)
    assert 0 < share < 1
    assert lowest[4] == pytest.approx(share)


def test_tasks_of_the_same_kind_share_the_head_that_answers(tmp_path: Path) -> None:
    """The induction head of `induction-2l`, on the task and on a file of other such prompts."""
    model = load_model("induction-2l")
    task = cg.load_task("induction", model, seed=0)
    pairs = [*task.pairs(8, "discovery"), *task.pairs(16, "evaluation")[8:]]
    kept = ("clean", "corrupted", "answer", "distractor")
    lines = [json.dumps({name: getattr(pair, name) for name in kept}) for pair in pairs]
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    prompts = task.prompts(6, "evaluation")
    reading = read_shared_heads(model, task, prompts, other=str(tmp_path / "own.jsonl"), top=1)
    ((head, is_shared, *_),) = list_rows(reading, 0)
    assert (head, is_shared) == ("a1.h6", True)


def test_tables_of_value_neurons_and_shared_heads() -> None:
    model = load_model("multitask")
    names = ("ioi", "greater-than")
    task = cg.load_task(names[0], model)
    prompts = task.prompts(4, "evaluation")
    reading = read_value_neurons(model, prompts, top=3, counted=20, tokens=2)
    assert [len(table.rows) for table in reading.tables[:2]] == [3, 3]
    shared = read_shared_heads(model, task, prompts, other=names[1], top=2)
    marked = [row[0] for row in list_rows(shared, 0) if row[1]]
    both = [row for row in list_rows(shared, 0) if None not in row[-2:]]
    assert marked == [row[0] for row in both]
    assert shared.notes[0].startswith(f"{len(marked)} of the 2 strongest heads of ioi")
    heads = {row[0]: mean(row[1]) for row in list_rows(reading, 3)}
    own = {row[0]: mean(row[2]) for row in list_rows(shared, 0)}
    assert all(own[name] == pytest.approx(heads[name]) for name in set(own) & set(heads))
    with pytest.raises(ArgumentError, match="other is 'ioi', the task itself"):
        read_shared_heads(model, task, prompts, other="ioi")
    with pytest.raises(UnknownNameError, match="doc-string"):
        read_shared_heads(model, task, prompts, other="doc-string")


def test_the_highest_are_picked_for_each_prompt() -> None:
    scores = np.array([[[1.0, 9.0]], [[5.0, 4.0]], [[7.0, 0.0]]])
    assert pick_highest(scores, 2, (1, 2)).nonzero()[0].tolist() == [1, 2]
    assert pick_highest(scores, 1, (0, 1, 2))[0, 0].tolist() == [False, True]


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = save_random(tmp_path_factory.mktemp("moe"), "mixtral", **CASES["mixtral"])
    return load_model(str(folder))


@pytest.mark.parametrize("name", METHODS)
def test_experts_are_refused(experts: LanguageModel, name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name} looks at neurons .* is a mixture of experts"):
        METHODS[name](experts, random_tokens())


@pytest.mark.parametrize("name", METHODS)
def test_models_without_mlps_are_refused(shipped: LanguageModel, name: str) -> None:
    assert shipped.spec.d_mlp is None
    with pytest.raises(ArgumentError, match=f"{name} looks at neurons .* has no MLPs"):
        METHODS[name](shipped, random_tokens())


def test_attention_neurons_need_no_mlps(shipped: LanguageModel) -> None:
    prompts = cg.load_task("induction", shipped).prompts(4)
    rows = list_rows(read_score_comparison(shipped, prompts, kind="attention", draws=1))
    lost = {row[0]: mean(row[-1]) for row in rows}
    assert lost["log-probability-increase"] > lost["random"]


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "layer": ("mask-neurons", {"layers": (1, 3)}, r"layers is \[1, 3\], but the model has"),
    "layers of scores": ("compare-scores", {"layers": (-1,)}, r"layers is \[-1\], but the model"),
    "count": ("mask-neurons", {"counts": (1, 99)}, "counts is 99, but must be at most 80"),
    "no count": ("mask-neurons", {"counts": ()}, "number of counts is 0"),
    "head": ("compare-neurons", {"head": "a3.h0"}, "Unknown writer 'a3.h0'"),
    "no head": ("compare-neurons", {"head": "m1"}, "head is 'm1', which is no head"),
    "first layer": ("shallow-neurons", {"head": "a0.h1"}, "in the first layer: no MLP stands"),
    "one layer": ("lowest-neuron", {"layers": (1,)}, "there is no layer above the lowest one"),
    "top": ("lowest-neuron", {"top": 1}, "top is 1, but must be at least 2"),
    "counted": ("value-neurons", {"counted": 999}, "counted is 999, but must be at most 72"),
    "values": ("query-neurons", {"values": 0}, "values is 0, but must be at least 1"),
    "draws": ("compare-scores", {"draws": 0}, "draws is 0, but must be at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_settings_that_are_refused(tiny: Tiny, case: str) -> None:
    name, settings, message = BAD[case]
    with pytest.raises(CircuitGraphError, match=message):
        METHODS[name](tiny.ours, random_tokens(), **settings)


@pytest.mark.parametrize("name", ["mask-neurons", "compare-scores"])
def test_a_task_with_one_answer_is_refused(tiny: Tiny, name: str) -> None:
    prompts = random_tokens()
    alike = replace(prompts, answer=np.full(len(prompts), 7, np.int32))
    with pytest.raises(DataError, match=r"answer of all 5 prompts is ' yes': a model that always"):
        METHODS[name](tiny.ours, alike)


def test_prompts_without_one_answer_token_are_refused(tiny: Tiny) -> None:
    prompts = random_tokens()
    with pytest.raises(DataError, match="needs an answer for every pair"):
        read_value_neurons(tiny.ours, replace(prompts, answer=None))
    several = score_two_positions(prompts)
    with pytest.raises(DataError, match="one scored position for each prompt, and these have 2"):
        read_value_neurons(tiny.ours, several)
