"""At which named positions a circuit's nodes matter: measured, for a circuit does not say it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.tree.activations import Activations
from circuitgraph.engine.tree.swap import read_attention, swap_sites
from circuitgraph.errors import DataError
from circuitgraph.evaluation.intervals import estimate_mean
from circuitgraph.graph.site import Site
from circuitgraph.hypotheses.properties.relabel import list_word_groups
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.progress import show_progress
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.metrics import metrics
from circuitgraph.tasks.prompts import Prompts

PLACEHOLDER = "ROLE"
N_PROMPTS = 50
_LEAST_SHOWN = 0.05  # attention, or cost, that a description names


class Roles(ABC):
    """Where things happen: what a skeleton has to know of positions.

    Attributes:
        has_words: whether the task names words that it treats alike, so that `relabel` works.
    """

    has_words: bool

    @property
    @abstractmethod
    def last_role(self) -> str:
        """The role at which the answer is read."""

    @abstractmethod
    def find_read_roles(self, head: str, role: str, writer: str) -> list[str]:
        """The roles at which a head, working at a role, reads a writer by its keys or values."""

    def describe_costs(self, node: str) -> str:
        """What resampling a node costs at each role, in words."""
        del node
        return ""

    def describe_attention(self, head: str, role: str) -> str:
        """Where a head looks from a role, in words."""
        del head, role
        return ""


@dataclass
class NoRoles(Roles):
    """A placeholder for every role, to be filled in by hand."""

    has_words: bool = True

    @property
    def last_role(self) -> str:
        """The placeholder."""
        return PLACEHOLDER

    def find_read_roles(self, head: str, role: str, writer: str) -> list[str]:
        """The placeholder."""
        del head, role, writer
        return [PLACEHOLDER]


@dataclass
class MeasuredRoles(Roles):
    """Roles by resampling each node at each role and by where heads look, on discovery prompts.

    What is resampled takes its value from the run on the pair's own corrupted prompt, as in the
    search under resampling: where the two prompts do not differ, nothing can matter.

    Attributes:
        metric: name of what the costs are of.
    """

    model: LanguageModel
    task: Task
    metric: str

    def __post_init__(self) -> None:
        self.has_words = any(list_word_groups(self.task))
        supply = self.task.count_pairs("discovery")
        prompts = self.task.prompts(min(N_PROMPTS, supply or N_PROMPTS), "discovery")
        shared = [
            role
            for role in prompts.pairs[0].roles
            if all(role in pair.roles for pair in prompts.pairs)
        ]
        if not shared:
            raise DataError(
                f"The prompts of {self.task.name!r} have no role in common, so that no position "
                f"has a name. Give --no-roles, and put in place of {PLACEHOLDER!r} what the task "
                "has."
            )
        self.names = tuple(shared)
        positions = np.array(
            [[pair.roles[role] for role in shared] for pair in prompts.pairs], np.int32
        )
        self.positions: Int[np.ndarray, "prompts roles"] = positions
        self._lengths = prompts.mask.sum(axis=1)
        # The clean prompts, then the corrupted prompt of each, which has the same roles.
        both_sides = np.concatenate([positions, positions])
        self.activations = Activations(
            self.model, _append_corrupted(prompts), both_sides, self.names
        )
        self._costs: dict[str, dict[str, float] | None] = {}
        self._attention: dict[str, Float[np.ndarray, "roles roles"]] = {}

    @property
    def last_role(self) -> str:
        """The role of the last token, in every prompt."""
        is_last = (self.positions == self._lengths[:, None] - 1).all(axis=0)
        if not is_last.any():
            raise DataError(
                f"None of the roles of {self.task.name!r} ({', '.join(self.names)}) is always the "
                "last token, where the answer is read. Give --no-roles, and fill them in by hand."
            )
        return self.names[int(np.flatnonzero(is_last)[0])]

    def measure_all_costs(self, nodes: Iterable[str], bar: bool) -> None:
        """Resample each of these writers at each role, at once: the rest is quick."""
        every = list(nodes)
        with show_progress(len(every), "roles", "node", bar=bar, leave=False) as progress:
            for node in every:
                self.measure_costs(node)
                progress.advance()

    def measure_costs(self, node: str) -> dict[str, float] | None:
        """For each role, the share of the metric that is lost when a node is resampled there.

        The whole of the metric is what is lost with the prompt. None where nothing is lost with it.
        """
        if node not in self._costs:
            full, lost = self._full_values, self._lost_with_prompt
            self._costs[node] = None
            if lost is not None:
                self._costs[node] = {
                    role: float((full - self._measure_values({node: (role,)})).mean()) / lost
                    for role in self.names
                }
        return self._costs[node]

    @cached_property
    def _full_values(self) -> Float[np.ndarray, " prompts"]:
        return self._measure_values({})

    @cached_property
    def _lost_with_prompt(self) -> float | None:
        """The mean of the metric that is lost with the whole prompt; None where it may be 0."""
        lost = self._full_values - self._measure_values({"embed": ()})
        interval = estimate_mean(lost, 0, share=metrics[self.metric].is_share)
        return None if interval.low <= 0 <= interval.high else interval.mean

    def _measure_values(
        self, swapped: Mapping[str, tuple[str, ...]]
    ) -> Float[np.ndarray, " prompts"]:
        """The metric with these nodes, at these roles, taken from the corrupted prompt.

        No role means every position.
        """
        own = np.arange(len(self.positions))
        donors = {
            Site.parse(node) @ roles if roles else Site.parse(node): len(own) + own
            for node, roles in swapped.items()
        }
        values = swap_sites(self.activations, own, donors, [self.metric]).values[0]
        return values.astype(np.float64)

    def measure_attention(self, head: str) -> Float[np.ndarray, "roles roles"]:
        """Mean attention of a head, from each role to each role."""
        if head not in self._attention:
            # [clean and corrupted prompts, queries, keys]
            pattern = read_attention(self.activations, Site.parse(head))
            prompts = np.arange(len(self.positions))[:, None, None]
            queries, keys = self.positions[:, :, None], self.positions[:, None, :]
            self._attention[head] = pattern[prompts, queries, keys].mean(axis=0)
        return self._attention[head]

    def find_read_roles(self, head: str, role: str, writer: str) -> list[str]:
        """Where the head looks, times what resampling the writer there changes, if that is known.

        That is the best role, and others half as good. Two roles that are one token in some prompt
        are never both taken.
        """
        query, costs = self.names.index(role), self.measure_costs(writer)
        is_visible = self._visible_roles[query]
        attended = np.where(is_visible, self.measure_attention(head)[query], 0.0)
        scores = attended
        if costs is not None:
            weighted = attended * np.abs([costs[name] for name in self.names])
            scores = weighted if weighted.max() > 0 else attended
        chosen: list[int] = []
        for i in np.argsort(-scores, kind="stable"):
            apart = all((self.positions[:, i] != self.positions[:, j]).all() for j in chosen)
            if is_visible[i] and apart and scores[i] > 0 and scores[i] >= scores.max() / 2:
                chosen.append(int(i))
        return [self.names[i] for i in sorted(chosen)]

    @cached_property
    def _visible_roles(self) -> Bool[np.ndarray, "roles roles"]:
        """Whether a query at the first role sees the second one in every prompt."""
        if not self.model.spec.causal:
            return np.ones((len(self.names),) * 2, bool)
        queries, keys = self.positions[:, :, None], self.positions[:, None, :]
        return np.asarray((keys <= queries).all(axis=0))

    def describe_costs(self, node: str) -> str:
        """What resampling a node costs at each role, in words."""
        costs = self.measure_costs(node)
        if costs is None:
            return (
                f"{node}: where it matters cannot be measured, because {self.metric} is the same "
                "on the corrupted prompts"
            )
        shares = ", ".join(f"{role}={round(100 * cost)}%" for role, cost in costs.items())
        text = f"{node}: share of {self.metric} lost when it is resampled at {shares}"
        one_token = [
            f"{a} and {b} are one token in {share:.0%} of prompts"
            for a, b in combinations([role for role in costs if costs[role] >= _LEAST_SHOWN], 2)
            if (share := self._measure_coincidence(a, b))
        ]
        return "; ".join([text, *one_token])

    def _measure_coincidence(self, role: str, other: str) -> float:
        """In which share of the prompts two roles are the same token."""
        a, b = (self.positions[:, self.names.index(name)] for name in (role, other))
        return float((a == b).mean())

    def describe_attention(self, head: str, role: str) -> str:
        """Where a head looks from a role, in words."""
        row = self.measure_attention(head)[self.names.index(role)]
        most = [i for i in np.argsort(-row, kind="stable")[:3] if row[i] >= _LEAST_SHOWN]
        if not most:
            return "Looks at no position that has a name."
        return f"Looks at {', '.join(f'{self.names[i]} ({row[i]:.0%})' for i in most)}."


def _append_corrupted(prompts: Prompts) -> Prompts:
    """The prompts, and after them the corrupted prompt of each as a prompt of its own."""
    if prompts.corrupted is None:
        raise DataError(
            "These pairs have no corrupted prompts, by which it is measured at which roles nodes "
            "matter: add them."
        )
    arrays = {
        field.name: np.concatenate([value, value])
        for field in fields(prompts)
        if isinstance(value := getattr(prompts, field.name), np.ndarray)
    }
    arrays["clean"] = np.concatenate([prompts.clean, prompts.corrupted])
    arrays["corrupted"] = np.concatenate([prompts.corrupted, prompts.clean])
    return replace(prompts, pairs=(*prompts.pairs, *prompts.pairs), **arrays)
