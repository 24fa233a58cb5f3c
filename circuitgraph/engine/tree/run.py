"""The tree: a model unrolled along claimed paths, each copy of a site with prompts of its own.

This is the treeified model of causal scrubbing. Everything that a node's children do not cover
comes from the plain run of one prompt, moved to the reference's positions, so only the claimed
nodes are computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.tree import nodes
from circuitgraph.engine.tree.activations import Activations
from circuitgraph.engine.tree.checks import TreeInputs, check_tree, look_up_metrics
from circuitgraph.engine.tree.sharing import Key, SharedValues, ValueUses
from circuitgraph.errors import SearchError
from circuitgraph.graph.node import STREAM, Node
from circuitgraph.graph.site import Site
from circuitgraph.graph.tree import Path, TreeNode
from circuitgraph.progress import show_progress


@dataclass(frozen=True)
class Outcome:
    """What was read at the scored positions.

    Attributes:
        values: of each metric, against the labels of the references (of the bases).
        top: the token with the highest logit.
    """

    values: Float[np.ndarray, "metrics n"]
    top: Int[np.ndarray, " n"]


def run_tree(
    activations: Activations,
    root: TreeNode,
    references: Int[np.ndarray, " n"],
    inputs: TreeInputs,
    metrics: Sequence[str],
) -> Outcome:
    """The output of one tree of claims; as `run_trees`."""
    return run_trees(activations, [(root, inputs)], references, metrics)[0]


def run_trees(
    activations: Activations,
    trees: Sequence[tuple[TreeNode, TreeInputs]],
    references: Int[np.ndarray, " n"],
    metrics: Sequence[str],
    *,
    bar: bool = False,
) -> list[Outcome]:
    """The outputs of trees of claims (Chan et al. 2022), whose nodes read prompts of their own.

    A node computes its site's function, in the reference's positions, of the stream that its own
    prompt has there, in which what its children's sites write is replaced by the children's values.
    A node without children has its site's plain value on its own prompt. Positions are moved as
    `Alignment.map_positions` says; where several roles share a position, those of the children that
    enter an input come first, then those of the site, then the one from which a head's part is
    fetched (at the logits, the last token comes first).
    Of several copies of one site that enter one input at one position the first counts.

    Positions and lengths are the reference's: what a longer donor has beyond them is never read,
    and padding is never seen. Which other keys a head may not look at (a ``masked_token``) is
    decided by the prompt whose keys are read, and there by the embedding: it is the prompt of a
    claimed child ``embed`` where one enters the keys, else that of ``("k", "embed")``, else the
    node's own. Whose queries look, or whose values are fetched, does not count.

    If every node reads the reference itself, this is the model, bit for bit. What trees share is
    computed once.

    Args:
        trees: each a root, and its inputs: of every node, the root included, the prompt from which
            all comes that its children do not cover; or one for each (input, writer), such as
            ``("k", "a0.h1")`` or ``("x", "embed")``. There the other heads before a post-norm are
            the reference's.
        references: which numbers of prompts give labels, lengths and positions.
        metrics: their names.
        bar: show progress.

    Raises:
        ArgumentError: a tree, the references or the inputs do not fit the prompts and their model;
            names every problem.
        SearchError: a metric is not finite; names the reference.
    """
    references = np.asarray(references)
    for root, inputs in trees:
        check_tree(activations, root, references, inputs)
    kinds = look_up_metrics(activations, metrics)
    activations.prepare([activations.last_stage], _list_sites(activations, trees))
    uses, launches = ValueUses(trees), list(activations.cut_launches(len(references)))
    parts: list[list[tuple[Array, Array]]] = [[] for _ in trees]
    n_launches = len(trees) * len(launches)
    with show_progress(n_launches, "trees", "run", bar=bar, leave=False) as progress:
        for rows in launches:
            shared = SharedValues(uses.counts.copy(), activations.bytes_free)
            for (root, inputs), keys, own in zip(trees, uses.keys, parts, strict=True):
                launch = _Launch(activations, rows, references[rows], inputs, keys, shared)
                own.append(
                    activations.read_metrics(
                        launch.references, launch.read_input(root, STREAM), kinds
                    )
                )
                progress.advance()
    return [make_outcome(own, references, metrics) for own in parts]


def make_outcome(
    parts: Sequence[tuple[Array, Array]], references: Int[np.ndarray, " n"], metrics: Sequence[str]
) -> Outcome:
    """The outcome of all launches together, without the rows that fill up the last one.

    Raises:
        SearchError: a value is not finite; names the prompt.
    """
    n = len(references)
    values = np.concatenate([np.asarray(values) for values, _ in parts], axis=1)[:, :n]
    if not np.isfinite(values).all():
        metric, row = np.argwhere(~np.isfinite(values))[0]
        raise SearchError(
            f"{metrics[metric]} of prompt {references[row]} is {values[metric, row]}. Use another "
            "metric, or look for extreme weights in the model."
        )
    return Outcome(values, np.concatenate([np.asarray(top) for _, top in parts])[:n])


@dataclass(frozen=True)
class _Launch:
    """Some references, and the prompts that their nodes read.

    Attributes:
        rows: which entries of ``inputs`` these are.
        keys, shared: what is at hand of trees that were run before.
    """

    activations: Activations
    rows: Int[np.ndarray, " launch"]
    references: Int[np.ndarray, " launch"]
    inputs: TreeInputs
    keys: Mapping[Path, Key]
    shared: SharedValues

    def get_value(self, node: TreeNode) -> Float[Array, "launch pos d"]:
        """What a node's site writes, in the references' positions."""
        return self.shared.get_value(self.keys[node.path], lambda: self.compute_value(node))

    def compute_value(self, node: TreeNode) -> Float[Array, "launch pos d"]:
        """What a node's site writes, computed now."""
        if not node.children:
            return self.take_values(
                self.activations.get_site_output(node.site), self.take_donors(node), node.site.roles
            )
        x = self.read_inputs(node)
        others, at = self.activations.get_other_heads(node.site), self.inputs[node.path]
        if others is not None:
            donors = self.references if isinstance(at, Mapping) else self.take_donors(node)
            others = self.take_values(others, donors, node.site.roles)
        seen = self.find_seen_keys(node)
        return self.activations.run_site(node.site, self.references, x, others, seen)

    def read_inputs(self, node: TreeNode) -> list[Float[Array, "launch pos d"]]:
        """What a node's site reads through each of its inputs.

        Inputs that no child enters are the same stream, which is taken once.
        """
        fed = {child.feeds for child in node.children}
        one_donor = not isinstance(self.inputs[node.path], Mapping)
        free = [name for name in node.site.inputs if name not in fed]
        plain = self.read_input(node, free[0]) if free and one_donor else None
        return [
            plain if plain is not None and name in free else self.read_input(node, name)
            for name in node.site.inputs
        ]

    def read_input(self, node: TreeNode, into: str) -> Float[Array, "launch pos d"]:
        """What a node's site reads through one input."""
        activations = self.activations
        children = [child for child in node.children if child.feeds == into]
        reader = activations.reader_of(node.site, into)
        first = _list_first_roles(node, children, activations.alignment.roles)
        if isinstance(self.inputs[node.path], Mapping):
            x = self.mix_donors(node, into, reader.stage, first)
        else:
            x = self.take_values(
                activations.get_stream(reader.stage), self.take_donors(node), first
            )
        covered_before: dict[Node, Bool[np.ndarray, "launch pos"]] = {}
        # in the children's order: of several copies of one site the first counts
        for child in children:
            donors = self.take_donors(
                node, (into, activations.graph.writer_of(child.site.node).name)
            )
            at = activations.alignment.map_positions(self.references, donors, first)
            covered = activations.alignment.cover_roles(self.references, child.site.roles)
            before = covered_before.get(child.site.node, np.zeros_like(covered))
            covered_before[child.site.node] = covered | before
            covered = covered & ~before
            x = nodes.swap_values(
                x,
                activations.get_site_output(child.site),
                (donors, at),
                covered,
                self.get_value(child),
            )
        return x

    def find_seen_keys(self, node: TreeNode) -> Bool[np.ndarray, "launch pos"]:
        """Which keys a head may look at, in the references' positions.

        A token that nobody looks at is hidden with its embedding: where the embedding that enters
        the keys is another prompt's, that prompt's token decides.
        """
        activations = self.activations
        frame = activations.alignment.mask[self.references]
        # nearly all models hide nothing but padding, which is the references'
        if not node.site.is_of_head or activations.model.spec.unseen_token is None:
            return frame
        children = [child for child in node.children if child.feeds == "k"]
        donors = self.take_donors(node, ("k", "embed"))
        seen = self.take_seen(
            donors, _list_first_roles(node, children, activations.alignment.roles)
        )
        # the last first: of several embeddings at one position the first counts
        for child in reversed([child for child in children if child.site.kind == "embed"]):
            covered = activations.alignment.cover_roles(self.references, child.site.roles)
            claimed = self.take_seen(self.take_donors(child), child.site.roles)
            seen = np.where(covered, claimed, seen)
        return seen & frame

    def take_seen(
        self, donors: Int[np.ndarray, " launch"], first: tuple[str, ...]
    ) -> Bool[np.ndarray, "launch pos"]:
        """Which keys those prompts let be looked at, moved to the references' positions."""
        at = self.activations.alignment.map_positions(self.references, donors, first)
        return self.activations.seen[donors[:, None], at]

    def mix_donors(
        self, node: TreeNode, into: str, stage: int, first: tuple[str, ...]
    ) -> Float[Array, "launch pos d"]:
        """The reference's stream with every writer's value from that writer's own prompt.

        The sum of the values and the constants would be the same but for rounding; swapping values
        one by one changes nothing where nothing is replaced.
        """
        activations, own = self.activations, self.references
        at = activations.alignment.map_positions(own, own)
        x = nodes.take_values(activations.get_stream(stage), own, at)
        everywhere = np.ones_like(at, bool)
        for name in _list_writers(activations, stage):
            written = activations.get_site_output(_make_site(activations, name))
            now = self.take_values(written, self.take_donors(node, (into, name)), first)
            x = nodes.swap_values(x, written, (own, at), everywhere, now)
        return x

    def take_donors(
        self, node: TreeNode, edge: tuple[str, str] = ("", "")
    ) -> Int[np.ndarray, " launch"]:
        """The prompts that a node reads; through one edge, if it has one for each."""
        given = self.inputs[node.path]
        return np.asarray(given[edge] if isinstance(given, Mapping) else given)[self.rows]

    def take_values(
        self,
        values: Float[Array, "prompts pos d"],
        donors: Int[np.ndarray, " launch"],
        first: tuple[str, ...],
    ) -> Float[Array, "launch pos d"]:
        return nodes.take_values(
            values, donors, self.activations.alignment.map_positions(self.references, donors, first)
        )


def _list_first_roles(
    node: TreeNode, children: Sequence[TreeNode], known: Sequence[str]
) -> tuple[str, ...]:
    """Roles that win where several share a position, in an input that these children enter."""
    if node.site.kind == "logits":
        return ()
    roles = [role for n in (*children, node) for role in n.site.roles]
    return tuple(dict.fromkeys([*roles, *({node.site.node.source} & {*known})]))


def _list_writers(activations: Activations, stage: int) -> list[str]:
    """The writers that a stream holds."""
    return [writer.name for writer in activations.graph.writers if writer.stage <= stage]


def _make_site(activations: Activations, name: str) -> Site:
    writer = activations.graph.writers[activations.graph.writer_index(name)]
    return Site(writer.node)


def _list_sites(
    activations: Activations, trees: Sequence[tuple[TreeNode, TreeInputs]]
) -> list[Site]:
    """The sites of all nodes, and the writers that are read where each has its own prompts."""
    sites = {node.site for root, _ in trees for node in root.walk()}
    separate = (
        given for _, inputs in trees for given in inputs.values() if isinstance(given, Mapping)
    )
    return [
        *sites,
        *(
            _make_site(activations, name)
            for name in {name for given in separate for _, name in given}
        ),
    ]
