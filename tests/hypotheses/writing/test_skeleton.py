"""Skeletons: a circuit's nodes as variables at measured roles, as a file that lacks functions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuitgraph.catalog.files import load_circuit
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import DataError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.hypotheses.checking import list_study_problems, list_text_problems
from circuitgraph.hypotheses.loading import load_hypotheses
from circuitgraph.hypotheses.study import Study
from circuitgraph.hypotheses.writing.roles import MeasuredRoles, NoRoles
from circuitgraph.hypotheses.writing.skeleton import list_writers, write_skeleton
from circuitgraph.hypotheses.writing.stored import store_hypothesis
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.pairs_file import PairsTask
from circuitgraph.tasks.prompts import SPLITS, Pair
from tests.hypotheses.texts import SHIPPED, load_text

CIRCUIT = Path(__file__).parents[3] / "catalog" / "circuits" / "induction-2l" / "induction" / "acdc"


@pytest.fixture(scope="module")
def measured(shipped: LanguageModel) -> MeasuredRoles:
    """Roles of the shipped model on its task."""
    return MeasuredRoles(shipped, load_task("induction", shipped, seed=0), "logit_difference")


@pytest.fixture(scope="module")
def text(measured: MeasuredRoles) -> str:
    """The skeleton of the shipped circuit."""
    return write_skeleton(load_circuit(CIRCUIT), measured, task="induction", model="induction-2l")


def test_it_finds_the_sites_and_routes_of_the_hypothesis_that_is_shipped(
    text: str, tmp_path: Path
) -> None:
    written, known = load_text(tmp_path, text), load_hypotheses(SHIPPED / "induction.py")[0]
    site_of = [{v.name: v.sites[0] for v in h.variables} for h in (written, known)]
    wired = [
        {
            (v.sites, into, site_of[i][name])
            for v in h.variables
            for into, names in (v.routes or {"": v.parents}).items()
            for name in names
        }
        for i, h in enumerate((written, known))
    ]
    assert wired[0] == wired[1]
    assert [v.name for v in written.variables][-3:] == ["a0_h3", "a1_h6", "answer"]


def test_only_its_functions_are_left_to_write(
    text: str, shipped: LanguageModel, tmp_path: Path, measured: MeasuredRoles
) -> None:
    written = load_text(tmp_path, text)
    problems = list_study_problems(Study(written, shipped, measured.task))
    assert [p.message for p in problems] == [
        f"`{name}` is still `...`: say what it computes" for name in ("a0_h3", "a1_h6", "answer")
    ]
    filled = text
    for body in (
        "return embed_A1",
        "return embed_B1 if embed_A2 == a0_h3 else None",
        "return a1_h6",
    ):
        filled = filled.replace("\n    ...", f"\n    {body}", 1)
    assert list_study_problems(Study(load_text(tmp_path, filled), shipped, measured.task)) == []


def test_it_says_what_is_known(text: str, measured: MeasuredRoles) -> None:
    costs = measured.measure_costs("a0.h3")
    assert costs is not None
    # The corrupted prompt has another answer: without any answer half of the way is gone.
    assert costs["B1"] == pytest.approx(0.5, abs=0.1)
    assert max(abs(costs["A1"]), abs(costs["A2"])) < 0.05
    shares = ", ".join(f"{role}={round(100 * cost)}%" for role, cost in costs.items())
    assert f"# a0.h3: share of logit_difference lost when it is resampled at {shares}\n" in text
    looks = measured.measure_attention("a0.h3")[
        measured.names.index("B1"), measured.names.index("A1")
    ]
    assert f'"""Looks at A1 ({looks:.0%}). Effects of its edges: embed->a0.h3<v> 18.2."""' in text
    assert "# H.expect(\"accuracy\", at_least=0.9)" in text  # fmt: skip
    assert '# H.rival("no a0_h3", drop="a0_h3")' in text


def test_costs_are_shares_of_all_that_the_corrupted_prompt_changes(
    measured: MeasuredRoles,
) -> None:
    """A swap at every position is the corrupted prompt: the scale."""
    prompts = measured.task.prompts(50, "discovery")
    experiment = Experiment(measured.model, prompts, metric="logit_difference")
    graph = experiment.graph
    full, empty = experiment.values(np.stack([Circuit.full(graph).mask, Circuit.empty(graph).mask]))
    assert measured._full_values == pytest.approx(full, abs=1e-3)
    assert measured._lost_with_prompt == pytest.approx((full - empty).mean(), rel=1e-4)


def test_its_examples_can_be_uncommented(text: str, tmp_path: Path) -> None:
    start = text.index("# H.expect")
    lines = [line.removeprefix("#").removeprefix(" ") for line in text[start:].splitlines()]
    indented = "\n".join(f"    {line[3:]}" if line.startswith("   ") else line for line in lines)
    written = load_text(tmp_path, text[:start] + indented)
    assert [e.quantity for e in written.expectations] == ["accuracy", "loss_recovered"]
    assert written.rivals[0].drop == ("a0_h3",)
    assert [p.kind for p in written.properties] == ["holds"]
    assert {p.message.split("`")[1] for p in list_text_problems(written)} == {
        "a0_h3",
        "a1_h6",
        "answer",
    }


def test_without_roles_there_is_a_placeholder(tmp_path: Path) -> None:
    graph = Graph(2, 2)
    edges = [
        "embed->a0.h0<v>",
        "a0.h0->m0",
        "m0->a1.h1<q>",
        "m0->a1.h1<k>",
        "embed->a1.h1<v>",
        "a1.h1->logits",
        "m0->m1",
    ]
    circuit = Circuit.of(graph, edges)
    assert list_writers(circuit) == ["embed", "a0.h0", "m0", "a1.h1"]  # m1 leads nowhere
    written = load_text(
        tmp_path, write_skeleton(circuit, NoRoles(), task="ioi", model='it\'s "mine"\\')
    )
    record = store_hypothesis(written)
    assert {site for v in record.variables for site in v.sites} == {
        f"{node}@ROLE" for node in ("embed", "a0.h0", "m0", "a1.h1", "logits")
    }
    head = next(v for v in record.variables if v.name == "a1_h1")
    assert head.routes == {"q": ["m0"], "k": ["m0"], "v": ["embed_ROLE"]}
    assert (record.task, record.model) == ("ioi", 'it\'s "mine"\\')
    assert [p.message.split("`")[1] for p in list_text_problems(written)] == [
        "a0_h0",
        "m0",
        "a1_h1",
        "answer",
    ]


def test_grouped_key_value_heads_feed_every_head_of_their_group(tmp_path: Path) -> None:
    graph = Graph(1, 4, mlp=False, n_kv_heads=2)
    circuit = Circuit.of(graph, ["embed->a0.kv1<v>", "a0.h2->logits", "a0.h3->logits"])
    record = store_hypothesis(
        load_text(tmp_path, write_skeleton(circuit, NoRoles(), task="t", model="m"))
    )
    assert {v.name: v.routes for v in record.variables if v.name.startswith("a0")} == {
        "a0_h2": {"v": ["embed_ROLE"]},
        "a0_h3": {"v": ["embed_ROLE"]},
    }


def test_two_roles_of_one_token_are_not_both_read(measured: MeasuredRoles) -> None:
    """A role that doubles another would be claimed twice."""
    doubled = MeasuredRoles(measured.model, measured.task, "logit_difference")
    doubled.names = (*measured.names, "B1 again")
    doubled.positions = np.concatenate(
        [measured.positions, measured.positions[:, [measured.names.index("B1")]]], axis=1
    )
    doubled._costs = {"embed": {"A1": 1.0, "B1": 1.0, "A2": 1.0, "B1 again": 1.0}}
    assert doubled.find_read_roles("a1.h6", "A2", "embed") == ["B1"]


def test_what_leads_nowhere_or_has_no_roles_is_refused(
    shipped: LanguageModel, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="Nothing in this circuit leads"):
        write_skeleton(Circuit.of(Graph(1, 1), ["embed->a0.h0<v>"]), NoRoles(), task="t", model="m")
    file = tmp_path / "pairs.jsonl"
    task = load_task("induction", shipped, seed=0)
    pairs = [pair for split in SPLITS for pair in task.pairs(5, split)]
    lines = [
        json.dumps({"clean": p.clean, "corrupted": p.corrupted, "answer": p.answer}) for p in pairs
    ]
    file.write_text("\n".join(lines))
    bare = load_task(file, shipped)
    assert isinstance(bare, PairsTask)
    assert (
        MeasuredRoles(shipped, bare, "log_probability").last_role == "end"
    )  # which each prompt of a file has
    bare._pairs = [replace(pair, roles={}) for pair in bare._pairs]
    with pytest.raises(DataError, match="no role in common"):
        MeasuredRoles(shipped, bare, "log_probability")


@pytest.fixture(scope="module")
def plural(tmp_path_factory: pytest.TempPathFactory) -> MeasuredRoles:
    """A file in which all prompts have the same answer: clean and corrupted differ in the subject.

    So every clean prompt gives its donors, and its neighbours, the same answer.
    """
    model = load_model("agreement")
    pairs = load_task("agreement", model, seed=0).pairs(80, "discovery")
    chosen = [p for p in pairs if p.answer == " are" and p.roles["subject"] < max(p.roles.values())]
    lines = [{**_describe_pair(p), "roles": {"subject": int(p.roles["subject"])}} for p in chosen]
    file = tmp_path_factory.mktemp("plural") / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, [*lines, *_make_others(model)])))
    return MeasuredRoles(model, load_task(file, model), "logit_difference")


def _describe_pair(pair: Pair) -> dict[str, Any]:
    return {name: getattr(pair, name) for name in ("clean", "corrupted", "answer", "distractor")}


def _make_others(model: LanguageModel) -> list[dict[str, Any]]:
    """Two pairs of the other split, without which a file is refused."""
    pairs = load_task("agreement", model, seed=0).pairs(40, "evaluation")
    plural = [p for p in pairs if p.answer == " are"][:2]
    return [{**_describe_pair(p), "roles": {"subject": int(p.roles["subject"])}} for p in plural]


def test_only_where_a_pair_differs_does_its_embedding_matter(plural: MeasuredRoles) -> None:
    """Donors of the same answer say that nothing matters, and shares of nothing are any number."""
    costs = plural.measure_costs("embed")
    assert costs is not None
    assert costs == pytest.approx({"subject": 1.0, "end": 0.0}, abs=1e-3)
    assert plural.find_read_roles("a0.h2", "end", "embed") == ["subject"]
    assert "lost when it is resampled at end=0%, subject=100%" in plural.describe_costs("embed")


def test_roles_that_are_one_token_are_named(measured: MeasuredRoles) -> None:
    doubled = MeasuredRoles(measured.model, measured.task, "logit_difference")
    doubled._costs = {"embed": {"A1": 0.0, "B1": 1.0, "A2": 0.5}}
    b1, a2 = (measured.names.index(role) for role in ("B1", "A2"))
    doubled.positions = measured.positions.copy()
    doubled.positions[:10, a2] = doubled.positions[:10, b1]
    assert doubled.describe_costs("embed").endswith("; B1 and A2 are one token in 20% of prompts")


def test_nothing_is_divided_by_what_may_be_zero(shipped: LanguageModel, tmp_path: Path) -> None:
    """Each pair and its reverse: what the one loses with its prompt, the other wins."""
    pairs = load_task("induction", shipped, seed=0).pairs(12, "discovery")
    lines = [
        {"clean": a, "corrupted": b, "answer": pair.answer, "distractor": pair.distractor}
        for pair in pairs
        for a, b in ((pair.clean, pair.corrupted), (pair.corrupted, pair.clean))
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    task = load_task(file, shipped)
    assert isinstance(task, PairsTask)
    task._splits = ["discovery"] * len(lines)
    roles = MeasuredRoles(shipped, task, "logit_difference")
    assert roles.measure_costs("embed") is None
    assert "cannot be measured" in roles.describe_costs("embed")
    assert "%" not in roles.describe_costs("embed")
    assert roles.find_read_roles("a1.h6", "end", "embed") == ["end"]


def test_examples_ask_for_what_the_task_has() -> None:
    edges = ["embed->a0.h0<v>", "a0.h0->logits"]
    texts = [
        write_skeleton(Circuit.of(Graph(1, 1), edges), NoRoles(has_words), task="t", model="m")
        for has_words in (True, False)
    ]
    assert ["relabel" in text for text in texts] == [True, False]
    assert ['H.property("behaviour")' in text for text in texts] == [False, True]
