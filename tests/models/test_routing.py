"""Experts get the tokens that chose them, each once, whatever the choices are."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from circuitgraph.models.routing import cut_blocks
from tests.parity.harness import unpolished

CHOICES = {
    "as they come": lambda rng: np.argsort(rng.random((23, 6)), axis=1)[:, :2],
    "all the same": lambda _: np.tile([4, 1], (23, 1)),
    "one token": lambda _: np.array([[5, 0, 3]]),
}


@pytest.mark.parametrize("kind", CHOICES)
def test_every_token_is_once_with_each_expert_that_it_chose(kind: str) -> None:
    rng = np.random.default_rng(0)
    chosen = CHOICES[kind](rng).astype(np.int32)
    shares = rng.random(chosen.shape).astype(np.float32)
    cut = unpolished(cut_blocks, static_argnums=2)
    blocks = cut(jnp.asarray(shares), jnp.asarray(chosen), 6)
    expert = np.broadcast_to(np.asarray(blocks.expert)[:, None], blocks.token.shape)
    real = np.asarray(blocks.token) < len(chosen)
    routed = zip(
        *(np.asarray(part)[real].tolist() for part in (blocks.token, expert, blocks.share)),
        strict=True,
    )
    expected = [
        (token, int(chosen[token, i]), float(shares[token, i]))
        for token, i in np.ndindex(*chosen.shape)
    ]
    assert sorted(routed) == sorted(expected)
    order = expert[real]
    assert (np.diff(order) >= 0).all(), "a token's sum is in the order of the experts"
    assert blocks.token.size <= 2 * chosen.size + 6
