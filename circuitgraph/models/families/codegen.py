"""CodeGen: GPT-J with queries, values and keys in one tensor, a quarter of the heads at a time."""

from __future__ import annotations

import numpy as np

from circuitgraph.models.families import family
from circuitgraph.models.families.gptj import GPTJ
from circuitgraph.models.parameters import Rows
from circuitgraph.models.spec import Spec

_PARTS = 4  # of the heads, one for each processor that trained the first of these models


def _qkv_rows(part: int) -> Rows:
    """Queries (0), values (1) or keys (2): each quarter of the tensor has all three."""

    def row_index(spec: Spec) -> tuple[np.ndarray, int]:
        n_rows = 3 * spec.d_model
        # [quarter, queries + values + keys, rows]
        rows = np.arange(n_rows).reshape(_PARTS, 3, spec.d_model // _PARTS)
        return rows[:, part].ravel(), n_rows

    return Rows("h.{i}.attn.qkv_proj", row_index)


@family("codegen")
class CodeGen(GPTJ):
    """CodeGenForCausalLM."""

    irrelevant = GPTJ.irrelevant | {"n_ctx"}  # n_positions counts
    names = {
        **GPTJ.names,
        "attention.q": _qkv_rows(0),
        "attention.k": _qkv_rows(2),
        "attention.v": _qkv_rows(1),
    }
