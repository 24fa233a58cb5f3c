"""How a notebook shows a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circuitgraph.cli.compile import make_model_table
from circuitgraph.notebook.parts import draw_parts
from circuitgraph.showable import pictures

if TYPE_CHECKING:
    from circuitgraph.models.language_model import LanguageModel


@pictures.register("LanguageModel")
def draw_model(model: LanguageModel) -> str:
    """Sizes, settings, graph and tokens, as ``circuitgraph compile`` shows them."""
    # Loads jax, which is there where a model is; pictures of circuits need none.
    from circuitgraph.evaluation.compiled import make_compile_record

    n_tokens = min(16, model.spec.n_ctx)
    return draw_parts([make_model_table(make_compile_record(model, n_tokens=n_tokens))])
