"""One measurement of the search benchmark: what it is of, and where its numbers go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from circuitgraph.engine.experiment import Experiment
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.prompts import Prompts
from tests import oracle
from tests.checkpoints import load_tiny, oracle_run
from tests.oracle.losses import Loss, kl_divergence, negative_logit_difference
from tools.bench.search_cases import Case, list_cases

Numbers = dict[str, Any]
"""Numbers of a measurement, as plain JSON values."""


@dataclass(frozen=True)
class Job:
    """One measurement. ``work`` is the folder in which measurements leave what others need.

    Attributes:
        limit: seconds that a search may take.
        threads: of torch; None leaves the choice to it.
    """

    measure: str
    case_name: str
    metric: str
    work: Path
    tiny: bool
    limit: float
    threads: int | None

    def file(self, measure: str, suffix: str) -> Path:
        return self.work / f"{measure}-{self.case_name}-{self.metric}.{suffix}"

    @cached_property
    def case(self) -> Case:
        return list_cases(self.tiny)[self.case_name]

    @cached_property
    def prompts(self) -> Prompts:
        return self.case.random_prompts()

    @cached_property
    def model(self) -> LanguageModel:
        return load_model(str(self.case.folder(self.work)))

    @property
    def repeats(self) -> int:
        return 1 if self.tiny else 3

    def experiment(self, frontier: bool) -> Experiment:
        return Experiment(self.model, self.prompts, metric=self.metric, frontier=frontier)

    def torch_run(self) -> oracle.OracleRun:
        return oracle_run(load_tiny(self.case.folder(self.work)), self.prompts, "resample")

    def torch_loss(self, run: oracle.OracleRun) -> Loss:
        if self.metric == "kl":
            return kl_divergence(run.at_scored(run.clean_logits))
        return negative_logit_difference(
            *(torch.tensor(x).long() for x in (self.prompts.answer, self.prompts.distractor))
        )


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(path, allow_pickle=False, **arrays)
