"""Interventions on units: what is done to which unit, at which positions, by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Int

from circuitgraph.analysis.unit_choice import parse_unit
from circuitgraph.errors import ArgumentError, check_choice, unknown_name
from circuitgraph.graph.site import Site
from circuitgraph.tasks.pair_maker import END
from circuitgraph.tasks.prompts import Prompts

InterventionKind = Literal["set", "scale", "add", "ablate"]
KINDS: tuple[InterventionKind, ...] = get_args(InterventionKind)
MEAN = "mean"
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Intervention:
    """What is done to one unit.

    Attributes:
        unit: ``m3.n117`` or ``m3.f2098``, at all positions; at some roles ``m3.n117@B1`` or
            ``m3.n117@A+B``. The role ``end`` is the last token of every prompt.
        kind: ``set`` it to the value, ``scale`` it by the value, ``add`` the value to it (which
            adds so much times its row to the stream), or ``ablate`` it: to 0, or to ``mean``, its
            mean over all tokens of the prompts.
        value: a number, or one for each of several strengths.
    """

    unit: str
    kind: InterventionKind
    value: int | float | Sequence[int | float] | Literal["mean"] = 0.0

    def __post_init__(self) -> None:
        check_choice("the kind of an intervention", self.kind, KINDS)
        parse_unit(str(self.site.node))
        if self.kind == "ablate" and self.value not in (0.0, MEAN):
            raise ArgumentError(
                f"{self.unit}: ablate takes 0 or 'mean', not {self.value!r}; another value is for "
                "set."
            )
        if self.kind != "ablate" and isinstance(self.value, str):
            raise ArgumentError(f"{self.unit}: {self.kind} takes numbers, not {self.value!r}.")
        if not self.numbers or not all(abs(number) <= _LARGEST for number in self.numbers):
            raise ArgumentError(
                f"{self.unit}: {self.kind} takes finite numbers, one or several, not "
                f"{self.value!r}."
            )

    @cached_property
    def site(self) -> Site:
        """The unit and its roles."""
        return Site.parse(self.unit)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The value for each strength; 0 where it is the mean, which is not known yet."""
        if isinstance(self.value, str):
            return (0.0,)
        values = (self.value,) if isinstance(self.value, int | float) else self.value
        return tuple(map(float, values))

    def __str__(self) -> str:
        if self.kind == "ablate":
            return f"ablate {self.unit}" + (" to its mean" if self.value == MEAN else "")
        return f"{self.kind} {self.unit}={','.join(f'{number:g}' for number in self.numbers)}"


def count_strengths(interventions: Sequence[Intervention]) -> int:
    """How many runs there are: as many as values, of which all have one or equally many.

    Raises:
        ArgumentError: no interventions, or values that do not go together.
    """
    if not interventions:
        raise ArgumentError("There are no interventions: name at least one unit.")
    several = {len(one.numbers): one for one in interventions if len(one.numbers) > 1}
    if len(several) > 1:
        given = "; ".join(map(str, several.values()))
        raise ArgumentError(
            f"These interventions have different numbers of values: {given}. Give each one value, "
            "or equally many, of which the first ones make the first run, and so on."
        )
    return next(iter(several), 1)


def locate_interventions(
    interventions: Sequence[Intervention], prompts: Prompts, n_more: int = 0
) -> Bool[np.ndarray, "prompts pos interventions"]:
    """Where each intervention holds; those without roles hold at ``n_more`` new tokens, too.

    Raises:
        UnknownNameError: a role that a prompt does not have.
        ArgumentError: two interventions on one unit at one position.
    """
    n_pos = prompts.mask.shape[1] + n_more
    at = np.ones((len(prompts), n_pos, len(interventions)), bool)
    for number, one in enumerate(interventions):
        if one.site.roles:
            at[:, :, number] = _locate_roles(one.site.roles, prompts, n_pos)
    for i, one in enumerate(interventions):
        for j in range(i):
            same = interventions[j].site.node == one.site.node
            if same and (at[:, :, i] & at[:, :, j]).any():
                raise ArgumentError(
                    f"{one.site.node} is set twice at one position: by {str(interventions[j])!r} "
                    f"and {str(one)!r}. Leave one of them out."
                )
    return at


def find_ends(prompts: Prompts) -> Int[np.ndarray, " prompts"]:
    """The position of each prompt's last token, before those of an answer of several tokens."""
    if prompts.scores == "tokens":
        return prompts.score_at[:, 0]
    return prompts.mask.sum(axis=1) - 1


def _locate_roles(
    roles: tuple[str, ...], prompts: Prompts, n_pos: int
) -> Bool[np.ndarray, "prompts pos"]:
    at = np.zeros((len(prompts), n_pos), bool)
    for row, pair, end in zip(at, prompts.pairs, find_ends(prompts), strict=True):
        places = {END: int(end), **pair.roles}
        for role in roles:
            if role not in places:
                raise unknown_name("role", role, places, f"The prompt is {pair.clean!r}.")
            row[places[role]] = True
    return at
