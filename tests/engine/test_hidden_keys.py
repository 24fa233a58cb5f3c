"""Which keys are hidden in runs that read several prompts, on a model that looks both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Int
from safetensors.torch import load_file

from circuitgraph.engine.tree.activations import Activations
from circuitgraph.engine.tree.run import run_tree
from circuitgraph.engine.tree.swap import swap_sites
from circuitgraph.graph.site import Site, embed, logits
from circuitgraph.graph.tree import TreeNode
from circuitgraph.models.transformer_lens_checkpoint import load_transformer_lens
from circuitgraph.tasks.prompts import Pair, Prompts
from tests.engine.trees import ROLES, Growth, claim, head_at, readings
from tests.oracle.bidirectional import BidirectionalOracle
from tests.oracle.tree import Prompt

LENS = Path(__file__).parents[1] / "models" / "lens"
WEIGHTS = LENS / "masked_bidirectional.safetensors"
HIDDEN = 10  # the checkpoint's masked_token
N, LONGEST = 8, 8
METRIC = ["log_probability"]
ROOT = TreeNode(("logits",), "", logits)
Rows = Int[np.ndarray, " n"]


class Toy:
    """Random prompts of several lengths; in each one to three tokens are hidden, never the first.

    The last two prompts are the first two again with other tokens hidden, so that they have the
    same layouts.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        lengths = np.array([8, 6, 5, 8, 7, 6, 8, 6])
        self.tokens = rng.integers(0, HIDDEN, (N, LONGEST)).astype(np.int32)
        for row, length in enumerate(lengths):
            self.tokens[row, rng.choice(np.arange(1, length), rng.integers(1, 4), False)] = HIDDEN
        self.positions = rng.integers(0, 10**6, (N, len(ROLES))) % lengths[:, None]
        self.positions[-2:] = self.positions[:2]
        answers = rng.integers(0, HIDDEN, N).astype(np.int32)
        self.prompts = Prompts(
            clean=self.tokens,
            corrupted=self.tokens,
            mask=np.arange(LONGEST) < lengths[:, None],
            score_at=lengths - 1,
            answer=answers,
            distractor=None,
            pairs=(Pair("a", "b", "c"),) * N,
        )
        self.pool = Activations(
            load_transformer_lens(WEIGHTS), self.prompts, self.positions, ROLES, launch=8
        )

    def make_oracle(self, *, by_reference: bool = False) -> BidirectionalOracle:
        rows = zip(self.tokens, self.prompts.mask, self.positions, strict=True)
        prompts = [
            Prompt(tokens[real].tolist(), dict(zip(ROLES, map(int, at), strict=True)))
            for tokens, real, at in rows
        ]
        return BidirectionalOracle(WEIGHTS, prompts, HIDDEN, by_reference)


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy()


def test_the_oracle_is_transformer_lens(toy: Toy) -> None:
    oracle, expected = toy.make_oracle(), load_file(LENS / "expected.safetensors")
    for tokens, theirs in zip(
        expected["masked_bidirectional.tokens"],
        expected["masked_bidirectional.logits"],
        strict=True,
    ):
        ours = oracle.unembed(oracle._plain(tokens.tolist()).streams["logits"])
        torch.testing.assert_close(ours, theirs.double(), rtol=1e-4, atol=1e-4)


def test_random_trees_hide_the_keys_of_the_prompts_whose_keys_are_read(toy: Toy) -> None:
    """With other lengths among the donors, with embeddings claimed into keys, for each policy."""
    oracle, leaky = toy.make_oracle(), toy.make_oracle(by_reference=True)
    rng, apart = np.random.default_rng(1), []
    for i in range(12):
        grow = Growth(toy.pool.graph, rng, separate=i % 3 == 2)
        root, references = grow.tree(), rng.integers(0, N, 6)
        inputs = grow.inputs(root, len(references), N)
        outcome = run_tree(toy.pool, root, references, inputs, METRIC)
        for row, reference in enumerate(references):
            tree = claim(root, inputs, row)
            expected, top = readings(oracle.logits(tree, reference), toy.prompts, reference)
            assert outcome.values[0, row] == pytest.approx(expected, abs=1e-4, rel=1e-4), (i, row)
            assert outcome.top[row] == top
            leaked, _ = readings(leaky.logits(tree, reference), toy.prompts, reference)
            apart.append(abs(leaked - expected))
    assert max(apart) > 0.1, "whose keys are hidden must matter here"


