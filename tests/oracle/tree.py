"""Causal scrubbing's recursion, one reference at a time, on Hugging Face's own weights.

And swaps by hooks inside Hugging Face's forward pass of GPT-2, which share nothing with the
recursion.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from .families import take_apart
from .hooked import install_hooks
from .names import edge_names, head_names
from .sources import split_head
from .units import FeatureParts, split_mlp

Donors = int | dict[tuple[str, str], int]
NEURON_READERS = {"gpt2": "c_proj", "llama": "down_proj", "gpt_neox": "dense_4h_to_h"}


@dataclass
class Prompt:
    """Tokens, and where its roles stand."""

    tokens: list[int]
    places: dict[str, int]


@dataclass
class Claim:
    """A node (``a0.h1``, ``a0.h1[A]``, ``m2``, ``m2.n5``, ``embed``, ``logits``) at some roles, and
    prompts.
    """

    node: str
    roles: tuple[str, ...]
    feeds: str
    donors: Donors
    children: list["Claim"] = field(default_factory=list)


@dataclass
class Run:
    """One prompt's plain run: writers' values, heads before a post-norm, streams.

    Each entry is [position, d].
    """

    values: dict[str, Tensor]
    raw: dict[str, Tensor]
    streams: dict[str, Tensor]


class TreeOracle:
    """A model and a pool of prompts, without any padding."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: list[Prompt],
        dictionaries: Mapping[int, FeatureParts] | None = None,
    ) -> None:
        """``dictionaries``: by the layer whose MLP they take apart into features."""
        self.dictionaries = dictionaries or {}
        self.family, self.config, self.prompts = take_apart(model), model.config, prompts
        self.edges = set(edge_names(model.config))
        with torch.no_grad():
            self.runs = [self._plain(prompt.tokens) for prompt in prompts]

    @torch.no_grad()
    def logits(self, root: Claim, reference: int) -> Tensor:
        """Logits [vocab] at the reference's last token."""
        return self.family.logits(self._read(root, "x", reference)[None])[0, -1]

    def value(self, claim: Claim, reference: int) -> Tensor:
        """What a claim's node writes, at the reference's positions."""
        if not claim.children:
            assert isinstance(claim.donors, int)
            return self._align_positions(
                self.node_value(claim.node, claim.donors), reference, claim.donors, claim.roles
            )
        inputs = {
            letter: self._read(claim, letter, reference) for letter in self._letters(claim.node)
        }
        if ".h" not in claim.node:
            return self._mlp(claim.node, inputs["x"])
        whole = _name_whole(claim.node)
        layer = int(whole[1:].partition(".")[0])
        own = self._run_head(claim.node, reference, *(inputs[letter] for letter in "qkv"))
        others = reference if isinstance(claim.donors, dict) else claim.donors
        shares = {
            name: self._align_positions(self.runs[others].raw[name], reference, others, claim.roles)
            for name in head_names(self.config, layer)
            if name != whole
        }
        return self.family.finish(layer, shares | own)[claim.node]

    def _run_head(self, node: str, prompt: int, *x: Tensor) -> dict[str, Tensor]:
        """What a head, or a head's part and the rest of it, writes before a post-norm."""
        whole, _, source = node.partition("[")
        layer, head = map(int, whole[1:].split(".h"))
        x_q, x_k, x_v = (one[None] for one in x)
        given = (x_q, x_k, x_v, torch.ones(1, len(x[0]), dtype=torch.bool))
        if not source:
            return {whole: self.family.head(layer, head, *given)[0]}
        name = source.rstrip("]")
        at = {name: torch.tensor([self.prompts[prompt].places.get(name, -1)])}
        parts = split_head(self.family, layer, head, at, *given)
        return {part: value[0] for part, value in parts.items()}

    def _read(self, claim: Claim, letter: str, reference: int) -> Tensor:
        """A claim's input: its prompt's stream, with its children's values in their positions."""
        whole = _name_whole(claim.node)
        reader = f"{whole}<{letter}>" if letter in "qkv" else whole
        children = [child for child in claim.children if child.feeds == letter]
        first = [] if claim.node == "logits" else [r for c in [*children, claim] for r in c.roles]
        own = self.prompts[reference]
        source = claim.node.partition("[")[2].rstrip("]")
        first += [source] if source in own.places else []
        done: set[tuple[str, int]] = set()
        x = self._background(claim, letter, reader, reference, first)
        for child in children:
            donor = self._donor(claim, letter, _name_whole(child.node))
            before = self._align_positions(
                self.node_value(child.node, donor), reference, donor, first
            )
            now = self.value(child, reference)
            for position in [own.places[role] for role in child.roles] or range(len(own.tokens)):
                if (child.node, position) not in done:
                    x[position] += now[position] - before[position]
                    done.add((child.node, position))
        return x

    def _background(
        self, claim: Claim, letter: str, reader: str, reference: int, first: list[str]
    ) -> Tensor:
        """What is read where nothing is claimed."""
        site = reader.partition(".")[0]
        if isinstance(claim.donors, int):
            return self._align_positions(
                self.runs[claim.donors].streams[site], reference, claim.donors, first
            ).clone()
        constants = self.runs[reference].streams[site]
        writers = [w for w in self.runs[reference].values if f"{w}->{reader}" in self.edges]
        constants = constants - sum(self.runs[reference].values[w] for w in writers)
        for writer in writers:
            donor = self._donor(claim, letter, writer)
            constants = constants + self._align_positions(
                self.runs[donor].values[writer], reference, donor, first
            )
        return constants

    def _donor(self, claim: Claim, letter: str, writer: str) -> int:
        return claim.donors if isinstance(claim.donors, int) else claim.donors[letter, writer]

    def _align_positions(self, values: Tensor, reference: int, donor: int, first: Any) -> Tensor:
        return values[self.positions(reference, donor, list(first))]

    def positions(self, reference: int, donor: int, first: list[str]) -> list[int]:
        """The donor's position for each position of the reference."""
        names = [*first, None, *self.prompts[reference].places]  # None: the last token
        here, there = (self._name_positions(self.prompts[i]) for i in (reference, donor))
        others = [p for p in range(len(self.prompts[donor].tokens)) if p not in there.values()]
        positions, n_others = [], 0
        for position in range(len(self.prompts[reference].tokens)):
            names_here = [name for name in names if here[name] == position]
            if names_here:
                positions.append(there[names_here[0]])
            else:
                positions.append(others[n_others % len(others)] if others else 0)
                n_others += 1
        return positions

    def _name_positions(self, prompt: Prompt) -> dict[str | None, int]:
        return {**prompt.places, None: len(prompt.tokens) - 1}

    def node_value(self, node: str, prompt: int) -> Tensor:
        """What a node writes in a prompt's plain run."""
        run = self.runs[prompt]
        whole = _name_whole(node)
        if "[" in node:
            layer = int(whole[1:].partition(".")[0])
            x = run.streams[f"a{layer}"]
            others = {n: run.raw[n] for n in head_names(self.config, layer) if n != whole}
            own = self._run_head(node, prompt, x, x, x)
            return self.family.finish(layer, others | own)[node]
        return run.values[node] if whole == node else self._mlp(node, run.streams[whole])

    def _mlp(self, node: str, x: Tensor) -> Tensor:
        """What an MLP writes, or a feature, or one neuron: that is what is missing if it is
        silenced.
        """
        name, _, neuron = node.partition(".n")
        layer = int(_name_whole(name)[1:])
        if ".f" in node:
            chosen = replace(self.dictionaries[layer], indices=[int(node.partition(".f")[2])])
            run = lambda: self.family.mlp(layer, x[None])  # noqa: E731
            return split_mlp(self.family.model, layer, chosen, run)[node][0]
        if not neuron:
            return self.family.mlp(layer, x[None])[0]

        def silence(_: Any, args: tuple[Tensor]) -> Tensor:
            hidden = args[0].clone()
            hidden[..., int(neuron)] = 0
            return hidden

        whole = self.family.mlp(layer, x[None])[0]
        with install_hooks(self._last_linear(layer).register_forward_pre_hook(silence)):
            return whole - self.family.mlp(layer, x[None])[0]

    def _last_linear(self, layer: int) -> Any:
        base: Any = self.family.base
        block = (base.h if hasattr(base, "h") else base.layers)[layer]
        return getattr(block.mlp, NEURON_READERS[self.config.model_type])

    def _letters(self, node: str) -> str:
        return "qkv" if ".h" in node else "x"

    def _plain(self, tokens: list[int]) -> Run:
        family, run = self.family, Run({}, {}, {})
        x = family.embed(torch.tensor([tokens]))
        run.values["embed"] = x[0]
        mask = torch.ones(1, len(tokens), dtype=torch.bool)
        for layer in range(family.sizes.layers):
            run.streams[f"a{layer}"] = x[0]
            names = head_names(self.config, layer)
            raw = {name: family.head(layer, head, x, x, x, mask) for head, name in enumerate(names)}
            heads = family.finish(layer, raw)
            after = x + sum(heads.values()) + family.constant(layer)
            run.streams[f"m{layer}"] = (x if family.sizes.parallel else after)[0]
            mlp = family.mlp(layer, run.streams[f"m{layer}"][None])
            x = after + mlp
            run.raw |= {name: value[0] for name, value in raw.items()}
            run.values |= {name: value[0] for name, value in heads.items()} | {f"m{layer}": mlp[0]}
        run.streams["logits"] = x[0]
        return run


