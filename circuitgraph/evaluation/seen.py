"""Whether prompts to judge by are prompts that the search saw."""

from __future__ import annotations

from collections.abc import Sequence

from circuitgraph.tasks.base import Prompts


def n_seen(prompts: Prompts, searched: Prompts) -> int:
    """How many of the clean prompts, compared token by token, are among those that were searched
    with.
    """
    known = set(_rows(searched))
    return sum(row in known for row in _rows(prompts))


def _rows(prompts: Prompts) -> Sequence[tuple[int, ...]]:
    return [
        tuple(row[real].tolist()) for row, real in zip(prompts.clean, prompts.mask, strict=True)
    ]
