"""Lets the `hypothesis` library make a grammar's choices, so that one grammar serves for sampling
and for shrinking.

All choices of a case are read off one string of bytes: drawing a string costs what drawing a number
does, and it is
shrunk byte by byte. And of two failures hypothesis prefers that of fewer draws, whatever they are.
Zeros are the first
of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from circuitgraph.errors import HypothesisError

Take = Callable[[], bytes]
_UNUSED = np.random.PCG64(0)  # what numpy's class asks for; none of its numbers is ever taken
_ONE, _TWO = (
    1 << 4,
    1 << 12,
)  # choices among so many take one byte, two bytes: enough to be nearly equally likely


@lru_cache(maxsize=64)
def strings(n: int) -> st.SearchStrategy[bytes]:
    """Strings of ``n`` bytes; made once, as making a strategy costs more than drawing from it."""
    return st.binary(min_size=n, max_size=n)


class Chooser(np.random.Generator):
    """A generator of choices that are not random but read from bytes: what grammars use of numpy's,
    and no more.

    Attributes:
        taken: how many bytes were read.
    """

    def __new__(cls, take: Take) -> Chooser:
        del take
        return super().__new__(cls, _UNUSED)  # type: ignore[call-arg]  numpy's own needs it, its stub has no __new__

    def __init__(self, take: Take) -> None:
        """Args: take: gives the next bytes, as many as it likes."""
        super().__init__(_UNUSED)
        self._take, self._left, self._at, self.taken = take, b"", 0, 0

    @classmethod
    def of(cls, given: bytes) -> Chooser:
        """One that reads these, and goes on with numbers that follow from them.

        So a grammar that tries until something is legal comes to an end, even if all that is given
        is zeros.
        """
        waiting, rest = True, None

        def take() -> bytes:
            nonlocal rest, waiting
            if waiting:
                waiting = False
                return given
            rest = rest or np.random.PCG64(int.from_bytes(given, "big") + 1)
            return rest.random_raw(8).tobytes()

        return cls(take)

    def bytes(self, length: int) -> bytes:
        """The next bytes."""
        while len(self._left) - self._at < length:
            self._left, self._at = self._left[self._at :] + self._take(), 0
        found = self._left[self._at : self._at + length]
        self._at += length
        self.taken += length
        return found

    def below(self, n: int) -> int:
        """A number from 0 to ``n`` - 1."""
        if n <= 1:
            if n < 1:
                raise HypothesisError(f"A grammar asked for a choice among {n} things.")
            return 0
        width = 1 if n <= _ONE else 2 if n <= _TWO else (n.bit_length() + 15) // 8
        return int.from_bytes(self.bytes(width), "big") * n >> (8 * width)

    def integers(  # type: ignore[override]
        self,
        low: Any,
        high: Any = None,
        size: Any = None,
        dtype: Any = np.int64,
        endpoint: bool = False,
    ) -> Any:
        """Whole numbers from ``low`` on (from 0 if it is the only one given); shrinks towards it."""
        start, stop = (0, low) if high is None else (low, high)
        n = int(stop) - int(start) + endpoint
        return _shaped(lambda: int(start) + self.below(n), size, dtype)

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:  # type: ignore[override]
        """Numbers in [0, 1); shrinks towards 0."""
        del out
        return _shaped(lambda: self.below(1 << 24) / (1 << 24), size, dtype)

    def choice(  # type: ignore[override]
        self,
        a: Any,
        size: Any = None,
        replace: bool = True,
        p: Any = None,
        axis: int = 0,
        shuffle: bool = True,
    ) -> Any:
        """Some of ``a`` (of the numbers below it); shrinks towards the first."""
        del axis, shuffle
        if p is not None:
            raise HypothesisError(
                "A grammar drew with choice(p=...), which has no strategy: use integers or random."
            )
        among = np.arange(a) if isinstance(a, (int, np.integer)) else np.asarray(a)
        if size is None:
            return among[self.below(len(among))]
        n = int(np.prod(size))
        picked = (
            [self.below(len(among)) for _ in range(n)] if replace else self._distinct(len(among), n)
        )
        return among[np.array(picked, np.int64).reshape(size)]

    def permutation(self, x: Any, axis: int = 0) -> Any:  # type: ignore[override]
        """A reordered copy; shrinks towards the given order."""
        del axis
        among = np.arange(x) if isinstance(x, (int, np.integer)) else np.asarray(x)
        return among[np.array(self._distinct(len(among), len(among)), np.int64)]

    def shuffle(self, x: Any, axis: int = 0) -> None:  # type: ignore[override]
        """Reorder a list or array in place; shrinks towards its order."""
        del axis
        before = [x[i] for i in self._distinct(len(x), len(x))]
        for i, item in enumerate(before):
            x[i] = item

    def _distinct(self, n: int, k: int) -> Sequence[int]:
        """``k`` different numbers below ``n``: the start of a shuffle that moves only what it
        touches.
        """
        if k > n:
            raise HypothesisError(f"A grammar asked for {k} different ones of {n}.")
        moved: dict[int, int] = {}
        found = []
        raw = self.bytes(2 * k) if n <= _TWO else b""  # all at once, where two bytes each will do
        for i in range(k):
            j = i + (
                (256 * raw[2 * i] + raw[2 * i + 1]) * (n - i) >> 16 if raw else self.below(n - i)
            )
            found.append(moved.get(j, j))
            moved[j] = moved.get(i, i)
        return found


def _shaped(one: Callable[[], Any], size: Any, dtype: Any) -> Any:
    if size is None:
        return one()
    return np.array([one() for _ in range(int(np.prod(size)))], dtype).reshape(size)


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(self: Chooser, *args: Any, **kwargs: Any) -> Any:
        raise HypothesisError(
            f"A grammar drew with rng.{name}, which has no strategy: property tests need choices "
            f"that can be made simpler. Use {', '.join(_OURS)}."
        )

    return refuse


_OURS = ("integers", "choice", "random", "permutation", "shuffle", "bytes")
for _name in dir(np.random.Generator):
    if not _name.startswith("_") and _name not in _OURS:
        setattr(Chooser, _name, _refusal(_name))
