"""The hard-concrete distribution against its definition, its closed forms and draws from it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logit

from circuitgraph.discovery import hard_concrete

LOG_ALPHAS = np.array([-6.0, -2.0, -0.5, 0.0, 0.7, 2.0, 6.0], np.float32)
N_DRAWS = 20_000


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    """Many masks of each log_alpha, shape [draws, log_alphas]."""
    u = (
        np.random.default_rng(0)
        .uniform(1e-6, 1 - 1e-6, (N_DRAWS, len(LOG_ALPHAS)))
        .astype(np.float32)
    )
    return np.asarray(
        jax.jit(jax.vmap(lambda one: hard_concrete.sample_mask(jnp.asarray(LOG_ALPHAS), one)))(
            jnp.asarray(u)
        )
    )


def test_a_sample_follows_the_published_formula() -> None:
    u = np.linspace(0.01, 0.99, len(LOG_ALPHAS)).astype(np.float32)
    concrete = expit((logit(u.astype(float)) + LOG_ALPHAS) / (2 / 3))
    expected = np.clip(concrete * 1.2 - 0.1, 0, 1)
    found = hard_concrete.sample_mask(jnp.asarray(LOG_ALPHAS), jnp.asarray(u))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_samples_reach_both_ends_exactly_and_nothing_beyond(draws: np.ndarray) -> None:
    assert draws.min() == 0
    assert draws.max() == 1
    middle = draws[:, list(LOG_ALPHAS).index(0.0)]
    assert (middle == 0).any()
    assert (middle == 1).any()
    assert ((middle > 0) & (middle < 1)).any()


def test_the_expected_l0_is_the_share_of_samples_above_zero(draws: np.ndarray) -> None:
    """Within five standard errors of a share of that many draws: 1 chance in a million for each."""
    expected = np.asarray(hard_concrete.compute_expected_l0(jnp.asarray(LOG_ALPHAS)), float)
    error = np.sqrt(expected * (1 - expected) / N_DRAWS)
    assert (np.abs((draws > 0).mean(axis=0) - expected) <= 5 * error).all()


def test_the_expected_l0_is_the_closed_form_of_the_distribution() -> None:
    """One minus the concrete distribution's own cumulative function at the point that is stretched
    to zero.
    """
    at = 0.1 / 1.2
    below = expit(logit(at) * (2 / 3) - LOG_ALPHAS.astype(float))
    np.testing.assert_allclose(
        hard_concrete.compute_expected_l0(jnp.asarray(LOG_ALPHAS)), 1 - below, rtol=1e-5
    )
    half = hard_concrete.compute_expected_l0(jnp.zeros(1))
    np.testing.assert_allclose(
        half, 11 ** (2 / 3) / (1 + 11 ** (2 / 3)), rtol=1e-6
    )  # by hand: 0.1 / 1.1 = 1 / 11


def test_the_deterministic_mask() -> None:
    found = np.asarray(hard_concrete.make_final_mask(jnp.array([-3.0, 0.0, 3.0, 1.0])))
    np.testing.assert_allclose(found, [0.0, 0.5, 1.0, expit(1.0) * 1.2 - 0.1], atol=1e-6)
    for mask in (0.1, 0.5, 0.9):
        log_alpha = jnp.array([hard_concrete.find_log_alpha(mask)], jnp.float32)
        np.testing.assert_allclose(hard_concrete.make_final_mask(log_alpha), mask, atol=1e-6)


def test_samples_are_differentiable_between_the_ends_and_flat_at_them() -> None:
    u = jnp.array([0.5, 0.5, 0.5])
    log_alpha = jnp.array([-5.0, 0.3, 5.0])
    slope = jax.grad(lambda x: hard_concrete.sample_mask(x, u).sum())(log_alpha)
    s = expit(0.3 * 1.5)
    np.testing.assert_allclose(slope, [0.0, 1.2 * 1.5 * s * (1 - s), 0.0], atol=1e-6)


def test_the_noise_depends_on_seed_and_step_only() -> None:
    first = hard_concrete.draw_uniforms(0, 7, 1000)
    np.testing.assert_array_equal(first, hard_concrete.draw_uniforms(0, 7, 1000))
    assert not np.array_equal(first, hard_concrete.draw_uniforms(0, 8, 1000))
    assert not np.array_equal(first, hard_concrete.draw_uniforms(1, 7, 1000))
    assert first.min() > 0
    assert first.max() < 1
    assert abs(float(first.mean()) - 0.5) <= 5 * np.sqrt(1 / 12 / 1000)  # five standard errors
