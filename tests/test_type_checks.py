"""The suite checks shapes and types, and refuses what jaxtyping's own wrapper refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Array, Float, Int, TypeCheckError, jaxtyped

from circuitgraph.engine.tree.run import Outcome
from circuitgraph.graph.node import Node
from tests.type_checks import check_calls

if TYPE_CHECKING:
    from nowhere import Unknown  # pyright: ignore[reportMissingImports]

Sizes = dict[str, Float[np.ndarray, " n"]]
REFUSED = (BeartypeCallHintViolation, TypeCheckError)
ONE, TWO, THREE = np.ones(1), np.ones(2), np.ones(3)


def add(one: Float[np.ndarray, " n"], two: Float[np.ndarray, " n"] | None = None) -> None: ...


def double(x: Float[np.ndarray, " n"], y: np.ndarray) -> Float[np.ndarray, " n"]:
    return y


def read(sizes: Sizes, *, at: Int[np.ndarray, " n"]) -> None: ...


def outer(x: Float[np.ndarray, " n"]) -> None:
    check_calls(add, typechecker=beartype)(np.ones(len(x) + 1))


def count(n: int, of: Unknown) -> str:
    return "many" if n else 0  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class Held:
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]


class Weights(eqx.Module):
    x: Float[Array, " n"]
    y: Float[Array, " n"]


CASES: list[tuple[Any, tuple[Any, ...], dict[str, Any], bool]] = [
    (add, (TWO, TWO), {}, True),
    (add, (TWO,), {}, True),
    (add, (TWO, THREE), {}, False),
    (add, (TWO,), {"two": THREE}, False),
    (add, (np.ones(2, int),), {}, False),
    (add, (np.ones((2, 1)),), {}, False),
    (double, (TWO, TWO), {}, True),
    (double, (TWO, THREE), {}, False),
    (read, ({"a": TWO},), {"at": np.arange(2)}, True),
    (read, ({"a": TWO},), {"at": np.arange(3)}, False),
    (outer, (TWO,), {}, True),
    (count, (1, None), {}, True),
    (count, ("1", None), {}, False),
    (count, (0, None), {}, False),
    (Held, (TWO, TWO), {}, True),
    (Held, (TWO, THREE), {}, False),
    (Weights, (jnp.ones(2), jnp.ones(2)), {}, True),
    (Weights, (jnp.ones(2), jnp.ones(3)), {}, False),
]


@pytest.mark.parametrize("decorate", [jaxtyped, check_calls])
@pytest.mark.parametrize(("called", "args", "options", "allowed"), CASES)
def test_calls_are_refused_as_by_jaxtyping(
    decorate: Callable[..., Any],
    called: Any,
    args: tuple[Any, ...],
    options: dict[str, Any],
    allowed: bool,
) -> None:
    if isinstance(called, type):  # decorating changes a class
        called = type(called)(called.__name__, (called,), dict(vars(called)))
    checked = decorate(called, typechecker=beartype)
    if allowed:
        checked(*args, **options)
    else:
        with pytest.raises(REFUSED):
            checked(*args, **options)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Outcome(np.ones((2, 3)), np.arange(2)),
        lambda: Node("head", "1", 2),  # pyright: ignore[reportArgumentType]
        lambda: Node.parse(1),  # pyright: ignore[reportArgumentType]
    ],
)
def test_circuitgraph_is_checked(call: Callable[[], object]) -> None:
    with pytest.raises(REFUSED):
        call()
