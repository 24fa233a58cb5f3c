"""Skeletons: a circuit's nodes as variables at measured roles, as a file that lacks functions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuitgraph.catalog.files import load_circuit
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
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.pairs_file import PairsTask
from circuitgraph.tasks.prompts import SPLITS
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
    assert costs["B1"] > 0.9 > 0.1 > max(abs(costs["A1"]), abs(costs["A2"]))
    shares = ", ".join(f"{role}={round(100 * cost)}%" for role, cost in costs.items())
    assert f"# a0.h3: share of logit_difference lost when it is resampled at {shares}\n" in text
    looks = measured.measure_attention("a0.h3")[
        measured.names.index("B1"), measured.names.index("A1")
    ]
    assert f'"""Looks at A1 ({looks:.0%}). Effects of its edges: embed->a0.h3<v> 18.2."""' in text
    assert "# H.expect(\"accuracy\", at_least=0.9)" in text  # fmt: skip
    assert '# H.rival("no a0_h3", drop="a0_h3")' in text


def test_costs_are_shares_of_all_that_the_prompt_says(measured: MeasuredRoles) -> None:
    """A swap at every position is another prompt, which knows nothing of the answer: the scale."""
    assert measured._measure_metric({}) > 15 > 2 > abs(measured._measure_metric({"embed": ()}))


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
