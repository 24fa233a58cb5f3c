"""The command ``circuitgraph``."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import Annotated, NoReturn

import typer

from circuitgraph import __version__
from circuitgraph.cli import (
    analyze,
    catalog,
    dictionary,
    discover,
    doctor,
    edit,
    evaluate,
    hypothesize,
    interchange,
    leaderboard,
    listing,
    pairs,
    render,
    scrub,
    stability,
    steer,
    sweep,
    train_dictionary,
    view,
)
from circuitgraph.cli import compile as compiling
from circuitgraph.cli import test as testing
from circuitgraph.cli.command_group import CommandGroup
from circuitgraph.cli.logs import LEVELS, set_log_level
from circuitgraph.errors import CircuitGraphError
from circuitgraph.printable import make_lines_printable

# A full disk, a quota that is used up, a limit on the size of files, a disk that fails.
_FULL = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO")} - {None}

app = typer.Typer(
    cls=CommandGroup,
    name="circuitgraph",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Compile a transformer into a graph, find the circuit behind a behaviour, judge and draw "
    "it.",
    epilog="Start with: `circuitgraph discover induction`",
)
app.command("analyze")(analyze.analyze)
app.command("compile")(compiling.compile_model)
app.command("dictionary")(dictionary.show_dictionary)
app.command("discover")(discover.discover)
app.command("doctor")(doctor.examine_installation)
app.command("edit")(edit.edit_weights)
app.command("evaluate")(evaluate.evaluate)
app.command("render")(render.render)
app.command("view")(view.view)
app.command("hypothesize")(hypothesize.hypothesize)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("scrub")(scrub.scrub)
app.command("interchange")(interchange.interchange)
app.command("stability")(stability.measure_stability)
app.command("steer")(steer.steer_units)
app.command("sweep")(sweep.sweep)
app.command("test", cls=testing.WithArgumentsForPytest)(testing.run_claims)
app.command("train-sae")(train_dictionary.train_sae)
app.command("train-transcoder")(train_dictionary.train_transcoder)
app.add_typer(catalog.app, name="catalog")
app.add_typer(pairs.app, name="pairs")
app.add_typer(catalog.app, name="catalog")
app.command("list")(listing.list_names)


def _print_version(requested: bool) -> bool:
    if requested:
        typer.echo(f"circuitgraph {__version__}")
        raise typer.Exit
    return requested


@app.callback()
def _accept_version(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    log_level: Annotated[
        str | None,
        typer.Option(
            "--log-level",
            callback=set_log_level,
            is_eager=True,
            metavar="LEVEL",
            help=f"Messages of the libraries underneath (jax, transformers, the hub) on stderr: "
            f"{', '.join(LEVELS)}. Before the command: `circuitgraph --log-level info discover "
            "induction`.",
        ),
    ] = None,
) -> None:
    del version, log_level


def main() -> None:
    """Run the command line; an error that the user can mend ends with its message and status 2."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # what cannot be written is told while it can still be told
    except CircuitGraphError as error:
        _end_with_error(str(error), error)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        place = f" {error.filename!r}" if error.filename else " the output"
        _end_with_error(
            f"Writing{place} failed: {error.strerror}. Make room, or write elsewhere.", error
        )


def _end_with_error(message: str, error: BaseException) -> NoReturn:
    """End with a message on stderr and status 2, whatever became of stdout."""
    with contextlib.suppress(OSError):
        lines = [f"Error: {message}", *getattr(error, "__notes__", []), ""]
        sys.stderr.write(make_lines_printable("\n".join(lines)))
    try:
        sys.stdout.flush()
    except OSError:
        # What is left in its buffer would be tried again, and fail again, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(2)


if __name__ == "__main__":
    main()