def test_if_all_read_one_prompt_of_the_same_layout_it_is_that_prompts_output(toy: Toy) -> None:
    references, donors = np.array([0, 1, 6, 7]), np.array([6, 7, 0, 1])
    output = run_tree(toy.pool, ROOT, references, {ROOT.path: donors}, METRIC)
    own = run_tree(toy.pool, ROOT, references, {ROOT.path: references}, METRIC)
    assert np.abs(output.values - own.values).max() > 0.1
    rng = np.random.default_rng(2)
    for i in range(4):
        grow = Growth(toy.pool.graph, rng, separate=i % 2 == 1)
        root = grow.tree()
        given = grow.inputs(root, len(references), N)
        inputs = {
            path: dict.fromkeys(some, donors) if isinstance(some, dict) else donors
            for path, some in given.items()
        }
        outcome = run_tree(toy.pool, root, references, inputs, METRIC)
        np.testing.assert_allclose(outcome.values, output.values, atol=1e-4)


def make_keys_claim(*children: TreeNode) -> TreeNode:
    head = TreeNode(("logits", "h"), "", head_at(0, 1), "x", children)
    return TreeNode(ROOT.path, "", logits, children=(head,))


def make_embed(feeds: str, *roles: str) -> TreeNode:
    return TreeNode(("logits", "h", f"embed<{feeds}>"), "", Site(embed.node, roles), feeds)


@pytest.mark.parametrize("feeds", ["q", "k", "v"])
def test_in_the_first_layer_a_claimed_embedding_hides_keys_if_it_enters_them(
    toy: Toy, feeds: str
) -> None:
    """The oracle again, for the three inputs one by one: queries and values never hide a key."""
    oracle, references = toy.make_oracle(), np.array([0, 1, 2])
    root = make_keys_claim(make_embed(feeds))
    head, child = root.children[0], root.children[0].children[0]
    inputs = {
        root.path: references,
        head.path: np.array([3, 4, 5]),
        child.path: np.array([6, 7, 1]),
    }
    outcome = run_tree(toy.pool, root, references, inputs, METRIC)
    for row, reference in enumerate(references):
        x = {
            letter: oracle._align_positions(
                oracle.embed(oracle.prompts[inputs[path][row]].tokens),
                reference,
                int(inputs[path][row]),
                [],
            )
            for letter in "qkv"
            for path in [child.path if letter == feeds else head.path]
        }
        keys = int(inputs[child.path if feeds == "k" else head.path][row])
        tokens = oracle._take_tokens(keys, reference, [])
        now = oracle.head("a0.h1", x["q"], x["k"], x["v"], tokens)
        run = oracle.runs[reference]
        final = oracle.unembed(run.streams["logits"] + now - run.values["a0.h1"])[-1]
        expected, top = readings(final, toy.prompts, reference)
        assert outcome.values[0, row] == pytest.approx(expected, abs=1e-4)
        assert outcome.top[row] == top


def test_swaps_hide_what_the_donors_embeddings_hide(toy: Toy) -> None:
    oracle, rng = toy.make_oracle(), np.random.default_rng(3)
    for i in range(10):
        base, grow = rng.integers(0, N, 6), Growth(toy.pool.graph, rng)
        sites = {str(site.node): site for site in (grow.site(99) for _ in range(i % 4))}
        sites["embed"] = Site(embed.node, ROLES[: i % 3])
        donors = {site: rng.integers(0, N, len(base)) for site in sites.values()}
        outcome = swap_sites(toy.pool, base, donors, METRIC)
        for row, prompt in enumerate(base):
            given = {(str(site.node), site.roles): int(rows[row]) for site, rows in donors.items()}
            expected, top = readings(oracle.swapped(int(prompt), given), toy.prompts, int(prompt))
            assert outcome.values[0, row] == pytest.approx(expected, abs=1e-4, rel=1e-4)
            assert outcome.top[row] == top


def test_an_embedding_swapped_whole_is_the_donor(toy: Toy) -> None:
    base, donors = np.array([0, 1, 6, 7]), np.array([6, 7, 0, 1])
    outcome = swap_sites(toy.pool, base, {embed: donors}, METRIC)
    output = run_tree(toy.pool, ROOT, base, {ROOT.path: donors}, METRIC)
    np.testing.assert_allclose(outcome.values, output.values, atol=1e-4)
    np.testing.assert_array_equal(outcome.top, output.top)
