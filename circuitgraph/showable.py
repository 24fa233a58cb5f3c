"""What a notebook shows at the end of a cell: a room says that its objects can be shown, not how.

Graphs, circuits and records live on low floors, which know neither tables nor Graphviz. So each
class has its picture in the room ``notebook``, near the roof, under the class's name. That room is
imported when a notebook first asks, like any folder of a `Registry`.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from circuitgraph.printable import make_printable
from circuitgraph.registry import Registry

pictures: Registry[Callable[[Any], str]] = Registry("picture", "circuitgraph.notebook")


class Showable:
    """Base of everything that has a picture, or a table, at the end of a notebook's cell."""

    def _repr_html_(self) -> str | None:
        """The picture as HTML; None where the class has none, so that its text is shown.

        Raises nothing: where the picture cannot be made, the text says why.
        """
        try:
            for kind in type(self).__mro__:
                if kind.__name__ in pictures:
                    return pictures[kind.__name__](self)
            return None
        except Exception as error:
            # A notebook shows the traceback of a broken picture in place of the result, which
            # took an hour to compute and is there.
            reason = f"No picture: {type(error).__name__}: {error}"
            texts = (make_printable(text, keep="\n") for text in (object.__repr__(self), reason))
            return "\n".join(f"<pre>{escape(text)}</pre>" for text in texts)
