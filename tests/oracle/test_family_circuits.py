"""Circuits, searches and scores of every family, against hooks inside Hugging Face."""

from typing import Any

import pytest
import torch

from . import losses
from .acdc import oracle_acdc
from .cases import EXACT, LENGTHS, assert_close, make_case, some_edges
from .eap import explicit_eap
from .names import FAMILIES, edge_names, nodes_fed, nodes_moved, sizes
from .run import Ablation, OracleRun

pytestmark = pytest.mark.filterwarnings("error")

every_family = pytest.mark.parametrize("family", FAMILIES)
with_and_without_kv = pytest.mark.parametrize("kv", [False, True])


# Any circuit = the same circuit by hooks alone


@every_family
@with_and_without_kv
@pytest.mark.parametrize(
    ("ablation", "share"), [("resample", 0.5), ("resample", 0.9), ("mean", 0.2), ("zero", 0.7)]
)
def test_random_circuits_agree_with_hooks(
    family: str, kv: bool, ablation: Ablation, share: float
) -> None:
    case = make_case(family)
    run, kept = case.oracle(ablation), some_edges(case, share, kv=kv)
    logits = run.run(kept, kv=kv)
    assert (logits - run.at_scored(run.clean_logits)).abs().max() > 1e-2
    assert_close(logits, case.run_hooked(kept, ablation, kv=kv))


@every_family
def test_circuits_without_some_direct_edges_agree_with_hooks(family: str) -> None:
    case = make_case(family)
    run, kept = case.oracle(), some_edges(case, 0.8, direct=True)
    logits = run.run(kept, direct=True)
    assert (logits - run.run({edge for edge in kept if ">->a" not in edge})).abs().max() > 1e-3
    assert_close(logits, case.run_hooked(kept, direct=True))


def test_random_circuits_of_sequential_neox_agree_with_hooks() -> None:
    case = make_case("gpt_neox", use_parallel_residual=False)
    run, kept = case.oracle(), some_edges(case, 0.6)
    assert_close(run.run(kept), case.run_hooked(kept))


@every_family
@with_and_without_kv
def test_every_edge_matters(family: str, kv: bool) -> None:
    """Removing any one edge moves the logits: no name is mute."""
    case = make_case(family, num_hidden_layers=2)
    run, everything = case.oracle(), set(edge_names(case.model.config, kv=kv))
    full = run.run(everything, kv=kv)
    for edge in everything:
        assert (run.run(everything - {edge}, kv=kv) - full).abs().max() > 1e-7, edge


@every_family
def test_kv_readers_stand_for_the_whole_group(family: str) -> None:
    """An edge into a key-value head is the edges into all its query heads, and no fewer."""
    case = make_case(family)
    run, size = case.oracle(), sizes(case.model.config)
    per_head, grouped = (set(edge_names(case.model.config, kv=kv)) for kv in (False, True))
    for letter in "kv":
        into_group = {f"a0.h{head}<{letter}>" for head in range(size.heads // size.kv_heads)}
        gone = {
            edge
            for edge in per_head
            if edge.startswith("embed") and edge.split("->")[1] in into_group
        }
        logits = run.run(grouped - {f"embed->a0.kv0<{letter}>"}, kv=True)
        assert_close(logits, run.run(per_head - gone), EXACT)
        if len(gone) > 1:
            assert (logits - run.run(per_head - set(sorted(gone)[:1]))).abs().max() > 1e-6


@every_family
def test_padding_changes_nothing(family: str) -> None:
    case = make_case(family)
    kept = some_edges(case, 0.5, kv=True)
    together = case.oracle().run(kept, kv=True)
    for i, length in enumerate(LENGTHS):
        clean, corrupted, mask = (
            t[i : i + 1, :length] for t in (case.clean, case.corrupted, case.mask)
        )
        alone = OracleRun(case.model, clean, corrupted, mask, case.score_at[i : i + 1]).run(
            kept, kv=True
        )
        assert_close(alone, together[i : i + 1], EXACT)


# Searches and scores


@pytest.mark.parametrize(
    ("family", "threshold"), [("llama", 0.14), ("gpt_neox", 0.1), ("gemma2", 0.1)]
)
def test_every_decision_is_right(family: str, threshold: float) -> None:
    """Replay a search: effects by hooks, rules by their words, dead readers by a walk."""
    case = make_case(family, num_hidden_layers=2)
    run, config = case.oracle(), case.model.config
    loss = losses.kl_divergence(run.at_scored(run.clean_logits))
    decisions = oracle_acdc(run, loss, threshold, kv=True)
    kept = set(edge_names(config, kv=True))
    current = 0.0
    for decision in decisions:
        without_it = kept - {decision.edge}
        assert decision.tested == alive(config, decision.edge.split("->")[1], kept), decision
        if decision.tested:
            loss_without = loss(case.run_hooked(without_it, kv=True)).mean().item()
            assert decision.effect == pytest.approx(loss_without - current, abs=1e-4)
            assert decision.kept == (not decision.effect < threshold)
            current = current if decision.kept else loss_without
        kept = kept if decision.kept else without_it
    assert {d.kept for d in decisions} == {False, True}
    if family == "gemma2":  # where heads share a post-norm, only a layer as a whole could be dead
        return
    assert any(not d.tested and ".kv" in d.edge for d in decisions)
    if family != "gpt_neox":  # a key-value head is dead with its whole group only
        inputs = {d.edge.split("->")[1] for d in decisions if d.tested and ".kv" in d.edge}
        groups = [
            [any(edge.startswith(f"{head}->") for edge in kept) for head in nodes_fed(config, i)]
            for i in inputs
        ]
        assert any(not all(group) for group in groups)


def alive(config: Any, reader: str, kept: set[str]) -> bool:
    """Whether a kept path leads from a reader to the output, found by walking."""
    if reader == "logits":
        return True
    nodes = nodes_moved(config, reader)
    return any(
        alive(config, edge.split("->")[1], kept) for edge in kept if edge.split("->")[0] in nodes
    )


@every_family
@with_and_without_kv
def test_eap_is_the_slope_of_the_loss(family: str, kv: bool) -> None:
    """Close to the clean prompts the score is the effect of removal itself, to first order."""
    case = make_case(family, num_hidden_layers=2)
    loss = losses.negative_log_probability(torch.tensor([1, 2, 3]))
    run = case.oracle()
    scores = explicit_eap(run, loss, kv=kv)
    edges = edge_names(case.model.config, kv=kv)
    assert list(scores) == edges
    step = 1e-6
    for name, value in run.clean.items():
        run.replacement[name] = value + step * (run.corrupted[name] - value)
    run.base = run._base_inputs()
    clean = loss(run.run(set(edges), kv=kv)).mean().item()
    for edge in sorted(some_edges(case, 0.3, kv=kv)):
        slope = (loss(run.run(set(edges) - {edge}, kv=kv)).mean().item() - clean) / step
        assert slope == pytest.approx(scores[edge], rel=1e-3, abs=1e-5), edge
    assert max(map(abs, scores.values())) > 0.1
