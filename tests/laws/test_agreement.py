"""Law 6: engine and search agree with the oracle, edge by edge and decision by decision.

The oracle (``tests/oracle``) is plain torch and shares no code with the package.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import canonical_node
from circuitgraph.models.loading import shipped_models
from circuitgraph.tasks.loading import load_task
from tests.checkpoints import Tiny, load_tiny, random_prompts, save_tiny
from tests.laws.agreement import ABLATIONS, assert_same_logits, compare


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return save_tiny(tmp_path_factory.mktemp("small"), seed=3, n_layer=2, n_head=3)


@pytest.fixture(scope="module")
def attention_only(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return save_tiny(tmp_path_factory.mktemp("attn"), seed=4, silent_mlp=True, n_layer=3, n_head=2)


@pytest.fixture(scope="module")
def trained() -> Tiny:
    return load_tiny(shipped_models()["induction-2l"])


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_random_circuits_have_the_oracles_logits(tiny: Tiny, ablation: str, direct: bool) -> None:
    """On every ablation and both edge conventions."""
    assert_same_logits(tiny, random_prompts(), ablation, direct=direct)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("metric", ["logit_difference", "kl"])
def test_acdc_decides_as_the_oracle(small: Tiny, metric: str, ablation: str) -> None:
    circuit = compare(
        small, random_prompts(batch=4, longest=7), metric, ablation, frontier=metric == "kl"
    )
    assert 0 < len(circuit) < circuit.graph.n_edges


@pytest.mark.parametrize("heads", ["descending", "ascending"])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("direct", [False, True])
def test_acdc_options_decide_as_the_oracle(
    attention_only: Tiny, direct: bool, absolute: bool, heads: str
) -> None:
    prompts = random_prompts(batch=3, longest=6, seed=2)
    compare(
        attention_only,
        prompts,
        "log_probability",
        "resample",
        direct=direct,
        absolute=absolute,
        heads=heads,
        frontier=True,
    )


def test_orders_of_heads_can_lead_to_different_circuits(small: Tiny) -> None:
    """Otherwise the option would be tested by nothing."""
    experiment = Experiment(small.ours, random_prompts(batch=4, longest=7), metric="kl")
    pairs = [
        [
            run_search(Acdc(threshold=threshold, heads=heads, absolute=False), experiment)
            for heads in ("descending", "ascending")
        ]
        for threshold in (0.003, 0.01, 0.03, 0.1, 0.3)
    ]
    assert any(one != other for one, other in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.05, 0.5])
@pytest.mark.parametrize("ablation", ["resample", "mean"])
@pytest.mark.parametrize("name", ["induction-2l", "induction-2l-natural"])
def test_acdc_on_trained_models_decides_as_the_oracle(
    name: str, ablation: str, threshold: float
) -> None:
    tiny = load_tiny(shipped_models()[name])
    prompts = load_task("induction", tiny.ours).prompts(4)
    compare(tiny, prompts, "logit_difference", ablation, threshold)


def heads_without_which_it_fails(card: str) -> set[str]:
    """Heads whose mean ablation leaves less than half of the accuracy, by the model's card."""
    rows = re.findall(r"^\| \**(L\d+H\d+)\** \| \**([\d.]+)%", card, flags=re.MULTILINE)
    return {head for head, accuracy in rows if float(accuracy) < 50}


def test_acdc_finds_the_heads_that_the_ablation_table_shows(trained: Tiny) -> None:
    """The previous-token head writes into the induction head's keys; no other head takes part."""
    needed = heads_without_which_it_fails(
        (trained.folder / "README.md").read_text(encoding="utf-8")
    )
    previous, induction = sorted(needed)
    assert (previous[:2], induction[:2]) == ("L0", "L1")
    circuit = run_search(
        Acdc(threshold=0.1, absolute=False),
        Experiment(trained.ours, load_task("induction", trained.ours).prompts(50)),
    )
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
