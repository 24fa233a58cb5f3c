"""The recursion of causal scrubbing, and swaps, on a toy that looks both ways but at one token.

The weights are those of TransformerLens, in float64, one reference at a time and without padding.
Here each input of a head's keys knows the tokens whose embeddings it holds, and a key is hidden
where that token is the hidden one: nothing else is said of who sees whom.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from .tree import Claim, Prompt, Run, TreeOracle

SCALE = 2.0  # attn_scale
EPS = 1e-5


class BidirectionalOracle(TreeOracle):
    """The checkpoint ``masked_bidirectional`` and a pool of prompts.

    ``hidden`` is the token that nobody looks at; ``by_reference`` hides keys as the reference's
    tokens say, whatever prompt the keys are of.
    """

    def __init__(
        self, weights: Path, prompts: list[Prompt], hidden: int, by_reference: bool = False
    ) -> None:
        self.weights = {name: t.double() for name, t in load_file(weights).items()}
        self.prompts, self.hidden, self.by_reference = prompts, hidden, by_reference
        self.layers, self.heads = 2, 2
        readers: dict[str, list[str]] = {}
        writers = ["embed"]
        for layer in range(self.layers):
            names = [f"a{layer}.h{head}" for head in range(self.heads)]
            readers |= {f"{name}<{letter}>": list(writers) for name in names for letter in "qkv"}
            readers[f"m{layer}"] = [*writers, *names]
            writers += [*names, f"m{layer}"]
        readers["logits"] = writers
        self.edges = {f"{w}->{reader}" for reader, some in readers.items() for w in some}
        self.runs = [self._plain(prompt.tokens) for prompt in prompts]

    def logits(self, root: Claim, reference: int) -> Tensor:
        return self.unembed(self._read(root, "x", reference))[-1]

    def value(self, claim: Claim, reference: int) -> Tensor:
        if ".h" not in claim.node or not claim.children:
            return super().value(claim, reference)
        x = [self._read(claim, letter, reference) for letter in "qkv"]
        tokens = (
            self.prompts[reference].tokens
            if self.by_reference
            else self._read_key_tokens(claim, reference)
        )
        return self.head(claim.node, x[0], x[1], x[2], tokens)

    def _read_key_tokens(self, claim: Claim, reference: int) -> list[int]:
        """The token at each position of the reference whose embedding is in the keys."""
        children = [child for child in claim.children if child.feeds == "k"]
        first = [role for c in [*children, claim] for role in c.roles]
        tokens = self._take_tokens(self._donor(claim, "k", "embed"), reference, first)
        claimed: set[int] = set()
        own = self.prompts[reference]
        for child in children:
            if child.node == "embed":
                assert isinstance(child.donors, int)
                theirs = self._take_tokens(child.donors, reference, list(child.roles))
                here = [own.places[role] for role in child.roles] or range(len(own.tokens))
                for position in set(here) - claimed:
                    tokens[position] = theirs[position]
                claimed |= set(here)
        return tokens

    def _take_tokens(self, donor: int, reference: int, first: list[str]) -> list[int]:
        positions = self.positions(reference, donor, first)
        return [self.prompts[donor].tokens[position] for position in positions]

    def swapped(self, base: int, donors: Mapping[tuple[str, tuple[str, ...]], int]) -> Tensor:
        """Logits at the last token of ``base``, with these nodes' values of donors' plain runs."""
        own = self.prompts[base]
        tokens = list(own.tokens)

        def exchange(node: str, value: Tensor) -> Tensor:
            value = value.clone()
            for (name, roles), donor in donors.items():
                if name == node:
                    to = self.positions(base, donor, list(roles))
                    for position in [own.places[r] for r in roles] or range(len(own.tokens)):
                        value[position] = self.runs[donor].values[node][to[position]]
                        if node == "embed":
                            tokens[position] = self.prompts[donor].tokens[to[position]]
            return value

        x = exchange("embed", self.embed(own.tokens))
        for layer in range(self.layers):
            names = [f"a{layer}.h{head}" for head in range(self.heads)]
            heads = [exchange(name, self.head(name, x, x, x, tokens)) for name in names]
            x = x + torch.stack(heads).sum(0) + self.weights[f"blocks.{layer}.attn.b_O"]
            x = x + exchange(f"m{layer}", self._mlp(f"m{layer}", x))
        return self.unembed(x)[-1]

    # The model

    def embed(self, tokens: list[int]) -> Tensor:
        return self.weights["embed.W_E"][tokens] + self.weights["pos_embed.W_pos"][: len(tokens)]

    def head(self, node: str, x_q: Tensor, x_k: Tensor, x_v: Tensor, tokens: list[int]) -> Tensor:
        """What one head writes; ``tokens`` are those of the keys."""
        layer, head = map(int, node[1:].split(".h"))
        w = {name: self.weights[f"blocks.{layer}.attn.{name}"][head] for name in PARTS}
        q, k, v = (
            normalise(x) @ w[f"W_{letter}"] + w[f"b_{letter}"]
            for letter, x in (("Q", x_q), ("K", x_k), ("V", x_v))
        )
        scores = q @ k.T / SCALE
        scores[:, [token == self.hidden for token in tokens]] = -torch.inf
        return scores.softmax(-1) @ v @ w["W_O"]

    def unembed(self, x: Tensor) -> Tensor:
        return normalise(x) @ self.weights["unembed.W_U"] + self.weights["unembed.b_U"]

    def _mlp(self, node: str, x: Tensor) -> Tensor:
        w = {n: self.weights[f"blocks.{node[1:]}.mlp.{n}"] for n in ("W_in", "b_in", "W_out")}
        hidden = normalise(x) @ w["W_in"] + w["b_in"]
        bias = self.weights[f"blocks.{node[1:]}.mlp.b_out"]
        return hidden * hidden.softmax(-1) @ w["W_out"] + bias

    def _plain(self, tokens: list[int]) -> Run:
        run, x = Run({"embed": self.embed(tokens)}, {}, {}), self.embed(tokens)
        for layer in range(self.layers):
            run.streams[f"a{layer}"] = x
            for head in range(self.heads):
                name = f"a{layer}.h{head}"
                read = run.streams[f"a{layer}"]
                run.values[name] = self.head(name, read, read, read, tokens)
                x = x + run.values[name]
            x = x + self.weights[f"blocks.{layer}.attn.b_O"]
            run.streams[f"m{layer}"] = x
            run.values[f"m{layer}"] = self._mlp(f"m{layer}", x)
            x = x + run.values[f"m{layer}"]
        run.streams["logits"] = x
        return run


PARTS = ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V")


def normalise(x: Tensor) -> Tensor:
    """A layer norm whose weights were folded away."""
    x = x - x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt()
