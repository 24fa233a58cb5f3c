"""A dictionary in its files: what it is and where each part lies; nothing large is read yet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from circuitgraph.errors import ArgumentError, ModelError, list_problems
from circuitgraph.models.checkpoint import SAVE_AGAIN, Checkpoint
from circuitgraph.models.dictionaries.dictionary import Dictionary, scale_rows
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec

_SIZES = {"f": "features", "i": "input width", "o": "output width"}
# What each part is, once its axes are in our order.
_AXES = {
    "w_enc": "fi",
    "b_enc": "f",
    "w_dec": "fo",
    "b_dec": "o",
    "threshold": "f",
    "w_skip": "oi",
    "r_mag": "f",
    "b_mag": "f",
}


@dataclass(frozen=True)
class StoredPart:
    """Where one part lies, and how.

    Attributes:
        tensor: its name in the files.
        axes: the tensor's axes: ``f``\\ eatures, ``i``\\ nput, ``o``\\ utput, and ``l`` for one of
            which a single index is taken. Empty for one number, which all features share.
        at: that index.
        transform: ``exp``: a logarithm is stored. ``positive``: negative numbers count as zero (a
            threshold that is applied after a ReLU).
        times: what the numbers are multiplied with.
    """

    tensor: str
    axes: str
    at: int = 0
    transform: Literal["none", "exp", "positive"] = "none"
    times: float = 1.0


@dataclass(frozen=True)
class StoredParts:
    """Where all parts lie; None for those that there are not: biases are zero then.

    Attributes:
        w_dec: one for each layer that is written to.
        threshold: a number where the configuration has it.
    """

    w_enc: StoredPart
    w_dec: tuple[StoredPart, ...]
    b_enc: StoredPart | None = None
    b_dec: StoredPart | None = None
    threshold: StoredPart | float | None = None
    w_skip: StoredPart | None = None
    r_mag: StoredPart | None = None
    b_mag: StoredPart | None = None

    def __iter__(self) -> Iterator[tuple[str, StoredPart]]:
        for field in fields(self):
            value = getattr(self, field.name)
            for part in value if isinstance(value, tuple) else [value]:
                if isinstance(part, StoredPart):
                    yield field.name, part


@dataclass(frozen=True)
class StoredDictionary:
    """A dictionary whose files were opened and whose sizes were checked.

    Attributes:
        name: as given by the user.
        sizes: by the letter of an axis, see `StoredPart`.
    """

    name: str
    spec: DictionarySpec
    checkpoint: Checkpoint
    parts: StoredParts
    sizes: Mapping[str, int]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.sizes["f"]

    @property
    def d_in(self) -> int:
        """Width of what is read."""
        return self.sizes["i"]

    @property
    def d_out(self) -> int:
        """Width of what is written."""
        return self.sizes["o"]

    def load(self, dtype: str = "float32") -> Dictionary:
        """Read all weights."""
        arrays: dict[str, Any] = {
            "b_enc": np.zeros(self.n_features),
            "b_dec": np.zeros(self.d_out),
            **{name: self._read_part(name, part) for name, part in self.parts if name != "w_dec"},
            "w_dec": np.stack([self._read_part("w_dec", part) for part in self.parts.w_dec]),
        }
        if isinstance(self.parts.threshold, float):
            arrays["threshold"] = np.full(self.n_features, self.parts.threshold)
        weights: Any = {name: jnp.asarray(array, dtype) for name, array in arrays.items()}
        return Dictionary(spec=self.spec, **weights)

    def read_decoder_rows(
        self, features: Sequence[int] | Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "writes n d_out"]:
        """What one unit of these features writes into each layer, as `Dictionary.decoder_rows`.

        Of a safetensors file that keeps rows together, only these rows are read.

        Raises:
            ArgumentError: there is no such feature.
        """
        chosen = np.asarray(features, dtype=np.int64)
        if bad := [int(f) for f in chosen if not 0 <= f < self.n_features]:
            raise ArgumentError(
                f"There is no feature {bad[0]}: the dictionary {self.name!r} has features 0 to "
                f"{self.n_features - 1:,}."
            )
        order, back = np.unique(chosen, return_inverse=True)
        runs = _list_runs(order)
        rows = [
            np.concatenate(
                [np.empty((0, self.d_out)), *(self._read_part("w_dec", part, r) for r in runs)]
            )
            for part in self.parts.w_dec
        ]
        return np.asarray(scale_rows(jnp.asarray(np.stack(rows)[:, back], "float32"), self.spec))

    def _read_part(
        self, name: str, part: StoredPart, features: slice = slice(None)
    ) -> Float[np.ndarray, "..."]:
        """One part in float32 at least, axes in our order."""
        index = tuple(
            part.at if axis == "l" else features if axis == "f" else slice(None)
            for axis in part.axes
        )
        array = self.checkpoint.read_part(part.tensor, index)
        array = array.astype(np.promote_types(array.dtype, np.float32)) * np.float32(part.times)
        if part.transform == "exp":
            array = np.exp(array)
        elif part.transform == "positive":
            array = np.maximum(array, 0)
        wanted, axes = _AXES[name], part.axes.replace("l", "")
        if not axes:  # one number that all features share
            return np.full(self.n_features, array.item(), array.dtype)
        return array.transpose([axes.index(axis) for axis in wanted])


def store_dictionary(
    name: str,
    spec: DictionarySpec,
    checkpoint: Checkpoint,
    parts: StoredParts,
    declared: Mapping[str, int | None] | None = None,
) -> StoredDictionary:
    """A dictionary whose parts were held against the headers of its files.

    Args:
        declared: sizes that a configuration says, by the letter of an axis.

    Raises:
        ModelError: parts are missing, or sizes do not fit each other; lists all problems.
    """
    sizes, problems = dict[str, int](), list[str]()
    said_by = dict.fromkeys(declared or {}, checkpoint.described_by)
    sizes |= {letter: size for letter, size in (declared or {}).items() if size is not None}
    for _, part in parts:
        shape = checkpoint.shapes.get(part.tensor)
        if shape is None:
            problems.append(f"there is no tensor {part.tensor}")
        elif len(shape) != len(part.axes) and not (not part.axes and math.prod(shape) == 1):
            problems.append(f"{part.tensor} has the shape {list(shape)}: {len(part.axes)} axes go")
        for letter, size in zip(part.axes, shape or (), strict=False):
            if letter == "l":
                problems += [f"{part.tensor} has only {size} layers"] * (part.at >= size)
            elif sizes.setdefault(letter, size) != size:
                problems.append(
                    f"{part.tensor} has {size:,} {_SIZES[letter]}, but "
                    f"{said_by.get(letter, 'other tensors')}: {sizes[letter]:,}"
                )
            else:
                said_by.setdefault(letter, part.tensor)
    if not problems:
        problems = _list_size_problems(spec, sizes)
    if problems:
        title = f"The tensors of {name!r} are not those of a dictionary in layout {spec.layout}:"
        raise ModelError(list_problems(title, problems) + f"\n{SAVE_AGAIN}")
    return StoredDictionary(name, spec, checkpoint, parts, sizes)


def _list_size_problems(spec: DictionarySpec, sizes: Mapping[str, int]) -> list[str]:
    n, k = sizes["f"], spec.k
    problems = [f"there are no {_SIZES[letter]}" for letter, size in sizes.items() if size < 1]
    if k is not None and not 1 <= k <= n:
        problems.append(f"k = {k:,}, but there are {n:,} features")
    elif k is not None and spec.activation == "group_max" and n % k:
        problems.append(f"{n:,} features do not make k = {k:,} groups")
    if spec.subtracts_b_dec and sizes["i"] != sizes["o"]:
        problems.append(
            f"the decoder's bias of width {sizes['o']:,} is subtracted from an input of width "
            f"{sizes['i']:,}"
        )
    return problems


def _list_runs(order: Int[np.ndarray, " n"]) -> list[slice]:
    """Rising numbers as slices of neighbours."""
    starts = np.flatnonzero(np.diff(order, prepend=-2) != 1)
    return [slice(int(order[a]), int(order[b - 1]) + 1) for a, b in pairwise([*starts, len(order)])]
