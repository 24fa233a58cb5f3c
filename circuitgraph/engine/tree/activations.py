"""A pool of prompts whose activations are at hand: all that the tree and the swaps read, each
computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.experiment import check_tokens
from circuitgraph.engine.masked.forward import Inputs
from circuitgraph.engine.memory import memory_limit
from circuitgraph.engine.tree import nodes
from circuitgraph.engine.tree.alignment import Alignment
from circuitgraph.errors import ArgumentError, DataError, check_at_least, list_problems
from circuitgraph.graph.graph import Reader
from circuitgraph.graph.node import STREAM, Node
from circuitgraph.graph.site import Site
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Prompts

_FLOAT = 4
_CPU_ROWS, _GPU_ROWS = 256, 2048  # prompts in one launch, at most; more makes nothing faster


class Pool:
    """Prompts of one model. Residual streams and what sites write are computed when first asked
    for, and kept.

    Attributes:
        model, prompts: as given.
        graph: the model's.
        alignment: which position of one prompt stands for which of another.
        launch: rows of one launch of a compiled program.
        inputs, labels: the prompts on the device, filled up with copies of the first to whole
            launches.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Prompts,
        places: Int[np.ndarray, "prompts roles"],
        roles: tuple[str, ...],
        *,
        rows: int | None = None,
        length: int | None = None,
        launch: int | None = None,
        memory: int | None = None,
    ) -> None:
        """Nothing runs yet.

        Args:
            places: index of each role in each prompt.
            rows, length: pad to that many prompts and positions, so that small batches of fresh
                prompts never compile anew; by default to whole launches and the longest prompt.
            launch: rows of one launch; by default what fits well.
            memory: limit in bytes of what is kept.

        Raises:
            DataError: prompts that the model cannot read, or places outside their prompts.
            ArgumentError: more prompts than ``rows``, or longer ones than ``length``.
        """
        check_tokens(model.spec, prompts)
        _check_places(prompts, places, roles)
        n, longest = prompts.mask.shape
        if n > (rows or n) or longest > (length or longest):
            raise ArgumentError(
                f"There are {n} prompts of up to {longest} tokens, but rows is {rows} and length "
                f"{length}: both must be at least as much."
            )
        if (length or longest) > model.spec.n_ctx:
            raise ArgumentError(
                f"length is {length}, but the model's context is {model.spec.n_ctx}: use at most "
                "that."
            )
        self.model, self.prompts, self.graph = model, prompts, model.graph()
        self.launch = _launch(model, rows or n, length or longest) if launch is None else launch
        check_at_least("launch", self.launch, 1)
        whole = -(-(rows or n) // self.launch) * self.launch
        self._padded = (
            np.minimum(np.arange(whole), n) % n
        )  # the first prompt again and again after the last
        mask = _wider(prompts.mask, length or longest)
        self.alignment = Alignment(mask, places, roles)
        self.inputs, self.labels = self._on_device(mask)
        self._limit = memory_limit() if memory is None else memory
        self._streams: dict[int, Array] = {}
        self._written: dict[Node, Array] = {}
        self._others: dict[Node, Array] = {}

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def bytes(self) -> int:
        """Memory of what is kept now."""
        return sum(
            a.nbytes for kept in (self._streams, self._written, self._others) for a in kept.values()
        )

    @property
    def room(self) -> int:
        """How much more may be kept."""
        return max(0, self._limit - self.bytes)

    def _on_device(self, mask: Bool[np.ndarray, "prompts pos"]) -> tuple[Inputs, nodes.Labels]:
        p, padded = self.prompts, self._padded
        tokens = _wider(p.clean, mask.shape[1]).astype(np.int32)
        positions = np.broadcast_to(np.arange(mask.shape[1], dtype=np.int32), mask.shape)
        inputs = Inputs(
            *(
                jnp.asarray(a[padded])
                for a in (tokens, mask, positions, p.score_at.astype(np.int32))
            )
        )
        others = (
            None if a is None else jnp.asarray(a[padded]) for a in (p.distractor, p.right, p.wrong)
        )
        return inputs, nodes.Labels(jnp.asarray(p.answer[padded]), *others)

    def chunks(self, n: int) -> Iterator[Int[np.ndarray, " launch"]]:
        """The numbers 0 to ``n - 1`` cut into launches, the last one again and again where there
        are no more.

        Programs always take ``launch`` rows, so that one serves any number.
        """
        for start in range(0, n, self.launch):
            yield np.minimum(np.arange(start, start + self.launch), n - 1)

    # What is kept

    def keep(self, stages: Iterable[int], sites: Iterable[Site]) -> None:
        """Have these streams and what these sites write in a plain run of every prompt.

        Raises:
            ArgumentError: they do not fit into memory; says how much they need.
        """
        written = {site.node: site for site in sites if site.kind not in ("embed", "logits")}
        streams = {0, *stages, *(self.reader(site).stage for site in written.values())}
        heads = {
            node for node, site in written.items() if site.kind == "head" and self.graph.coupled
        }
        wanted = ((streams, self._streams), (written.keys(), self._written), (heads, self._others))
        n_new = sum(len(names - kept.keys()) for names, kept in wanted)
        size = _FLOAT * self.inputs.tokens.size * self.model.spec.d_model
        if n_new * size + self.bytes > self._limit:
            raise ArgumentError(
                f"The activations of {len(self)} prompts need about "
                f"{(n_new * size + self.bytes) / 2**20:.0f} MiB, but the limit is "
                f"{self._limit / 2**20:.0f} MiB. Use fewer or shorter prompts in the pool, or a "
                "higher limit."
            )
        for stage in sorted(streams):
            self.stream(stage)
        for site in written.values():
            self.written(site)

    def stream(self, stage: int) -> Float[Array, "prompts pos d"]:
        """The residual stream of each prompt after that many sublayers (see `Writer.stage`), in its
        own positions.
        """
        if stage not in self._streams:
            below = max((s for s in self._streams if s < stage), default=-1)
            self._streams[stage] = self._chunked(lambda rows: self._run_to(stage, below, rows))
        return self._streams[stage]

    def written(self, site: Site) -> Float[Array, "prompts pos d"]:
        """What a site writes in each prompt's plain run, at all positions."""
        if site.kind == "embed":
            return self.stream(0)
        if site.node not in self._written:
            stream = self.stream(self.reader(site).stage)
            others = self.others(site)

            def run(rows: Int[np.ndarray, " launch"]) -> Array:
                at = self._own_positions
                x = nodes.run_taken(stream, rows, at)
                return self.run(
                    site, rows, (x,) * len(site.inputs), _taken_or_none(others, rows, at)
                )

            self._written[site.node] = self._chunked(run)
        return self._written[site.node]

    def others(self, site: Site) -> Float[Array, "prompts pos d"] | None:
        """What the other heads of a head's layer write into its post-norm in each prompt's plain
        run, if it has one.
        """
        if not self.graph.coupled or site.kind != "head":
            return None
        if site.node not in self._others:
            stream, place = (
                self.stream(self.reader(site).stage),
                (np.int32(site.layer), np.int32(site.index)),
            )

            def run(rows: Int[np.ndarray, " launch"]) -> Array:
                x = nodes.run_taken(stream, rows, self._own_positions)
                return nodes.run_others(self.model.transformer, self.inputs, rows, place, x)

            self._others[site.node] = self._chunked(run)
        return self._others[site.node]

    @property
    def _own_positions(self) -> Int[np.ndarray, "launch pos"]:
        n_pos = self.inputs.tokens.shape[1]
        return np.broadcast_to(np.arange(n_pos, dtype=np.int32), (self.launch, n_pos))

    def _chunked(self, run: Callable[[Int[np.ndarray, " launch"]], Array]) -> Array:
        whole = len(self._padded)
        parts = [
            run(np.arange(start, start + self.launch)) for start in range(0, whole, self.launch)
        ]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts)

    # Running nodes

    def run(
        self,
        site: Site,
        rows: Int[np.ndarray, " launch"],
        x: Sequence[Float[Array, "launch pos d"]],
        others: Float[Array, "launch pos d"] | None,
    ) -> Float[Array, "launch pos d"]:
        """What a site writes given the streams that it reads, in the positions of the prompts in
        ``rows``.

        Args:
            others: as of `others`, moved to these positions.
        """
        model, layer, index = self.model.transformer, np.int32(site.layer), np.int32(site.index)
        if site.kind == "head":
            return nodes.run_head(
                model, self.inputs, rows, (layer, index), (x[0], x[1], x[2]), others
            )
        if site.kind == "neuron":
            return nodes.run_neuron(model, layer, index, x[0])
        return nodes.run_mlp(model, layer, x[0])

    def _run_to(
        self, stage: int, start: int, rows: Int[np.ndarray, " launch"]
    ) -> Float[Array, "launch pos d"]:
        """The streams of some prompts, from those kept of an earlier stage (-1: from their tokens)."""
        model = self.model.transformer
        if start < 0:
            x, start = nodes.run_embed(model, self.inputs, rows), 0
        else:
            x = nodes.run_taken(self._streams[start], rows, self._own_positions)
        for now in range(start, stage):
            layer, second = divmod(now, self.sublayers)
            layer = np.int32(layer)
            if second:
                x = nodes.run_after_mlp(model, layer, x, x)
                continue
            after, _ = nodes.run_attention(model, self.inputs, rows, layer, x)
            x = (
                nodes.run_after_mlp(model, layer, x, after)
                if self.graph.mlp and self.graph.parallel
                else after
            )
        return x

    def read(
        self,
        rows: Int[np.ndarray, " launch"],
        x: Float[Array, "launch pos d"],
        kinds: tuple[Metric, ...],
    ) -> tuple[Float[Array, "metrics launch"], Int[Array, " launch"]]:
        """Metrics and top tokens of final streams ``x``, against the labels of the prompts in
        ``rows``.
        """
        model, final = self.model.transformer, self.stream(self.last_stage)
        return nodes.run_reading(model, (self.inputs, self.labels), rows, x, final, kinds)

    # Names

    @property
    def sublayers(self) -> int:
        """How many times the stream grows in one layer."""
        return self.last_stage // self.graph.n_layers

    @property
    def last_stage(self) -> int:
        """The stage of the stream that the logits read."""
        return self.graph.readers[-1].stage

    def reader(self, site: Site, into: str = "q") -> Reader:
        """What a site reads through one of its inputs; a neuron reads what its MLP reads."""
        return self.graph.reader_of(site.node, into if site.kind == "head" else STREAM)


