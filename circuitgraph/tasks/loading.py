"""From a name or a file to the task of a model, with the tokens that stand before its prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from circuitgraph.errors import ArgumentError, DataError, ModelError, check_choice
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.tokenizer import Bos, Tokenizer
from circuitgraph.tasks.base import GrammarTask, Task, tasks
from circuitgraph.tasks.pair_lines import SUFFIXES, read_pair_file
from circuitgraph.tasks.pair_maker import ModelSizes
from circuitgraph.tasks.pairs_file import PairsTask
from circuitgraph.tasks.prompts import TokenizerLike, quote_tokens

COMMON_SETTINGS = ("bos", "chat", "judging")  # of every task or file, beside its own
BOS_CHOICES: tuple[Bos, ...] = ("auto", "yes", "no")


def load_task(
    name: str | Path,
    model: LanguageModel,
    *,
    seed: int = 0,
    bos: Bos | None = None,
    chat: bool | None = None,
    judging: bool = True,
    **arguments: Any,
) -> Task:
    """A task for a model: a registered grammar by name, or a file of pairs by its path.

    Args:
        name: of a grammar, or a file (``.jsonl``, ``.csv``). Prompts of a model without a tokenizer
            are token ids, or the names that its checkpoint gives.
        bos: whether BOS stands before every prompt: ``yes``, ``no``, or ``auto``, as the tokenizer
            itself does. By default the file's own setting, or else ``auto``.
        chat: render the prompts of a file by the model's chat template; by default the file's own
            setting, or else not.
        judging: keep some of a file's pairs for evaluation; else the search sees all of them.
        arguments: of a grammar.

    Raises:
        UnknownNameError: no grammar of that name, or it has no such argument.
        ModelError: the model has no tokenizer, which a grammar needs, or no BOS or chat template.
        DataError: the file's pairs cannot be used; all problems are listed by line number.
        ArgumentError: settings that this source does not have.
    """
    if bos is not None:
        check_choice("bos", bos, BOS_CHOICES)
    if is_pairs_file(name):
        if arguments:
            raise ArgumentError(
                f"A file of pairs takes no arguments, but {', '.join(arguments)} was given."
            )
        return _open_pairs(Path(name), model, seed, bos, chat, judging)
    if chat or not judging:
        raise ArgumentError(f"chat and judging are settings of a file of pairs, not of {name!r}.")
    kind = tasks[str(name)]
    tokenizer = model.text_tokenizer.with_bos(bos or "auto")
    try:
        task = GrammarTask(kind, tokenizer, seed, arguments)
    except DataError as error:
        if model.tokenizer is not None:
            raise
        raise ModelError(
            f"The model {model.name!r} has no tokenizer, so prompts of the task {name!r} cannot be "
            "written for it. Add a tokenizer.json beside its weights, or give a file of pairs of "
            "token ids."
        ) from error
    return _describe_prefix(task, model)


def is_pairs_file(name: str | Path) -> bool:
    """Whether this names a file of pairs, not a grammar."""
    return isinstance(name, Path) or str(name).endswith(SUFFIXES)


def _open_pairs(
    path: Path, model: LanguageModel, seed: int, bos: Bos | None, chat: bool | None, judging: bool
) -> Task:
    file = read_pair_file(path)
    chat = bool(file.header.chat if chat is None else chat)
    tokenizer = model.text_tokenizer.with_bos(bos or file.header.bos or "auto")
    if chat and bos is None and _template_writes_prefix(tokenizer):
        tokenizer = tokenizer.with_bos("no")
    spec = model.spec
    sizes = ModelSizes(spec.n_ctx, spec.d_vocab, spec.d_vocab_out)
    task = PairsTask(path, tokenizer, sizes, seed, file=file, chat=chat, judging=judging)
    return _describe_prefix(task, model)


def _template_writes_prefix(tokenizer: TokenizerLike) -> bool:
    """Whether the chat template begins with the tokenizer's prefix by itself."""
    ids = tokenizer.encode(tokenizer.render_chat("a"))
    return tuple(ids[: len(tokenizer.prefix)]) == tokenizer.prefix


def _describe_prefix(task: Task, model: LanguageModel) -> Task:
    """The task with what stands before its prompts among its arguments and notes.

    Nothing is added where nothing stands there and the tokenizer itself would put nothing there.
    """
    if not isinstance(model.tokenizer, Tokenizer):
        return task
    tokenizer, default = model.tokenizer, model.tokenizer.with_bos("auto").prefix
    prefix = task.tokenizer.prefix
    names = quote_tokens(prefix or default, tokenizer)
    if prefix:
        own = "as the tokenizer itself does; bos=no, --bos no leaves it out"
        why = own if prefix == default else "as was asked for; the tokenizer itself puts none there"
        task.notes = (f"{names} stands before every prompt, {why}.", *task.notes)
    elif default and not task.arguments.get("chat"):
        note = f"{names}, which the tokenizer puts before a text, was left out as asked for."
        task.notes = (note, *task.notes)
    if prefix or default:
        task.arguments = {**task.arguments, "bos": "yes" if prefix else "no"}
    return task
