"""What if another token stood there: tables of the metric with tokens exchanged, one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.measuring import estimate_cell
from circuitgraph.analysis.places import find_positions, list_roles
from circuitgraph.analysis.variants import (
    check_number,
    choose_metric,
    count_read,
    find_absent,
    measure_variants,
)
from circuitgraph.catalog.analysis_record import Cell, HeatmapRecord, Reading, TableRecord
from circuitgraph.errors import DataError
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Prompts

CORRUPTED = "the corrupted prompt's token"


@analysis(
    "token-substitution",
    source="Wang et al. 2022",
    cannot_tell="what several tokens do together (token-shapley does), nor which part of the model "
    "reads the token; and an odd word makes an odd text, which may change more than its meaning.",
)
def read_token_substitution(
    model: LanguageModel,
    prompts: Prompts,
    *,
    alternatives: tuple[str, ...] = (),
    at: str | int | None = None,
    metric: str | None = None,
    number: int = 0,
    bar: bool = False,
) -> Reading:
    """What the metric becomes when one token is exchanged: each role of the task, over all prompts,
    and each token of one prompt.

    Args:
        alternatives: texts of one token each that are put there; by default the corrupted prompt's
            own token, where it is another one.
        at: a role or a position (from the end if negative) instead of all roles.
        metric: of the answer; by default the first of logit difference, logit ... that these
            prompts allow.
        number: of the prompt whose every token is exchanged; 0 is the first.

    Raises:
        DataError: an alternative that is not one token; no alternatives and no corrupted prompts.
        UnknownNameError: a role that a prompt does not have.
        ArgumentError: no such prompt or position.
    """
    check_number(prompts, number)
    chosen = choose_metric(model, prompts, metric)
    texts: Sequence[str | None] = alternatives or (None,)
    places = {
        place: find_positions(prompts, place)[:, 0]
        for place in (list_roles(prompts) if at is None else [at])
    }
    # [texts, prompts, pos]; looked up before anything is run, so that bad texts are refused
    absent = np.stack(
        [[find_absent(model, prompts, i, text) for i in range(len(prompts))] for text in texts]
    )
    if not (absent[:, number] != prompts.clean[number])[:, : count_read(prompts, number)].any():
        raise DataError(
            f"The corrupted counterpart of prompt {number} has the same tokens: name alternatives."
        )
    tables = [_tabulate_roles(model, prompts, places, texts, absent, chosen, bar)] if places else []
    one, picture = _tabulate_tokens(model, prompts, number, texts, absent[:, number], chosen, bar)
    return Reading(tables=[*tables, one], pictures=[picture])


def _tabulate_roles(
    model: LanguageModel,
    prompts: Prompts,
    places: Mapping[str | int, Int[np.ndarray, " batch"]],
    texts: Sequence[str | None],
    absent: Int[np.ndarray, "texts batch pos"],
    metric: Metric,
    bar: bool,
) -> TableRecord:
    """Each place of all prompts, with each alternative."""
    each = np.arange(len(prompts))
    before, said = measure_variants(model, prompts, each, prompts.clean, metric)
    rows: list[list[Cell]] = []
    for place, at in places.items():
        for text, others in zip(texts, absent, strict=True):
            tokens = prompts.clean.copy()
            tokens[each, at] = others[each, at]
            after, says = measure_variants(model, prompts, each, tokens, metric, bar=bar)
            rows.append(
                [
                    str(place),
                    CORRUPTED if text is None else repr(text),
                    float(before.mean()),
                    float(after.mean()),
                    estimate_cell(after - before),
                    estimate_cell((says != said).astype(float), share=True),
                ]
            )
    name = metric.name.replace("_", " ")
    return TableRecord(
        title=f"One token exchanged in all prompts: {name}, means, changes with 95 % intervals",
        columns=["place", "becomes", "before", "after", "change", "says something else"],
        rows=rows,
    )


def _tabulate_tokens(
    model: LanguageModel,
    prompts: Prompts,
    number: int,
    texts: Sequence[str | None],
    absent: Int[np.ndarray, "texts pos"],
    metric: Metric,
    bar: bool,
) -> tuple[TableRecord, HeatmapRecord]:
    """Each token of one prompt, with each alternative."""
    clean, n_read = prompts.clean[number], count_read(prompts, number)
    which, at = np.nonzero(absent[:, :n_read] != clean[:n_read])
    order = np.lexsort((which, at))
    which, at = which[order], at[order]
    tokens = np.repeat(clean[None], len(at) + 1, axis=0)  # the last one stays as it is
    tokens[np.arange(len(at)), at] = absent[which, at]
    rows = np.full(len(tokens), number)
    values, says = measure_variants(model, prompts, rows, tokens, metric, bar=bar)
    changes = values[:-1] - values[-1]
    decode, answer = model.text_tokenizer.decode, model.text_tokenizer.decode_answer
    cells: list[list[Cell]] = [
        [
            int(p),
            repr(decode([int(clean[p])])),
            repr(decode([int(absent[i, p])])),
            float(value),
            float(change),
            repr(answer(int(token))),
        ]
        for i, p, value, change, token in zip(which, at, values[:-1], changes, says, strict=False)
    ]
    name = metric.name.replace("_", " ")
    table = TableRecord(
        title=f"Prompt {number}, {prompts.pairs[number].clean[-60:]!r}: {name} "
        f"{values[-1]:.3f}, it says {answer(int(says[-1]))!r}",
        columns=["position", "token", "becomes", name, "change", "says"],
        rows=cells,
    )
    grid = np.full((len(texts), n_read), np.nan)
    grid[which, at] = changes
    return table, _draw_changes(model, clean[:n_read], texts, grid, name)


def _draw_changes(
    model: LanguageModel,
    clean: Int[np.ndarray, " read"],
    texts: Sequence[str | None],
    grid: np.ndarray,
    name: str,
) -> HeatmapRecord:
    decode = model.text_tokenizer.decode
    return HeatmapRecord(
        title="One token exchanged in one prompt",
        unit=f"change of {name}",
        row_axis="becomes",
        column_axis="position: token",
        row_labels=[CORRUPTED if text is None else text for text in texts],
        column_labels=[f"{i}: {decode([int(token)])}" for i, token in enumerate(clean)],
        values=grid.tolist(),
    )
