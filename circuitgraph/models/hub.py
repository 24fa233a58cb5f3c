"""A checkpoint's files, in its folder or in the cache of the Hugging Face hub."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from circuitgraph.errors import ModelError, first_line
from circuitgraph.models.checkpoint import SAVE_AGAIN, WEIGHT_FILES, list_shards


def fetch_weight_files(name: str, location: str, options: dict[str, Any]) -> list[Path]:
    """The files with the weights: one, or an index's shards; fetched from the hub if need be.

    Raises:
        ModelError: there are no weights, or a shard is missing.
    """
    from transformers.utils.hub import cached_file

    for file in WEIGHT_FILES:
        path = cached_file(location, file, _raise_exceptions_for_missing_entries=False, **options)
        if path is None:
            continue
        if not file.endswith(".index.json"):
            return [Path(path)]
        shards = list_shards(name, Path(path))
        if Path(location).is_dir():
            return shards
        return [_fetch_shard(name, location, shard.name, options) for shard in shards]
    raise ModelError(f"{name!r} has no weights. Expected one of {', '.join(WEIGHT_FILES)}.")


def _fetch_shard(name: str, location: str, file: str, options: dict[str, Any]) -> Path:
    """One shard in the hub's cache, fetched if need be."""
    from transformers.utils.hub import cached_file

    try:
        return Path(str(cached_file(location, file, **options)))
    except Exception as error:
        raise ModelError(
            f"The weights of {name!r} are incomplete: the hub did not provide {file}: "
            f"{first_line(error)}. {SAVE_AGAIN}"
        ) from error


def read_commit(location: str, file: Path) -> str | None:
    """The commit of a file in the hub's cache; None for a folder."""
    from transformers.utils.hub import extract_commit_hash

    return None if Path(location).is_dir() else extract_commit_hash(str(file), None)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Our own checks replace transformers' warnings and bars for the time of loading."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    restore_hub_bars = (
        disable_progress_bars if are_progress_bars_disabled() else enable_progress_bars
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        restore_hub_bars()  # the line above disabled them too, but downloads are long
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if has_bars:
                logging.enable_progress_bar()
            restore_hub_bars()
