"""Law 6: engine and search agree with the oracle, edge by edge and decision by decision.

The oracle (``tests/oracle``) is plain torch and shares no code with the package. Thresholds are placed in the
middle of gaps between the effects that the oracle measures, so that a decision is a matter of being right and not
of the last bit.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from circuitgraph.api import load_task
from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.base import search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.names import canonical_node
from circuitgraph.models.loading import shipped_models
from circuitgraph.tasks.base import Prompts
from tests import oracle
from tests.checkpoints import Tiny, load_tiny, oracle_run, random_prompts, save_tiny
from tests.oracle import losses

ABLATIONS = ["resample", "mean", "mean-positional", "zero"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return save_tiny(tmp_path_factory.mktemp("small"), seed=3, n_layer=2, n_head=3)


@pytest.fixture(scope="module")
def attention_only(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return save_tiny(tmp_path_factory.mktemp("attn"), seed=4, silent_mlp=True, n_layer=3, n_head=2)


@pytest.fixture(scope="module")
def trained() -> Tiny:
    return load_tiny(shipped_models()["induction-2l"])


def loss_of(name: str, prompts: Prompts, run: oracle.OracleRun) -> losses.Loss:
    answer, distractor = torch.tensor(prompts.answer).long(), torch.tensor(prompts.distractor).long()
    full = run.at_scored(run.clean_logits)
    return {
        "logit_difference": losses.negative_logit_difference(answer, distractor),
        "log_probability": losses.negative_log_probability(answer),
        "kl": losses.kl_divergence(full),
    }[name]


def gap_threshold(effects: list[float], share: float) -> float:
    """The middle of the widest gap between effects near the given quantile."""
    ordered = np.sort(effects)
    centre = int(share * (len(ordered) - 1))
    near = range(max(0, centre - 8), min(len(ordered) - 1, centre + 8))
    widest = max(near, key=lambda i: ordered[i + 1] - ordered[i])
    return float((ordered[widest] + ordered[widest + 1]) / 2)


def assert_same_decisions(circuit: Circuit, decisions: list[oracle.Decision]) -> None:
    graph = circuit.graph
    assert len(decisions) == graph.n_edges
    theirs = {d.edge: d for d in decisions}
    assert circuit.scores is not None
    assert circuit.tested is not None
    largest = max(abs(d.effect) for d in decisions)
    for i, edge in enumerate(graph.edges):
        decision = theirs[edge]
        assert circuit.mask[i] == decision.kept, (edge, decision)
        assert circuit.tested[i] == decision.tested, (edge, decision)
        assert circuit.scores[i] == pytest.approx(decision.effect, abs=1e-5 * max(1.0, largest)), edge


def compare(
    tiny: Tiny, prompts: Prompts, metric: str, ablation: str, threshold: float | None = None, **settings: Any
) -> Circuit:
    """Search with both; without a threshold at one that lies in a gap of the effects. Returns our circuit."""
    mlp = tiny.ours.spec.d_mlp is not None
    run = oracle_run(tiny, prompts, ablation)
    loss = loss_of(metric, prompts, run)
    if threshold is None:
        threshold = gap_threshold(_effects_of_single_removals(run, loss, mlp), share=0.75)
    threshold = abs(threshold) if settings.get("absolute") else threshold
    decisions = oracle.oracle_acdc(run, loss, threshold, mlp=mlp, **settings)
    graph = tiny.ours.graph(direct=settings.get("direct", False))
    experiment = Experiment(tiny.ours, prompts, metric=metric, ablation=ablation, graph=graph)
    circuit = search(Acdc(threshold=threshold, **settings), experiment)
    assert_same_decisions(circuit, decisions)
    return circuit


def _effects_of_single_removals(run: oracle.OracleRun, loss: losses.Loss, mlp: bool) -> list[float]:
    """What each edge costs when it alone is removed: where effects lie, to place thresholds by."""
    edges = oracle.edge_names(run.config, mlp=mlp)
    everything = set(edges)
    full = float(loss(run.run(everything)).double().mean())
    some = edges[:: max(1, len(edges) // 60)]
    return [float(loss(run.run(everything - {edge})).double().mean()) - full for edge in some]


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_random_circuits_have_the_oracles_logits(tiny: Tiny, ablation: str, direct: bool) -> None:
    """Values of random masks agree to 1e-5 relative, on every ablation and both edge conventions."""
    prompts = random_prompts()
    graph = tiny.ours.graph(direct=direct)
    run = oracle_run(tiny, prompts, ablation)
    experiment = Experiment(tiny.ours, prompts, metric="logit", ablation=ablation, graph=graph)
    rng = np.random.default_rng(5)
    masks = np.stack([rng.random(graph.n_edges) < share for share in (0.05, 0.3, 0.6, 0.9, 0.99)])
    ours = experiment.values(masks)
    for mask, values in zip(masks, ours, strict=True):
        logits = run.run(set(Circuit(graph, mask).edges), direct=direct)
        theirs = logits[torch.arange(len(prompts)), torch.tensor(prompts.answer).long()].numpy()
        np.testing.assert_allclose(values, theirs, atol=1e-5 * float(logits.abs().max()))


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("metric", ["logit_difference", "kl"])
def test_acdc_decides_as_the_oracle(small: Tiny, metric: str, ablation: str) -> None:
    circuit = compare(small, random_prompts(batch=4, longest=7), metric, ablation)
    assert 0 < len(circuit) < circuit.graph.n_edges


@pytest.mark.parametrize("heads", ["descending", "ascending"])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("direct", [False, True])
def test_acdc_options_decide_as_the_oracle(attention_only: Tiny, direct: bool, absolute: bool, heads: str) -> None:
    prompts = random_prompts(batch=3, longest=6, seed=2)
    compare(attention_only, prompts, "log_probability", "resample", direct=direct, absolute=absolute, heads=heads)


def test_orders_of_heads_can_lead_to_different_circuits(small: Tiny) -> None:
    """Otherwise the option would be tested by nothing."""
    experiment = Experiment(small.ours, random_prompts(batch=4, longest=7), metric="kl")
    pairs = [
        [search(Acdc(threshold=threshold, heads=heads), experiment) for heads in ("descending", "ascending")]
        for threshold in (0.003, 0.01, 0.03, 0.1, 0.3)
    ]
    assert any(one != other for one, other in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.05, 0.5])
@pytest.mark.parametrize("ablation", ["resample", "mean"])
@pytest.mark.parametrize("name", ["induction-2l", "induction-2l-natural"])
def test_acdc_on_trained_models_decides_as_the_oracle(name: str, ablation: str, threshold: float) -> None:
    tiny = load_tiny(shipped_models()[name])
    prompts = load_task("induction", tiny.ours).prompts(4)
    compare(tiny, prompts, "logit_difference", ablation, threshold)


def heads_without_which_it_fails(card: str) -> set[str]:
    """Heads whose mean ablation leaves less than half of the accuracy, from the table of a model's card."""
    rows = re.findall(r"^\| \**(L\d+H\d+)\** \| \**([\d.]+)%", card, flags=re.MULTILINE)
    return {head for head, accuracy in rows if float(accuracy) < 50}


