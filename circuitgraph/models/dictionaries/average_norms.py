"""Inputs and outputs scaled to an average length of sqrt(d), as Llama Scope and llamascopium do."""

from __future__ import annotations

import math
from typing import Any

from circuitgraph.errors import ModelError
from circuitgraph.models.checkpoint import Checkpoint
from circuitgraph.models.dictionaries.config_reader import ConfigReader

AVERAGE_NORM = "dataset_average_activation_norm"


def read_scale(config: ConfigReader, checkpoint: Checkpoint, width: int, *places: str) -> float:
    """What values at a place are multiplied with: sqrt(d) divided by their average length.

    Args:
        width: d.
        places: what the place may be called: where the average stands in the configuration, or in a
            tensor of its own.

    Raises:
        ModelError: the files do not hold the average, or it is no length.
    """
    section = config.section(AVERAGE_NORM)
    value: Any = None
    for place in places:
        tensor = f"{AVERAGE_NORM}.{place}"
        if place in section.content:
            value = section.read(place, float)
        elif math.prod(checkpoint.shapes.get(tensor, (0,))) == 1:
            value = float(checkpoint.read_array(tensor).item())
    if value is None or not math.isfinite(value) or value <= 0:
        raise ModelError(
            f"{config.name!r} scales its input by the average length of its data, but "
            f"{AVERAGE_NORM} of {places[0]} is {value}: its files do not hold it."
        )
    return width**0.5 / value
