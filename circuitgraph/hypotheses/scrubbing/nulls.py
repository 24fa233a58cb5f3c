"""What a hypothesis is held against beside its rivals: the same tree with variables that say
nothing, or other things.

A crude hypothesis can recover much of the loss. Only a hypothesis that recovers more than these has
said anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from circuitgraph.hypotheses.program import number_classes
from circuitgraph.hypotheses.scrubbing.sampling import Indices, generator

UNCONDITIONAL = "all donors drawn without condition"
PERMUTED = "variables exchanged among the sites"
RANDOM = "random functions with classes of the same sizes"

_TRIES = 200


def exchanged(
    codes: Mapping[str, Indices], variables: Sequence[str], seed: int
) -> dict[str, Indices] | None:
    """Every variable with another one's classes; None if all of them have the same classes.

    Variables that a program copies from each other have the same classes, and exchanging those
    would change nothing. So of many random exchanges the first is taken that gives the most
    variables classes that are not their own.
    """
    rng, kinds = (
        generator(seed, "exchanged"),
        {name: number_classes(codes[name]).tobytes() for name in variables},
    )
    most, best = 0, list(variables)
    for _ in range(_TRIES):
        order = [variables[int(i)] for i in rng.permutation(len(variables))]
        changed = sum(
            kinds[name] != kinds[other] for name, other in zip(variables, order, strict=True)
        )
        if changed > most:
            most, best = changed, order
    if most == 0:
        return None
    return {**codes, **{name: codes[other] for name, other in zip(variables, best, strict=True)}}


def shuffled(
    codes: Mapping[str, Indices], variables: Sequence[str], seed: int
) -> dict[str, Int[np.ndarray, " pool"]]:
    """Every variable with its values dealt out to the prompts anew: classes of the same sizes,
    without a meaning.
    """
    return {
        **codes,
        **{name: generator(seed, "shuffled", name).permutation(codes[name]) for name in variables},
    }
