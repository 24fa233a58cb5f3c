"""What ``scrub`` shows: losses beside rivals and nulls, the tree with one draw, class sizes, the
verdict.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from circuitgraph.cli.shared import bounded, interval, plain_table

if TYPE_CHECKING:
    from circuitgraph.catalog.records import Interval
    from circuitgraph.catalog.scrub_record import NodeRecord, ScrubRecord

_WIDE = 70  # letters of a prompt that a line shows


def report(found: ScrubRecord) -> list[RenderableType]:
    """A scrub, part by part."""
    parts: list[RenderableType] = [
        _losses(found),
        "",
        *_numbers(found),
        "",
        _tree(found),
        "",
        _classes(found),
    ]
    if found.splits:
        parts += ["", _splits(found)]
    parts += ["", *(Text(f"Note: {note}.") for note in found.notes)]
    parts.append(Text(found.verdict, "bold green" if found.held else "bold red"))
    return parts


def draw(found: ScrubRecord, path: Path) -> str | None:
    """The tree into a file; returns what to say if it is not what was asked for."""
    from circuitgraph.drawing.claim_tree import ClaimBox, claims_to_dot
    from circuitgraph.drawing.graphviz_output import save_drawing

    claims = [
        ClaimBox(tuple(n.path), n.site, n.variable, n.feeds, n.alone.mean, n.value, n.donor)
        for n in found.nodes
    ]
    below = (
        f"{found.model.name}, {found.n} prompts: {found.recovered.mean:.2f} of the loss recovered. "
        "Red: what is lost when a node alone is resampled"
    )
    written = save_drawing(claims_to_dot(claims, found.hypothesis, below), path)
    if written == path:
        return None
    return (
        "Graphviz is not installed, so only the DOT text was written. Install it, then run: dot "
        f"-Tsvg {written} -o {written.with_suffix('.svg')}"
    )


def _losses(found: ScrubRecord) -> Table:
    title = (
        f"{found.hypothesis}\n{found.task.name} in {found.model.name}, {found.n:,} unseen prompts, "
        f"loss by {found.metric}, unclaimed: {found.unclaimed}, align: {found.align}; 95 % "
        "intervals"
    )
    table = plain_table(title, "", "loss", "accuracy", "recovered", "behind by")
    table.add_row("the model", _mean(found.loss_model), _mean(found.accuracy_model), "1", "")
    own = (_mean(found.loss_scrubbed), _mean(found.accuracy_scrubbed), bounded(found.recovered))
    table.add_row(Text("the hypothesis", "bold"), *own, "")
    for kind, others in (("rival", found.rivals), ("null", found.nulls)):
        for one in others:
            shown = (
                _mean(one.loss),
                _mean(one.accuracy),
                bounded(one.recovered),
                interval(one.difference)[1],
            )
            table.add_row(f"{kind}: {one.name}", *shown)
    zero = f"zero point: {found.zero_point}"
    table.add_row(zero, _mean(found.loss_random), _mean(found.accuracy_random), "0", "")
    return table


def _numbers(found: ScrubRecord) -> list[str]:
    room = found.loss_random.mean - found.loss_model.mean
    share, worst = (f"{i.mean / room:.1%}" for i in (found.deviation, found.worst_decile))
    return [
        f"Standard error of what is recovered: {found.standard_error:.4f}. "
        f"The model's own answer is kept on {found.agreement.mean:.1%} of the prompts.",
        f"A prompt's loss changes by {found.deviation.mean:.3f} on average ({share} of what there "
        f"is to recover), in the worst tenth by {found.worst_decile.mean:.3f} ({worst}).",
        f"{found.other_layout:.0%} of the draws have another length, or other places, than the "
        "reference.",
    ]


def _tree(found: ScrubRecord) -> RenderableType:
    """Every node with what it costs and what it got in one draw."""
    made: dict[tuple[str, ...], Tree] = {}
    for node in found.nodes:
        path, label = tuple(node.path), _node(node)
        made[path] = Tree(label) if len(path) == 1 else made[path[:-1]].add(label)
    title = Text(
        "What is recovered if one node alone is resampled, and if all but it are; one draw of "
        "donors",
        "bold",
    )
    return Group(title, made[tuple(found.nodes[0].path)])


def _node(node: NodeRecord) -> Text:
    into = f" into {node.feeds}" if node.feeds in ("q", "k", "v") else ""
    role = f" ({node.role})" if node.role else ""
    label = Text()
    label.append(f"{node.site}{into}", "bold")
    label.append(
        f" carries {node.variable}{role}: alone {node.alone.mean:.3f}, all but it "
        f"{node.all_but.mean:.3f}\n"
    )
    what = "reference" if len(node.path) == 1 else "donor"
    label.append(
        f"{what}: {_short(node.donor)} ({node.variable} = {textwrap.shorten(node.value, _WIDE)})",
        "dim",
    )
    if node.others is not None:
        label.append(f"\nthe rest: {_short(node.others)}", "dim")
    return label


def _classes(found: ScrubRecord) -> Table:
    table = plain_table(
        "How much each variable leaves open",
        "",
        "classes",
        "smallest",
        "mean",
        "effective donors",
        "alone",
    )
    for c in found.classes:
        counts = (
            f"{c.n_classes:,}",
            f"{c.smallest:,}",
            f"{c.mean:,.1f}",
            f"{c.effective_donors:,.1f}",
        )
        table.add_row(c.variable, *counts, f"{c.singletons:,}")
    return table


def _splits(found: ScrubRecord) -> Table:
    table = plain_table(
        "Recovered on the prompts of each class", "", "value", "prompts", "recovered"
    )
    for s in found.splits:
        shown = (
            "model and zero point do not differ" if s.recovered is None else bounded(s.recovered)
        )
        table.add_row(s.variable, s.value, f"{s.n:,}", shown)
    return table


def _mean(of: Interval) -> str:
    return interval(of)[0]


def _short(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= _WIDE else f"... {text[-_WIDE:].lstrip()}")
