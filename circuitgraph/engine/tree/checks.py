"""What is wrong with sites, prompts' numbers, metrics and trees, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Int

from circuitgraph.engine.batch import check_prompts
from circuitgraph.engine.tree.activations import Activations
from circuitgraph.errors import ArgumentError, list_problems, unknown_name
from circuitgraph.graph.node import UNITS
from circuitgraph.graph.site import Site
from circuitgraph.graph.tree import Path, TreeNode, list_site_edges
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.metrics import Metric, metrics

# numbers of prompts, one for each reference
Donors = Int[np.ndarray, "_"]
# for each node the prompts that it reads, or those of each (input, writer)
TreeInputs = Mapping[Path, Donors | Mapping[tuple[str, str], Donors]]


def look_up_metrics(activations: Activations, names: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics of these names.

    Raises:
        UnknownNameError: no metric of that name. DataError: it needs distractors, and there are
            none.
    """
    kinds = tuple(metrics[name] for name in names)
    for kind in kinds:
        check_prompts(activations.model, activations.prompts, kind)
    return kinds


def find_missing_part(model: LanguageModel, site: Site) -> tuple[str, int] | None:
    """Which part of a site the model lacks: a sentence, and how many the model has of that part.

    It is ``("the model has 2 layers", 2)`` for a site in layer 5, and None if the model has the
    site.
    """
    spec = model.spec
    if site.kind in ("embed", "logits"):
        return None
    if site.layer >= spec.n_layers:
        return f"the model has {_count_noun(spec.n_layers, 'layer')}", spec.n_layers
    if site.is_of_head and site.index >= spec.n_heads:
        return f"a layer of the model has {_count_noun(spec.n_heads, 'head')}", spec.n_heads
    if site.kind in ("mlp", "neuron") and spec.d_mlp is None:
        return "the model has no MLPs", 0
    if site.kind == "neuron" and spec.d_mlp is not None and site.index >= spec.d_mlp:
        return f"an MLP of the model has {_count_noun(spec.d_mlp, 'neuron')}", spec.d_mlp
    if site.kind == "feature":
        return _find_missing_feature(model, site)
    return None


def _find_missing_feature(model: LanguageModel, site: Site) -> tuple[str, int] | None:
    own = model.dictionaries.get(site.layer)
    if own is None:
        listed = ", ".join(f"m{layer}" for layer in model.dictionaries) or "none"
        return (
            f"no dictionary of m{site.layer} is loaded with this model (loaded: {listed}); give "
            "one (--dictionary, or attach_dictionaries), or name the MLP or some of its neurons",
            0,
        )
    n = own.dictionary.n_features
    return None if site.index < n else (f"its dictionary has {_count_noun(n, 'feature')}", n)


