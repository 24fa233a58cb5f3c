"""``--log-level``: what the libraries underneath say while a command runs.

circuitgraph itself has no log: what it has to say is a result, a message or a bar.
"""

from __future__ import annotations

import logging
import os

from circuitgraph.errors import check_choice

LEVELS = ("debug", "info", "warning", "error")
_LIBRARIES = ("TRANSFORMERS_VERBOSITY", "HF_HUB_VERBOSITY")  # read when these are imported


def set_log_level(level: str | None) -> str | None:
    """Send messages of this level and above to stderr; nothing changes where none is given.

    Raises:
        ArgumentError: there is no such level.
    """
    if level is None:
        return None
    check_choice("--log-level", level, LEVELS)
    layout = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=level.upper(), format=layout, force=True)
    for name in _LIBRARIES:
        os.environ[name] = level
    return level
