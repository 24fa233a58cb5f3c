"""Unit reports: what turns a hidden neuron or a feature on, how often, and what it writes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.unit_choice import (
    AnyDictionary,
    PlacedUnits,
    open_named_dictionaries,
    parse_unit,
    place_units,
)
from circuitgraph.analysis.unit_tokens import make_token_tables
from circuitgraph.catalog.analysis_record import (
    Cell,
    Reading,
    TableRecord,
    TextRecord,
    TextsRecord,
)
from circuitgraph.engine.batch import check_tokens
from circuitgraph.engine.unit_places import collect_units
from circuitgraph.errors import DataError, check_at_least, check_between
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Pair, Prompts
from circuitgraph.tasks.tokenise import tokenise_pairs

_QUANTILES = {"least": 0.0, "quarter": 0.25, "median": 0.5, "0.95": 0.95, "largest": 1.0}
_ACTIVE = 0.1  # of the largest size
_DENSE = 0.5  # of all tokens
_AROUND = 12  # tokens on either side of the highest one that a table shows
_MARKED = 0.5  # of the largest size in a text


@analysis(
    "units",
    source="Geva et al. 2021; Bills et al. 2023",
    cannot_tell="what a unit does to an answer: high values say what turns it on in these texts "
    "alone, and its row what it would say if nothing on the way read it; to see effects, use "
    "steer, or make it a node.",
)
def read_unit_report(
    model: LanguageModel,
    prompts: Prompts,
    *,
    units: tuple[str, ...],
    dictionary: tuple[str, ...] = (),
    texts: int = 5,
    top: int = 8,
) -> Reading:
    """What turns hidden neurons and dictionary features on, how often they are, what they write
    and read.

    Args:
        units: such as ``m3.n117`` and ``m3.f20``.
        dictionary: folders, files or places on the hub, of the features that are named.
        texts: how many texts to show of each unit, those with its largest values.
        top: how many tokens to show of each direction.

    Raises:
        ArgumentError: units that the model and the dictionaries do not have, or dictionaries of
            which no feature is named.
        ModelError: a dictionary that does not fit the model.
    """
    nodes = [parse_unit(unit) for unit in units]
    placed = place_units(model, nodes, open_named_dictionaries(dictionary, nodes))
    return _make_reading(model, prompts, units, placed, texts, top)


def report_units(
    model: LanguageModel,
    units: Sequence[str],
    texts: Sequence[str] | Prompts,
    *,
    dictionaries: Sequence[AnyDictionary] = (),
    n_texts: int = 5,
    n_top: int = 8,
) -> Reading:
    """The report of `circuitgraph analyze units`, on any texts.

    Args:
        units: such as ``m3.n117`` and ``m3.f20``.
        texts: to look at; ``task.prompts(200)`` are those of a task.
        dictionaries: whose features are named, at most one for each layer.
        n_texts: how many texts to show of each unit, those with its largest values.
        n_top: how many tokens to show of each direction.

    Raises:
        ArgumentError: units that the model and the dictionaries do not have.
        ModelError: a dictionary that does not fit the model.
        DataError: texts that the model cannot read.
    """
    if isinstance(texts, str):
        raise DataError("The texts are one text. Give a list of texts: [text].")
    placed = place_units(model, [parse_unit(unit) for unit in units], dictionaries)
    if not isinstance(texts, Prompts):
        pairs = [Pair(text, None, None) for text in texts]
        texts = tokenise_pairs(pairs, model.text_tokenizer)
    return _make_reading(model, texts, units, placed, n_texts, n_top)


def _make_reading(
    model: LanguageModel,
    prompts: Prompts,
    units: Sequence[str],
    placed: Sequence[PlacedUnits],
    n_texts: int,
    n_top: int,
) -> Reading:
    check_at_least("the number of texts", n_texts, 1)
    check_between("top", n_top, 1, min(model.spec.d_vocab, model.spec.d_vocab_out))
    check_tokens(model.spec, prompts)
    places = [one.place for one in placed]
    read = collect_units(model.transformer, prompts.clean, prompts.mask, places)
    columns: dict[int, Float[np.ndarray, "batch pos"]] = {}
    for one, values in zip(placed, read, strict=True):
        columns |= {number: values[..., i] for i, number in enumerate(one.numbers)}
    values = [columns[i] for i in range(len(units))]
    pictures = [
        _show_texts(model, prompts, unit, own, n_texts)
        for unit, own in zip(units, values, strict=True)
    ]
    return Reading(
        tables=[
            _make_value_table(units, [own[prompts.mask] for own in values]),
            _make_text_table(units, pictures),
            *make_token_tables(model, prompts, units, placed, n_top),
        ],
        pictures=pictures,
        notes=_list_notes(model),
    )


def _make_value_table(
    units: Sequence[str], values: Sequence[Float[np.ndarray, " tokens"]]
) -> TableRecord:
    rows: list[list[Cell]] = []
    for unit, own in zip(units, values, strict=True):
        sizes = np.abs(own)
        active = float((sizes > _ACTIVE * sizes.max()).mean())
        status = "dead" if not own.any() else "dense" if active > _DENSE else ""
        quantiles = np.quantile(own.astype(np.float64), list(_QUANTILES.values()))
        rows.append([unit, *quantiles.tolist(), float((own != 0).mean()), active, status])
    return TableRecord(
        title=f"Values on {len(values[0]):,} tokens; active: above a tenth of the largest size; "
        "dead: all are 0; dense: active on more than half of the tokens",
        columns=["unit", *_QUANTILES, "not 0", "active", "status"],
        rows=rows,
    )


def _show_texts(
    model: LanguageModel,
    prompts: Prompts,
    unit: str,
    values: Float[np.ndarray, "batch pos"],
    n_texts: int,
) -> TextsRecord:
    """The texts with the largest sizes of a unit, the largest first."""
    highest = np.where(prompts.mask, np.abs(values), -1.0).max(axis=1)
    texts = []
    for i in np.argsort(-highest, kind="stable")[:n_texts]:
        ids = prompts.clean[i][prompts.mask[i]].tolist()
        own = values[i, : len(ids)].tolist()
        texts.append(TextRecord(tokens=_cut_text(model, ids, prompts.pairs[i].clean), values=own))
    return TextsRecord(title=f"Texts with the largest values of {unit}", unit=unit, texts=texts)


def _cut_text(model: LanguageModel, ids: Sequence[int], text: str) -> list[str]:
    """The text of each token; where spaces join the tokens of the text, they have one in front."""
    tokens = [model.text_tokenizer.decode([token]) for token in ids]
    if text in " ".join(tokens) and text not in "".join(tokens):
        return [tokens[0], *(f" {token}" for token in tokens[1:])]
    return tokens


def _make_text_table(units: Sequence[str], pictures: Sequence[TextsRecord]) -> TableRecord:
    rows: list[list[Cell]] = []
    for unit, picture in zip(units, pictures, strict=True):
        for text in picture.texts:
            values = np.array(text.values, np.float64)
            peak = int(np.abs(values).argmax())
            rows.append([unit, _mark_tokens(text, peak), float(values[peak])])
    return TableRecord(
        title="Texts with the largest values; tokens with at least half of that size are marked",
        columns=["unit", "text", "largest"],
        rows=rows,
    )


def _mark_tokens(text: TextRecord, peak: int) -> str:
    """The tokens around the highest one, those with large values in angle marks."""
    values = np.abs(np.array(text.values, np.float64))
    start, stop = max(0, peak - _AROUND), min(len(values), peak + _AROUND + 1)
    is_marked = (values >= _MARKED * values[peak]) & (values > 0)
    shown = [
        f"«{token}»" if marked else token
        for token, marked in zip(text.tokens[start:stop], is_marked[start:stop], strict=True)
    ]
    ends = ("... " if start else "", " ..." if stop < len(values) else "")
    return f"{ends[0]}{''.join(shown)}{ends[1]}"


def _list_notes(model: LanguageModel) -> list[str]:
    spec, notes = model.spec, []
    if spec.final_norm is not None:
        notes.append(
            "Logits are those of the row behind the final norm: times its weight, over its "
            "divisor, which is that of the stream as it is, averaged over all tokens. Layers in "
            "between are left out."
        )
    if spec.post_norm is not None:
        notes.append("The divisors of post-norms are left out of the rows.")
    if spec.logit_softcap is not None:
        notes.append("The soft cap of the logits is left out.")
    return notes
