"""A dictionary: an encoder from activations to sparse features, and a decoder back.

Sparse autoencoders, transcoders and one layer of a cross-layer transcoder are all of this class.
Axis names: ``features``, ``d_in``, ``d_out``, and ``writes``: the layers that it writes to, of
which only a cross-layer transcoder has more than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.errors import ArgumentError
from circuitgraph.models.dictionaries.activations import (
    apply_gate,
    apply_group_max,
    apply_jump_relu,
    apply_relu,
    apply_signed_top_k,
    apply_top_k,
)
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec

_LAYER_NORM_EPS = 1e-5


class NormalisedInput(NamedTuple):
    """An input as the encoder takes it, and what turns a reconstruction back: times, then plus."""

    x: Float[Array, "*axes d_in"]
    times: Float[Array, "*axes one"] | float
    plus: Float[Array, "*axes one"] | float


class Dictionary(eqx.Module):
    """The weights of a dictionary, and what is computed with them.

    Products are of full float32 precision on every device.

    Attributes:
        b_enc: of a gated dictionary, the bias of the gates.
        b_dec, w_skip: written to the first of the layers only.
        threshold: of the activation ``jump_relu``.
        r_mag, b_mag: of a gated dictionary: the logarithm of the magnitudes' scale, and their bias.
    """

    w_enc: Float[Array, "features d_in"]
    b_enc: Float[Array, " features"]
    w_dec: Float[Array, "writes features d_out"]
    b_dec: Float[Array, " d_out"]
    spec: DictionarySpec = eqx.field(static=True)
    threshold: Float[Array, " features"] | None = None
    w_skip: Float[Array, "d_out d_in"] | None = None
    r_mag: Float[Array, " features"] | None = None
    b_mag: Float[Array, " features"] | None = None

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.w_enc.shape[0]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of all weights that there are."""
        return tuple(leaf.shape for leaf in jax.tree.leaves(self))

    @property
    def d_in(self) -> int:
        """Width of what is read."""
        return self.w_enc.shape[1]

    @property
    def d_out(self) -> int:
        """Width of what is written."""
        return self.w_dec.shape[2]

    def encode(self, x: Float[Array, "*axes d_in"]) -> Float[Array, "*axes features"]:
        """The features of inputs."""
        with jax.default_matmul_precision("highest"):
            x = self._normalise(x).x
            centred = x - self.b_dec if self.spec.subtracts_b_dec else x
            values = jnp.einsum("...i,fi->...f", centred, self.w_enc)
        if self.r_mag is not None and self.b_mag is not None:
            return apply_gate(values + self.b_enc, jnp.exp(self.r_mag) * values + self.b_mag)
        values = values + self.b_enc
        if self.spec.decoder_norm == "unused":
            return self._activate(values)
        features = self._activate(values * self.decoder_norms)
        return features / self.decoder_norms if self.spec.decoder_norm == "choice" else features

    def encode_feature(
        self, x: Float[Array, "*axes d_in"], feature: Int[Array, ""]
    ) -> Float[Array, "*axes"]:
        """One feature of inputs, without the others; see `DictionarySpec.reads_features_apart`."""
        of_each = ("w_enc", "b_enc", "threshold", "r_mag", "b_mag")
        weights = {name: getattr(self, name) for name in of_each}
        own = {name: None if w is None else w[feature][None] for name, w in weights.items()}
        alone = replace(self, **own, w_dec=self.w_dec[:, feature][:, None])
        return alone.encode(x)[..., 0]

    def decode(
        self,
        features: Float[Array, "*axes features"],
        x: Float[Array, "*axes d_in"] | None = None,
        write: int = 0,
    ) -> Float[Array, "*axes d_out"]:
        """What features write into one layer: by default the first one, with the bias.

        Args:
            x: the input, of which a skip connection and the scale of a normalisation are made.
            write: which of the layers that it writes to, counted from 0.

        Raises:
            ArgumentError: the input is needed and was not given; no such layer is written to.
        """
        if not 0 <= write < len(self.w_dec):
            raise ArgumentError(
                f"write is {write}, but the dictionary writes to {len(self.w_dec)} layer(s)."
            )
        if x is None and self.needs_input:
            raise ArgumentError(
                "This dictionary has a skip connection, or scales what it writes as its input was "
                "scaled: give decode the input, too."
            )
        with jax.default_matmul_precision("highest"):
            written = jnp.einsum("...f,fo->...o", features, self.decoder_rows()[write])
            if write == 0:
                written = written + self.b_dec / self.spec.output_scales[0]
            if x is not None and self.spec.restores:
                _, times, plus = self._normalise(x)
                written = written * times + plus
            if x is not None and write == 0 and self.w_skip is not None:
                written = written + jnp.einsum("...i,oi->...o", x, self.w_skip)
        return written

    def write_change(
        self,
        change: Float[Array, "*axes units"],
        units: Int[Array, " units"],
        x: Float[Array, "*axes d_in"],
        write: int = 0,
    ) -> Float[Array, "*axes d_out"]:
        """What is written more into one layer, if some features change; all else stays.

        Args:
            x, write: as of `decode`.
        """
        rows = scale_rows(self.w_dec[:, units], self.spec)[write]
        with jax.default_matmul_precision("highest"):
            written = jnp.einsum("...u,uo->...o", change, rows)
        return written * self._normalise(x).times if self.spec.restores else written

    def reconstruct(
        self, x: Float[Array, "*axes d_in"], write: int = 0
    ) -> Float[Array, "*axes d_out"]:
        """What the dictionary writes into one layer, of its input."""
        return self.decode(self.encode(x), x, write)

    def decoder_rows(
        self, features: Sequence[int] | Int[np.ndarray, " n"] | None = None
    ) -> Float[Array, "writes n d_out"]:
        """What one unit of each feature writes into each layer, with all constant scales.

        Args:
            features: which ones; all by default.
        """
        rows = self.w_dec if features is None else self.w_dec[:, np.asarray(features)]
        return scale_rows(rows, self.spec)

    @property
    def decoder_norms(self) -> Float[Array, " features"]:
        """The length of each feature's decoder row, those of all layers together."""
        return jnp.sqrt(jnp.square(self.w_dec).sum((0, 2)))

    @property
    def needs_input(self) -> bool:
        """Whether what is written depends on more of the input than its features."""
        scales = self.spec.normalisation != "none" and self.spec.restores
        return scales or self.w_skip is not None

    def _activate(self, values: Float[Array, "*axes features"]) -> Float[Array, "*axes features"]:
        activation, k = self.spec.activation, self.spec.k or 0
        if self.threshold is not None:
            return apply_jump_relu(values, self.threshold)
        if activation == "top_k":
            return apply_top_k(values, k)
        if activation == "signed_top_k":
            return apply_signed_top_k(values, k)
        return apply_group_max(values, k) if activation == "group_max" else apply_relu(values)

    def _normalise(self, x: Float[Array, "*axes d_in"]) -> NormalisedInput:
        if self.spec.normalisation == "none":
            return NormalisedInput(x * self.spec.input_scale, 1.0, 0.0)
        if self.spec.normalisation == "norm":
            length = jnp.sqrt(jnp.square(x).sum(-1, keepdims=True)) / x.shape[-1] ** 0.5
            return NormalisedInput(x / length, length, 0.0)
        mean, deviation = x.mean(-1, keepdims=True), x.std(-1, keepdims=True, ddof=1)
        return NormalisedInput((x - mean) / (deviation + _LAYER_NORM_EPS), deviation, mean)


def scale_rows(
    rows: Float[Array, "writes n d_out"], spec: DictionarySpec
) -> Float[Array, "writes n d_out"]:
    """Stored decoder rows with their constant scales."""
    if spec.decoder_norm == "features":
        rows = rows / jnp.sqrt(jnp.square(rows).sum((0, 2), keepdims=True))
    return rows / jnp.asarray(spec.output_scales, rows.dtype)[:, None, None]
