"""``circuitgraph pairs check``: whether a model solves a file of pairs, and how they tokenise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from circuitgraph.cli import options
from circuitgraph.cli.completion import complete_models
from circuitgraph.cli.options import check_counts
from circuitgraph.cli.output import Output
from circuitgraph.cli.tables import make_table

if TYPE_CHECKING:
    from circuitgraph.evaluation.behaviour import Behaviour
    from circuitgraph.tasks.pairs_file import PairsTask
    from circuitgraph.tasks.prompts import Pair, Prompts, TokenizerLike

app = typer.Typer(no_args_is_help=True, help="Files of pairs.")


@app.command("check")
@options.expand_options
def check_pairs(
    file: Annotated[Path, typer.Argument(help="File of pairs: .jsonl or .csv.")],
    model: Annotated[
        str,
        typer.Option(
            "--model", autocompletion=complete_models, help="Folder, shipped model or hub name."
        ),
    ],
    loading: options.LoadingOptions = options.AS_RECORDED,
    bos: options.BosOption = None,
    chat: options.ChatOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Show so many pairs. [default: 20]")
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Say of each pair whether the model solves it, how it tokenises, and what differs.

    Exits 1 where the model solves no pair.

    Examples:

    - `circuitgraph pairs check pairs.jsonl --model ./my-model`
    """
    from circuitgraph.cli.inputs import choose_setup, gather_task_settings, open_setup
    from circuitgraph.evaluation.behaviour import observe_behaviour
    from circuitgraph.tasks.pairs_file import PairsTask
    from circuitgraph.tasks.tokenise import tokenise_pairs

    check_counts(limit, 1, None)
    output = Output(as_json, quiet)
    settings = {**gather_task_settings([], bos, chat), "judging": False}
    setup = choose_setup(model, None, file, task_settings=settings, loading=loading.keywords)
    bench = open_setup(output, setup)
    loaded_model, task = bench.model, bench.task
    assert isinstance(task, PairsTask)  # noqa: S101 - it was opened as a file
    prompts = tokenise_pairs([pair for _, pair in task.numbered_pairs], task.tokenizer)
    behaviour = observe_behaviour(loaded_model, prompts)
    rows = _describe_pairs(task, prompts, behaviour)
    shown = rows[: 20 if limit is None else limit]
    table = make_table(f"{file.name} on {loaded_model.name}", *_HEADINGS, n_left=len(_HEADINGS))
    for row in shown:
        table.add_row(*(Text(str(row[heading])) for heading in _HEADINGS))
    more = [f"... and {len(rows) - len(shown)} more pairs"] if len(rows) > len(shown) else []
    accuracy = behaviour.accuracy and behaviour.accuracy.model_dump()
    content = {"n_pairs": len(rows), "accuracy": accuracy, "pairs": rows}
    output.print_result(
        json.dumps(content, indent=2, ensure_ascii=False), table, *more, format_behaviour(behaviour)
    )
    if behaviour.solved is not None and not behaviour.solved.any():
        raise typer.Exit(1)


_HEADINGS = ("line", "tokens", "differs", "answer", "model says", "solved")


def _describe_pairs(
    task: PairsTask, prompts: Prompts, behaviour: Behaviour
) -> list[dict[str, Any]]:
    tokenizer = task.tokenizer
    rows = []
    for i, (line, pair) in enumerate(task.numbered_pairs):
        said = [tokenizer.decode_answer(int(token)) for token in behaviour.top[i]]
        rows.append(
            {
                "line": line,
                "tokens": show_tokens(prompts, i, tokenizer),
                "differs": _describe_differences(prompts, i, tokenizer),
                "answer": _describe_answer(pair),
                "model says": " ".join(map(repr, dict.fromkeys(said))),
                "solved": "-" if behaviour.solved is None else _YES_NO[bool(behaviour.solved[i])],
            }
        )
    return rows


_YES_NO = {True: "yes", False: "no"}


def show_tokens(prompts: Prompts, row: int, tokenizer: TokenizerLike) -> str:
    """The tokens of a clean prompt, one by one."""
    from circuitgraph.tasks.prompts import quote_tokens

    return quote_tokens(prompts.clean[row][prompts.mask[row]].tolist(), tokenizer)


def _describe_differences(prompts: Prompts, row: int, tokenizer: TokenizerLike) -> str:
    """Where the corrupted prompt has another token, and which."""
    if prompts.corrupted is None:
        return "-"
    differing = (prompts.clean[row] != prompts.corrupted[row]).nonzero()[0]
    names = [
        f"{at}: {tokenizer.decode([int(prompts.corrupted[row][at])])!r}" for at in differing[:4]
    ]
    return ", ".join(names) + (", ..." if len(differing) > 4 else "")


def _describe_answer(pair: Pair) -> str:
    if pair.answer is None:
        return "-"
    right = " or ".join(map(repr, pair.right or (pair.answer,)))
    return right if pair.distractor is None else f"{right}, not {pair.distractor!r}"


def format_behaviour(behaviour: Behaviour) -> str:
    """How often the whole model is right, in a sentence."""
    if behaviour.solved is None or behaviour.accuracy is None:
        return "The prompts have no answers that the whole model could give."
    accuracy, n = behaviour.accuracy, len(behaviour.solved)
    return (
        f"The whole model gives a right answer first on {int(behaviour.solved.sum())} of {n} "
        f"prompts ({accuracy.mean:.1%} [{accuracy.low:.1%}, {accuracy.high:.1%}])."
    )