def _count_noun(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def list_site_problems(activations: Activations, site: Site) -> list[str]:
    """Everything about a site that this model or these prompts do not have, in words."""
    spec, roles = activations.model.spec, activations.alignment.roles
    problems = [str(unknown_name("role", role, roles)) for role in site.roles if role not in roles]
    source = site.node.source
    if source and not source.isdecimal() and source not in roles:
        problems.append(str(unknown_name("role", source, roles)))
    missing = find_missing_part(activations.model, site)
    if missing is not None:
        sentence, n = missing
        return [*problems, f"{site}: {sentence}" + (f", 0 to {n - 1}" if n else "")]
    if site.kind == "neuron" and (spec.experts is not None or spec.post_norm is not None):
        why = (
            "a mixture of experts has a neuron once for each"
            if spec.experts
            else "a norm follows its MLPs"
        )
        return [
            *problems,
            f"{site}: neurons cannot be told apart in this model, because {why}; use the MLP",
        ]
    return problems


def find_shared_mlp(sites: Iterable[Site]) -> str | None:
    """What is wrong where an MLP is taken apart into neurons and into features at once, in words.

    A neuron's share of what the MLP writes is in the features, too.
    """
    kinds: dict[int, Site] = {}
    for site in sites:
        if site.kind in UNITS and kinds.setdefault(site.layer, site).kind != site.kind:
            return f"{site} and {kinds[site.layer]} take m{site.layer} apart in two ways"
    return None


def find_shared_source(activations: Activations, sites: Iterable[Site]) -> str | None:
    """What is wrong where two sources of one head are the same token of some prompt, in words."""
    rows, parts = np.arange(len(activations)), {s.node: s for s in sites if s.kind == "source"}
    for one, other in combinations(parts.values(), 2):
        if one.node.whole == other.node.whole:
            same = activations.alignment.find_source(rows, one) == (
                activations.alignment.find_source(rows, other)
            )
            if same.any():
                return (
                    f"{one} and {other} are fetched from one token in prompt {int(same.argmax())}"
                )
    return None


def list_index_problems(
    activations: Activations, what: str, indices: Donors, n: int | None = None
) -> list[str]:
    """What is wrong with prompts' numbers: not ``n`` of them, or not among the prompts."""
    given = np.asarray(indices)
    if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
        return [
            f"{what} is an array of {given.dtype} of shape {given.shape}; expected a list of "
            "prompts' numbers"
        ]
    if n is not None and len(given) != n:
        return [f"{what} has {len(given)} entries, but there are {n} references"]
    if not len(given):
        return [f"{what} names no prompt"]
    outside = given[(given < 0) | (given >= len(activations))]
    if len(outside):
        return [f"{what} names prompt {outside[0]}, but the pool has 0 to {len(activations) - 1}"]
    return []


def check_tree(
    activations: Activations, root: TreeNode, references: Int[np.ndarray, " n"], inputs: TreeInputs
) -> None:
    """Raise `ArgumentError` unless tree, references and inputs fit; it names every problem."""
    problems = list_index_problems(activations, "references", references)
    if root.site.kind != "logits":
        problems.append(f"the root is {root.site}, but a tree is read at the logits")
    for node in root.walk():
        unknown = list_site_problems(activations, node.site)
        problems += unknown or _check_inputs(activations, node, len(references), inputs)
        problems += [] if unknown else _check_children(activations, node)
    if problems:
        raise ArgumentError(list_problems("The tree cannot be run:", list(dict.fromkeys(problems))))


def _check_inputs(
    activations: Activations, node: TreeNode, n: int, inputs: TreeInputs
) -> list[str]:
    if node.path not in inputs:
        return [f"{node.name} has no prompt to read: inputs has no entry for its path"]
    given = inputs[node.path]
    if not isinstance(given, Mapping):
        return list_index_problems(activations, f"the input of {node.name}", given, n)
    if not node.children:
        return [f"{node.name} has no children, so that all it reads comes from one prompt"]
    known = set(list_site_edges(activations.graph, node.site))
    problems = [
        f"{node.name}: {what} {edge}"
        for what, some in (
            ("no prompt for", known - given.keys()),
            ("there is no edge", given.keys() - known),
        )
        for edge in sorted(some)
    ]
    return problems or [
        p
        for e in given
        for p in list_index_problems(activations, f"the input {e} of {node.name}", given[e], n)
    ]


def _check_children(activations: Activations, node: TreeNode) -> list[str]:
    apart = (find_shared_mlp(c.site for c in node.children if c.feeds == i) for i in "qkvx")
    problems = [f"{node.name}: {problem}" for problem in apart if problem]
    for i in "qkvx":
        sites = [child.site for child in node.children if child.feeds == i]
        if not any(list_site_problems(activations, site) for site in sites):
            shared = find_shared_source(activations, sites)
            problems += [f"{node.name}: {shared}"] if shared else []
    for child in node.children:
        if child.feeds not in node.site.inputs:
            problems.append(
                f"{child.name} feeds {child.feeds!r}, but {node.site} reads "
                f"{list(node.site.inputs)}"
            )
        elif child.site.kind == "logits":
            problems.append(f"{child.name}: the logits feed nothing")
        elif not list_site_problems(activations, child.site):
            stage = activations.graph.writer_of(child.site.node).stage
            whole = {c.site.node for c in node.children if c.feeds == child.feeds} - {
                child.site.node
            }
            if child.site.node.whole in whole:
                problems.append(
                    f"{child.name}: {child.site} is part of {child.site.node.whole}, which enters "
                    "there as well"
                )
            if stage > activations.reader_of(node.site, child.feeds).stage:
                problems.append(
                    f"{child.name}: {child.site} is computed no earlier than {node.site}"
                )
    return problems