def _name_whole(node: str) -> str:
    """The MLP that a neuron or feature belongs to, or a part's head; any other node itself."""
    return re.sub(r"\.[nf]\d+$|\[.*\]$", "", node)


@torch.no_grad()
def swapped_source_logits(oracle: TreeOracle, base: int, node: str, donor: int) -> Tensor:
    """Logits [vocab] at the last token of ``base``, with a head's part of the donor's run."""
    family, whole = oracle.family, _name_whole(node)
    tokens = oracle.prompts[base].tokens
    x = family.embed(torch.tensor([tokens]))[0]
    theirs = oracle.node_value(node, donor)[oracle.positions(base, donor, [])]
    for layer in range(family.sizes.layers):
        shares: dict[str, Tensor] = {}
        for name in head_names(oracle.config, layer):
            shares |= oracle._run_head(node if name == whole else name, base, x, x, x)
        heads = family.finish(layer, shares)
        heads |= {node: theirs} if node in heads else {}
        after = x + sum(heads.values()) + family.constant(layer)
        read = x if family.sizes.parallel else after
        x = after + family.mlp(layer, read[None])[0]
    return family.logits(x[None])[0, -1]


@torch.no_grad()
def swapped_feature_logits(
    model: Any, oracle: TreeOracle, base: int, layer: int, feature: int, donor: int
) -> Tensor:
    """Logits [vocab] at the last token of GPT-2 on ``base``, with a feature of the donor's run."""
    chosen = replace(oracle.dictionaries[layer], indices=[feature])
    module, read = model.transformer.h[layer].mlp, []

    def value(inputs: Tensor, out: Tensor) -> Tensor:
        given = out if chosen.reads_output else inputs
        return chosen.take_apart(layer, given, out)[f"m{layer}.f{feature}"]

    def catch(_module: Any, args: tuple[Tensor], out: Tensor) -> None:
        read.append(value(args[0], out))

    def exchange(_module: Any, args: tuple[Tensor], out: Tensor) -> Tensor:
        return out - value(args[0], out) + read[0][:, oracle.positions(base, donor, [])]

    with install_hooks(module.register_forward_hook(catch)):
        model(torch.tensor([oracle.prompts[donor].tokens]))
    with install_hooks(module.register_forward_hook(exchange)):
        return model(torch.tensor([oracle.prompts[base].tokens])).logits[0, -1]


