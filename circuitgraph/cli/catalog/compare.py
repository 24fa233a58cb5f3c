"""``circuitgraph catalog compare``: what stored circuits share, over tasks and over models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

import circuitgraph as cg
from circuitgraph.catalog.folders import CIRCUIT_FILE
from circuitgraph.cli import options
from circuitgraph.cli.options import check_counts
from circuitgraph.cli.output import Output
from circuitgraph.cli.tables import make_table
from circuitgraph.errors import DataError

if TYPE_CHECKING:
    from circuitgraph.catalog.comparison_record import CircuitPair, ComparisonRecord, Overlap
    from circuitgraph.graph.circuit import Circuit
    from circuitgraph.models.language_model import LanguageModel

_MEASURES = {
    "edges": "Edges, beside random circuits of whole paths",
    "edges_by_degree": "Edges, beside other edges between the same nodes",
    "nodes": "Heads and MLPs, beside as many random ones",
    "heads": "Heads of two models, matched by type, beside random matches",
}


def compare_stored(
    circuits: Annotated[
        list[Path],
        typer.Argument(help="Folders of circuits, or folders that hold such at any depth."),
    ],
    draws: Annotated[
        int, typer.Option("--draws", help="Random circuits beside which a pair is judged.")
    ] = 199,
    within: Annotated[
        bool, typer.Option("--within", help="Only pairs of one model: no model is loaded.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random circuits.")] = 0,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Compare stored circuits: of one model over tasks, and of one task over models.

    Of one model: the Jaccard overlap of edges and nodes. Of two models: heads, matched by where
    they look. Each beside random circuits, with the share of these that overlap as much (p).

    Examples:

    - `circuitgraph catalog compare catalog/circuits/multitask`

    - `circuitgraph catalog compare runs/ioi runs/greater-than --json`
    """
    output = Output(as_json, quiet)
    check_counts(None, 1, seed)
    folders = _find_circuits(circuits)
    stored = {str(folder): cg.load_circuit(folder) for folder in folders}
    short = _shorten_names(list(stored))
    record = cg.compare_circuits(
        {short[name]: circuit for name, circuit in stored.items()},
        None if within else _load_model,
        n_draws=draws,
        seed=seed,
    )
    output.print_result(record.model_dump_json(indent=2), *_make_report(record))


def _find_circuits(paths: Sequence[Path]) -> list[Path]:
    """The folders of circuits at or below these paths, each once."""
    folders: list[Path] = []
    for path in paths:
        if path.name == CIRCUIT_FILE:
            folders.append(path.parent)
            continue
        below = sorted(file.parent for file in path.rglob(CIRCUIT_FILE)) if path.is_dir() else []
        if not below:
            raise DataError(
                f"{str(path)!r} holds no {CIRCUIT_FILE}, at any depth: name the folder of a "
                "circuit, or one that holds such."
            )
        folders += below
    return list(dict.fromkeys(folders))


def _shorten_names(names: Sequence[str]) -> dict[str, str]:
    """Names without the folders that all of them lie in, and without a last one of all."""
    parts = [Path(name).parts for name in names]
    if len(parts) < 2:
        return {name: name for name in names}
    while len({each[:1] for each in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [each[1:] for each in parts]
    while len({each[-1:] for each in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [each[:-1] for each in parts]
    return {name: "/".join(each) for name, each in zip(names, parts, strict=True)}


def _load_model(circuit: Circuit) -> LanguageModel:
    from circuitgraph.models.loading import find_model

    record = circuit.provenance["model"]
    keywords = options.gather_loading(
        options.AS_RECORDED, circuit.provenance, is_own=True, path=Path()
    )
    return cg.load_model(find_model(record["name"], Path()), **keywords)


def _make_report(record: ComparisonRecord) -> list[Table | str]:
    tables: list[Table | str] = [_describe_circuits(record)]
    for measure, title in _MEASURES.items():
        rows = [(pair, getattr(pair, measure)) for pair in record.pairs]
        rows = [(pair, overlap) for pair, overlap in rows if overlap is not None]
        if rows:
            tables.append(_make_overlap_table(title, rows))
    tables += [
        f"In all circuits of {model}: {', '.join(nodes) or 'no head or MLP'}"
        for model, nodes in record.in_all.items()
    ]
    for pair in record.pairs:
        if typed := [head for head in pair.matched_heads if head.type is not None]:
            heads = ", ".join(f"{head.one} = {head.other} ({head.type})" for head in typed)
            tables.append(f"{pair.one} and {pair.other}: {heads}")
        if pair.problem is not None:
            tables.append(f"{pair.one} and {pair.other} were not compared: {pair.problem}")
    if not record.pairs:
        tables.append("No two of these circuits are of one model, or of one task.")
    return tables


def _describe_circuits(record: ComparisonRecord) -> Table:
    table = make_table("Circuits", "", "edges", "heads and MLPs")
    for circuit in record.circuits:
        table.add_row(circuit.name, f"{circuit.n_edges:,}", str(len(circuit.nodes)))
    return table


def _make_overlap_table(title: str, rows: Sequence[tuple[CircuitPair, Overlap]]) -> Table:
    table = make_table(title, "", "shared", "Jaccard", "by chance", "p")
    for pair, overlap in rows:
        table.add_row(
            f"{pair.one}, {pair.other}",
            f"{overlap.n_shared:,}",
            f"{overlap.jaccard:.3f}",
            f"{overlap.chance.low:.3f} .. {overlap.chance.high:.3f}",
            f"{overlap.p:.3f}",
        )
    return table
