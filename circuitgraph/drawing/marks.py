"""A mark in every picture, by which a later run knows that the file is ours to replace."""

from __future__ import annotations

import struct
import zlib

MARK = "Drawn by circuitgraph"
_END_OF_PNG = 12  # bytes of the last chunk, IEND, which holds nothing
_NEAR = 200  # how far from either end of a file the mark stands at most


def mark_picture(content: bytes, kind: str) -> bytes:
    """A picture with the mark, where its format has a place for what is not shown.

    Args:
        kind: dot, svg, pdf, png or html.
    """
    mark = MARK.encode()
    if kind == "png":
        chunk = b"tEXtSoftware\0" + mark
        framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return content[:-_END_OF_PNG] + framed + content[-_END_OF_PNG:]
    comment = (b"<!-- ", b" -->")
    comments = {"svg": comment, "html": comment, "pdf": (b"% ", b""), "dot": (b"// ", b"")}
    start, end = comments[kind]
    return content.rstrip(b"\n") + b"\n" + start + mark + end + b"\n"


def is_marked(content: bytes) -> bool:
    """Whether a file is a picture that `mark_picture` marked."""
    return MARK.encode() in content[-_NEAR:]
