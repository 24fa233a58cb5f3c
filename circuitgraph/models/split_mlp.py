"""One layer's MLP in parts: what its units are worth, and what is left of what it writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.hooks import Place
from circuitgraph.models.mlp import MLP
from circuitgraph.models.norms import Norm, apply_norm
from circuitgraph.models.units import Features, LayerUnits

T = TypeVar("T")


class SplitMlp(NamedTuple):
    """The MLP of one layer, and how a graph cuts it: into neurons, into features, or not at all.

    What its parts write adds up to what it writes: each unit its value times its row, the rest,
    and of a layer with features the error, what the dictionary does not reconstruct. The biases of
    the MLP and of the dictionary, and a skip connection, are the rest's.

    Attributes:
        own: the layer's own units.
        features: those of all layers; None in a graph without any.
    """

    mlp: MLP
    own: LayerUnits
    features: Features | None

    def write_parts(
        self, x: Float[Array, "*axes d"]
    ) -> tuple[Float[Array, "rest_error *axes d"], Float[Array, "most *axes"]]:
        """The rest, in a graph with features the error behind it; and the units."""
        if self.features is None:
            return self._write_rest_of_neurons(x)[None], self._read_neurons(x)
        return self._choose(
            lambda x: (
                jnp.stack([self._write_rest_of_features(x), self._write_error_of_features(x)]),
                self._read_features(x),
            ),
            lambda x: (
                jnp.stack([self._write_rest_of_neurons(x), jnp.zeros_like(x)]),
                self._read_neurons(x),
            ),
            x,
        )

    def write_rest(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
        """What neither a unit nor the error writes; of a whole MLP all of it."""
        return self._choose(self._write_rest_of_features, self._write_rest_of_neurons, x)

    def write_error(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
        """What the MLP writes and its dictionary does not; zero where it has none."""
        return self._choose(self._write_error_of_features, jnp.zeros_like, x)

    def write_fed(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
        """What is computed from ``x``: all that the MLP writes but a frozen error."""
        return self.mlp(x) - self.own.frozen * self.write_error(x)

    def read_units(self, x: Float[Array, "*axes d"]) -> Float[Array, "most *axes"]:
        """The units' values."""
        return self._choose(self._read_features, self._read_neurons, x)

    def read_unit(self, x: Float[Array, "*axes d"], index: Int[Array, ""]) -> Float[Array, "*axes"]:
        """The value of one unit of the layer, of which ``index`` is the number in the MLP or in the
        dictionary, if it reads ``x``.
        """
        return self._choose(
            lambda x: self._read_feature(x, index), lambda x: self._read_neuron(x, index), x
        )

    def _choose(
        self, of_features: Callable[[Array], T], of_neurons: Callable[[Array], T], x: Array
    ) -> T:
        if self.features is None:
            return of_neurons(x)
        return jax.lax.cond(self.own.dictionary >= 0, of_features, of_neurons, x)

    def _write_rest_of_neurons(self, x: Array) -> Array:
        if self.mlp.router is not None:  # experts have no neurons to leave out
            return self.mlp(x)
        return self.mlp.write_rest(x, self.own.others)

    def _read_neurons(self, x: Array) -> Array:
        if self.mlp.router is not None:
            return jnp.zeros((len(self.own.slots), *x.shape[:-1]), x.dtype)
        return self.mlp.read_units(x, self.own.indices)

    def _read_neuron(self, x: Array, index: Array) -> Array:
        if self.mlp.router is not None:
            return jnp.zeros(x.shape[:-1], x.dtype)
        return self.mlp.read_units(x, index[None])[0]

    def _read_feature(self, x: Array, index: Array) -> Array:
        feature = self._select_dictionary().encode_feature(self._read_place(x), index)
        return feature.astype(x.dtype)

    def _write_rest_of_features(self, x: Array) -> Array:
        assert self.features is not None  # noqa: S101 - called where there are features
        dictionary, read = self._select_dictionary(), self._read_place(x)
        others = self.features.others[self.own.dictionary]
        return dictionary.decode(dictionary.encode(read) * others, read).astype(x.dtype)

    def _write_error_of_features(self, x: Array) -> Array:
        dictionary = self._select_dictionary()
        return self.mlp(x) - dictionary.reconstruct(self._read_place(x)).astype(x.dtype)

    def _read_features(self, x: Array) -> Array:
        features = self._select_dictionary().encode(self._read_place(x))[..., self.own.indices]
        return jnp.moveaxis(features, -1, 0).astype(x.dtype)

    def _select_dictionary(self) -> Dictionary:
        assert self.features is not None  # noqa: S101 - called where there are features
        return self.features.select(self.own.dictionary)

    def _read_place(self, x: Array) -> Array:
        """What the dictionary reads."""
        assert self.features is not None  # noqa: S101 - called where there are features
        return read_mlp_place(self.mlp, self.features.reads, x)


def read_mlp_place(mlp: MLP, place: Place, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
    """The value at a place around an MLP, from the stream that it reads."""
    if place in ("resid_mid", "mlp_input"):
        return x
    if place in ("mlp_output", "raw_mlp_output"):
        return mlp(x)
    norm = mlp.norm
    if place == "mlp_normalised" and norm is not None:
        norm = Norm(None, None, norm.spec)
    return apply_norm(norm, x)
