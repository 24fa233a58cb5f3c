"""Features of dictionaries as sites of trees and swaps, beside neurons of another MLP."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from circuitgraph.engine.tree.run import run_tree
from circuitgraph.engine.tree.swap import swap_sites
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.node import Node
from circuitgraph.graph.site import Site, embed, logits
from circuitgraph.graph.tree import Path, TreeNode
from circuitgraph.models.attaching import attach_dictionaries
from circuitgraph.models.dictionaries.hooks import Place
from tests.checkpoints import save_tiny
from tests.engine.trees import Case, Growth, claim, head_at, neuron_at, readings
from tests.laws.test_features import N_FEATURES, draw_dictionary, make_parts
from tests.oracle.tree import TreeOracle, swapped_feature_logits
from tests.oracle.units import FeatureParts

LAYER = 0


@pytest.fixture(scope="module", params=["mlp_normed", "mlp_output"])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Case, TreeOracle]:
    """Both a transcoder, and an autoencoder of what the MLP writes."""
    place: Place = request.param
    tiny = save_tiny(tmp_path_factory.mktemp("m"), n_layer=2)
    dictionary = draw_dictionary(tiny.ours.spec.d_model, place, LAYER)
    own = Case.of(replace(tiny, ours=attach_dictionaries(tiny.ours, dictionary)))
    parts = make_parts(dictionary, False)[LAYER]
    assert isinstance(parts, FeatureParts)
    return own, own.oracle({LAYER: parts})


def feature_at(index: int, layer: int = LAYER) -> Site:
    return Site(Node("feature", layer, index))


def grow_tree() -> TreeNode:
    """A feature that reads the embedding and a head, one that a head fetches, and a neuron."""

    def grow(path: Path, site: Site, feeds: str, *inner: tuple[Site, str]) -> TreeNode:
        own = (*path, f"{site}<{feeds}>")
        children = tuple(TreeNode((*own, f"{s}<{i}>"), "", s, i) for s, i in inner)
        return TreeNode(own, "", site, feeds, children)

    top = ("logits",)
    children = (
        grow(top, feature_at(2) @ "A", "x", (embed, "x"), (head_at(0, 1, "B"), "x")),
        grow(top, head_at(1, 2), "x", (feature_at(11), "v"), (feature_at(3) @ "C", "q")),
        grow(top, neuron_at(1, 5), "x", (feature_at(2), "x")),
    )
    return TreeNode(top, "", logits, children=children)


def test_trees_of_features_are_the_recursion_written_out(case: tuple[Case, TreeOracle]) -> None:
    """With one donor for each node, and with one for each edge."""
    own, oracle = case
    rng, n, root = np.random.default_rng(1), len(own.prompts), grow_tree()
    for separate in (False, True):
        grow = Growth(own.pool.graph, rng, separate=separate)
        references = rng.integers(0, n, 5)
        inputs = grow.inputs(root, len(references), n)
        outcome = run_tree(own.pool, root, references, inputs, ["log_probability"])
        for row, reference in enumerate(references):
            written = oracle.logits(claim(root, inputs, row), reference)
            expected, top = readings(written, own.prompts, reference)
            assert outcome.values[0, row] == pytest.approx(expected, abs=1e-4, rel=1e-4)
            assert outcome.top[row] == top


def test_a_swapped_feature_is_exchanged_in_hugging_faces_model(
    case: tuple[Case, TreeOracle],
) -> None:
    own, oracle = case
    base, donors, moved = np.array([0, 3, 4]), np.array([2, 5, 1]), 0.0
    plain = swap_sites(own.pool, base, {}, ["log_probability"]).values
    for feature in (2, 11):
        site = feature_at(feature)
        outcome = swap_sites(own.pool, base, {site: donors}, ["log_probability"])
        moved = max(moved, np.abs(outcome.values - plain).max())
        for row, (prompt, donor) in enumerate(zip(base, donors, strict=True)):
            written = swapped_feature_logits(
                oracle.family.model, oracle, int(prompt), LAYER, feature, int(donor)
            )
            expected, _ = readings(written, own.prompts, prompt)
            assert outcome.values[0, row] == pytest.approx(expected, abs=1e-4, rel=1e-4)
    assert moved > 1e-3


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ([feature_at(N_FEATURES)], "its dictionary has 20 features, 0 to 19"),
        ([feature_at(3, layer=1)], r"no dictionary of m1 is loaded .* \(loaded: m0\)"),
        ([feature_at(3), Site(Node("mlp", LAYER))], "is part of m0, which is swapped as well"),
        ([feature_at(3), neuron_at(LAYER, 2)], "take m0 apart in two ways"),
    ],
)
def test_features_that_cannot_be_swapped_are_refused(
    case: tuple[Case, TreeOracle], sites: list[Site], message: str
) -> None:
    rows = np.array([0, 1])
    with pytest.raises(ArgumentError, match=message):
        swap_sites(case[0].pool, rows, dict.fromkeys(sites, rows), ["log_probability"])
