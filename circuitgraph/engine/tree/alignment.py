"""Which position of one prompt stands for which position of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from circuitgraph.graph.site import Site


class Alignment:
    """Prompts with named positions, and the maps between any two of them.

    Attributes:
        roles: names of positions.
        role_positions: index of each role in each prompt.
        mask: True on real tokens.
    """

    def __init__(
        self,
        mask: Bool[np.ndarray, "prompts pos"],
        role_positions: Int[np.ndarray, "prompts roles"],
        roles: tuple[str, ...],
    ) -> None:
        self.roles, self.role_positions, self.mask = roles, role_positions, mask
        last = mask.sum(axis=1) - 1
        # the last token is named too
        self._ends = np.concatenate([role_positions, last[:, None]], axis=1).astype(np.int32)
        others = mask.copy()
        np.put_along_axis(others, self._ends, False, axis=1)
        self._rank = np.cumsum(others, axis=1, dtype=np.int32) - 1
        self._n_others = np.maximum(others.sum(axis=1, dtype=np.int32), 1)
        ordered = np.argsort(~others, axis=1, kind="stable").astype(np.int32)
        self._others = np.where(np.arange(mask.shape[1]) < others.sum(axis=1)[:, None], ordered, 0)

    def map_positions(
        self,
        references: Int[np.ndarray, " n"],
        donors: Int[np.ndarray, " n"],
        first: Sequence[str] = (),
    ) -> Int[np.ndarray, "n pos"]:
        """For each position of each reference the position of its donor that stands for it.

        Each role's position goes to that role's position, the last token to the last token, and the
        k-th of the other positions to the (k mod m)-th of the donor's m others (to 0 where it has
        none). So a prompt's map to itself changes nothing. Padding stays where it is.

        Args:
            first: roles that win where several names share a position of the reference but not of
                the donor. After them comes the last token, then the other roles in their order.
        """
        rows = np.arange(len(references))
        nth = self._rank[references] % self._n_others[donors][:, None]
        mapped = np.take_along_axis(self._others[donors], nth, axis=1)
        own = np.arange(self.mask.shape[1], dtype=np.int32)
        mapped = np.where(self.mask[references], mapped, own)
        # the strongest name last: each overwrites the others where they share a position
        for end in self._order_ends(tuple(first)):
            mapped[rows, self._ends[references, end]] = self._ends[donors, end]
        return mapped

    def cover_roles(
        self, rows: Int[np.ndarray, " n"], roles: Sequence[str]
    ) -> Bool[np.ndarray, "n pos"]:
        """Where these roles stand in each prompt; all real positions if no role is named."""
        if not roles:
            return self.mask[rows]
        covered = np.zeros((len(rows), self.mask.shape[1]), bool)
        columns = [self.roles.index(role) for role in roles]
        np.put_along_axis(covered, self.role_positions[rows][:, columns], True, axis=1)
        return covered

    def find_source(self, rows: Int[np.ndarray, " n"], site: Site) -> Int[np.ndarray, " n"]:
        """Where the position stands, in each prompt, from which a head's part is fetched."""
        source = site.node.source
        if source in self.roles:
            return self.role_positions[rows, self.roles.index(source)].astype(np.int32)
        return np.full(len(rows), int(source), np.int32)

    def _order_ends(self, first: tuple[str, ...]) -> list[int]:
        """Columns of the named positions, in the order in which they overwrite one another."""
        chosen = [self.roles.index(role) for role in first]
        rest = [i for i in range(len(self.roles)) if i not in chosen]
        return [*reversed(rest), len(self.roles), *reversed(chosen)]
