"""A circuit as a Graphviz drawing: layers as ranks, q/k/v told apart, edges as wide as their
effect.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import graphviz
import numpy as np

from circuitgraph.errors import ArgumentError, OutputError, unknown_name
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Reader
from circuitgraph.graph.node import ATTENTION_INPUTS

FORMATS = ("dot", "svg", "pdf", "png")
INSTALL_HINT = (
    "Graphviz is not installed, so only the DOT text was written. Install it (apt install "
    "graphviz, brew install graphviz, conda install graphviz), then run: circuitgraph render "
    "{where}"
)
# Colours that colour-blind readers can tell apart (Paul Tol, "bright").
COLOURS = {"q": "#4477AA", "k": "#EE6677", "v": "#228833", "mlp": "#444444", "logits": "#444444"}
_FILLS = {"embed": "#EEEEEE", "head": "#FFFFFF", "mlp": "#FFF3D6", "logits": "#EEEEEE"}
_LABELLED = 40  # above that many edges, numbers on them hide more than they show
_PATIENCE = 60  # seconds that a layout may take


class LayoutError(OutputError):
    """Graphviz is there, but could not draw this circuit. Write ``.dot`` instead, or draw fewer
    edges.
    """


def to_dot(circuit: Circuit, title: str | None = None) -> graphviz.Digraph:
    """The drawing as a `graphviz.Digraph`; needs no Graphviz program.

    Time runs upwards: the embedding at the bottom, the logits on top, one rank per sublayer. Edges
        into a head
    end at its q, k or v; dashed edges are those whose removal lowered the loss.
    """
    dot = graphviz.Digraph("circuit")
    # Many edges make a drawing wide: keep them close together, and names large in proportion.
    crowded = int(circuit.mask.sum()) > _LABELLED
    nodesep, ranksep, size = ("0.05", "1.2", 24) if crowded else ("0.35", "0.7", 14)
    dot.attr(
        rankdir="BT",
        ranksep=ranksep,
        nodesep=nodesep,
        bgcolor="white",
        fontname="Helvetica",
        labelloc="t",
    )
    dot.attr(
        "node",
        fontname="Helvetica",
        fontsize=str(size),
        shape="box",
        style="filled,rounded",
        color="#666666",
    )
    dot.attr("edge", fontname="Helvetica", fontsize="10", arrowsize="0.6")
    dot.attr(label=f"<{_title(circuit, title, size - 3)}>", fontsize=str(size + 2))
    _add_nodes(dot, circuit)
    _add_edges(dot, circuit)
    _add_legend(dot, circuit, size - 4)
    return dot


def render(circuit: Circuit, path: str | Path, title: str | None = None) -> Path:
    """Draw a circuit into a file, in the format that its ending says (.svg, .pdf, .png, .dot).

    Returns:
        The file written: with another ending than asked for (``.dot``) if Graphviz is not
            installed.

    Raises:
        ArgumentError: another ending. OutputError: the file cannot be written.
        LayoutError: Graphviz failed, or needed more than a minute.
    """
    return save(to_dot(circuit, title), path)


def save(dot: graphviz.Digraph, path: str | Path) -> Path:
    """Lay a drawing out into a file; as `render`."""
    path = Path(path)
    kind = check_format(path)
    if kind == "dot" or not graphviz_installed():
        content, path = dot.source.encode(), path.with_suffix(".dot")
    else:
        content = _layout(dot, kind)
    _write(path, content)
    return path


def check_format(path: Path) -> str:
    """The format that a file's ending says.

    Raises:
        ArgumentError: it is none of `FORMATS`.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise ArgumentError(str(unknown_name("picture format", kind, FORMATS)))
    return kind


def graphviz_installed() -> bool:
    """Whether the ``dot`` program can be found."""
    return shutil.which("dot") is not None


