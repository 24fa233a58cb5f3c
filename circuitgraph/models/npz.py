"""numpy's .npz archives, read without unpickling anything, sizes first."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

from circuitgraph.errors import ModelError, first_line

_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz_headers(
    name: str, path: Path
) -> tuple[dict[str, tuple[int, ...]], dict[str, np.dtype]]:
    """The shape and the dtype of each array, held against the bytes that are there.

    Raises:
        ModelError: the file is damaged, holds objects that would have to be unpickled, or an
            array's header does not fit its bytes.
    """
    shapes, dtypes = {}, {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                array = member.filename.removesuffix(".npy")
                with archive.open(member) as file:
                    version = np.lib.format.read_magic(file)  # pyright: ignore[reportArgumentType]
                    shape, _, dtype = _READ_HEADER[version](file)  # pyright: ignore
                    n_bytes = member.file_size - file.tell()
                if dtype.hasobject:
                    raise ValueError(f"{array} holds Python objects, which are not unpickled")
                if math.prod(shape) * dtype.itemsize != n_bytes:
                    raise ValueError(
                        f"{array} has the shape {list(shape)} of {dtype}, but {n_bytes:,} bytes"
                    )
                shapes[array], dtypes[array] = shape, dtype
    except (OSError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"The file {path.name} of {name!r} cannot be read as an .npz archive: "
            f"{first_line(error)}."
        ) from error
    return shapes, dtypes


def read_npz_array(path: Path, array: str) -> np.ndarray:
    """One array of the archive."""
    with np.load(path, allow_pickle=False) as archive:
        return archive[array]
