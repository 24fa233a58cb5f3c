"""``circuitgraph compile``: a model as a graph, and proof that the graph is the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

import circuitgraph as cg
from circuitgraph.cli import options
from circuitgraph.cli.completion import complete_models
from circuitgraph.cli.inputs import keep_compiled_programs
from circuitgraph.cli.options import check_counts
from circuitgraph.cli.output import Output
from circuitgraph.cli.tables import make_table
from circuitgraph.errors import check_at_least, check_between

if TYPE_CHECKING:
    from circuitgraph.catalog.compile_record import CompileRecord, MemoryRecord, ParityRecord


@options.expand_options
def compile_model(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=complete_models,
            help="Folder, GGUF file, shipped model or hub name; or a TransformerLens state dict "
            "(.pt).",
        ),
    ],
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Compare logits and residual stream with transformers' own model, or a state "
            "dict's with transformer_lens where that is installed.",
        ),
    ] = False,
    grouped: options.GroupedOption = False,
    prompts: Annotated[
        int, typer.Option("--prompts", help="Prompts of the search whose memory is estimated.")
    ] = 16,
    length: Annotated[
        int | None,
        typer.Option(
            "--length", help="Tokens of its prompts, and of those of --verify. [default: 16 and 32]"
        ),
    ] = None,
    seed: options.SeedOption = 0,
    loading: options.LoadingOptions = options.AS_RECORDED,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Compile a model into its graph: sizes, edges, memory, tokens, and with --verify the proof.

    The exit status is 1 if --verify finds that the graph is not the model.

    Examples:

    - `circuitgraph compile gpt2`

    - `circuitgraph compile EleutherAI/pythia-160m --verify --length 128`

    - `circuitgraph compile SmolLM2-135M.Q4_1.gguf --verify`

    - `circuitgraph compile toy.pt --model-config toy.json --json`
    """
    output = Output(as_json, quiet)
    from circuitgraph.tasks.base import MOST_PROMPTS

    check_between("--prompts", prompts, 1, MOST_PROMPTS)
    check_counts(None, 1, seed)
    if length is not None:
        check_at_least("--length", length, 1)

    from circuitgraph.evaluation.compiled import make_compile_record

    keep_compiled_programs()
    with output.show_spinner("loading the model"):
        loaded_model = cg.load_model(model, **loading.keywords)
    n_tokens = length or min(16, loaded_model.spec.n_ctx)
    record = make_compile_record(
        loaded_model, grouped=grouped, n_prompts=prompts, n_tokens=n_tokens
    )
    parity = None
    if verify:
        with output.show_spinner("comparing it with others' code"):
            parity = cg.verify(loaded_model, n_tokens=length, seed=seed)
            record = record.model_copy(
                update={"parity": parity, "weights_sha256": loaded_model.fingerprint}
            )
    tables = [make_model_table(record)]
    if parity is not None:
        tables += ["", make_parity_table(parity)]
    output.print_result(record.model_dump_json(indent=2), *tables)
    if parity is not None and not parity.held:
        raise typer.Exit(1)


def make_model_table(record: CompileRecord) -> Table:
    sizes, graph, memory = record.sizes, record.graph, record.memory
    kv = sizes["n_kv_heads"]
    heads = f"{sizes['n_heads']} heads" + (f" ({kv} key-value)" if kv < sizes["n_heads"] else "")
    mlp = f"MLP {sizes['d_mlp']}" if "d_mlp" in sizes else "no MLPs"
    revision = f", {record.revision[:12]}" if record.revision else ""
    rows = {
        "model": f"{record.name} ({record.family}){revision}",
        "layers": f"{sizes['n_layers']} of {heads} of size {sizes['d_head']}, {mlp}",
        "stream": f"d_model {sizes['d_model']}, vocabulary {sizes['d_vocab']:,}, context "
        f"{sizes['n_ctx']:,}",
        "with": ", ".join(record.settings),
        "parameters": f"{record.n_parameters:,}, {record.precision}, "
        f"{_format_bytes(memory.bytes_weights)}",
        **_describe_cut(memory),
        "graph": f"{graph.n_writers:,} writers, {graph.n_readers:,} readers, "
        f"{graph.n_edges:,} edges",
        "search": f"{memory.n_prompts} prompts of {memory.n_tokens} tokens need "
        f"{_format_bytes(memory.bytes_needed)} beside the weights, {memory.prompts_per_launch} "
        "prompts at a time",
        "tokens": _describe_tokens(record),
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _describe_cut(memory: MemoryRecord) -> dict[str, str]:
    """A row about the weights of each device; none where they are not cut."""
    if memory.shards is None or memory.bytes_on_device is None:
        return {}
    return {
        "on each device": f"{_format_bytes(memory.bytes_on_device)} of the weights, of which "
        f"{_format_bytes(memory.bytes_replicated or 0)} are on all {memory.shards}"
    }


def _describe_tokens(record: CompileRecord) -> str:
    if record.tokenizer is None:
        return "no tokenizer: prompts cannot be written as text"
    tokens = " ".join(repr(token) for token in record.tokenizer.example_tokens)
    added = " ".join(map(repr, record.tokenizer.default_adds))
    note = f", although the tokenizer by itself would add {added}" if added else ""
    bos = f"BOS is {record.tokenizer.bos!r}" if record.tokenizer.bos else "there is no BOS"
    return f"{tokens}; nothing is added{note}; {bos}"


def make_parity_table(parity: ParityRecord) -> Table:
    """The comparison as a table, ending with its verdict."""
    against = "its own stream" if parity.reference == "none" else parity.reference
    table = make_table(
        f"against {against}, {parity.n_prompts} random prompts of {parity.n_tokens} tokens"
    )
    table.show_header = False
    worst = max(range(len(parity.residual)), key=parity.residual.__getitem__)
    where = f"before layer {worst}" if worst < len(parity.residual) - 1 else "after the last layer"
    untested = ", ".join(parity.untested)
    rows = _describe_logits(parity) | {
        "sum of writers = residual stream": f"to {parity.residual[worst]:.1e}, worst {where}",
        "not put to the test": f"{untested}: ask for a longer --length" if untested else "",
        "shown" if parity.held else "compared": "; ".join(parity.proofs),
        "not shown": "; ".join(parity.not_proved),
        "the graph is the model": _describe_verdict(parity),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table


def _describe_logits(parity: ParityRecord) -> dict[str, str]:
    """Rows about others' logits; none where there were none."""
    if parity.difference is None or parity.relative is None or parity.argmax_agreement is None:
        return {}
    return {
        "largest difference of a logit": f"{parity.difference:.2e} "
        f"(of {parity.largest_logit:.1f}) at prompt {parity.prompt}, position {parity.position}, "
        f"token {parity.token}",
        **_describe_rounding(parity),
        "root mean square, relative": f"{parity.relative:.2e}",
        "same most likely token": f"{parity.argmax_agreement:.2%} of positions",
    }


def _describe_rounding(parity: ParityRecord) -> dict[str, str]:
    """A row about the yardstick; none for 16-bit precisions."""
    if parity.rounding is None or parity.allowed is None:
        return {}
    return {
        "its float32 is from its float64": f"{parity.rounding:.2e} by the same measure; allowed "
        f"are {parity.allowed:.2e}"
    }


def _describe_verdict(parity: ParityRecord) -> str:
    if not parity.held:
        return "NO"
    return "yes" if not parity.not_proved else "as far as shown"


def _format_bytes(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.2f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"
