"""Laws 1 to 5 for every family: random checkpoints, no field at its default, by the real path.

Laws 1 and 3 to 5 are laws of mechanisms: families that only put together what others have
(`KNOWN_PARTS`) are held to law 2, in both precisions. All laws on each of them would cost minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from circuitgraph.engine.batch import unpadded_inputs
from circuitgraph.engine.grid import Grid
from circuitgraph.evaluation.parity import measure_residual_errors
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.models.reference import Reference, load_reference, run_reference
from tests.parity.cases import CASES, KNOWN_PARTS
from tests.parity.harness import (
    LENGTH,
    everywhere,
    gate,
    masks_without_one_node,
    random_tokens,
    reversed_batch,
    run_masks,
    run_ours,
    save_random,
)

SHORT = LENGTH // 2


@dataclass(frozen=True)
class Case:
    """A checkpoint as we load it, and transformers' run of some prompts.

    A case is special if it is not its family's first.
    """

    special: bool
    model: LanguageModel
    tokens: np.ndarray
    reference: Reference


@pytest.fixture(scope="module", params=[name for name in CASES if name not in KNOWN_PARTS])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = save_random(
        tmp_path_factory.mktemp("m"), request.param.partition(":")[0], **CASES[request.param]
    )
    model = load_model(folder)
    tokens = random_tokens(model.spec.d_vocab)
    return Case(":" in request.param, model, tokens, run_reference(model, tokens))


def test_law_1_writers_add_up_to_the_residual_stream(case: Case) -> None:
    assert (
        max(
            measure_residual_errors(
                case.model, unpadded_inputs(case.tokens), case.reference.streams
            )
        )
        <= 1e-5
    )


def test_law_2_parity(case: Case) -> None:
    assert_parity(case.reference.logits, run_ours(case.model, case.tokens))


@pytest.mark.parametrize("name", sorted(KNOWN_PARTS))
def test_law_2_parity_of_known_parts(name: str, tmp_path: Path) -> None:
    model = load_model(save_random(tmp_path / "m", name.partition(":")[0], **CASES[name]))
    tokens = random_tokens(model.spec.d_vocab)
    # one run is not worth a program, but for a loop over experts
    with jax.disable_jit(model.spec.experts is None):
        ours = run_ours(model, tokens)
    assert_parity(run_reference(model, tokens).logits, ours)


def assert_parity(theirs: np.ndarray, ours: np.ndarray) -> None:
    assert np.abs(theirs).max() > 0.1, "logits so small that agreement would mean nothing"
    assert np.abs(theirs - ours).max() <= gate(theirs)


def test_law_5_padding_changes_nothing(case: Case) -> None:
    """Prompts of half the length, padded with other tokens, run as transformers runs them alone."""
    alone = run_reference(case.model, case.tokens[:, :SHORT]).logits
    mask = np.arange(LENGTH)[None, :] < np.array([[SHORT], [LENGTH], [SHORT]])
    padded = run_ours(case.model, case.tokens, mask)
    np.testing.assert_allclose(padded[::2, :SHORT], alone[::2], atol=gate(alone))
    np.testing.assert_allclose(padded[1], case.reference.logits[1], atol=gate(alone))


@pytest.mark.parametrize("grouped", [False, True], ids=["heads", "key-value heads"])
def test_laws_3_and_4_ends_and_liveness(case: Case, grouped: bool) -> None:
    """Full mask = clean run, empty mask = corrupted run, at every position; every node matters."""
    if grouped and (case.special or case.model.spec.n_kv_heads == case.model.spec.n_heads):
        pytest.skip("no grouped heads, or not the family's first case")
    graph = case.model.graph(grouped=grouped)
    single = masks_without_one_node(graph)
    masks = np.stack(
        [np.ones(graph.n_edges, bool), np.zeros(graph.n_edges, bool), *single.values()]
    )
    network, clean = case.model.transformer, everywhere(case.tokens)
    given, replaced = jnp.asarray(masks, jnp.float32), reversed_batch(network, case.tokens)
    logits = np.asarray(run_masks(network, given, Grid.of(graph), replaced, clean))
    full, empty, *without = logits  # [masks, batch, scored positions, vocab]
    theirs = case.reference.logits
    assert full.shape == theirs.shape
    assert np.abs(full - theirs).max() <= gate(theirs)
    assert np.abs(empty - theirs[::-1]).max() <= gate(theirs)
    assert not [
        node for node, cut in zip(single, without, strict=True) if np.abs(cut - full).max() < 1e-5
    ]


@pytest.mark.parametrize(
    "name", [name for name in CASES if ":" not in name]
)  # each family's first case
def test_law_2_parity_in_bfloat16(name: str, tmp_path: Any) -> None:
    """Relative root mean square difference, on weights so small that rounding is not amplified."""
    folder = save_random(tmp_path / "m", name.partition(":")[0], scale=0.1, **CASES[name])
    model = load_model(folder, dtype="bfloat16")
    shape = (
        (3, LENGTH) if model.spec.experts is None else (40, 4)
    )  # a route taken otherwise spoils all that follows
    tokens = random_tokens(model.spec.d_vocab, *shape)
    settled = positions_with_settled_routes(model, tokens)
    theirs, ours = run_reference(model, tokens).logits[settled], run_ours(model, tokens)[settled]
    relative = np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2))
    assert relative <= 2e-2


def positions_with_settled_routes(model: LanguageModel, tokens: np.ndarray) -> np.ndarray:
    """Where no router of a mixture of experts had a choice that bfloat16 could take otherwise.

    That holds at the position and before it.

    A token sent to another expert is another computation, between transformers' own two precisions
    too.
    """
    settled = np.ones(tokens.shape, bool)
    if model.spec.experts is None:
        return settled
    theirs = load_reference(model, "float32")
    with torch.no_grad():
        routers = theirs(torch.tensor(tokens), output_router_logits=True).router_logits
    for layer, logits in zip(theirs.get_decoder().layers, routers, strict=True):
        bias = getattr(getattr(layer.mlp, "gate", None), "e_score_correction_bias", None)
        scores = logits if bias is None else logits.sigmoid() + bias
        ordered = scores.sort(-1, descending=True).values.reshape(*tokens.shape, -1).numpy()
        n = model.spec.experts.n_active
        settled &= (
            ordered[..., n - 1] - ordered[..., n] > 0.02
        )  # some five times what bfloat16 does to them
    settled = np.logical_and.accumulate(settled, axis=1)
    assert settled.mean() > 0.2, "too few left to compare"
    return settled
