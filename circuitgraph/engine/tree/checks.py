"""What is wrong with the sites, prompts and metrics that a pool is asked about, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from circuitgraph.engine.experiment import check_prompts
from circuitgraph.engine.tree.activations import Pool
from circuitgraph.errors import unknown_name
from circuitgraph.graph.sites import Site
from circuitgraph.tasks.metrics import Metric, metrics

Donors = Int[
    np.ndarray, "_"
]  # numbers of prompts of a pool, one for each reference; another number of them is refused


def metrics_of(pool: Pool, names: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics of these names.

    Raises:
        UnknownNameError: no metric of that name. DataError: it needs distractors, and there are
            none.
    """
    found = tuple(metrics[name] for name in names)
    for kind in found:
        check_prompts(pool.model, pool.prompts, kind)
    return found


def site_problems(pool: Pool, site: Site) -> list[str]:
    """Everything about a site that this model or these prompts do not have, in words."""
    spec, roles = pool.model.spec, pool.alignment.roles
    found = [str(unknown_name("role", role, roles)) for role in site.roles if role not in roles]
    if site.kind in ("embed", "logits"):
        return found
    if site.layer >= spec.n_layers:
        return [*found, f"{site}: the model has {spec.n_layers} layers, 0 to {spec.n_layers - 1}"]
    if site.kind == "head" and site.index >= spec.n_heads:
        return [
            *found,
            f"{site}: a layer of the model has {spec.n_heads} heads, 0 to {spec.n_heads - 1}",
        ]
    if site.kind in ("mlp", "neuron") and spec.d_mlp is None:
        return [*found, f"{site}: the model has no MLPs"]
    if site.kind == "neuron" and (spec.experts is not None or spec.post_norm is not None):
        why = (
            "a mixture of experts has a neuron once for each"
            if spec.experts
            else "a norm follows its MLPs"
        )
        return [
            *found,
            f"{site}: neurons cannot be told apart in this model, because {why}; use the MLP",
        ]
    if site.kind == "neuron" and spec.d_mlp is not None and site.index >= spec.d_mlp:
        return [
            *found,
            f"{site}: an MLP of the model has {spec.d_mlp} neurons, 0 to {spec.d_mlp - 1}",
        ]
    if site.kind == "feature":
        return [
            *found,
            f"{site}: no dictionary of features is loaded with this model; use neurons or the MLP",
        ]
    return found


def index_problems(pool: Pool, what: str, indices: Donors, n: int | None = None) -> list[str]:
    """What is wrong with prompts' numbers, in words: not ``n`` of them, or not in the pool."""
    given = np.asarray(indices)
    if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
        return [
            f"{what} is an array of {given.dtype} of shape {given.shape}; expected a list of "
            "prompts' numbers"
        ]
    if n is not None and len(given) != n:
        return [f"{what} has {len(given)} entries, but there are {n} references"]
    if not len(given):
        return [f"{what} names no prompt"]
    outside = given[(given < 0) | (given >= len(pool))]
    if len(outside):
        return [f"{what} names prompt {outside[0]}, but the pool has 0 to {len(pool) - 1}"]
    return []
