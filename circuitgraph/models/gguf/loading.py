"""From a GGUF file to a running model."""

from __future__ import annotations

from pathlib import Path

from jax.sharding import Mesh

from circuitgraph.errors import ModelError, first_line
from circuitgraph.models.assemble import assemble_transformer
from circuitgraph.models.families import families
from circuitgraph.models.gguf.checkpoint import open_gguf_checkpoint
from circuitgraph.models.gguf.header import SUFFIX, read_header
from circuitgraph.models.gguf.packages import find_packaged_file, is_packaged
from circuitgraph.models.gguf.settings import read_settings
from circuitgraph.models.gguf.tokenizer import read_gguf_tokenizer
from circuitgraph.models.language_model import LanguageModel


def is_gguf(path: Path) -> bool:
    """Whether this is the name of a GGUF file, or of one in an installed package."""
    return path.suffix == SUFFIX or is_packaged(str(path))


def load_gguf(
    name: str, *, dtype: str = "float32", weight_mesh: Mesh | None = None
) -> LanguageModel:
    """Load a GGUF file: settings, weights and tokenizer are all in it.

    Args:
        dtype: precision to run in; rounded weights are what they stand for, in float32, before.
        weight_mesh: devices that each weight is cut over.

    Raises:
        ModelError: there is no such file, it is broken, or it holds what cannot be reproduced
            exactly; all that is wrong is named.
        MissingExtraError: the gguf package is not installed.
    """
    path = _find_file(name)
    header = read_header(name, path)
    settings, read = read_settings(header)
    family, spec = families[settings["model_type"]].read_config(settings)
    checkpoint = open_gguf_checkpoint(header, family, settings, read)
    tokenizer = read_gguf_tokenizer(header)
    if tokenizer is not None and len(tokenizer) > spec.d_vocab:
        raise ModelError(
            f"The tokenizer in {name!r} has {len(tokenizer)} tokens, but the model reads "
            f"{spec.d_vocab}."
        )
    return LanguageModel(
        name=name,
        family=settings["model_type"],
        location=str(path),
        revision=None,
        transformer=assemble_transformer(spec, family, checkpoint, dtype, weight_mesh),
        tokenizer=tokenizer,
    )


def _find_file(name: str) -> Path:
    if is_packaged(name):
        return find_packaged_file(name)
    try:
        path = Path(name).expanduser()
        is_file = path.is_file()
    except (OSError, RuntimeError) as error:  # a name too long, somebody's home that is not here
        raise ModelError(f"{name!r} cannot be looked up: {first_line(error)}.") from error
    if not is_file:
        raise ModelError(f"There is no file {name!r}.")
    return path
