"""Scores from gradients and activations against the oracle's explicit caches, on families that
differ in structure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from circuitgraph.engine.attribution.relevance import apply_rules
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.grid import group_writers
from circuitgraph.engine.memory import choose_batch_sizes
from circuitgraph.models.transformer import Transformer
from tests import oracle
from tests.checkpoints import Tiny, load_tiny, oracle_run, random_prompts, save_tiny
from tests.laws.agreement import ABLATIONS, loss_of
from tests.oracle import eap, interactions, losses
from tests.oracle.relevance import RULES
from tests.oracle.run import read_everything
from tests.parity.cases import CASES
from tests.parity.harness import save_random

FAMILIES = [
    "gpt2",
    "llama",
    "gpt_neox: parallel",
    "gemma2",
    "bloom: a power of two of heads",
    "olmo2",
    "gpt_oss",
]
PROMPTS = random_prompts(batch=4, longest=7)


@dataclass
class Case:
    """The same model, prompts and loss for the engine and for the oracle, which computes in
    float64.
    """

    experiment: Experiment
    run: oracle.OracleRun
    loss: losses.Loss
    grouped: bool

    @classmethod
    def of(
        cls,
        tiny: Tiny,
        ablation: str = "resample",
        metric: str = "logit_difference",
        grouped: bool = False,
    ) -> Case:
        graph = tiny.ours.graph(grouped=grouped)
        experiment = Experiment(tiny.ours, PROMPTS, metric=metric, ablation=ablation, graph=graph)
        run = oracle_run(tiny, PROMPTS, ablation, double=True)
        return cls(experiment, run, loss_of(metric, PROMPTS, run), grouped)

    def assert_equal(self, ours: np.ndarray, theirs: dict[str, float]) -> None:
        expected = np.array([theirs[edge] for edge in self.experiment.graph.edges])
        assert len(theirs) == len(expected)
        assert np.abs(expected).max() > 1e-3, "scores so small that agreement would mean nothing"
        np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


def load(folder: Path, family: str) -> Tiny:
    if family == "gpt2":
        return save_tiny(folder)
    return load_tiny(save_random(folder, family.partition(":")[0], **CASES[family]))


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return load(tmp_path_factory.mktemp("m"), request.param)


@pytest.fixture(scope="module")
def case(model: Tiny) -> Case:
    return Case.of(model)


def activations(case: Case, steps: int) -> np.ndarray:
    attribution, groups = case.experiment.attribution, group_writers(case.experiment.graph)
    shares = [k / steps for k in range(1, steps + 1)]
    return np.mean(
        [attribution.at_interpolated_group(group, s) for group in groups for s in shares],
        axis=0,
    )


METHODS: dict[str, tuple[Callable[[Case], np.ndarray], Callable[[Case], dict[str, float]]]] = {
    "eap": (
        lambda case: case.experiment.attribution.at_interpolated_embedding(1.0),
        lambda case: eap.explicit_eap(case.run, case.loss, case.grouped),
    ),
    "inputs": (
        lambda case: np.mean(
            [case.experiment.attribution.at_interpolated_embedding(k / 3) for k in range(3)], axis=0
        ),
        lambda case: eap.explicit_eap_ig_inputs(case.run, case.loss, 3, case.grouped),
    ),
    "clean and corrupted": (
        lambda case: np.mean(
            [case.experiment.attribution.at_interpolated_embedding(share) for share in (1.0, 0.0)],
            axis=0,
        ),
        lambda case: eap.explicit_clean_corrupted(case.run, case.loss, case.grouped),
    ),
    "activations": (
        lambda case: activations(case, 2),
        lambda case: eap.explicit_eap_ig_activations(case.run, case.loss, 2, case.grouped),
    ),
    "flow": (
        lambda case: case.experiment.attribution.flow(),
        lambda case: eap.explicit_information_flow(case.run, case.grouped),
    ),
}


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_explicit_caches(case: Case, method: str) -> None:
    ours, theirs = METHODS[method]
    case.assert_equal(ours(case), theirs(case))


def test_importances_are_those_of_explicit_caches(case: Case) -> None:
    theirs = eap.explicit_importances(case.run, case.loss)
    assert list(theirs) == [writer.name for writer in case.experiment.graph.writers[1:]]
    expected = np.array(list(theirs.values()))
    np.testing.assert_allclose(
        case.experiment.attribution.importances(), expected, atol=1e-5 * expected.max()
    )


def test_eap_is_minus_the_mask_gradient(case: Case) -> None:
    """Under resampling; two programs that share little."""
    gradient = case.experiment.gradient(np.ones(case.experiment.graph.n_edges, bool))
    np.testing.assert_allclose(
        case.experiment.attribution.at_interpolated_embedding(1.0),
        -gradient,
        atol=1e-5 * np.abs(gradient).max(),
    )


@pytest.fixture(scope="module")
def grouped_llama(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case.of(load(tmp_path_factory.mktemp("m"), "llama"), grouped=True)


@pytest.mark.parametrize("method", METHODS)
def test_key_value_heads_have_scores_of_their_own(grouped_llama: Case, method: str) -> None:
    ours, theirs = METHODS[method]
    grouped_llama.assert_equal(ours(grouped_llama), theirs(grouped_llama))


@pytest.mark.parametrize("method", ["eap", "inputs", "activations"])
@pytest.mark.parametrize("ablation", [ablation for ablation in ABLATIONS if ablation != "resample"])
def test_scores_of_other_ablations(tiny: Tiny, ablation: str, method: str) -> None:
    """Differences and interpolated activations are the ablation's; interpolated inputs are not."""
    case = Case.of(tiny, ablation)
    ours, theirs = METHODS[method]
    case.assert_equal(ours(case), theirs(case))


