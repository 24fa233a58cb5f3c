"""Compiled programs, kept between runs."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path


def keep_compiled_programs() -> None:
    """Let jax keep compiled programs between runs, so that a second run starts warm."""
    import jax

    folder = cache_folder() / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not is_private(folder):
            return  # compiled programs are run as they are: nobody else may put one there
    except OSError:
        return  # no home, or one that cannot be written: every run compiles anew
    # A disk that is full later costs the next run some time, and this one nothing.
    warnings.filterwarnings("ignore", r"Error (writing|reading) persistent compilation cache")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def cache_folder() -> Path:
    """Where this user's programs keep what can be made again."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # A relative path is no place for caches: the specification has it ignored.
    return (base if base.is_absolute() else Path("~/.cache").expanduser()) / "circuitgraph"


def is_private(folder: Path) -> bool:
    """Whether a folder is this user's, and not everybody may write in it."""
    if os.name == "nt":
        return True
    state = folder.stat()
    return state.st_uid == os.getuid() and not state.st_mode & stat.S_IWOTH