@torch.no_grad()
def swapped_logits(
    model: Any, oracle: TreeOracle, base: int, donors: dict[tuple[str, tuple[str, ...]], int]
) -> Tensor:
    """Logits [vocab] at the last token of GPT-2 on ``base``, with these nodes' values of donors.

    Hooks exchange what the donors' own runs of Hugging Face's model have at the same modules.
    """
    prompts, handles = oracle.prompts, []
    own = prompts[base]
    caught = {  # before any hook is set
        node: _capture(model, prompts[donor].tokens, *_find_module(model, node))
        for (node, _), donor in donors.items()
    }
    for (node, roles), donor in donors.items():
        module, inward, columns = _find_module(model, node)
        theirs = caught[node]
        to = oracle.positions(base, donor, list(roles))
        here = [own.places[role] for role in roles] or list(range(len(own.tokens)))

        def exchange(
            x: Tensor,
            theirs: Tensor = theirs,
            to: list[int] = to,
            here: list[int] = here,
            columns: slice = columns,
        ) -> Tensor:
            x = x.clone()
            for position in here:
                x[0, position, columns] = theirs[0, to[position], columns]
            return x

        if inward:
            handles.append(
                module.register_forward_pre_hook(
                    lambda _m, args, f=exchange: (f(args[0]), *args[1:])
                )
            )
        else:
            handles.append(module.register_forward_hook(lambda _m, _args, out, f=exchange: f(out)))
    with install_hooks(*handles):
        return model(torch.tensor([own.tokens])).logits[0, -1]


def _find_module(model: Any, node: str) -> tuple[Any, bool, slice]:
    """The module at which a node of GPT-2 can be exchanged, and the node's columns there.

    The bool says whether the node is in the module's input, not in its output.
    """
    base, everything = model.transformer, slice(None)
    if node == "embed":
        return base.h[0], True, everything
    block = base.h[int(node[1:].partition(".")[0])]
    if ".h" in node:
        width, head = model.config.n_embd // model.config.n_head, int(node.partition(".h")[2])
        return block.attn.c_proj, True, slice(head * width, (head + 1) * width)
    if ".n" in node:
        neuron = int(node.partition(".n")[2])
        return block.mlp.c_proj, True, slice(neuron, neuron + 1)
    return block.mlp, False, everything


def _capture(model: Any, tokens: list[int], module: Any, inward: bool, _columns: slice) -> Tensor:
    """A module's input, or output, on a prompt."""
    captured: list[Tensor] = []
    hook = module.register_forward_hook(
        lambda _m, args, out: captured.append(args[0] if inward else out)
    )
    with install_hooks(hook):
        model(torch.tensor([tokens]))
    return captured[0]