@pytest.mark.parametrize("metric", ["kl", "log_probability"])
def test_scores_of_other_metrics(tiny: Tiny, metric: str) -> None:
    case = Case.of(tiny, metric=metric)
    case.assert_equal(
        case.experiment.attribution.at_interpolated_embedding(0.0), corrupted_point(case)
    )


def corrupted_point(case: Case) -> dict[str, float]:
    gradients = eap.reader_gradients(
        case.run, case.loss, fixed={"embed": case.run.corrupted["embed"]}
    )
    return eap.scores_of(case.run, [gradients], kv=False)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_relevance_rules_are_those_written_into_the_oracle(
    tmp_path_factory: pytest.TempPathFactory, family: str
) -> None:
    case = Case.of(load(tmp_path_factory.mktemp("m"), family))
    case.run.family = RULES[family](case.run.model)
    _, logits = case.run.forward(case.run.clean_tokens, read_everything)
    torch.testing.assert_close(
        logits, case.run.clean_logits
    )  # the rules change gradients, no values
    gradients = eap.reader_gradients(case.run, case.loss, fixed={"embed": case.run.clean["embed"]})
    ours = case.experiment.attribution.relevance(fixed_patterns=True)
    case.assert_equal(ours, eap.scores_of(case.run, [gradients], kv=False))
    looking = np.array([reader.kind in "qk" for reader in case.experiment.graph.readers])
    assert not ours[looking[case.experiment.graph.ends[0]]].any()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_interactions_are_modified_as_hooks_on_gradients_do(
    tmp_path_factory: pytest.TempPathFactory, family: str
) -> None:
    case = Case.of(load(tmp_path_factory.mktemp("m"), family))
    case.run.family = interactions.MODIFIED[family](case.run.model)
    _, logits = case.run.forward(case.run.clean_tokens, read_everything)
    torch.testing.assert_close(logits, case.run.clean_logits)
    gradients = eap.reader_gradients(case.run, case.loss, fixed={"embed": case.run.clean["embed"]})
    ours = case.experiment.attribution.interactions(interactions.TEMPERATURE)
    case.assert_equal(ours, eap.scores_of(case.run, [gradients], kv=False))


def test_patterns_with_gradients_give_scores_to_queries_and_keys(tiny: Tiny) -> None:
    attribution = Case.of(tiny).experiment.attribution
    fixed, free = (attribution.relevance(fixed_patterns=fixed) for fixed in (True, False))
    graph = tiny.ours.graph()
    looking = np.array([reader.kind in "qk" for reader in graph.readers])[graph.ends[0]]
    assert np.abs(free[looking]).max() > 1e-3
    assert not np.allclose(fixed, free)


def test_models_without_mlps_have_fewer_groups(tmp_path_factory: pytest.TempPathFactory) -> None:
    attention_only = save_tiny(tmp_path_factory.mktemp("m"), silent_mlp=True, n_layer=2, n_head=2)
    experiment = Experiment(attention_only.ours, PROMPTS)
    assert not experiment.graph.mlp
    embed, *others = group_writers(experiment.graph)
    assert len(others) == 2
    gradient = experiment.gradient(np.ones(experiment.graph.n_edges, bool))
    scores = experiment.attribution.at_interpolated_embedding(1.0)
    np.testing.assert_allclose(scores, -gradient, atol=1e-5 * np.abs(gradient).max())
    np.testing.assert_allclose(
        experiment.attribution.at_interpolated_group(embed, 1.0), scores, atol=1e-6
    )


def test_chunks_of_prompts_add_up(tiny: Tiny) -> None:
    """Whatever the memory, and however large the last chunk."""
    wide = Experiment(tiny.ours, PROMPTS)
    limits = [wide.sizes.bytes_needed * share // 20 for share in range(20, 0, -1)]
    memory = next(
        m for m in limits if choose_batch_sizes(tiny.ours.spec, wide.graph, 4, 7, m).prompts == 3
    )
    narrow = Experiment(tiny.ours, PROMPTS, memory=memory)
    assert narrow.sizes.prompts == 3  # the last chunk has one
    group = group_writers(wide.graph)[1]
    for one, other in [
        (
            wide.attribution.at_interpolated_embedding(0.5),
            narrow.attribution.at_interpolated_embedding(0.5),
        ),
        (wide.attribution.flow(), narrow.attribution.flow()),
        (wide.attribution.importances(), narrow.attribution.importances()),
        (
            wide.attribution.at_interpolated_group(group, 0.5),
            narrow.attribution.at_interpolated_group(group, 0.5),
        ),
    ]:
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_relevance_of_experts_and_a_shared_mlp_adds_up(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Without biases an MLP under the rules is its own slope: all of its output is passed on."""
    network = load(tmp_path_factory.mktemp("m"), "qwen2_moe").ours.transformer
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, network.spec.d_model)), jnp.float32)

    def differ(model: Transformer) -> float:
        mlp = model.select_layer(1)[0].mlp
        assert mlp is not None
        written, passed_on = jax.jvp(mlp, (x,), (x,))
        np.testing.assert_allclose(written, plain, atol=1e-5)
        return float(np.abs(written - passed_on).max())

    block, _ = network.select_layer(1)
    assert block.mlp is not None
    plain = block.mlp(x)
    assert differ(apply_rules(network, fixed_patterns=True)) < 1e-4
    assert differ(network) > 0.1
