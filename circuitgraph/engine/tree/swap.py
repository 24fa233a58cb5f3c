"""Swaps (interchange interventions): some sites write what they write on another prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.tree import nodes
from circuitgraph.engine.tree.activations import Activations
from circuitgraph.engine.tree.checks import (
    Donors,
    find_shared_mlp,
    find_shared_source,
    list_index_problems,
    list_site_problems,
    look_up_metrics,
)
from circuitgraph.engine.tree.run import Outcome, make_outcome
from circuitgraph.errors import ArgumentError, list_problems
from circuitgraph.graph.node import Node
from circuitgraph.graph.site import Site


def swap_sites(
    activations: Activations,
    base: Int[np.ndarray, " n"],
    donors: Mapping[Site, Donors],
    metrics: Sequence[str],
) -> Outcome:
    """Run the base prompts with what these sites write taken from their donors' plain runs.

    All later values follow from the swapped ones. What a donor's site wrote is moved to the base's
    positions (`Alignment.map_positions`). Where two sites name the same node at the same position,
    the first counts. After a post-norm what is taken is the head's share of the norm's output; the
    other heads keep their shares. A token that nobody looks at (a ``masked_token``) is hidden with
    its embedding: where ``embed`` is swapped, later layers see the keys that the donor's tokens let
    be seen there.

    Args:
        base: numbers of prompts.
        donors: for each site one prompt's number for each base; no site at all is the model
            itself.
        metrics: their names; against the labels of the bases.

    Raises:
        ArgumentError: sites or prompts that do not exist, a part and the whole of its MLP or head,
            neurons and features of one MLP, or two sources that are one token; names every
            problem.
        SearchError: a metric is not finite; names the prompt.
    """
    base, donors = np.asarray(base), {site: np.asarray(given) for site, given in donors.items()}
    _check_swaps(activations, base, donors)
    kinds = look_up_metrics(activations, metrics)
    activations.prepare([activations.last_stage], donors)
    parts = []
    for rows in activations.cut_launches(len(base)):
        patches = _make_patches(
            activations, base[rows], {site: given[rows] for site, given in donors.items()}
        )
        parts.append(
            activations.read_metrics(
                base[rows], _run_patched(activations, base[rows], patches), kinds
            )
        )
    return make_outcome(parts, base, metrics)


def read_attention(activations: Activations, site: Site) -> Float[np.ndarray, "n queries keys"]:
    """The attention pattern of a head in each prompt; zero where the head cannot attend.

    Raises:
        ArgumentError: not a head of the model.
    """
    problems = list_site_problems(activations, site) or (
        [] if site.kind == "head" else [f"{site} is no head"]
    )
    if problems:
        raise ArgumentError(list_problems("Only heads of the model have a pattern:", problems))
    stage = activations.reader_of(site).stage
    activations.prepare([stage], [])
    stream, node = activations.get_stream(stage), (np.int32(site.layer), np.int32(site.index))
    parts = []
    for rows in activations.cut_launches(len(activations)):
        x = nodes.take_values(stream, rows, activations.alignment.map_positions(rows, rows))
        parts.append(
            nodes.run_pattern(activations.model.transformer, activations.inputs, rows, node, x)
        )
    return np.concatenate([np.asarray(part, np.float32) for part in parts])[: len(activations)]


@dataclass
class _Patch:
    """Which of a node's values are replaced, by values of which prompts at which positions."""

    site: Site
    covered: Bool[np.ndarray, "launch pos"]
    donors: Int[np.ndarray, "launch pos"]
    at: Int[np.ndarray, "launch pos"]


def _make_patches(
    activations: Activations, base: Int[np.ndarray, " launch"], donors: Mapping[Site, np.ndarray]
) -> list[_Patch]:
    """One patch for each node."""
    patches: dict[Node, _Patch] = {}
    for site, given in donors.items():
        covered = activations.alignment.cover_roles(base, site.roles)
        at = activations.alignment.map_positions(base, given, site.roles)
        rows = np.broadcast_to(given[:, None], at.shape)
        patch = patches.get(site.node)
        if patch is not None:
            old = patch.covered
            # where two sites name one position, the first counts
            rows, at = np.where(old, patch.donors, rows), np.where(old, patch.at, at)
            covered = old | covered
        patches[site.node] = _Patch(site, covered, rows, at)
    return list(patches.values())


