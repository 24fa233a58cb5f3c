"""All commands together: what is refused before any of them runs, and what a refusal says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from circuitgraph.cli.interrupts import explain_interrupt
from circuitgraph.errors import ArgumentError
from circuitgraph.printable import NAME, make_lines_printable, make_printable

_UsageError: Any = typer.BadParameter.__base__


class CommandGroup(TyperGroup):
    """Commands that take no empty value, and whose refusals show the value in a printable form."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        words = [*getattr(ctx, "_protected_args", ()), *ctx.args]
        _refuse_empty(words[: words.index("--")] if "--" in words else words)
        try:
            with explain_interrupt():
                return super().invoke(ctx)
        except _UsageError as error:
            message = _describe_value(error, words[1:]) + error.message
            if error.ctx is None:  # else the help is named beside it
                message += " Try: circuitgraph --help, or a command's --help."
            error.message = make_lines_printable(message)
            raise


def _refuse_empty(words: Sequence[str]) -> None:
    """An empty value is most often a variable of a shell that was not set."""
    for before, word in zip(("", *words), words, strict=False):
        if not word.strip() or (word.startswith("--") and word.endswith("=")):
            where = word or before
            raise ArgumentError(
                f"An empty value was given{f' at {make_printable(where, NAME)!r}' * bool(where)}: "
                "give one, or leave the option out."
            )


def _describe_value(error: Any, words: Sequence[str]) -> str:
    """The value that was refused, where typer keeps it to itself."""
    parameter, context = getattr(error, "param", None), error.ctx
    if parameter is None or context is None or "is not a valid" in error.message:
        return ""
    try:
        given, _, _ = context.command.make_parser(context).parse_args(list(words))
    except _UsageError:
        return ""
    value = given.get(parameter.name, context.lookup_default(parameter.name))
    return "" if value is None else f"{make_printable(str(value), NAME)!r}: "
