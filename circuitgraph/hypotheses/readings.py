"""Readings in a hypothesis file: an analysis of the model, and what the file asserts of it."""

from __future__ import annotations

import linecache
from typing import Any

from circuitgraph.analysis.base import analyses
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.diagnostics import Verdict, format_error, format_location, locate_error
from circuitgraph.hypotheses.language import ReadingClaim
from circuitgraph.hypotheses.study import Study
from circuitgraph.tasks.tokenise import tokenise_pairs

N_PROMPTS = 32  # as `circuitgraph analyze` takes


def judge_reading(study: Study, claim: ReadingClaim) -> Verdict:
    """Run an analysis on prompts that the hypothesis is about, and the function on its reading.

    Raises:
        CircuitGraphError: no such method or setting, a model to which it does not apply, prompts
            that it cannot use, or a function that fails in another way than by an assertion.
    """
    method = analyses[claim.method]
    settings = method.fill_settings(claim.settings)
    given: dict[str, Any] = {"model": study.model, "task": study.task, "bar": False}
    about = "no prompts of the task"
    if method.needs_prompts:
        n = study.limit_prompts(claim.n or N_PROMPTS)
        pairs = [prompt.pair for prompt in study.prompts(n)]
        given["prompts"] = tokenise_pairs(pairs, study.tokenizer)
        about = f"{n} prompts"
    failure = _call_function(claim, method.read(given, settings))
    summary = f"reading {claim.name!r} ({claim.method}, {about})"
    return Verdict(not failure, f"{summary}: {'refuted' if failure else 'held'}", failure)


def _call_function(claim: ReadingClaim, reading: Any) -> str:
    """What the function has against the reading; empty if nothing."""
    file = claim.location.file
    try:
        returned = claim.function(reading)
    except AssertionError as error:
        where = locate_error(error, file) or claim.location
        line = linecache.getline(where.file, where.line).strip()
        return "\n".join([f"{format_location(where)}: {line}", *filter(None, [str(error).strip()])])
    except Exception as error:
        where = locate_error(error, file) or claim.location
        raise HypothesisError(f"{format_location(where)}: {format_error(error)}") from error
    # False is what a user returns who forgot to write assert.
    return "the function returned False" if returned is False else ""
