"""How ``circuitgraph dictionary`` shows a dictionary and its quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from circuitgraph.cli.tables import format_interval, make_table

if TYPE_CHECKING:
    from circuitgraph.catalog.dictionary_record import (
        DictionariesRecord,
        DictionaryRecord,
        SpliceRecord,
    )
    from circuitgraph.catalog.records import Interval


def make_report(record: DictionariesRecord) -> list[Table | str]:
    """Tables: what each dictionary is, whether it fits the model, what is lost by it."""
    if len(record.dictionaries) == 1:
        parts: list[Table | str] = [_make_table(record)]
    else:
        parts = [_make_layers_table(record)]
    if record.splice is not None:
        task = record.task.name if record.task else ""
        model = record.model.name if record.model else ""
        parts += ["", make_splice_table(task, model, record.splice)]
    return parts


def _make_table(record: DictionariesRecord) -> Table:
    dictionary = record.dictionaries[0]
    of = f" of {dictionary.model_name}" if dictionary.model_name else ""
    rows = {
        "dictionary": f"{record.name} ({dictionary.layout})",
        "kind": f"{dictionary.kind}{of}",
        "features": f"{dictionary.n_features:,}, {_describe_activation(dictionary)}",
        "reads": f"{dictionary.reads or 'not said'}, {dictionary.d_in:,} numbers",
        "writes": f"{', '.join(dictionary.writes) or 'not said'}, {dictionary.d_out:,} numbers",
        "input": _describe_input(dictionary),
        "skip connection": "yes" if dictionary.skips else "",
        "nodes of a graph": "yes" if dictionary.can_be_nodes else f"no: {dictionary.node_problem}",
        "fits": record.model.name if record.model else "",
    }
    table = make_table("", "", "", n_left=2)
    table.show_header = False
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table


def _make_layers_table(record: DictionariesRecord) -> Table:
    first = record.dictionaries[0]
    fits = f", fits {record.model.name}" if record.model else ""
    title = f"{record.name} ({first.layout}), {len(record.dictionaries)} dictionaries{fits}"
    headings = ("reads", "writes", "activation", "nodes", "features")
    table = make_table(title, *headings, n_left=4, no_wrap=True)
    for one in record.dictionaries:
        more = f" and {len(one.writes) - 1} more" if len(one.writes) > 1 else ""
        table.add_row(
            one.reads or "not said",
            f"{one.writes[0]}{more}" if one.writes else "not said",
            _describe_activation(one),
            "yes" if one.can_be_nodes else "no",
            f"{one.n_features:,}",
        )
    return table


def _describe_activation(dictionary: DictionaryRecord) -> str:
    name = dictionary.activation.replace("_", " ")
    k = f" with k = {dictionary.k}" if dictionary.k is not None else ""
    by = {"choice": ", chosen by", "features": ", scaled by"}.get(dictionary.decoder_norm)
    return f"{name}{k}{f'{by} the length of their decoder rows' if by else ''}"


def _describe_input(dictionary: DictionaryRecord) -> str:
    facts = {
        f"times {dictionary.input_scale:.4g}": dictionary.input_scale != 1.0,
        "to the length sqrt(d)": dictionary.normalisation == "norm",
        "to mean 0 and deviation 1": dictionary.normalisation == "layer_norm",
        "minus the decoder's bias": dictionary.subtracts_b_dec,
    }
    return ", ".join(fact for fact, true in facts.items() if true) or "as it is"


def make_splice_table(task: str, model: str, splice: SpliceRecord) -> Table:
    """What is lost with the reconstruction in the model, on prompts of a task."""
    title = (
        f"{task} in {model}, {splice.n_prompts:,} unseen prompts of {splice.n_tokens:,} tokens in "
        "all, with the reconstruction in place"
    )
    table = make_table(title, "", "mean", "95 % interval")
    for what, loss in (("next token", splice.next_token), ("answer", splice.answer)):
        if loss is None:
            continue
        table.add_row(f"loss of the {what}: the model", *format_interval(loss.model))
        table.add_row("  with the reconstruction", *format_interval(loss.spliced))
        table.add_row("  with zeros", *format_interval(loss.zeros))
        table.add_row("  recovered", *_format_share(loss.recovered))
    table.add_row("KL(model || spliced), nats", *format_interval(splice.kl))
    table.add_row("active features (L0)", *format_interval(splice.l0))
    table.add_row("variance explained", *_format_share(splice.variance_explained))
    dead = splice.n_dead / splice.n_features
    table.add_row(f"features dead on these prompts, of {splice.n_features:,}", f"{dead:.1%}", "")
    return table


def _format_share(interval: Interval | None) -> tuple[str, str]:
    return ("-", "nothing to be lost") if interval is None else format_interval(interval)