def _taken_or_none(values: Array | None, rows: np.ndarray, at: np.ndarray) -> Array | None:
    return None if values is None else nodes.run_taken(values, rows, at)


def _wider(a: np.ndarray, length: int) -> np.ndarray:
    return np.pad(a, [(0, 0), (0, length - a.shape[1])])


def _launch(model: LanguageModel, n: int, n_pos: int) -> int:
    """Rows of a launch: a power of two, or ``n``, whose insides fit well."""
    spec = model.spec
    inside = 8 * spec.d_model + spec.n_heads * (4 * spec.d_head + 2 * n_pos) + 3 * (spec.d_mlp or 0)
    row = _FLOAT * (n_pos * inside + 4 * spec.d_vocab_out)
    on_cpu = jax.devices()[0].platform == "cpu"
    fits = max(1, (memory_limit() // 8) // row)
    most = min(_CPU_ROWS if on_cpu else _GPU_ROWS, 1 << int(np.log2(fits)))
    return min(most, 1 << int(np.ceil(np.log2(n))))


def _check_places(
    prompts: Prompts, places: Int[np.ndarray, "prompts roles"], roles: tuple[str, ...]
) -> None:
    if places.shape != (len(prompts), len(roles)):
        raise DataError(
            f"places have shape {places.shape}; expected ({len(prompts)}, {len(roles)}): prompts, "
            "roles."
        )
    lengths = prompts.mask.sum(axis=1)
    problems = [
        f"role {roles[j]!r} of prompt {i} stands at {places[i, j]}, but the prompt has {lengths[i]} "
        "tokens"
        for i, j in np.argwhere((places < 0) | (places >= lengths[:, None]))
    ]
    if problems:
        raise DataError(list_problems("Roles stand outside their prompts:", problems))
