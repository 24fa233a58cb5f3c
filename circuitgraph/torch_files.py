"""The one reader and writer of files that torch wrote: no code in a file can run, sizes first.

torch itself is imported at the first use: what reads and writes no such file starts without it.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from circuitgraph.errors import DataError, first_line, list_problems


def load_torch_file(path: Path, subject: str, advice: str) -> Any:
    """What a file that torch saved holds, read weights-only.

    Args:
        subject: what messages call the file.
        advice: what to do about a file that cannot be read.

    Raises:
        DataError: the file is damaged or packed, or would run code when read.
    """
    import torch

    refuse_packed(path, subject, advice)
    try:
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (RuntimeError, ValueError):  # files of before torch 1.6 cannot be mapped
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{subject} is a pickle that is broken or would run code when read, so it is refused. "
            "Save them as safetensors where they come from."
        ) from error
    except Exception as error:
        raise DataError(f"{subject} cannot be read: {first_line(error)}. {advice}") from error


def refuse_packed(path: Path, subject: str, advice: str) -> None:
    """Refuse an archive that unpacks to more than it is; neither torch nor numpy packs anything.

    Raises:
        DataError: it is such an archive.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return  # which torch says better
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise DataError(
            f"{subject} is a packed archive, as torch and numpy's savez write none, and would "
            f"unpack to more than its {path.stat().st_size:,} bytes. {advice}"
        )


def refuse_unstored(tensors: Mapping[str, Any], subject: str) -> None:
    """Refuse tensors that are larger than what is stored of them, or not stored plainly.

    Raises:
        DataError: all such tensors are named.
    """
    import torch

    problems = []
    for tensor, value in tensors.items():
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            problems.append(f"{tensor} is {value.layout} on {value.device.type}, not plain numbers")
        elif value.numel() * value.element_size() > value.untyped_storage().nbytes():
            stored = value.untyped_storage().nbytes()
            problems.append(f"{tensor} has the shape {list(value.shape)}, but {stored:,} bytes")
    if problems:
        title = f"{subject} holds tensors that are not all there:"
        raise DataError(list_problems(title, problems))


def load_arrays(path: Path, subject: str, advice: str) -> dict[str, Any]:
    """The content of a file that holds names with tensors, which are numpy arrays here.

    Raises:
        DataError: as `load_torch_file`; or the file holds something else, or tensors that are not
            all there.
    """
    import torch

    content = load_torch_file(path, subject, advice)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise DataError(f"{subject} holds a {type(content).__name__}, not names with tensors.")
    tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    refuse_unstored(tensors, subject)
    return content | {name: torch_to_numpy(value) for name, value in tensors.items()}


def pack_arrays(content: Mapping[str, Any]) -> bytes:
    """A file as torch saves it: plain values, and numpy arrays as tensors."""
    import torch

    buffer = io.BytesIO()
    torch.save(
        {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in content.items()
        },
        buffer,
    )
    return buffer.getvalue()


def torch_to_numpy(tensor: Any) -> np.ndarray:
    """A torch tensor as numpy has it, bfloat16 included; the same memory where possible."""
    import torch

    if tensor.dtype == torch.bfloat16:  # which numpy itself does not know
        return tensor.view(torch.int16).numpy(force=True).view(ml_dtypes.bfloat16)
    return tensor.numpy(force=True)
