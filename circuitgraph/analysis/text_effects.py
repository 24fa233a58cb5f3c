"""How a changed model does on the prompts of a task: next tokens, stop words, answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from circuitgraph.analysis.measuring import collect_runs, estimate_cell
from circuitgraph.analysis.weight_spikes import PROMPTS_AT_ONCE
from circuitgraph.catalog.analysis_record import Cell
from circuitgraph.engine.batch import Batch, make_batch
from circuitgraph.engine.readings.super_weights import (
    TextEffects,
    WeightPlaces,
    run_restored,
    run_text,
)
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.prompts import Prompts

STOP_WORDS = (" the", ",", ".", " and", " of", " a", " to", " in")
COLUMNS = ("loss", "stop words", "answer's loss")


@dataclass(frozen=True)
class TextMeasure:
    """The prompts, and the tokens of the stop words, on which networks are compared."""

    prompts: Prompts
    stop_words: Int[np.ndarray, " words"]

    @classmethod
    def of(
        cls, model: LanguageModel, prompts: Prompts, words: Sequence[str] = STOP_WORDS
    ) -> TextMeasure:
        """Watch those of the words that are one token of the model."""
        tokenizer, n_tokens = model.text_tokenizer, model.spec.d_vocab_out
        encoded = [tokenizer.encode(word) for word in words]
        single = {ids[0] for ids in encoded if len(ids) == 1 and ids[0] != tokenizer.unknown_id}
        return cls(prompts, np.array(sorted(i for i in single if i < n_tokens), np.int32))

    def measure(self, network: Transformer) -> TextEffects:
        """How a network does."""
        return self._collect(lambda batch: run_text(network, batch, self.stop_words))

    def measure_restored(
        self, network: Transformer, without: Transformer, places: WeightPlaces
    ) -> TextEffects:
        """How a network without some weights does with the activations that they made."""
        words = self.stop_words
        return self._collect(lambda batch: run_restored(network, without, batch, places, words))

    def make_cells(self, effects: TextEffects) -> list[Cell]:
        """Means over prompts, in the order of `COLUMNS`; None for what there is not."""
        loss, stop_words, answer = (estimate_cell(np.asarray(each)) for each in effects)
        return [loss, stop_words if len(self.stop_words) else None, answer]

    def _collect(self, run: Callable[[Batch], TextEffects]) -> TextEffects:
        prompts = self.prompts
        return collect_runs(prompts, PROMPTS_AT_ONCE, lambda rows: run(make_batch(prompts, rows)))
