"""What a grammar draws with: the few methods of numpy's generator whose choices can be shrunk."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Choices(Protocol):
    """Methods of numpy's `Generator` that a grammar may use, with numpy's own meaning.

    Where prompts are sampled, a grammar gets a numpy generator. Where property tests look for a
    counterexample, a grammar gets an object whose choices the `hypothesis` library makes and
    shrinks. So a grammar says that it takes `Choices`, and works with both.
    """

    def integers(
        self,
        low: Any,
        high: Any = None,
        size: Any = None,
        dtype: Any = ...,
        endpoint: bool = False,
    ) -> Any: ...

    def random(self, size: Any = None, dtype: Any = ..., out: Any = None) -> Any: ...

    def choice(
        self,
        a: Any,
        size: Any = None,
        replace: bool = True,
        p: Any = None,
        axis: int = 0,
        shuffle: bool = True,
    ) -> Any: ...

    def permutation(self, x: Any, axis: int = 0) -> Any: ...

    def shuffle(self, x: Any, axis: int = 0) -> None: ...

    def bytes(self, length: int) -> Any: ...
