"""Scrubbing of the shipped model: what is true survives, what is wrong is refuted and recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuitgraph.catalog.scrub_record import ScrubRecord
from circuitgraph.engine.tree.run import run_tree
from circuitgraph.errors import ArgumentError, HypothesisError, UnknownNameError
from circuitgraph.graph.node import ATTENTION_INPUTS, Node
from circuitgraph.graph.tree import list_site_edges
from circuitgraph.hypotheses import Hypothesis, Site, embed, logits
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.scrubbing.prepared import prepare_scrub
from circuitgraph.hypotheses.scrubbing.scrub import override_settings, scrub_evidence
from circuitgraph.hypotheses.scrubbing.trials import MODEL, SCRUBBED, ScrubTrial, make_node_trials
from circuitgraph.hypotheses.study import Study
from circuitgraph.jobs.scrub import scrub

N = 256
PREVIOUS, INDUCTION = Site(Node("head", 0, 3)), Site(Node("head", 1, 6))


def make_induction(induction_head: Site = INDUCTION, **options: Any) -> Hypothesis:
    """The shipped hypothesis; or with another head in the place of the induction head."""
    h = Hypothesis("induction", task="induction", model="induction-2l", **options)

    @h.var(at=embed @ "A1")
    def earlier(p):
        return p.token["A1"]

    @h.var(at=embed @ "B1")
    def successor(p):
        return p.token["B1"]

    @h.var(at=embed @ "A2")
    def current(p):
        return p.token["A2"]

    @h.var(at=PREVIOUS @ "B1", v="earlier", role="previous-token head")
    def seen_before(earlier):
        return earlier

    @h.var(at=induction_head @ "A2", q="current", k="seen_before", v="successor")
    def copied(current, seen_before, successor):
        return successor if current == seen_before else None

    @h.output(at=logits @ "A2")
    def answer(copied):
        return copied

    return h


@pytest.fixture(scope="module")
def plain_study() -> Study:
    h = make_induction()
    h.rival("no previous-token head", drop="seen_before")
    return Study.open(h)


@pytest.fixture(scope="module")
def study() -> Study:
    """The same with a variable that splits the results, and that nobody uses."""
    h = make_induction()
    h.rival("no previous-token head", drop="seen_before")

    @h.var()
    def long(p):
        return len(p) > 12

    return Study.open(h)


@pytest.fixture(scope="module")
def evidence(study: Study) -> Evidence:
    return Evidence(study, N)


@pytest.fixture(scope="module")
def record(evidence: Evidence) -> ScrubRecord:
    return scrub_evidence(evidence)


def test_the_true_hypothesis_is_not_refuted(record: ScrubRecord) -> None:
    assert record.held
    assert record.outcome == "held"
    assert "not refuted, but the file expects no share of the loss" in record.verdict
    assert record.recovered.low > 0.8
    assert 0 < record.standard_error < 0.05
    (rival,) = record.rivals
    assert rival.recovered.high < 0.3
    assert len(record.nulls) == 3
    assert all(null.recovered.mean < 0.2 for null in record.nulls)
    assert all(one.difference.low > 0.5 for one in (rival, *record.nulls))


def test_losses_stand_in_the_order_that_they_must(record: ScrubRecord) -> None:
    assert record.loss_model.mean < record.loss_scrubbed.mean < record.loss_random.mean
    assert record.accuracy_model.mean > record.accuracy_scrubbed.mean > record.accuracy_random.mean
    room = record.loss_random.mean - record.loss_model.mean
    assert record.recovered.mean == pytest.approx(
        (record.loss_random.mean - record.loss_scrubbed.mean) / room
    )
    assert record.deviation.mean >= record.loss_scrubbed.mean - record.loss_model.mean
    assert record.worst_decile.mean > record.deviation.mean


def test_every_node_is_scrubbed_alone_and_left_alone(record: ScrubRecord) -> None:
    assert [node.site for node in record.nodes] == [
        "logits@A2", "a1.h6@A2", "embed@A2", "a0.h3@B1", "embed@A1", "embed@B1"
    ]  # fmt: skip
    assert [node.feeds for node in record.nodes[2:]] == ["q", "k", "v", "v"]
    for node in record.nodes:
        assert record.recovered.mean - 0.02 < node.all_but.mean
        assert record.recovered.mean - 0.02 < node.alone.mean < 1.02
    costs = {node.site: 1 - node.alone.mean for node in record.nodes}
    assert max(costs, key=lambda site: costs[site]) == "a1.h6@A2"


def test_the_harshest_is_the_node_with_the_worst_tenth(
    record: ScrubRecord, evidence: Evidence
) -> None:
    assert record.harshest is not None
    assert record.harshest.site == "a1.h6@A2"
    node = next(
        n for n in prepare_scrub(evidence).root.walk() if list(n.path) == record.harshest.path
    )
    trial = next(t for t in prepare_scrub(evidence).trials if t.key == ("alone", *node.path))
    outcome = run_tree(
        evidence.activations,
        trial.root,
        np.arange(N),
        trial.draw_donors().inputs,
        [evidence.metric],
    )
    changes = np.abs(outcome.values[0] - evidence.plain_outcome.values[0])
    assert record.harshest.largest == pytest.approx(changes.max(), rel=1e-4)
    assert record.harshest.prompt == evidence.batch.prompts[int(changes.argmax())].text
    assert record.harshest.deviation.mean == pytest.approx(changes.mean(), rel=1e-4)
    assert record.harshest.worst_decile.mean == pytest.approx(
        np.sort(changes)[-(N // 10) :].mean(), rel=1e-4
    )


def test_one_draw_is_shown_and_agrees_with_the_claims(record: ScrubRecord, study: Study) -> None:
    prompts = {prompt.text: prompt for prompt in study.prompts(N)}
    donors = {tuple(node.path): prompts[node.donor] for node in record.nodes}
    assert len({node.donor for node in record.nodes}) == len(record.nodes)
    for node in record.nodes[1:]:
        both = [
            study.program.compute_values(donors[path])[node.variable]
            for path in (tuple(node.path), tuple(node.path[:-1]))
        ]
        assert both == [node.value, node.value]
    assert all((node.others is None) == node.site.startswith("embed") for node in record.nodes)
    assert all(node.others in prompts for node in record.nodes if node.others is not None)


def test_classes_and_splits_count_the_prompts(record: ScrubRecord, evidence: Evidence) -> None:
    counts = {c.variable: c for c in record.classes}
    assert set(counts) == {"copied", "current", "seen_before", "earlier", "successor"}
    values = {prompt.token["A2"] for prompt in evidence.batch.prompts}
    assert counts["current"].n_classes == len(values)
    assert counts["current"].mean == pytest.approx(N / len(values))
    assert 1 <= counts["current"].effective_donors < N
    assert {(s.variable, s.value) for s in record.splits} == {("long", "True"), ("long", "False")}
    assert sum(s.n for s in record.splits) == N
    assert all(s.recovered is not None and 0.7 < s.recovered.mean < 1 for s in record.splits)


def test_the_record_says_what_was_run(record: ScrubRecord, evidence: Evidence) -> None:
    assert (record.n, record.metric, record.unclaimed, record.align) == (
        N,
        "logit_difference",
        "joint",
        "role",
    )
    assert record.file == Path(evidence.study.hypothesis.location.file).name
    assert record.file_sha256 is not None
    assert record.task.prompts_sha256 == evidence.batch.tokens.fingerprint
    assert record.cost.n_trees == 2 + 1 + 1 + 3 + 12
    assert (
        N * (19 + 6) < record.cost.n_values < N * 4 * 19
    )  # outputs and at least one tree; without sharing 98 values
    assert ScrubRecord.model_validate_json(record.model_dump_json()) == record


def test_records_written_before_some_fields_were_there_load(record: ScrubRecord) -> None:
    content = record.model_dump(mode="json")
    for name in ("outcome", "nulls_left_out", "harshest"):
        del content[name]
    old = ScrubRecord.model_validate(content)
    assert (old.held, old.outcome, old.nulls_left_out) == (True, None, {})


def test_the_memory_is_estimated_and_not_exceeded(record: ScrubRecord, evidence: Evidence) -> None:
    assert 0.3 * record.cost.bytes_held <= evidence.activations.bytes <= record.cost.bytes_held


def test_the_same_seed_gives_the_same_record(plain_study: Study) -> None:
    assert scrub(plain_study, n=N) == scrub_evidence(Evidence(plain_study, N))


def test_a_hypothesis_is_checked_before_it_is_scrubbed(study: Study) -> None:
    with pytest.raises(HypothesisError, match=r"py:\d+: nobody uses `long`"):
        scrub(study, n=N)


def test_with_every_donor_exact_the_tree_is_the_model_bit_for_bit(evidence: Evidence) -> None:
    prepared = prepare_scrub(evidence)
    paths = [node.path for node in prepared.root.walk()]
    donors = prepared.sampler.draw_donors(
        prepared.root, np.arange(N), modes=dict.fromkeys(paths, "exact"), keep=paths
    )
    outcome = run_tree(
        evidence.activations, prepared.root, np.arange(N), donors.inputs, [evidence.metric]
    )
    assert np.array_equal(outcome.values, evidence.plain_outcome.values)


def test_a_prompt_does_as_it_does_wherever_it_stands_among_the_references(
    evidence: Evidence,
) -> None:
    prepared, order = prepare_scrub(evidence), np.random.default_rng(0).permutation(N)[:50]
    whole, some = (
        run_tree(
            evidence.activations,
            prepared.root,
            r,
            prepared.sampler.draw_donors(prepared.root, r).inputs,
            [evidence.metric],
        ).values
        for r in (np.arange(N), order)
    )
    assert np.allclose(whole[:, order], some, atol=1e-4)


def test_a_rival_that_is_right_refutes() -> None:
    h = make_induction(Site(Node("head", 1, 0)))
    h.rival("the right head", move={"copied": INDUCTION @ "A2"})
    record = scrub(Study.open(h), n=N)
    assert not record.held
    assert record.rivals[0].recovered.mean > 0.7
    assert record.rivals[0].difference.high < 0
    assert "'the right head'" in record.verdict


@pytest.mark.parametrize("unclaimed", ["everywhere", "separate", "keep"])
def test_other_policies_for_what_is_unclaimed(
    evidence: Evidence, record: ScrubRecord, unclaimed: str
) -> None:
    other = Evidence(override_settings(evidence.study, None, unclaimed, None), N)
    other.activations = evidence.activations
    prepared = prepare_scrub(other)
    donors = ScrubTrial(SCRUBBED, prepared.root, prepared.sampler).draw_donors()
    outcome = run_tree(
        evidence.activations, prepared.root, np.arange(N), donors.inputs, [evidence.metric]
    )
    loss = evidence.compute_losses(outcome).mean()
    assert record.loss_model.mean < loss < record.loss_random.mean
    assert loss != record.loss_scrubbed.mean
    if unclaimed == "keep":
        assert loss < record.loss_scrubbed.low


def test_align_index_takes_donors_of_the_same_layout_only(
    plain_study: Study, record: ScrubRecord
) -> None:
    assert record.other_layout > 0.5
    exact = scrub(plain_study, n=N, align="index")
    assert exact.align == "index"
    assert exact.other_layout == 0
    assert exact.loss_random == record.loss_random
    assert not exact.held, "hardly a prompt has a donor but itself"
    assert (
        "not shown, most prompts have no donor but themselves for copied, current" in exact.verdict
    )
    assert "their own donors" in exact.notes[0]


def test_another_metric_has_its_own_loss(plain_study: Study) -> None:
    record = scrub(plain_study, n=N, metric="kl")
    assert record.metric == "kl"
    assert record.loss_model.mean == pytest.approx(0, abs=1e-5)
    assert record.loss_scrubbed.mean > 0


def test_nodes_that_share_a_donor_are_scrubbed_together() -> None:
    h = Hypothesis("h", task="induction", model="induction-2l")

    @h.var(at=[INDUCTION @ "A2", Site(Node("head", 1, 2)) @ "A2"], together=True)
    def copied(p):
        return p.token["B1"]

    @h.output(at=logits @ "A2")
    def answer(copied):
        return copied

    prepared = prepare_scrub(Evidence(Study.open(h), 50))
    one, other = prepared.root.children
    alone = next(
        t
        for t in make_node_trials(prepared.root, prepared.sampler)
        if t.key == ("alone", *one.path)
    )
    drawn = alone.draw_donors()
    assert alone.modes == {prepared.root.path: "exact"}
    assert np.array_equal(drawn.datum[one.path], drawn.datum[other.path])
    assert not np.array_equal(drawn.datum[one.path], np.arange(50))


def test_the_edges_of_a_site_are_those_of_the_graph(study: Study) -> None:
    for site in (PREVIOUS, INDUCTION, logits):
        site_edges = list_site_edges(study.graph, site)
        readers = [
            f"{site.node}<{i}>" if i in ATTENTION_INPUTS else str(site.node) for i in site.inputs
        ]
        names = {e for e in study.graph.edges if e.split("->")[1] in readers}
        assert {
            f"{w}->{site.node}<{i}>" if i != "x" else f"{w}->{site.node}" for i, w in site_edges
        } == names


def test_what_cannot_be_scrubbed_is_refused(plain_study: Study) -> None:
    study = plain_study
    h = Hypothesis("nothing", task="induction", model="induction-2l")

    @h.output(at=logits @ "A2")
    def answer(p):
        return p.answer

    with pytest.raises(HypothesisError, match="'nothing' claims nothing"):
        scrub(Study.open(h), n=N)
    with pytest.raises(ArgumentError, match="n is 1"):
        scrub(study, n=1)
    with pytest.raises(UnknownNameError, match="logit_difference"):
        scrub(study, n=50, metric="logit_diference")
    with pytest.raises(ArgumentError, match="limit is"):
        scrub(study, n=50, memory=1000)
    with pytest.raises(ArgumentError, match="joint, everywhere, separate, keep"):
        override_settings(study, None, "jiont", None)


def test_a_variable_that_tells_all_prompts_apart_is_refused() -> None:
    h = make_induction()
    h.rival("the whole prompt", seen_before=lambda p: p.text)
    with pytest.raises(
        HypothesisError, match="'seen_before' has another value on each of the 256 prompts"
    ):
        scrub(Study.open(h), n=N)


def test_what_is_scrubbed_comes_first_among_its_trials(evidence: Evidence) -> None:
    keys = [trial.key for trial in prepare_scrub(evidence).trials]
    assert len(set(keys)) == len(keys)
    assert keys[0] == MODEL
    assert SCRUBBED in keys
