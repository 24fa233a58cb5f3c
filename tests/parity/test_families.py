"""Laws 1 to 5 for every family: random checkpoints with every field away from its default, through the real path."""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.masked import Background, Cells, masked_logits, writer_values
from circuitgraph.evaluation.parity import full_length, residual_errors, verify
from circuitgraph.graph.circuit import Circuit
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.models.reference import Reference, run_reference
from tests.checkpoints import random_prompts
from tests.parity.cases import CASES
from tests.parity.harness import LENGTH, gate, random_tokens, run_ours, save_random

run_masked = eqx.filter_jit(masked_logits)
run_writers = eqx.filter_jit(writer_values)
run_background = eqx.filter_jit(Background.of)


@dataclass(frozen=True)
class Case:
    """A checkpoint as we load it, and what transformers makes of some prompts."""

    model: LanguageModel
    tokens: np.ndarray
    reference: Reference


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = save_random(tmp_path_factory.mktemp("m"), request.param.partition(":")[0], **CASES[request.param])
    model = load_model(folder)
    tokens = random_tokens(model.spec.d_vocab)
    return Case(model, tokens, run_reference(model, tokens))


def test_law_1_writers_add_up_to_the_residual_stream(case: Case) -> None:
    assert max(residual_errors(case.model, full_length(case.tokens), case.reference.streams)) <= 1e-5


def test_law_2_parity(case: Case) -> None:
    theirs, ours = case.reference.logits, run_ours(case.model, case.tokens)
    assert np.abs(theirs).max() > 0.1, "logits so small that agreement would mean nothing"
    assert np.abs(theirs - ours).max() <= gate(theirs)


def test_law_2_parity_in_bfloat16(case: Case) -> None:
    """Root mean square of the difference over that of the logits; largest numbers are what rounding makes of them."""
    assert case.model.location is not None
    assert verify(load_model(case.model.location, dtype="bfloat16"), n_tokens=LENGTH).relative <= 2e-2


@pytest.mark.parametrize("grouped", [False, True])
def test_law_3_ends_at_every_position(case: Case, grouped: bool) -> None:
    """Full mask = clean run; empty mask with resampling = corrupted run."""
    if grouped and case.model.spec.n_kv_heads == case.model.spec.n_heads:
        pytest.skip("no grouped heads")
    network, graph = case.model.transformer, case.model.graph(grouped=grouped)
    clean, corrupted = full_length(case.tokens), full_length(case.tokens[::-1].copy())
    cells, background = Cells.of(graph), run_background(network, run_writers(network, corrupted))
    for circuit, theirs in ((Circuit.full(graph), case.reference.logits), (Circuit.empty(graph), None)):
        theirs = case.reference.logits[::-1] if theirs is None else theirs
        for position in range(LENGTH):
            here = clean._replace(score_at=jnp.full(len(case.tokens), position, jnp.int32))
            ours = run_masked(network, jnp.asarray(circuit.mask, jnp.float32), cells, background, here)
            assert np.abs(np.asarray(ours) - theirs[:, position]).max() <= gate(theirs)


@pytest.mark.parametrize("grouped", [False, True])
def test_law_4_every_reader_and_writer_is_live(case: Case, grouped: bool) -> None:
    """Removing the edges of any one node, in or out, moves the logits."""
    if grouped and case.model.spec.n_kv_heads == case.model.spec.n_heads:
        pytest.skip("no grouped heads")
    graph = case.model.graph(grouped=grouped)
    prompts = random_prompts(vocab=case.model.spec.d_vocab, longest=LENGTH)
    experiment = Experiment(case.model, prompts, metric="logit_difference", graph=graph)
    dst, src = graph.ends
    masks = [dst != reader for reader in range(len(graph.readers))]
    masks += [src != writer for writer in range(len(graph.writers))]
    values = experiment.values(np.stack([np.ones(graph.n_edges, bool), *masks]))
    moved = np.abs(values[1:] - values[0]).max(axis=1)
    names = [f"into {r.name}" for r in graph.readers] + [f"out of {w.name}" for w in graph.writers]
    assert not [name for name, size in zip(names, moved, strict=True) if size < 1e-5]


def test_law_5_padding_changes_nothing(case: Case) -> None:
    """Two prompts of half the length, padded with other tokens, give what they give alone."""
    short = LENGTH // 2
    alone = run_ours(case.model, case.tokens[:, :short])
    inputs = full_length(case.tokens)
    mask = jnp.arange(LENGTH)[None, :] < jnp.array([[short], [LENGTH], [short]])
    padded = np.asarray(eqx.filter_jit(case.model.transformer)(inputs.tokens, mask, inputs.positions))
    np.testing.assert_allclose(padded[::2, :short], alone[::2], atol=gate(alone))
    np.testing.assert_allclose(padded[1], run_ours(case.model, case.tokens)[1], atol=gate(alone))
