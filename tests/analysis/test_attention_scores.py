"""Attention scores taken apart: the parts sum to the score, and each is a writer's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from circuitgraph.analysis.attention_scores import BIASES, explain_scores
from circuitgraph.errors import ArgumentError, UnknownNameError
from tests.checkpoints import Tiny, load_tiny, save_tiny
from tests.parity.cases import CASES
from tests.parity.harness import save_random

TOKENS = [3, 7, 1, 9, 4, 7]
# a plain one, then: grouped queries and rotation; post-norms and a cap; norms of queries over width
FAMILIES = ["gpt2", "llama", "gemma2", "olmo2"]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("m")
    if request.param == "gpt2":
        return save_tiny(folder, n_layer=2)
    return load_tiny(save_random(folder, request.param, **CASES[request.param]))


def test_pairs_of_writers_sum_to_the_scores_that_make_the_pattern(model: Tiny) -> None:
    """The pattern is transformers'; the scores are those behind it, up to a constant of the row."""
    explained = explain_scores(model.ours, TOKENS, "a1.h2", query=4)
    size = np.abs(explained.parts).max()
    np.testing.assert_allclose(explained.parts.sum((0, 1)), explained.scores, atol=1e-5 * size)
    with torch.no_grad():
        theirs = model.hf(torch.tensor([TOKENS]), output_attentions=True).attentions[1][0, 2, 4]
    np.testing.assert_allclose(explained.pattern, theirs.numpy(), atol=1e-5)
    cap, seen = model.ours.spec.attn_softcap, theirs.numpy() > 0
    scores = explained.scores if cap is None else np.tanh(explained.scores / cap) * cap
    logs = np.log(theirs.numpy()[seen])
    np.testing.assert_allclose(scores[seen] - scores[seen][0], logs - logs[0], atol=1e-3)


def test_a_part_is_what_its_writers_alone_would_give(model: Tiny) -> None:
    """A pair of writers has the product of their projections, by the weights and the divisors."""
    if model.ours.family != "gpt2":
        pytest.skip("written out for one family, in which all is plain")
    explained = explain_scores(model.ours, TOKENS, "a0.h1", query=5)
    assert explained.writers == ("embed", BIASES)
    block = model.hf.transformer.h[0]
    with torch.no_grad():
        x = model.hf.transformer.wte(torch.tensor(TOKENS)) + model.hf.transformer.wpe.weight[:6]
        centred = x - x.mean(-1, keepdim=True)
        normed = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + block.ln_1.eps)
        width = x.shape[1]
        part = slice(width // 4, width // 2)  # head 1 of 4
        w_q, w_k = (block.attn.c_attn.weight[:, i * width : (i + 1) * width] for i in (0, 1))
        q = (normed[5] * block.ln_1.weight) @ w_q[:, part]
        k = (normed * block.ln_1.weight) @ w_k[:, part]
        product = (k @ q) / np.sqrt(width // 4)
    np.testing.assert_allclose(explained.parts[0, 0], product.numpy(), rtol=1e-4, atol=1e-5)


def test_the_strongest_pairs_come_first(model: Tiny) -> None:
    explained = explain_scores(model.ours, TOKENS, "L1H0")
    assert (explained.head, explained.query) == ("a1.h0", 5)
    pairs = explained.list_strongest(key=2, n=3)
    sizes = [abs(size) for _, _, size in pairs]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == np.abs(explained.parts[:, :, 2]).max()


@pytest.mark.parametrize(
    ("head", "query", "error", "message"),
    [
        ("m0", -1, ArgumentError, "is no head"),
        ("a7.h0", -1, UnknownNameError, "a7.h0"),
        ("a1.h0", 6, ArgumentError, "query is 6, but the prompt has 6 tokens"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    tiny: Tiny, head: str, query: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        explain_scores(tiny.ours, TOKENS, head, query)
