"""Known exceptions: prompts given as text, found again among the task's prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.prompt_source import PromptSource
from circuitgraph.hypotheses.properties.relabel import WORD, Relabelling, list_word_groups
from circuitgraph.tasks.base import GrammarTask

_DRAWS = 20_000
_SEED = 5
WordIndex = tuple[int, int]  # number of a group, and of a word in it


def find_prompts(texts: Iterable[str], source: PromptSource) -> list[Prompt]:
    """The task's prompts with these texts, with their roles and answers.

    A text is sought in the pool, then among prompts of the pool with words exchanged that the task
    treats alike, then among fresh prompts.

    Raises:
        HypothesisError: a text is none of the task's prompts; names all.
    """
    pool = {prompt.text: prompt for prompt in source.pool}
    prompts = {text: pool.get(text) or _find_relabelled(text, source) for text in texts}
    missing = {text for text, prompt in prompts.items() if prompt is None}
    task = source.study.task
    if missing and isinstance(task, GrammarTask):
        rng = np.random.default_rng([source.study.seed, _SEED])
        for _ in range(_DRAWS):
            pair = task.source.draw(rng)
            if pair.clean in missing:
                prompts[pair.clean] = source.tokens.make_prompt(pair)
                missing.discard(pair.clean)
            if not missing:
                break
    if missing:
        names = ", ".join(map(repr, sorted(missing)))
        raise HypothesisError(
            f"No prompt of task {task.name!r} is {names}: give exceptions as they were printed, or "
            "remove them."
        )
    return [prompt for prompt in prompts.values() if prompt is not None]


def _find_relabelled(text: str, source: PromptSource) -> Prompt | None:
    """A prompt of the pool that becomes this text when words of its groups change places."""
    groups = list_word_groups(source.study.task)
    index: dict[str, WordIndex] = {
        form: (group, i)
        for group, words in enumerate(groups)
        for i, forms in enumerate(words)
        for form in forms
    }
    new_words, frame = WORD.findall(text), WORD.sub("_", text)
    for prompt in source.pool if index else ():
        old_words = WORD.findall(prompt.text)
        if len(old_words) != len(new_words) or WORD.sub("_", prompt.text) != frame:
            continue
        changes = {old: new for old, new in zip(old_words, new_words, strict=True) if old != new}
        if not all(_are_alike(old, new, index) for old, new in changes.items()):
            continue
        moves = _close_moves({index[old]: index[new] for old, new in changes.items()})
        mapping = {
            old: new
            for (group, i), (_, j) in moves.items()
            for old, new in zip(groups[group][i], groups[group][j], strict=True)
        }
        relabel = Relabelling(mapping, source.tokens)
        if relabel(prompt.text) == text:
            relabelled = relabel(prompt)
            if source.accepts_prompt(relabelled):
                return relabelled
    return None


def _are_alike(old: str, new: str, index: Mapping[str, WordIndex]) -> bool:
    """Whether two words are of one group."""
    return old in index and new in index and index[old][0] == index[new][0]


def _close_moves(moves: Mapping[WordIndex, WordIndex]) -> dict[WordIndex, WordIndex]:
    """The moves as a permutation: words that were pushed out take the places that became free.

    Empty if two words want one place.
    """
    if len(set(moves.values())) < len(moves):
        return {}
    permutation = dict(moves)
    came_from = {new: old for old, new in moves.items()}
    for pushed_out in moves.values():
        if pushed_out in moves:
            continue
        free = pushed_out  # follow the chain back to the place that no word takes
        while free in came_from:
            free = came_from[free]
        permutation[pushed_out] = free
    return permutation
