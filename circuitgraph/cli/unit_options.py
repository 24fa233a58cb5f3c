"""How commands read what is done to units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circuitgraph.errors import ArgumentError
from circuitgraph.printable import NAME, shorten_text

if TYPE_CHECKING:
    from circuitgraph.analysis.interventions import Intervention, InterventionKind


def read_intervention(kind: InterventionKind, text: str) -> Intervention:
    """The intervention of ``UNIT=VALUE``, where the value may be several between commas.

    Raises:
        CircuitGraphError: no unit, or no value for it.
    """
    from circuitgraph.analysis.interventions import MEAN, Intervention

    unit, equals, given = (part.strip() for part in text.partition("="))
    if kind == "ablate" and (not equals or given == MEAN):
        return Intervention(unit, kind, MEAN if equals else 0.0)
    try:
        values = tuple(float(number) for number in given.split(","))
    except ValueError as error:
        expected = "UNIT or UNIT=mean" if kind == "ablate" else "UNIT=NUMBER, or several numbers"
        raise ArgumentError(
            f"--{kind} {shorten_text(text, NAME)!r} cannot be read: expected {expected}, such as "
            f"--{kind} m3.n117{'' if kind == 'ablate' else '=5'}."
        ) from error
    return Intervention(unit, kind, values[0] if len(values) == 1 else values)
