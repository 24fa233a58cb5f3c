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
    from graphviz import Digraph

    from circuitgraph.catalog.records import Interval
    from circuitgraph.catalog.scrub_record import NodeRecord, ScrubRecord
    from circuitgraph.jobs.scrub import CheckedScrub

_WIDTH = 70  # letters of a prompt that a line shows


def make_report(record: ScrubRecord) -> list[RenderableType]:
    """A scrub, part by part."""
    parts: list[RenderableType] = [
        *map(Text, _describe_harshest(record)),
        "",
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
    colours = {"held": "bold green", "not shown": "bold yellow"}
    parts.append(Text(record.verdict, colours.get(record.outcome or "", "bold red")))
    return parts


def describe_cost(checked: CheckedScrub) -> str:
    """What a scrub will take, in a line."""
    name, n, cost = checked.evidence.study.hypothesis.name, checked.evidence.n, checked.cost
    return (
        f"{name}: {cost.n_trees} trees on {n:,} prompts, {cost.n_values:,} values of nodes to "
        f"compute, about {cost.bytes_held / 2**20:,.0f} MiB of activations to keep"
    )


def draw_claims(record: ScrubRecord, path: Path) -> str | None:
    """Draw the tree of claims into a file.

    Returns:
        What to tell the user if the file is not the picture, because there is no Graphviz.
    """
    from circuitgraph.drawing.graphviz_output import save_drawing

    file = save_drawing(make_claim_drawing(record), path)
    if file == path:
        return None
    return (
        "Graphviz is not installed, so only the DOT text was written. Install it, then run: dot "
        f"-Tsvg {file} -o {file.with_suffix('.svg')}"
    )


def make_claim_drawing(record: ScrubRecord) -> Digraph:
    """The tree of claims, the redder a node the more its resampling costs."""
    from circuitgraph.drawing.claim_tree import ClaimBox, claims_to_dot

    claims = [
        ClaimBox(tuple(n.path), n.site, n.variable, n.feeds, n.alone.mean, n.value, n.donor)
        for n in record.nodes
    ]
    caption = (
        f"{record.model.name}, {record.n} prompts: {record.recovered.mean:.2f} of the loss "
        "recovered. Red: what is lost when a node alone is resampled"
    )
    return claims_to_dot(claims, record.hypothesis, caption)


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


def _describe_harshest(record: ScrubRecord) -> list[str]:
    """What speaks loudest against the hypothesis: prompts one by one, and what comes nearest."""
    lines = [f"{record.hypothesis}: the harshest first"]
    if record.harshest is not None:
        node = record.harshest
        lines.append(
            f"- {node.variable} at {node.site} alone, resampled: the loss of "
            f"{_shorten_prompt(node.prompt)} changes by {_share_out(record, node.largest)} of what "
            f"there is to recover, that of its worst tenth by "
            f"{_share_out(record, node.worst_decile)}, of all by "
            f"{_share_out(record, node.deviation)}."
        )
    lines.append(
        "- All that may be resampled, together: the loss of the worst tenth changes by "
        f"{_share_out(record, record.worst_decile)}, of all by "
        f"{_share_out(record, record.deviation)}."
    )
    lines.append(
        f"- The model's own answer is kept on {record.agreement.mean:.1%} "
        f"[{record.agreement.low:.1%}, {record.agreement.high:.1%}] of the prompts."
    )
    others = [*(("rival", one) for one in record.rivals), *(("null", one) for one in record.nulls)]
    if others:
        kind, nearest = min(others, key=lambda other: other[1].difference.mean)
        lines.append(
            f"- The nearest {kind}, {nearest.name!r}, recovers {nearest.recovered.mean:.3f} of the "
            f"loss, the hypothesis {record.recovered.mean:.3f}: behind by "
            f"{format_interval(nearest.difference)[1]}."
        )
    return [*lines, f"- {_describe_properties(record)}"]


def _share_out(record: ScrubRecord, change: Interval | float) -> str:
    """A change of the loss as a share of what there is to recover."""
    recoverable = record.loss_random.mean - record.loss_model.mean
    if isinstance(change, (int, float)):
        return f"{change / recoverable:.1%}"
    mean, low, high = (x / recoverable for x in (change.mean, change.low, change.high))
    return f"{mean:.1%} [{low:.1%}, {high:.1%}]"


def _describe_properties(record: ScrubRecord) -> str:
    """What asks more than a mean of losses, and is not run here."""
    n = len(record.stored.properties) if record.stored is not None else 0
    if n:
        properties = "1 property" if n == 1 else f"{n} properties"
        return f"The file's {properties} ask every prompt: `circuitgraph test` runs them, not this."
    return (
        'The file asks nothing of every prompt: H.property("equality", of=..., at_most=...) finds '
        "what a mean of losses does not."
    )


def _describe_losses(record: ScrubRecord) -> list[str]:
    return [
        f"Standard error of what is recovered: {record.standard_error:.4f}.",
        f"A prompt's loss changes by {record.deviation.mean:.3f} on average, in the worst tenth by "
        f"{record.worst_decile.mean:.3f}.",
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