def test_acdc_finds_the_heads_that_the_ablation_table_shows(trained: Tiny) -> None:
    """The previous-token head writes into the induction head's keys, and no other head takes part."""
    needed = heads_without_which_it_fails((trained.folder / "README.md").read_text(encoding="utf-8"))
    previous, induction = sorted(needed)
    assert (previous[:2], induction[:2]) == ("L0", "L1")
    circuit = search(Acdc(threshold=0.1), Experiment(trained.ours, load_task("induction", trained.ours).prompts(50)))
    path = [f"embed->{previous}<v>", f"{previous}->{induction}<k>", f"{induction}->logits"]
    for edge in (*path, f"embed->{induction}<q>", f"embed->{induction}<v>"):
        assert edge in circuit
    assert set(circuit.nodes) == {"embed", "logits"} | {canonical_node(head) for head in needed}


def test_the_graph_of_the_trained_model_has_no_mlps(trained: Tiny) -> None:
    assert trained.ours.graph() == Graph(2, 8, mlp=False)


def test_the_model_folder_is_an_ordinary_checkpoint(trained: Tiny) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(trained.folder)
    loaded: Any = AutoModelForCausalLM.from_pretrained(trained.folder, output_loading_info=True)
    model, info = loaded
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ids = tokenizer("lake dog chair moon fish bread apple dog", return_tensors="pt").input_ids
    assert tokenizer.decode([int(model(ids).logits[0, -1].argmax())]) == "chair"
    assert Path(trained.folder / "model.safetensors").stat().st_size < 2**20
