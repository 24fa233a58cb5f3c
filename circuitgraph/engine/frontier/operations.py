"""How many additions and multiplications values take: counted from schedules, without running any.

Norms, softmax and activations are left out, and so are units of split MLPs; of experts, those that
a token uses count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from circuitgraph.engine.frontier.schedule import HEAD, MLP, Schedule, StepTable
from circuitgraph.graph.graph import Graph
from circuitgraph.models.spec import Spec


@dataclass(frozen=True)
class OperationSizes:
    """Sizes that operation counts need.

    Attributes:
        prompts: number of prompts.
        tokens: positions of each that are computed.
        columns: number of tokens that the metric looks at.
    """

    spec: Spec
    graph: Graph
    prompts: int
    tokens: int
    columns: int

    @property
    def nodes(self) -> int:
        return len(self.graph.writers)

    @property
    def mlp(self) -> int:
        """Operations of an MLP for one token."""
        spec = self.spec
        n_active = 1 if spec.experts is None else spec.experts.n_active
        return 2 * (2 + spec.gated) * spec.d_model * (spec.d_mlp or 0) * n_active


def count_table_operations(
    table: StepTable, sizes: OperationSizes, lanes: int, scored: bool
) -> int:
    """Operations of a schedule's steps for ``lanes`` candidates side by side.

    A head's step projects q, k and v (2 d d_head for each token; for one lane where all candidates
    share the input), looks (4 d_head for each pair of tokens) and writes (2 d d_head); an MLP's
    step is its two or three products; each input is a sum of as many values as the table says.
    Where a step is due at the ``scored`` position only, queries, MLPs and what is written are of
    one token for each prompt; keys and values are of all.
    """
    spec, n = sizes.spec, int(table.n)
    everywhere = sizes.prompts * sizes.tokens
    here = sizes.prompts if scored else everywhere
    kind, shared, slots = table.kind[:n], table.shared[:n, :, 1], table.slots[:n, :, 1]
    heads = kind == HEAD
    # [steps, 3 inputs]: keys and values are of all tokens, queries only of the scored ones
    read_at = np.where(heads[:, None] & (np.arange(3) > 0), everywhere, here)
    sums = int((read_at * (shared + slots * lanes)).sum()) * spec.d_model
    projected = (
        np.where(slots[heads] > 0, lanes, 1) * read_at[heads] * 2 * spec.d_model * spec.d_head
    )
    looked = lanes * here * (4 * sizes.tokens + 2 * spec.d_model) * spec.d_head
    mlps = int((kind == MLP).sum()) * lanes * here * sizes.mlp
    return sums + int(projected.sum()) + int(heads.sum()) * looked + mlps


def count_update_operations(schedule: Schedule, sizes: OperationSizes) -> int:
    """Of computing a schedule's nodes once for all."""
    return count_table_operations(schedule.everywhere, sizes, 1, False) + count_table_operations(
        schedule.scored, sizes, 1, True
    )


def count_candidate_operations(schedule: Schedule, sizes: OperationSizes, lanes: int) -> int:
    """Operations of one group of candidates: inputs (a product with all nodes), steps, logits.

    Lanes that are empty because fewer were asked about count too: they are computed.
    """
    d_model, prompts = sizes.spec.d_model, sizes.prompts
    tokens = prompts * (sizes.tokens if schedule.candidate_everywhere else 1)
    inputs = 2 * lanes * sizes.nodes * tokens * d_model
    steps = count_table_operations(schedule.everywhere, sizes, lanes, False)
    steps += count_table_operations(schedule.scored, sizes, lanes, True)
    n_final = schedule.logits.shared[0, 0, 1] + lanes * schedule.logits.slots[0, 0, 1]
    final = int(n_final) * prompts * d_model
    return inputs + steps + final + 2 * lanes * prompts * d_model * sizes.columns


def count_masked_operations(sizes: OperationSizes) -> int:
    """Operations of one masked run: all heads and MLPs, and all readers' sums as products."""
    spec, tokens = sizes.spec, sizes.prompts * sizes.tokens
    head = 8 * spec.d_model * spec.d_head + 4 * sizes.tokens * spec.d_head
    inputs = 2 * (len(sizes.graph.readers) - 1) * sizes.nodes * spec.d_model
    logits = 2 * sizes.prompts * spec.d_model * (spec.d_vocab_out + sizes.nodes)
    return tokens * (spec.n_layers * (spec.n_heads * head + sizes.mlp) + inputs) + logits
