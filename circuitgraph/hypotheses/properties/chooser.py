"""Lets the `hypothesis` library make a grammar's choices, so that prompts can be shrunk.

All choices of a case are read off one string of bytes. To draw a string costs as much as to draw
one number, and `hypothesis` shrinks a string byte by byte; of two failures it prefers the one with
fewer draws, whatever they are. A string of zeros gives the first of everything.

These bytes replace the strategy of `hypothesis` for the same purpose,
``st.randoms(use_true_random=False)``: on a grammar like IOI a prompt took 292 us with bytes, and
1,687 us with that strategy. Both shrank to the same prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from circuitgraph.errors import HypothesisError

TakeBytes = Callable[[], bytes]
# Choices among so many things take one byte, or two bytes: enough to be nearly equally likely.
_MOST_BY_ONE_BYTE, _MOST_BY_TWO_BYTES = 1 << 4, 1 << 12
_METHODS = ("integers", "choice", "random", "permutation", "shuffle", "bytes")


@lru_cache(maxsize=64)
def byte_strings(n: int) -> st.SearchStrategy[bytes]:
    """Strings of ``n`` bytes; kept, since making a strategy costs more than drawing from it."""
    return st.binary(min_size=n, max_size=n)


def _continue_bytes(given: bytes) -> Iterator[bytes]:
    """The bytes, and then those of numbers that follow from them."""
    yield given
    numbers = np.random.PCG64(int.from_bytes(given, "big") + 1)
    while True:
        yield numbers.random_raw(8).tobytes()


class Chooser:
    """`Choices` that are not random but read from bytes.

    Attributes:
        n_read: how many bytes were read.
    """

    def __init__(self, take_bytes: TakeBytes) -> None:
        """Args: take_bytes: gives the next bytes, as many as it likes."""
        self._take_bytes = take_bytes
        self._buffer, self._at, self.n_read = b"", 0, 0

    @classmethod
    def from_bytes(cls, given: bytes) -> Chooser:
        """Choices read from these bytes, and then from numbers that follow from the bytes.

        So a grammar that tries until a prompt is legal comes to an end, even on zeros alone.
        """
        return cls(_continue_bytes(given).__next__)

    def __getattr__(self, name: str) -> Any:
        """Refuse the other methods of numpy's generator."""
        if name.startswith("_") or not hasattr(np.random.Generator, name):
            raise AttributeError(name)
        raise HypothesisError(
            f"A grammar drew with rng.{name}, which has no strategy: property tests need choices "
            f"that can be made simpler. Use {', '.join(_METHODS)}."
        )

    def bytes(self, length: int) -> bytes:
        """The next bytes."""
        while len(self._buffer) - self._at < length:
            self._buffer, self._at = self._buffer[self._at :] + self._take_bytes(), 0
        next_bytes = self._buffer[self._at : self._at + length]
        self._at += length
        self.n_read += length
        return next_bytes

    def draw_below(self, n: int) -> int:
        """A number from 0 to ``n`` - 1."""
        if n <= 1:
            if n < 1:
                raise HypothesisError(f"A grammar asked for a choice among {n} things.")
            return 0
        if n <= _MOST_BY_TWO_BYTES:
            width = 1 if n <= _MOST_BY_ONE_BYTE else 2
        else:
            width = (n.bit_length() + 15) // 8
        return int.from_bytes(self.bytes(width), "big") * n >> (8 * width)

    def integers(
        self,
        low: Any,
        high: Any = None,
        size: Any = None,
        dtype: Any = np.int64,
        endpoint: bool = False,
    ) -> Any:
        """Whole numbers from ``low`` (from 0 if it is the only one given); shrinks towards it."""
        start, stop = (0, low) if high is None else (low, high)
        n = int(stop) - int(start) + endpoint
        return _fill_array(lambda: int(start) + self.draw_below(n), size, dtype)

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        """Numbers in [0, 1); shrinks towards 0."""
        del out
        return _fill_array(lambda: self.draw_below(1 << 24) / (1 << 24), size, dtype)

    def choice(
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
        items = _as_items(a)
        if size is None:
            return items[self.draw_below(len(items))]
        n = int(np.prod(size))
        if replace:
            chosen = [self.draw_below(len(items)) for _ in range(n)]
        else:
            chosen = self._draw_distinct(len(items), n)
        return items[np.array(chosen, np.int64).reshape(size)]

    def permutation(self, x: Any, axis: int = 0) -> Any:
        """A reordered copy; shrinks towards the given order."""
        del axis
        items = _as_items(x)
        return items[np.array(self._draw_distinct(len(items), len(items)), np.int64)]

    def shuffle(self, x: Any, axis: int = 0) -> None:
        """Reorder a list or array in place; shrinks towards its order."""
        del axis
        reordered = [x[i] for i in self._draw_distinct(len(x), len(x))]
        for i, item in enumerate(reordered):
            x[i] = item

    def _draw_distinct(self, n: int, k: int) -> Sequence[int]:
        """``k`` different numbers below ``n``: the start of a shuffle that moves no others."""
        if k > n:
            raise HypothesisError(f"A grammar asked for {k} different ones of {n}.")
        moved: dict[int, int] = {}
        numbers = []
        # All bytes at once, where two bytes for each number are enough.
        raw = self.bytes(2 * k) if n <= _MOST_BY_TWO_BYTES else b""
        for i in range(k):
            if raw:
                j = i + ((256 * raw[2 * i] + raw[2 * i + 1]) * (n - i) >> 16)
            else:
                j = i + self.draw_below(n - i)
            numbers.append(moved.get(j, j))
            moved[j] = moved.get(i, i)
        return numbers


def _as_items(a: Any) -> np.ndarray:
    """The items that numpy chooses among: those of a sequence, or the numbers below ``a``."""
    return np.arange(a) if isinstance(a, (int, np.integer)) else np.asarray(a)


def _fill_array(draw_one: Callable[[], Any], size: Any, dtype: Any) -> Any:
    if size is None:
        return draw_one()
    return np.array([draw_one() for _ in range(int(np.prod(size)))], dtype).reshape(size)
