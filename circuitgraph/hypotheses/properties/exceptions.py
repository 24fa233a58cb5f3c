"""Known exceptions: prompts given as text, found again among the task's prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.relabel import WORD, Relabelling, groups_of
from circuitgraph.hypotheses.properties.supply import Supply
from circuitgraph.tasks.base import GrammarTask

_DRAWS = 20_000
_SEED = 5
Item = tuple[int, int]  # number of a group, and of a word in it


def find_prompts(texts: Iterable[str], supply: Supply) -> list[Prompt]:
    """The task's prompts with these texts, with their roles and answers.

    A text is sought in the pool, then among prompts of the pool with words exchanged that the task
    treats alike, then among fresh ones.

    Raises:
        HypothesisError: a text is none of the task's prompts; names all.
    """
    known = {prompt.text: prompt for prompt in supply.pool}
    found = {text: known.get(text) or _exchanged(text, supply) for text in texts}
    missing = {text for text, prompt in found.items() if prompt is None}
    task = supply.study.task
    if missing and isinstance(task, GrammarTask):
        rng = np.random.default_rng([supply.study.seed, _SEED])
        for _ in range(_DRAWS):
            pair = task.source.draw(rng)
            if pair.clean in missing:
                found[pair.clean] = supply.tokens.prompt(pair)
                missing.discard(pair.clean)
            if not missing:
                break
    if missing:
        shown = ", ".join(map(repr, sorted(missing)))
        raise HypothesisError(
            f"No prompt of task {task.name!r} is {shown}: give exceptions as they were printed, or "
            "remove them."
        )
    return [prompt for prompt in found.values() if prompt is not None]


def _exchanged(text: str, supply: Supply) -> Prompt | None:
    """A prompt of the pool that becomes this text when words of its groups change places."""
    forms = groups_of(supply.study.task)
    groups = {
        form: (g, i)
        for (g, items) in enumerate(forms)
        for i, item in enumerate(items)
        for form in item
    }
    wanted, frame = WORD.findall(text), WORD.sub("_", text)
    for prompt in supply.pool if groups else ():
        words = WORD.findall(prompt.text)
        if len(words) != len(wanted) or WORD.sub("_", prompt.text) != frame:
            continue
        moves = {old: new for old, new in zip(words, wanted, strict=True) if old != new}
        if any(
            groups.get(old, (-1, 0))[0] != groups.get(new, (-2, 0))[0] for old, new in moves.items()
        ):
            continue
        exchange = _completed({groups[old]: groups[new] for old, new in moves.items()})
        mapping = {
            form: to
            for (group, i), (_, j) in exchange.items()
            for form, to in zip(forms[group][i], forms[group][j], strict=True)
        }
        relabel = Relabelling(mapping, supply.tokens)
        if relabel(prompt.text) == text:
            made = relabel(prompt)
            if supply.fits(made):
                return made
    return None


def _completed(moves: Mapping[Item, Item]) -> dict[Item, Item]:
    """The moves, with those pushed out taking the places that became free; nothing if two want one
    place.
    """
    if len(set(moves.values())) < len(moves):
        return {}
    found = dict(moves)
    back = {new: old for old, new in moves.items()}
    for new in moves.values():
        if new in moves:
            continue
        start = new  # follow the chain back to the word whose place nothing takes
        while start in back:
            start = back[start]
        found[new] = start
    return found
