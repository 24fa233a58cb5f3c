"""From interventions on units to the steps of runs, and to what is written down of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.analysis.interventions import (
    MEAN,
    Intervention,
    count_strengths,
    locate_interventions,
)
from circuitgraph.analysis.unit_choice import AnyDictionary, PlacedUnits, place_units
from circuitgraph.catalog.steering_record import InterventionRecord
from circuitgraph.engine.steering import SteeredRun, UnitStep
from circuitgraph.engine.unit_places import collect_units
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts


@dataclass(frozen=True)
class SteeringPlan:
    """Interventions on prompts. The rows of its runs are the prompts as they are, and then the
    prompts once for each strength.

    Attributes:
        amounts: what each unit is set to, scaled by, or what is added to it.
        at: where each intervention holds; beyond the prompts' own tokens for new ones.
        mask: the prompts' own tokens.
    """

    interventions: tuple[Intervention, ...]
    amounts: Float[np.ndarray, "strengths interventions"]
    placed: tuple[PlacedUnits, ...]
    at: Bool[np.ndarray, "prompts all_pos interventions"]
    mask: Bool[np.ndarray, "prompts pos"]

    @property
    def n_runs(self) -> int:
        """One for each strength, and the first one, in which nothing is done."""
        return 1 + len(self.amounts)

    def list_dictionaries(self) -> list[Dictionary]:
        """Those whose features are changed, lowest first."""
        places = [one.place.dictionary for one in self.placed]
        return [dictionary for dictionary in places if dictionary is not None]

    def make_steps(self) -> list[UnitStep]:
        """The steps of all rows, lowest place first."""
        kinds = [one.kind for one in self.interventions]
        scales, adds = (np.array([kind == which for kind in kinds]) for which in ("scale", "add"))
        # [strengths, interventions]: the value times one number plus another
        times = np.where(scales, self.amounts, np.where(adds, 1.0, 0.0))
        plus = np.where(scales, 0.0, self.amounts)
        times, plus = (
            np.repeat(np.concatenate([first, part]), len(self.at), axis=0)
            for first, part in ((np.ones_like(times[:1]), times), (np.zeros_like(plus[:1]), plus))
        )
        at = np.tile(self.at, (self.n_runs, 1, 1))
        return [
            UnitStep(place, times[:, own], plus[:, own], at[:, :, own])
            for place, own in ((one.place, list(one.numbers)) for one in self.placed)
        ]

    def describe(self, runs: Sequence[SteeredRun]) -> list[InterventionRecord]:
        """What is written down of each intervention.

        Args:
            runs: all of them, on the prompts' own tokens.
        """
        values = [_join_units(self.placed, run.values) for run in runs]
        at = self.at[:, : self.mask.shape[1]] & self.mask[..., None]
        return [
            InterventionRecord(
                unit=str(one.site),
                kind=one.kind,
                values=self.amounts[:, i].tolist(),
                before=_average_tokens(values[0][..., i], at[..., i]),
                after=[_average_tokens(own[..., i], at[..., i]) for own in values[1:]],
            )
            for i, one in enumerate(self.interventions)
        ]


def make_plan(
    model: LanguageModel,
    prompts: Prompts,
    interventions: Sequence[Intervention],
    dictionaries: Sequence[AnyDictionary],
    n_new: int,
) -> SteeringPlan:
    """Check interventions, and look up the means that units are set to.

    Raises:
        CircuitGraphError: as in `circuitgraph.steer`; the model has not been run then.
    """
    n = count_strengths(interventions)
    at = locate_interventions(interventions, prompts, n_new)
    placed = place_units(model, [one.site.node for one in interventions], dictionaries)
    amounts = np.array([one.numbers * (n // len(one.numbers)) for one in interventions]).T
    if any(one.value == MEAN for one in interventions):
        places = [one.place for one in placed]
        read = collect_units(model.transformer, prompts.clean, prompts.mask, places)
        means = _join_units(placed, read)[prompts.mask].mean(0, dtype=np.float64)
        amounts = np.where([one.value == MEAN for one in interventions], means, amounts)
    return SteeringPlan(tuple(interventions), amounts, tuple(placed), at, prompts.mask)


def _join_units(
    placed: Sequence[PlacedUnits], values: Sequence[Float[np.ndarray, "prompts pos _"]]
) -> Float[np.ndarray, "prompts pos units"]:
    """The values of the units of several places, in the order in which they were asked for."""
    order = np.argsort([number for one in placed for number in one.numbers])
    return np.concatenate(values, axis=-1)[..., order]


def _average_tokens(
    values: Float[np.ndarray, "prompts pos"], at: Bool[np.ndarray, "prompts pos"]
) -> float:
    return float(values[at].mean(dtype=np.float64))
