"""A checkpoint's files, in its folder or in the cache of the Hugging Face hub."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from circuitgraph.errors import ModelError, first_line
from circuitgraph.models.checkpoint import SAVE_AGAIN, WEIGHT_FILES, list_shards

_COMMIT = re.compile(r"[0-9a-f]{40}")


def find_file(location: str, file: str, options: Mapping[str, Any]) -> Path | None:
    """A file of a folder or hub name, fetched from the hub if need be; None if there is none."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return fetch_file(location, file, options)
    except (FileNotFoundError, EntryNotFoundError):
        return None


def fetch_file(location: str, file: str, options: Mapping[str, Any]) -> Path:
    """A file that must be there, of a folder or hub name; fetched from the hub if need be.

    Args:
        options: ``revision`` and ``local_files_only``, as huggingface_hub has them.

    Raises:
        FileNotFoundError, EntryNotFoundError: there is none.
        OSError: the hub cannot be asked, or refuses.
    """
    if Path(location).is_dir():
        path = Path(location, file)
        if not path.is_file():
            raise FileNotFoundError(f"there is no {file} in {location}")
        return path
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    revision, cached = options["revision"], None
    if _COMMIT.fullmatch(revision):  # the cache knows all that was once looked for in a commit
        cached = huggingface_hub.try_to_load_from_cache(location, file, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    if cached is not None:
        raise EntryNotFoundError(f"there is no {file} in {location}")
    local_only = options["local_files_only"]
    return Path(
        huggingface_hub.hf_hub_download(
            location, file, revision=revision, local_files_only=local_only
        )
    )


def fetch_weight_files(name: str, location: str, options: Mapping[str, Any]) -> list[Path]:
    """The files with the weights: one, or an index's shards; fetched from the hub if need be.

    Raises:
        ModelError: there are no weights, or a shard is missing.
    """
    for file in WEIGHT_FILES:
        path = find_file(location, file, options)
        if path is None:
            continue
        if not file.endswith(".index.json"):
            return [path]
        shards = list_shards(name, path)
        if Path(location).is_dir():
            return shards
        return [_fetch_shard(name, location, shard.name, options) for shard in shards]
    raise ModelError(f"{name!r} has no weights. Expected one of {', '.join(WEIGHT_FILES)}.")


def _fetch_shard(name: str, location: str, file: str, options: Mapping[str, Any]) -> Path:
    """One shard in the hub's cache, fetched if need be."""
    try:
        return fetch_file(location, file, options)
    except Exception as error:
        raise ModelError(
            f"The weights of {name!r} are incomplete: the hub did not provide {file}: "
            f"{first_line(error)}. {SAVE_AGAIN}"
        ) from error


def read_commit(location: str, file: Path) -> str | None:
    """The commit of a file in the hub's cache; None for a folder."""
    if Path(location).is_dir():
        return None
    before, _, after = file.as_posix().rpartition("/snapshots/")
    commit = after.partition("/")[0]
    return commit if before and _COMMIT.fullmatch(commit) else None


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Our own checks replace transformers' warnings and bars for the time of a call."""
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
