"""``circuitgraph catalog show``: all that is known of one circuit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from circuitgraph.cli.catalog.catalog_options import CatalogsOption, EntryArgument, dump_json
from circuitgraph.cli.options import JsonOption, QuietOption
from circuitgraph.cli.output import Output

if TYPE_CHECKING:
    from rich.table import Table

    from circuitgraph.catalog.evidence_files import EvidenceFile
    from circuitgraph.catalog.judgement_record import JudgementRecord
    from circuitgraph.catalog.records import CircuitRecord


def show_entry(
    entry: EntryArgument,
    catalog: CatalogsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show how a circuit was found, how well it does on unseen prompts, how stable it is, and which
    hypotheses about it were tried: held or refuted.

    Example: `circuitgraph catalog show induction-2l/induction/acdc`
    """
    from circuitgraph.catalog.catalogs import find_entry, open_catalogs

    opened = find_entry(entry, open_catalogs(catalog or ()))
    record, judgement, evidence = (
        opened.read_record(),
        opened.read_judgement(),
        opened.read_evidence(),
    )
    output = Output(as_json, quiet)
    content = {
        "entry": entry,
        "catalog": opened.source.place,
        "record": record.model_dump(mode="json"),
        "judgement": judgement and judgement.model_dump(mode="json"),
        "evidence": [_make_content(each) for each in evidence],
    }
    parts = [] if as_json else _make_parts(entry, record, judgement, evidence)
    output.print_result(dump_json(content), *parts)


def _make_content(evidence: EvidenceFile) -> dict[str, Any]:
    plain = {name: value for name, value in vars(evidence).items() if name != "record"}
    return {**plain, "record": evidence.record.model_dump(mode="json")}


def _make_parts(
    entry: str,
    record: CircuitRecord,
    judgement: JudgementRecord | None,
    evidence: list[EvidenceFile],
) -> list[Any]:
    from circuitgraph.catalog.card import list_limits, list_measures, list_strongest
    from circuitgraph.cli.tables import make_judgement_table, make_table

    parts: list[Any] = [_make_head(entry, record)]
    evaluation = judgement or record.evaluation
    if evaluation is not None:
        parts += ["", make_judgement_table(evaluation)]
    if judgement is not None and (measures := list_measures(judgement)):
        table = make_table("", "measure", "value", n_left=2)
        for row in measures:
            table.add_row(*row)
        parts += ["", table]
    strongest = make_table("Strongest edges", "edge", "effect")
    for name, effect in list_strongest(record.edges, 10):
        strongest.add_row(name.strip("`"), effect)
    parts += ["", strongest]
    for each in evidence:
        verdict = f" {each.verdict}:" if each.verdict else ""
        parts.append(f"\n{each.kind} {each.title!r}:{verdict} {each.text}")
    limits = list_limits(record, judgement, evidence)
    return [*parts, "\nLimits", *(f"* {line}" for line in limits)]


def _make_head(entry: str, record: CircuitRecord) -> Table:
    """Where the circuit comes from, a line for each fact."""
    from circuitgraph.cli.tables import make_table

    table = make_table(entry, "", "", n_left=2)
    table.show_header = False
    rows: dict[str, Any] = {"edges": f"{len(record.edges)} of {record.graph.n_edges:,}"}
    if (model := record.model) is not None:
        rows["model"] = f"{model.name} ({model.family}), weights {model.weights_sha256[:12]}"
    if (task := record.task) is not None:
        rows["task"] = f"{task.name}, {task.n_prompts} prompts of {task.split}, seed {task.seed}"
    rows["measured by"] = f"{record.metric}, {record.ablation} ablation"
    if (search := record.algorithm) is not None:
        settings = ", ".join(f"{name} {value}" for name, value in search.arguments.items())
        rows["found by"] = f"{search.name} ({settings})"
        rows["cost"] = f"{search.n_tested:,} edges tested in {search.seconds:,.1f} s"
    for name, text in rows.items():
        table.add_row(name, text)
    return table
