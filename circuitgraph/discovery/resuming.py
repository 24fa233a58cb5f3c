"""How a search takes up its journal: what it says must have a meaning, and some of it be true.

A checksum shows that a line is as it was written, not who wrote it. So a few steps, drawn anew each
time, and the last one are taken again; a journal that says otherwise than the model is refused.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from circuitgraph.discovery.base import Search, State
from circuitgraph.discovery.journal_lines import Entry
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import DataError

_ADVICE = (
    "It was left as it is. Begin again: with --overwrite, or in another place; or cut the file off "
    "before that step."
)


def resume_search(
    search: Search[State],
    experiment: Experiment,
    start: State,
    steps: Sequence[Sequence[Entry]],
    path: Path,
) -> State:
    """The state at the end of a journal.

    Args:
        start: the state before the first step.
        steps: the entries of each whole step, at least one.
        path: of the journal, for messages.

    Raises:
        DataError: the entries have no meaning for this search, or a step that was taken again ends
            otherwise.
    """
    replay = partial(_replay_steps, search, experiment, start, path)
    state = replay(steps)
    for number in _choose_steps(len(steps), search.n_rechecks):
        before, after = replay(steps[:number]), replay(steps[: number + 1])
        done = [search.count_progress(at)[0] for at in (before, after)]
        problem = "it leads nowhere"
        if done[0] < done[1]:
            problem = search.check_step(experiment, before, after)
        if problem is not None:
            raise DataError(
                f"The journal {str(path)!r} does not agree with the model. Step {number + 1} of "
                f"{len(steps)} was taken again: {problem}. {_ADVICE}"
            )
    return state


def _choose_steps(n_steps: int, n: int) -> list[int]:
    """Numbers of ``n`` steps drawn at random, and of the last one."""
    drawn = random.SystemRandom().sample(range(n_steps - 1), min(n, n_steps - 1))
    return [*sorted(drawn), n_steps - 1]


def _replay_steps(
    search: Search[State],
    experiment: Experiment,
    start: State,
    path: Path,
    steps: Sequence[Sequence[Entry]],
) -> State:
    if not steps:
        return start
    try:
        state = search.resume_state(experiment, start, list(chain.from_iterable(steps)))
        done, total = search.count_progress(state)
        if not search.count_progress(start)[0] <= done <= total:
            raise DataError(f"{done} of {total} are done.")
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Among them `DataError`, which says what is wrong with an entry.
        problem = str(error) if isinstance(error, DataError) else f"they hold {error!r}."
        raise DataError(
            f"The entries of the journal {str(path)!r} have no meaning for {search.name!r}: "
            f"{problem} It was left as it is: begin again with --overwrite, or in another place."
        ) from error
    return state
