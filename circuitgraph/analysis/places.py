"""Where an analysis looks: positions of prompts and layers of a model, by what users call them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from circuitgraph.errors import ArgumentError, DataError, unknown_name
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.spec import Spec
from circuitgraph.tasks.prompts import Prompts

SCORED = "scored"  # the positions whose logits the task scores


def find_positions(prompts: Prompts, at: str | int) -> Int[np.ndarray, "batch places"]:
    """Positions of each prompt: the scored ones, those of a role, or a number.

    Args:
        at: ``scored``, the name of a role, or a position; from each prompt's end if negative.

    Raises:
        UnknownNameError: a role that a prompt does not have.
        ArgumentError: a position that lies outside the shortest prompt.
    """
    if at == SCORED:
        return prompts.score_at.reshape(len(prompts), -1)
    if isinstance(at, str):
        return _find_role(prompts, at)[:, None]
    lengths = prompts.mask.sum(axis=1)
    shortest = int(lengths.min())
    if not -shortest <= at < shortest:
        raise ArgumentError(
            f"The position is {at}, but the shortest prompt has {shortest} tokens: expected "
            f"{-shortest} to {shortest - 1}."
        )
    return (np.full(len(prompts), at) if at >= 0 else lengths + at)[:, None]


def _find_role(prompts: Prompts, role: str) -> Int[np.ndarray, " batch"]:
    for pair in prompts.pairs:
        if role not in pair.roles:
            raise unknown_name("role of these prompts", role, [*pair.roles, SCORED])
    return np.array([pair.roles[role] for pair in prompts.pairs])


def list_roles(prompts: Prompts) -> list[str]:
    """The roles that all prompts have, in the order of the first prompt."""
    first, *others = (pair.roles for pair in prompts.pairs)
    return [role for role in first if all(role in roles for roles in others)]


def list_roles_apart(prompts: Prompts) -> list[str]:
    """As `list_roles`, without a role that is in some prompt the token of one before it."""
    apart: dict[str, Int[np.ndarray, " batch"]] = {}
    for role in list_roles(prompts):
        at = _find_role(prompts, role)
        if not any((at == other).any() for other in apart.values()):
            apart[role] = at
    return list(apart)


class Columns(NamedTuple):
    """Places that all prompts have, for pictures and tables over positions.

    Attributes:
        names: of each place, with the role that stands there.
        at: the position of each place in each prompt.
    """

    names: tuple[str, ...]
    at: Int[np.ndarray, "batch places"]


def list_columns(prompts: Prompts) -> Columns:
    """The places that prompts share: all positions where they have one length; else the roles that
    all of them have, in their order, and the last position; else positions from the end.
    """
    lengths = prompts.mask.sum(axis=1)
    pairs = prompts.pairs
    at = {role: np.array([pair.roles[role] for pair in pairs]) for role in list_roles(prompts)}
    if (lengths == lengths[0]).all():
        names = [str(i) for i in range(lengths[0])]
        for role, places in at.items():
            if (places == places[0]).all():
                names[places[0]] += f" {role}"
        return Columns(tuple(names), np.tile(np.arange(lengths[0]), (len(pairs), 1)))
    if at:
        order = sorted(at, key=lambda role: at[role].mean())
        if not any((at[role] == lengths - 1).all() for role in order):
            at["last"] = lengths - 1
            order.append("last")
        return Columns(tuple(order), np.stack([at[role] for role in order], axis=1))
    back = np.arange(-lengths.min(), 0)
    return Columns(tuple(map(str, back)), lengths[:, None] + back)


def choose_layers(spec: Spec, layers: Sequence[int] | None) -> tuple[int, ...]:
    """These layers, each once and the lowest first, or all of them if None.

    Raises:
        ArgumentError: a layer that the model does not have, or none at all.
    """
    if layers is None:
        return tuple(range(spec.n_layers))
    wrong = [layer for layer in layers if not 0 <= layer < spec.n_layers]
    if wrong or not layers:
        raise ArgumentError(
            f"layers is {list(layers)}, but the model has the layers 0 to {spec.n_layers - 1}."
        )
    return tuple(sorted(set(layers)))


def choose_streams(spec: Spec, layers: Sequence[int] | None) -> tuple[int, ...]:
    """Layers before which the stream is looked at, the number of layers for that after the last;
    all of them if None.

    Raises:
        ArgumentError: as `choose_layers`.
    """
    if layers is None:
        return tuple(range(spec.n_layers + 1))
    others = [layer for layer in layers if layer != spec.n_layers]
    last = (spec.n_layers,) if spec.n_layers in layers else ()
    return (choose_layers(spec, others) if others or not last else ()) + last


def name_stream(spec: Spec, layer: int) -> str:
    """What users call a stream of `choose_streams`."""
    return "after the last" if layer == spec.n_layers else f"before {layer}"


def check_corrupted(prompts: Prompts, method: str) -> None:
    """Raise `DataError` unless every prompt has a corrupted counterpart."""
    if prompts.corrupted is None:
        raise DataError(f"{method} needs a corrupted prompt for every pair.")


def check_sides(prompts: Prompts) -> None:
    """Raise `DataError` where the corrupted counterpart of a prompt is the prompt itself."""
    assert prompts.corrupted is not None  # noqa: S101 - `check_corrupted` comes first
    differs = (prompts.clean != prompts.corrupted) & prompts.mask
    if (same := ~differs.any(axis=1)).any():
        number = int(same.argmax()) + 1
        raise DataError(f"The two sides of prompt {number} are the same: no patch does anything.")


def check_mlps(model: LanguageModel, method: str) -> None:
    """Raise `ArgumentError` unless the model has MLPs."""
    if model.spec.d_mlp is None:
        raise ArgumentError(f"{method} looks at MLPs, and {model.name!r} has no MLPs.")


def check_neurons(model: LanguageModel, method: str) -> None:
    """Raise `ArgumentError` unless the model has MLPs whose neurons exist once."""
    if model.spec.d_mlp is None:
        raise ArgumentError(f"{method} looks at neurons of MLPs, and {model.name!r} has no MLPs.")
    if model.spec.experts is not None:
        raise ArgumentError(
            f"{method} looks at neurons of MLPs, and {model.name!r} is a mixture of experts, "
            "which has each neuron once for every expert."
        )