def _run_patched(
    activations: Activations, base: Int[np.ndarray, " launch"], patches: Sequence[_Patch]
) -> Float[Array, "launch pos d"]:
    """The final streams of patched runs.

    Layers before the first patch are those of the plain run.
    """
    model, graph = activations.model.transformer, activations.graph
    own = activations.alignment.map_positions(base, base)
    if not patches:
        return nodes.take_values(activations.get_stream(activations.last_stage), base, own)
    start = max(0, min(patch.site.layer for patch in patches))
    stage = start * activations.sublayers
    activations.prepare([stage], [])
    x, seen = nodes.take_values(activations.get_stream(stage), base, own), activations.seen[base]
    for patch in patches:
        if patch.site.kind == "embed":
            seen = np.where(patch.covered, activations.seen[patch.donors, patch.at], seen)
            x = _apply_patch(
                activations, x, nodes.run_embed(model, activations.inputs, base), patch
            )
    for layer in map(np.int32, range(start, graph.n_layers)):
        here = [patch for patch in patches if patch.site.layer == layer]
        after, z = nodes.run_attention(model, activations.inputs, base, layer, x, seen)
        for patch in here:
            if patch.site.is_of_head:
                now = _run_head_site(activations, patch.site, base, (x, z), seen)
                after = _apply_patch(activations, after, now, patch)
        # heads are patched before the MLP reads, which may stand after them
        read = model.blocks.mlp_input(x, after)
        x = nodes.add_mlp(model, layer, read, after) if graph.mlp else after
        for patch in here:
            if patch.site.node.is_in_mlp:
                x = _apply_patch(
                    activations,
                    x,
                    activations.run_site(patch.site, base, [read], None, seen),
                    patch,
                )
    return x


def _run_head_site(
    activations: Activations,
    site: Site,
    base: Int[np.ndarray, " launch"],
    layer: tuple[Array, Array],
    seen: Bool[np.ndarray, "launch pos"],
) -> Float[Array, "launch pos d"]:
    """What a head, or a part of it, writes in a patched run.

    Args:
        layer: the stream before the layer, and what its heads have fetched.
    """
    model, (x, z) = activations.model.transformer, layer
    node = np.int32(site.layer), np.int32(site.index)
    if site.kind == "head":
        return nodes.run_contribution(model, node, z)
    others = nodes.sum_other_heads(model, node, z) if activations.graph.coupled else None
    return activations.run_site(site, base, (x, x, x), others, seen)


def _apply_patch(activations: Activations, x: Array, now: Array, patch: _Patch) -> Array:
    return nodes.replace_values(
        x, now, patch.covered, activations.get_site_output(patch.site), (patch.donors, patch.at)
    )


def _check_swaps(
    activations: Activations, base: Int[np.ndarray, " n"], donors: Mapping[Site, Donors]
) -> None:
    problems = list_index_problems(activations, "base", base)
    for site, given in donors.items():
        problems += list_site_problems(activations, site) + list_index_problems(
            activations, f"the donor of {site}", given, len(base)
        )
        if site.kind == "logits":
            problems.append(f"{site} writes nothing that could be swapped")
        whole = site.node.whole
        if whole != site.node and any(other.node == whole for other in donors):
            problems.append(
                f"{site} is part of {whole}, which is swapped as well: swap one of them"
            )
    if shared := find_shared_mlp(donors):
        problems.append(f"{shared}: swap one of them")
    if not problems and (shared := find_shared_source(activations, donors)):
        problems.append(f"{shared}: swap one of them")
    if problems:
        raise ArgumentError(
            list_problems("These sites cannot be swapped:", list(dict.fromkeys(problems)))
        )
