"""The recursion against Hugging Face: all on one prompt it is the model, unrolled it is a swap."""

from typing import Any

import pytest
import torch

from .cases import CLOSE, LENGTHS, assert_close, make_case
from .hooked import install_hooks
from .names import edge_names
from .tree import Claim, Prompt, TreeOracle, swapped_logits

PLACES = [{"A": 1, "B": 4}, {"A": 3, "B": 0}, {"A": 2, "B": 2}]
WRITERS_AFTER = {"m1": ["a2.h0", "a2.h1", "a2.h2", "a2.h3", "m2"], "a2.h1": ["m2"], "m2": []}


def oracle_of(family: str) -> TreeOracle:
    case = make_case(family)
    rows = zip(case.clean.tolist(), LENGTHS, PLACES, strict=True)
    return TreeOracle(
        case.model, [Prompt(tokens[:length], places) for tokens, length, places in rows]
    )


def unroll_claims(oracle: TreeOracle, node: str, feeds: str, reference: int, leaf: Claim) -> Claim:
    """All nodes between a node and the leaf's, unrolled, on the reference; the leaf everywhere."""
    children = []
    for letter in "qkv" if ".h" in node else "x":
        reader = f"{node}<{letter}>" if ".h" in node else node
        for writer in (*WRITERS_AFTER[leaf.node], leaf.node):
            if f"{writer}->{reader}" not in oracle.edges:
                continue
            if writer == leaf.node:
                children.append(Claim(writer, leaf.roles, letter, leaf.donors))
            else:
                children.append(unroll_claims(oracle, writer, letter, reference, leaf))
    return Claim(node, (), feeds, reference, children)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "gemma2"])
def test_read_everywhere_the_same_it_is_hugging_faces_model(family: str) -> None:
    """Also with a prompt for each writer, and if the prompt itself is in another prompt's place."""
    oracle = oracle_of(family)
    model: Any = oracle.family.model
    for i, prompt in enumerate(oracle.prompts):
        with torch.no_grad():
            expected = model(torch.tensor([prompt.tokens])).logits[0, -1]
        mlp = Claim("m1", (), "x", i, [Claim("a0.h1", ("A",), "x", i)])
        head = Claim(
            "a1.h0", ("B",), "x", i, [Claim("m0", (), "k", i), Claim("embed", ("A",), "q", i)]
        )
        assert_close(oracle.logits(Claim("logits", (), "", i, [mlp, head]), i), expected)
        writers = [
            edge.partition("->")[0]
            for edge in edge_names(model.config)
            if edge.endswith("->logits")
        ]
        each = {("x", writer): i for writer in writers}
        assert_close(oracle.logits(Claim("logits", (), "", each, [head]), i), expected)


@pytest.mark.parametrize(
    ("node", "roles"), [("m2", ("A",)), ("a2.h1", ("A",)), ("m1", ()), ("m1", ("A", "B"))]
)
def test_unrolled_with_one_leaf_it_is_the_swap_of_that_leaf(
    node: str, roles: tuple[str, ...]
) -> None:
    """Every path from the leaf to the output is in the tree, so the tree does what a swap does."""
    oracle = oracle_of("gpt2")
    moved = 0.0
    for base in range(3):
        for donor in range(3):
            leaf = Claim(node, roles, "", donor)
            tree = unroll_claims(oracle, "logits", "", base, leaf)
            expected = swapped_logits(oracle.family.model, oracle, base, {(node, roles): donor})
            assert_close(oracle.logits(tree, base), expected)
            plain = swapped_logits(oracle.family.model, oracle, base, {})
            moved = max(moved, (expected - plain).abs().max().item())
    assert moved > 100 * CLOSE


def test_a_neuron_is_its_activation_times_its_row() -> None:
    oracle = oracle_of("gpt2")
    block = oracle.family.base.h[1]
    hidden: list[torch.Tensor] = []
    with (
        torch.no_grad(),
        install_hooks(
            block.mlp.c_proj.register_forward_pre_hook(lambda _m, args: hidden.append(args[0]))
        ),
    ):
        oracle.family.model(torch.tensor([oracle.prompts[0].tokens]))
    expected = hidden[0][0][:, 7, None] * block.mlp.c_proj.weight[7]
    with torch.no_grad():
        assert_close(oracle.node_value("m1.n7", 0), expected)
