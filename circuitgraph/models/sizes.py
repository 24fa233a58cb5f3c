"""What a configuration says of sizes, held against what can be, before anything is made of it.

A configuration costs a few bytes and may ask for a billion layers. Numbers that no model has are
refused as the file is read; then nothing that is as long as the layers, heads or experts are many
takes memory that counts. What is left is compared with the tensors that the files hold, by
`circuitgraph.models.assemble`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from circuitgraph.errors import CircuitGraphError, ModelError, first_line, list_problems
from circuitgraph.models.checkpoint import Checkpoint
from circuitgraph.models.parameters import Parameter
from circuitgraph.models.spec import Spec
from circuitgraph.printable import NAME, make_printable

# By what is in a field's name: the largest number that it may hold.
_LARGEST = {
    r"layer|block|expert|head|label|group": 2**16,
    r"hidden|embd|d_model|d_mlp|dim|inner|intermediate|ffn|rank": 2**24,
    r"vocab": 2**27,
    r"": 2**62,
}
_SLOTS_PER_TENSOR = 16  # a tensor may hold q, k, v and the experts of a layer
_SPARE_SLOTS = 10_000  # for messages that name what is missing


def check_counts(settings: Mapping[str, Any], *, file: str = "config.json") -> None:
    """Refuse numbers, in lists and objects too, that no model has.

    Raises:
        ModelError: names each field with its number and the largest possible one.
    """
    problems = []
    for field, value in _iterate_numbers(settings):
        largest = next(most for part, most in _LARGEST.items() if re.search(part, field.lower()))
        if abs(value) > largest:
            shown = make_printable(field, NAME)
            problems.append(f"{shown} = {value:.6g}; no model has more than {largest:,}")
    if problems:
        raise ModelError(list_problems(f"Sizes in {file} that cannot be:", problems))


def _iterate_numbers(settings: Mapping[str, Any]) -> Iterator[tuple[str, int | float]]:
    """All numbers with the name of the innermost field that they stand in."""
    for field, value in settings.items():
        inner = list(value) if isinstance(value, list) else [value]
        for item in inner:
            if isinstance(item, Mapping):
                yield from _iterate_numbers(item)
            elif isinstance(item, int | float) and not isinstance(item, bool):
                yield field, item


def check_held(spec: Spec, checkpoint: Checkpoint) -> None:
    """Refuse sizes beyond what a file's tensors hold, before biases that it lacks are made.

    Raises:
        ModelError: names each size.
    """
    n_tensors = len(checkpoint.shapes)
    n_numbers = sum(math.prod(shape) for shape in checkpoint.shapes.values())
    sizes = ("n_heads", "d_head", "d_model", "d_mlp", "d_vocab", "d_vocab_out")
    limits = {"n_layers": n_tensors, **dict.fromkeys(sizes, n_numbers)}
    problems = [
        f"{size} = {getattr(spec, size)}, but the file holds {n_tensors:,} tensors with "
        f"{n_numbers:,} numbers"
        for size, limit in limits.items()
        if (getattr(spec, size) or 0) > limit
    ]
    if problems:
        title = f"The configuration of {checkpoint.name!r} is not that of its weights:"
        raise ModelError(list_problems(title, problems))


@contextmanager
def explain_values(name: str) -> Iterator[None]:
    """Say of a configuration, which a family reads in the body, that its values are of no use.

    A family trusts that a number is a number.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, CircuitGraphError):
            raise
        raise ModelError(
            f"The configuration of {name!r} cannot be used: a value is missing or of another type "
            f"than models of its family have: {first_line(error)}."
        ) from error


def check_slots(name: str, parameters: list[Parameter], by_head: set[Parameter], n: int) -> None:
    """Refuse a model of far more tensors than the files hold, before the tensors are listed.

    Args:
        by_head: parameters that are stored as one tensor for each head.
        n: number of tensors in the files.
    """
    n_slots = 0
    for parameter in parameters:
        leading = (*parameter.leading, *parameter.shape[: parameter in by_head])
        n_slots += math.prod(leading)
    if n_slots > _SLOTS_PER_TENSOR * n + _SPARE_SLOTS:
        raise ModelError(
            f"The configuration of {name!r} describes a model of {n_slots:,} tensors or parts of "
            f"tensors, but its files hold {n:,} tensors: its numbers of layers, heads or experts "
            "are not theirs."
        )
