"""Attention to roles: which role of a task each head looks at from where the answer is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.heads import draw_heads, look_at_keys, rank_heads
from circuitgraph.analysis.measuring import estimate_cell
from circuitgraph.analysis.places import SCORED, find_positions, list_roles
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.engine.batch import check_tokens
from circuitgraph.errors import DataError, check_at_least
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts


@analysis(
    "role-attention",
    source="Wang et al. 2022",
    cannot_tell="whether what a head fetches there matters: much attention may fetch nothing that "
    "is read, and little may fetch what decides.",
)
def read_role_attention(
    model: LanguageModel,
    prompts: Prompts,
    *,
    at: str | int = SCORED,
    roles: tuple[str, ...] | None = None,
    top: int = 5,
) -> Reading:
    """Which role of the task each head looks at from the scored position, or from another place.

    Args:
        at: where heads look from: ``scored``, a role, or a position (from the end if negative).
        roles: which roles; by default all that every prompt has.
        top: how many heads to show for each role.

    Raises:
        DataError: prompts that have no roles in common, or that the model cannot read.
        UnknownNameError: a role that a prompt does not have.
    """
    check_at_least("top", top, 1)
    check_tokens(model.spec, prompts)
    names = roles or _choose_roles(prompts)
    queries = find_positions(prompts, at)
    keys = np.stack(
        [np.broadcast_to(find_positions(prompts, role), queries.shape) for role in names]
    )
    share, even = measure_looks(model, prompts, queries, keys)
    tables = [_make_table(share, even, i, name, top) for i, name in enumerate(names)]
    pictures = [
        draw_heads(f"Attention from {at!r} to {name!r}", "attention", share[:, :, i].mean(2))
        for i, name in enumerate(names)
    ]
    return Reading(tables=tables, pictures=pictures)


def measure_looks(
    model: LanguageModel,
    prompts: Prompts,
    queries: Int[np.ndarray, "batch places"],
    keys: Int[np.ndarray, "roles batch places"],
) -> tuple[Float[np.ndarray, "layers heads roles batch"], Float[np.ndarray, "layers roles"]]:
    """What each head takes of each key, and what it would take looking evenly: means over the
    places of each prompt, those that fill up left out.
    """
    share, even = look_at_keys(model, prompts.clean, prompts.mask, queries, keys)
    weights = np.ones(queries.shape)
    if prompts.weights is not None and prompts.weights.shape == queries.shape:
        weights = (prompts.weights > 0).astype(float)
    weights /= weights.sum(axis=1, keepdims=True)
    return (share * weights).sum(-1), (even * weights).sum(-1).mean(2)


def _choose_roles(prompts: Prompts) -> Sequence[str]:
    common = list_roles(prompts)
    if not common:
        raise DataError(
            "The prompts have no role in common: name positions in the pairs' roles, or choose a "
            "task that has roles (circuitgraph list tasks)."
        )
    return common


def _make_table(
    share: Float[np.ndarray, "layers heads roles batch"],
    even: Float[np.ndarray, "layers roles"],
    number: int,
    role: str,
    top: int,
) -> TableRecord:
    of_role = share[:, :, number]
    rows: list[list[Cell]] = [
        [name, estimate_cell(of_role[place]), float(even[place[0], number])]
        for place, name in rank_heads(of_role.mean(2), top)
    ]
    return TableRecord(
        title=f"Heads that look most at {role!r}: share of the look, 95 % intervals over prompts",
        columns=["head", "attention", "looking evenly"],
        rows=rows,
    )
