"""Compiled programs, kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def keep_compiled_programs() -> None:
    """Let jax keep compiled programs between runs, so that a second run starts warm."""
    import jax

    folder = cache_folder() / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # no home, or one that cannot be written: every run compiles anew
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def cache_folder() -> Path:
    """Where this user's programs keep what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "circuitgraph"
