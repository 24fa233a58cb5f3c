"""``python -m circuitgraph`` is the command ``circuitgraph``."""

from __future__ import annotations

import circuitgraph
from tests import users


def test_the_package_runs_as_a_module() -> None:
    ended = users.python("-m", "circuitgraph", "--version")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"circuitgraph {circuitgraph.__version__}\n"


def test_its_usage_names_the_module() -> None:
    ended = users.python("-m", "circuitgraph", "list", "nonsense")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("Error: Unknown kind of list 'nonsense'.")


def test_help_loads_neither_records_nor_graphs_nor_jax() -> None:
    """They take longer to load than the help takes to print."""
    heavy = ["jax", "networkx", "pydantic", "torch", "circuitgraph.catalog.records"]
    code = f"import sys, circuitgraph.cli.main; print([m for m in {heavy} if m in sys.modules])"
    assert users.python("-c", code).stdout == "[]\n"
