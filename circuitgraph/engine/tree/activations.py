"""Activations of plain runs: all that the tree and the swaps read, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.batch import check_tokens, make_batch, pad_positions
from circuitgraph.engine.memory import memory_limit
from circuitgraph.engine.tree import nodes
from circuitgraph.engine.tree.alignment import Alignment
from circuitgraph.engine.tuning import CPU_LAUNCH_PROMPTS, GPU_LAUNCH_PROMPTS
from circuitgraph.errors import ArgumentError, DataError, check_at_least, list_problems
from circuitgraph.graph.graph import Reader
from circuitgraph.graph.node import STREAM, Node
from circuitgraph.graph.site import Site
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.positions import find_seen
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Prompts

_FLOAT = 4


class Activations:
    """Prompts of one model, with residual streams and site outputs of their plain runs.

    Each is computed when it is first needed, and kept.

    Attributes:
        model, prompts: as given.
        graph: the model's.
        alignment: which position of one prompt stands for which of another.
        launch_rows: rows of one launch of a compiled program.
        inputs, targets: the prompts on the device, filled up with copies of the first to whole
            launches.
        seen: which keys attention may look at in each prompt's plain run, filled up alike.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Prompts,
        role_positions: Int[np.ndarray, "prompts roles"],
        roles: tuple[str, ...],
        *,
        rows: int | None = None,
        length: int | None = None,
        launch: int | None = None,
        memory: int | None = None,
    ) -> None:
        """Nothing runs yet.

        Args:
            role_positions: index of each role in each prompt.
            rows, length: pad to that many prompts and positions, so that small batches of fresh
                prompts never compile anew; by default to whole launches and the longest prompt.
            launch: rows of one launch; by default what fits well.
            memory: limit in bytes of what is kept.

        Raises:
            DataError: prompts that the model cannot read, or roles outside their prompts.
            ArgumentError: more prompts than ``rows``, or longer ones than ``length``.
        """
        check_tokens(model.spec, prompts)
        _check_role_positions(prompts, role_positions, roles)
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
        self.launch_rows = (
            _choose_launch_rows(model, rows or n, length or longest) if launch is None else launch
        )
        check_at_least("launch", self.launch_rows, 1)
        whole = -(-(rows or n) // self.launch_rows) * self.launch_rows
        # the first prompt again and again after the last
        self._padded = np.minimum(np.arange(whole), n) % n
        mask = pad_positions(prompts.mask, length or longest)
        self.alignment = Alignment(mask, role_positions, roles)
        batch = make_batch(prompts, self._padded, length=length or longest)
        self.inputs, self.targets = batch.inputs, batch.targets
        tokens = pad_positions(prompts.clean, length or longest)
        self.seen: Bool[np.ndarray, "whole pos"] = find_seen(model.spec, tokens, mask)[self._padded]
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
    def bytes_free(self) -> int:
        """How much more may be kept."""
        return max(0, self._limit - self.bytes)

    def cut_launches(self, n: int) -> Iterator[Int[np.ndarray, " launch"]]:
        """The numbers 0 to ``n - 1`` cut into launches; the last number fills up the last launch.

        Programs always take ``launch_rows`` rows, so that one program serves any ``n``.
        """
        for start in range(0, n, self.launch_rows):
            yield np.minimum(np.arange(start, start + self.launch_rows), n - 1)

    # What is kept

    def prepare(self, stages: Iterable[int], sites: Iterable[Site]) -> None:
        """Have these streams and what these sites write in a plain run of every prompt.

        Raises:
            ArgumentError: they do not fit into memory; says how much they need.
        """
        written = {site.node: site for site in sites if site.kind not in ("embed", "logits")}
        # stage 0 is the embedding, from which all other streams are computed
        streams = {0, *stages, *(self.reader_of(site).stage for site in written.values())}
        heads = {
            node.whole for node, site in written.items() if site.is_of_head and self.graph.coupled
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
            self.get_stream(stage)
        for site in written.values():
            self.get_site_output(site)

    def get_stream(self, stage: int) -> Float[Array, "prompts pos d"]:
        """The residual stream of each prompt after that many sublayers (see `Writer.stage`).

        It stands in each prompt's own positions.
        """
        if stage not in self._streams:
            # from the nearest kept stream below
            below = max((s for s in self._streams if s < stage), default=-1)
            self._streams[stage] = self._run_launches(lambda rows: self._run_to(stage, below, rows))
        return self._streams[stage]

    def get_site_output(self, site: Site) -> Float[Array, "prompts pos d"]:
        """What a site writes in each prompt's plain run, at all positions."""
        if site.kind == "embed":
            return self.get_stream(0)
        if site.node not in self._written:
            stream = self.get_stream(self.reader_of(site).stage)
            others = self.get_other_heads(site)

            def run_rows(rows: Int[np.ndarray, " launch"]) -> Array:
                at = self._own_positions
                x = nodes.take_values(stream, rows, at)
                return self.run_site(
                    site,
                    rows,
                    (x,) * len(site.inputs),
                    _take_or_none(others, rows, at),
                    self.seen[rows],
                )

            self._written[site.node] = self._run_launches(run_rows)
        return self._written[site.node]

    def get_other_heads(self, site: Site) -> Float[Array, "prompts pos d"] | None:
        """What the other heads of a head's layer write into their post-norm in plain runs.

        None where there is no post-norm.
        """
        if not self.graph.coupled or not site.is_of_head:
            return None
        head = site.node.whole
        if head not in self._others:
            stream = self.get_stream(self.reader_of(site).stage)
            node = np.int32(site.layer), np.int32(site.index)

            def run_rows(rows: Int[np.ndarray, " launch"]) -> Array:
                x = nodes.take_values(stream, rows, self._own_positions)
                return nodes.run_other_heads(self.model.transformer, self.inputs, rows, node, x)

            self._others[head] = self._run_launches(run_rows)
        return self._others[head]

    @property
    def _own_positions(self) -> Int[np.ndarray, "launch pos"]:
        n_pos = self.inputs.tokens.shape[1]
        return np.broadcast_to(np.arange(n_pos, dtype=np.int32), (self.launch_rows, n_pos))

    def _run_launches(self, run: Callable[[Int[np.ndarray, " launch"]], Array]) -> Array:
        whole = len(self._padded)
        parts = [
            run(np.arange(start, start + self.launch_rows))
            for start in range(0, whole, self.launch_rows)
        ]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts)

    # Running nodes

    def run_site(
        self,
        site: Site,
        rows: Int[np.ndarray, " launch"],
        x: Sequence[Float[Array, "launch pos d"]],
        others: Float[Array, "launch pos d"] | None,
        seen: Bool[np.ndarray, "launch pos"],
    ) -> Float[Array, "launch pos d"]:
        """What a site writes, given the streams that it reads.

        Args:
            rows: the prompts in whose positions the streams stand.
            others: as of `get_other_heads`, moved to these positions.
            seen: which keys a head may look at, by the prompts that its keys are of.
        """
        model, layer, index = self.model.transformer, np.int32(site.layer), np.int32(site.index)
        if site.is_of_head:
            is_part = site.kind == "source"
            at = self.alignment.find_source(self._padded[rows], site) if is_part else None
            return nodes.run_head(
                model, self.inputs, rows, (layer, index), (x[0], x[1], x[2]), others, seen, at
            )
        if site.kind == "neuron":
            return nodes.run_neuron(model, layer, index, x[0])
        if site.kind == "feature":
            dictionary = self.model.dictionaries[site.layer].dictionary
            return nodes.run_feature(model, dictionary, layer, index, x[0])
        return nodes.run_mlp(model, layer, x[0])

    def _run_to(
        self, stage: int, start: int, rows: Int[np.ndarray, " launch"]
    ) -> Float[Array, "launch pos d"]:
        """The streams of some prompts, from those kept at ``start`` (-1: from the tokens)."""
        model = self.model.transformer
        if start < 0:
            x, start = nodes.run_embed(model, self.inputs, rows), 0
        else:
            x = nodes.take_values(self._streams[start], rows, self._own_positions)
        for now in range(start, stage):
            number, second = divmod(now, self.sublayers)
            layer = np.int32(number)
            if second:  # the stream holds the layer's attention already
                x = nodes.add_mlp(model, layer, x, x)
                continue
            after, _ = nodes.run_attention(model, self.inputs, rows, layer, x, self.seen[rows])
            whole_layer = self.graph.mlp and self.sublayers == 1
            x = nodes.add_mlp(model, layer, x, after) if whole_layer else after
        return x

    def read_metrics(
        self,
        rows: Int[np.ndarray, " launch"],
        x: Float[Array, "launch pos d"],
        kinds: tuple[Metric, ...],
    ) -> tuple[Float[Array, "metrics launch"], Int[Array, " launch"]]:
        """Metrics and top tokens of final streams, against the targets of the prompts ``rows``."""
        model, final = self.model.transformer, self.get_stream(self.last_stage)
        return nodes.read_metrics(model, (self.inputs, self.targets), rows, x, final, kinds)

    # Names

    @property
    def sublayers(self) -> int:
        """How many times the stream grows in one layer."""
        return self.graph.n_sublayers

    @property
    def last_stage(self) -> int:
        """The stage of the stream that the logits read."""
        return self.graph.readers[-1].stage

    def reader_of(self, site: Site, into: str = "q") -> Reader:
        """What a site reads through one of its inputs; a unit reads what its MLP reads."""
        return self.graph.reader_of(site.node, into if site.is_of_head else STREAM)


def _take_or_none(values: Array | None, rows: np.ndarray, at: np.ndarray) -> Array | None:
    return None if values is None else nodes.take_values(values, rows, at)


def _choose_launch_rows(model: LanguageModel, n: int, n_pos: int) -> int:
    """Rows of a launch: a power of two, or ``n``, whose insides fit well."""
    spec = model.spec
    inside = 8 * spec.d_model + spec.n_heads * (4 * spec.d_head + 2 * n_pos) + 3 * (spec.d_mlp or 0)
    row = _FLOAT * (n_pos * inside + 4 * spec.d_vocab_out)
    on_cpu = jax.devices()[0].platform == "cpu"
    fits = max(1, (memory_limit() // 8) // row)
    most = min(CPU_LAUNCH_PROMPTS if on_cpu else GPU_LAUNCH_PROMPTS, 1 << int(np.log2(fits)))
    return min(most, 1 << int(np.ceil(np.log2(n))))


def _check_role_positions(
    prompts: Prompts, role_positions: Int[np.ndarray, "prompts roles"], roles: tuple[str, ...]
) -> None:
    if role_positions.shape != (len(prompts), len(roles)):
        raise DataError(
            f"places have shape {role_positions.shape}; expected ({len(prompts)}, {len(roles)}): "
            "prompts, roles."
        )
    lengths = prompts.mask.sum(axis=1)
    problems = [
        f"role {roles[j]!r} of prompt {i} stands at {role_positions[i, j]}, but the prompt has "
        f"{lengths[i]} tokens"
        for i, j in np.argwhere((role_positions < 0) | (role_positions >= lengths[:, None]))
    ]
    if problems:
        raise DataError(list_problems("Roles stand outside their prompts:", problems))