def _layout(dot: graphviz.Digraph, kind: str) -> bytes:
    remedy = "Draw fewer edges (a higher threshold, or --prune), or write a .dot file."
    try:
        done = subprocess.run(  # noqa: S603
            ["dot", f"-T{kind}"],  # noqa: S607
            input=dot.source.encode(),
            capture_output=True,
            check=True,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        raise LayoutError(f"Graphviz found no layout within {_PATIENCE} s. {remedy}") from error
    except subprocess.CalledProcessError as error:
        raise LayoutError(
            f"Graphviz failed: {error.stderr.decode(errors='replace').strip()}. {remedy}"
        ) from error
    return done.stdout


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OutputError(
            f"{str(path)!r} cannot be written: {error.strerror or error}. Choose another file."
        ) from error


# Parts of the drawing


def _add_nodes(dot: graphviz.Digraph, circuit: Circuit) -> None:
    """One rank per sublayer that the circuit touches, tied into a column of layer labels in the
    right order.
    """
    kinds = {w.name: (w.kind, w.node.layer) for w in circuit.graph.writers}
    ranks: dict[tuple[int, int], list[str]] = {}
    for name in circuit.nodes:
        kind, layer = kinds.get(name, ("logits", circuit.graph.n_layers))
        ranks.setdefault((layer, int(kind == "mlp")), []).append(name)
    inputs = _inputs_used(circuit)
    labels = []
    for (layer, is_mlp), names in sorted(ranks.items()):
        label = f"rank-{layer}-{is_mlp}"
        labels.append(label)
        rank = graphviz.Digraph(graph_attr={"rank": "same"})
        rank.node(
            label,
            _rank_label(names[0], layer, bool(is_mlp)),
            shape="plaintext",
            style="",
            fontcolor="#888888",
        )
        for name in names:
            kind = kinds[name][0] if name in kinds else "logits"
            rank.node(name, **_node_style(name, kind, inputs.get(name, set())))
        dot.subgraph(rank)
    for below, above in itertools.pairwise(labels):
        dot.edge(below, above, style="invis")


def _rank_label(name: str, layer: int, is_mlp: bool) -> str:
    if name in ("embed", "logits"):
        return ""
    return f"layer {layer}" + (" MLP" if is_mlp else "")


def _node_style(name: str, kind: str, inputs: set[str]) -> dict[str, str]:
    if kind != "head":
        return {"label": name, "fillcolor": _FILLS[kind]}
    cells = "".join(
        f'<TD PORT="{i}" BGCOLOR="{COLOURS[i] if i in inputs else "#E4E4E4"}" WIDTH="18">'
        f'<FONT POINT-SIZE="10" COLOR="{"white" if i in inputs else "#999999"}">{i}</FONT></TD>'
        for i in ATTENTION_INPUTS
    )
    table = (
        '<TABLE BORDER="1" COLOR="#666666" CELLBORDER="0" CELLSPACING="0" CELLPADDING="4" '
        f'STYLE="ROUNDED" BGCOLOR="{_FILLS["head"]}"><TR><TD '
        f'COLSPAN="3">{escape(name)}</TD></TR><TR>{cells}</TR></TABLE>'
    )
    return {"label": f"<{table}>", "shape": "plain", "style": ""}


def _inputs_used(circuit: Circuit) -> dict[str, set[str]]:
    used: dict[str, set[str]] = {}
    for reader, writer, _ in _drawn(circuit):
        if reader.kind in ATTENTION_INPUTS:
            for head in _targets(circuit, reader):
                used.setdefault(head, set()).add(reader.kind)
        used.setdefault(writer, set())
    return used


def _drawn(circuit: Circuit) -> Iterable[tuple[Reader, str, float | None]]:
    """Each kept ordinary edge: its reader, its writer's name and its effect where that was
    measured.
    """
    dst, src = circuit.graph.ends
    for i in np.flatnonzero(circuit.mask & (src >= 0)):
        reader, writer = circuit.graph.readers[dst[i]], circuit.graph.writers[src[i]]
        yield reader, writer.name, circuit.effect_of(i)


def _add_edges(dot: graphviz.Digraph, circuit: Circuit) -> None:
    drawn = list(_drawn(circuit))
    largest = max((abs(effect) for _, _, effect in drawn if effect is not None), default=0.0)
    labelled = len(drawn) <= _LABELLED
    side = (
        "" if labelled else ":s"
    )  # entering from below only is neater, but puts labels on top of each other
    for reader, writer, effect in drawn:
        style = _edge_style(reader, writer, effect, largest, labelled)
        for target in _targets(circuit, reader):
            dot.edge(
                writer,
                f"{target}:{reader.kind}{side}" if reader.kind in ATTENTION_INPUTS else target,
                **style,
            )


def _targets(circuit: Circuit, reader: Reader) -> list[str]:
    """The nodes that a reader stands for: itself, its head, or all heads of a group that share it."""
    return [circuit.graph.writers[fed].name for fed in reader.feeds] or [reader.name]


def _edge_style(
    reader: Reader, writer: str, effect: float | None, largest: float, labelled: bool
) -> dict[str, str]:
    colour = COLOURS[reader.kind]
    style = {"color": colour, "tooltip": f"{writer}->{reader.name}", "penwidth": "1.2"}
    if effect is None:
        return style
    style["penwidth"] = f"{0.8 + 5.2 * abs(effect) / (largest or 1.0):.2f}"
    style["tooltip"] += f": {effect:.4g}"
    if effect < 0:
        style["style"] = "dashed"
    if labelled:
        style |= {"label": f" {effect:.3g}", "fontcolor": colour}
    return style


def _add_legend(dot: graphviz.Digraph, circuit: Circuit, size: int) -> None:
    """A small table in a corner; its rank is that of the embedding, so that it does not push layers
    apart.
    """
    swatches = "".join(
        f'<TR><TD BGCOLOR="{COLOURS[i]}" WIDTH="24"></TD><TD ALIGN="LEFT">into {text}</TD></TR>'
        for i, text in (("q", "query"), ("k", "key"), ("v", "value"), ("mlp", "MLP or logits"))
    )
    unit = circuit.provenance.get("metric")
    lines = [
        f"width: effect on {escape(str(unit))}" if unit else "width: score",
        "dashed: removal helps",
    ]
    rows = "".join(f'<TR><TD COLSPAN="2" ALIGN="LEFT">{line}</TD></TR>' for line in lines)
    table = (
        '<TABLE BORDER="1" COLOR="#CCCCCC" CELLBORDER="0" CELLSPACING="2" CELLPADDING="2">'
        f'<TR><TD COLSPAN="2" ALIGN="LEFT"><B>Edges</B></TD></TR>{swatches}{rows}</TABLE>'
    )
    dot.node("legend", f"<{table}>", shape="plain", style="", fontsize=str(size))


def _title(circuit: Circuit, title: str | None, small: int) -> str:
    facts: Mapping[str, Any] = circuit.provenance
    if title is None:
        names = [(facts.get(part) or {}).get("name") for part in ("task", "model")]
        title = " in ".join(str(name) for name in names if name) or "circuit"
    size = f"{len(circuit)} of {circuit.graph.n_edges} edges"
    algorithm = facts.get("algorithm") or {}
    threshold = (algorithm.get("arguments") or {}).get("threshold")
    how = [algorithm.get("name"), f"threshold {threshold:g}" if threshold is not None else None]
    how += [facts.get("metric"), f"{facts['ablation']} ablation" if facts.get("ablation") else None]
    below = ", ".join([size, *(str(part) for part in how if part)])
    shown = escape(title).replace("\n", "<BR/>")
    return f'<B>{shown}</B><BR/><FONT POINT-SIZE="{small}" COLOR="#666666">{escape(below)}</FONT><BR/> '
