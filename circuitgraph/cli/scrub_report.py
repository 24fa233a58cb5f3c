"""What ``scrub`` shows: losses of hypothesis, rivals and nulls, the tree of claims, the verdict."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from circuitgraph.cli.tables import format_interval, format_mean, make_table

if TYPE_CHECKING:
    from circuitgraph.catalog.records import Interval
    from circuitgraph.catalog.scrub_record import NodeRecord, ScrubRecord

_WIDTH = 70  # letters of a prompt that a line shows


def make_report(record: ScrubRecord) -> list[RenderableType]:
    """A scrub, part by part."""
    parts: list[RenderableType] = [
        _make_loss_table(record),
        "",
        *_describe_losses(record),
        "",
        _make_tree(record),
        "",
        _make_class_table(record),
    ]
    if record.splits:
        parts += ["", _make_split_table(record)]
    left_out = [f"{name!r} is left out: {why}" for name, why in record.nulls_left_out.items()]
    parts += ["", *(Text(f"Note: {note}.") for note in (*left_out, *record.notes))]
    parts.append(Text(record.verdict, "bold green" if record.held else "bold red"))
    return parts


def draw_claims(record: ScrubRecord, path: Path) -> str | None:
    """Draw the tree of claims into a file.

    Returns:
        What to tell the user if the file is not the picture, because there is no Graphviz.
    """
    from circuitgraph.drawing.claim_tree import ClaimBox, claims_to_dot
    from circuitgraph.drawing.graphviz_output import save_drawing

    claims = [
        ClaimBox(tuple(n.path), n.site, n.variable, n.feeds, n.alone.mean, n.value, n.donor)
        for n in record.nodes
    ]
    caption = (
        f"{record.model.name}, {record.n} prompts: {record.recovered.mean:.2f} of the loss "
        "recovered. Red: what is lost when a node alone is resampled"
    )
    file = save_drawing(claims_to_dot(claims, record.hypothesis, caption), path)
    if file == path:
        return None
    return (
        "Graphviz is not installed, so only the DOT text was written. Install it, then run: dot "
        f"-Tsvg {file} -o {file.with_suffix('.svg')}"
    )


def _make_loss_table(record: ScrubRecord) -> Table:
    title = (
        f"{record.hypothesis}\n{record.task.name} in {record.model.name}, {record.n:,} unseen "
        f"prompts, loss by {record.metric}, unclaimed: {record.unclaimed}, align: {record.align}; "
        "95 % intervals"
    )
    headings = ("", "loss", "accuracy", "recovered", "behind by")
    table = make_table(title, *headings, no_wrap=True)
    model = _format_means(record.loss_model, record.accuracy_model)
    table.add_row("the model", *model, "1", "")
    scrubbed = _format_means(record.loss_scrubbed, record.accuracy_scrubbed)
    recovered = format_mean(record.recovered)
    table.add_row(Text("the hypothesis", "bold"), *scrubbed, recovered, "")
    for kind, others in (("rival", record.rivals), ("null", record.nulls)):
        for other in others:
            table.add_row(
                f"{kind}: {other.name}",
                *_format_means(other.loss, other.accuracy),
                format_mean(other.recovered),
                format_interval(other.difference)[1],
            )
    for name in record.nulls_left_out:
        table.add_row(f"null: {name}", "", "", "left out", "")
    zero = _format_means(record.loss_random, record.accuracy_random)
    table.add_row(f"zero point: {record.zero_point}", *zero, "0", "")
    return table


def _format_means(*intervals: Interval) -> list[str]:
    return [format_interval(interval)[0] for interval in intervals]


def _describe_losses(record: ScrubRecord) -> list[str]:
    recoverable = record.loss_random.mean - record.loss_model.mean
    share, worst = (f"{i.mean / recoverable:.1%}" for i in (record.deviation, record.worst_decile))
    return [
        f"Standard error of what is recovered: {record.standard_error:.4f}. "
        f"The model's own answer is kept on {record.agreement.mean:.1%} of the prompts.",
        f"A prompt's loss changes by {record.deviation.mean:.3f} on average ({share} of what there "
        f"is to recover), in the worst tenth by {record.worst_decile.mean:.3f} ({worst}).",
        f"{record.other_layout:.0%} of the draws have another length, or other places, than the "
        "reference.",
    ]


def _make_tree(record: ScrubRecord) -> RenderableType:
    """Every node with what resampling it costs, and with its donors in one draw."""
    branches: dict[tuple[str, ...], Tree] = {}
    for node in record.nodes:  # a parent comes before its children
        path, label = tuple(node.path), _describe_node(node)
        branches[path] = Tree(label) if len(path) == 1 else branches[path[:-1]].add(label)
    title = Text(
        "What is recovered if one node alone is resampled, and if all but it are; one draw of "
        "donors",
        "bold",
    )
    return Group(title, branches[tuple(record.nodes[0].path)])


def _describe_node(node: NodeRecord) -> Text:
    into = f" into {node.feeds}" if node.feeds in ("q", "k", "v") else ""
    role = f" ({node.role})" if node.role else ""
    label = Text()
    label.append(f"{node.site}{into}", "bold")
    label.append(
        f" carries {node.variable}{role}: alone {node.alone.mean:.3f}, all but it "
        f"{node.all_but.mean:.3f}\n"
    )
    source = "reference" if len(node.path) == 1 else "donor"
    value = textwrap.shorten(node.value, _WIDTH)
    label.append(f"{source}: {_shorten_prompt(node.donor)} ({node.variable} = {value})", "dim")
    if node.others is not None:
        label.append(f"\nthe rest: {_shorten_prompt(node.others)}", "dim")
    return label


def _make_class_table(record: ScrubRecord) -> Table:
    headings = ("", "classes", "smallest", "mean", "effective donors", "alone")
    table = make_table("How much each variable leaves open", *headings, no_wrap=True)
    for classes in record.classes:
        table.add_row(
            classes.variable,
            f"{classes.n_classes:,}",
            f"{classes.smallest:,}",
            f"{classes.mean:,.1f}",
            f"{classes.effective_donors:,.1f}",
            f"{classes.singletons:,}",
        )
    return table


def _make_split_table(record: ScrubRecord) -> Table:
    headings = ("", "value", "prompts", "recovered")
    table = make_table("Recovered on the prompts of each class", *headings, no_wrap=True)
    for split in record.splits:
        recovered = "model and zero point do not differ"
        if split.recovered is not None:
            recovered = format_mean(split.recovered)
        table.add_row(split.variable, split.value, f"{split.n:,}", recovered)
    return table


def _shorten_prompt(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= _WIDTH else f"... {text[-_WIDTH:].lstrip()}")
