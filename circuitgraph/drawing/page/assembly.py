"""One HTML file of a template, style sheets, modules and data, with nothing outside it.

Modules stay as they were written, each in a scope of its own. What may run is said by a
Content-Security-Policy with the hashes of the script and of the style, which allows no network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from circuitgraph.catalog.single_files import write_file
from circuitgraph.drawing.graphviz_output import recognise_drawings
from circuitgraph.drawing.marks import mark_picture
from circuitgraph.printable import LINE, NAME, make_printable

_ROOM = Path(__file__).parent
_IMPORT = re.compile(r'^import \{ (.+) \} from "\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const) (\w+))", re.MULTILINE)
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def assemble_page(
    template: str,
    *,
    texts: Mapping[str, str],
    data: Mapping[str, Any],
    styles: Sequence[str],
    main: str,
    with_layout: bool = False,
) -> bytes:
    """The page, as bytes that a later run knows to be ours.

    Args:
        template: name of the HTML file among the assets.
        texts: what stands in its places; text of others, never markup.
        data: plain values for JSON, which the page reads; texts of others are made printable.
        styles: names of style sheets.
        main: name of the module that starts the page; those that it imports come with it.
        with_layout: with Graphviz, for the worker that lays out.
    """
    script, style = bundle_modules(main), "\n".join(map(_read_asset, styles))
    worker = _read_worker() if with_layout else ""
    parts = {
        **{name: escape(make_printable(text, NAME)) for name, text in texts.items()},
        "policy": _write_policy(script, style),
        "data": write_data(data),
        "script": script,
        "style": style,
        "worker": worker,
    }
    page = _PLACE.sub(lambda place: parts[place[1]], _read_asset(template))
    return mark_picture(page.encode(), "html")


def save_page(path: str | Path, content: bytes) -> Path:
    """Write a page, in the place of nothing but a page of ours.

    Raises:
        OutputError: the file cannot be written, or is there and not ours.
    """
    path = Path(path)
    write_file(path, content, is_own=recognise_drawings(path))
    return path


def write_data(data: Mapping[str, Any]) -> str:
    """JSON that can stand in a script element: no ``<`` ends or begins anything in it."""
    text = json.dumps(
        _make_printable(data), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return text.replace("<", "\\u003c")


def _make_printable(value: Any) -> Any:
    """Plain values in which every text can be shown on one line; keys are ours."""
    if isinstance(value, str):
        return make_printable(value, LINE)
    if isinstance(value, Mapping):
        return {key: _make_printable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_make_printable(each) for each in value]
    return value


def bundle_modules(main: str) -> str:
    """A module and those that it imports as one script, the imported ones first."""
    bundled: dict[str, str] = {}
    _add_module(main, bundled, ())
    return "\n".join(['"use strict";', *bundled.values()])


def _add_module(name: str, bundled: dict[str, str], above: tuple[str, ...]) -> None:
    if name in above:
        raise ValueError(f"the modules {' > '.join((*above, name))} import each other")
    text = _read_asset(f"{name}.js")
    for _, imported in _IMPORT.findall(text):
        if imported not in bundled:
            _add_module(imported, bundled, (*above, name))
    exported = ", ".join(_EXPORT.findall(text))
    body = _EXPORT.sub("", _IMPORT.sub(r"const { \1 } = $\2;", text))
    bundled[name] = f"const ${name} = (() => {{\n{body}\nreturn {{ {exported} }};\n}})();"


def _write_policy(script: str, style: str) -> str:
    """What the page may do: run its own script and a worker, show its own style, nothing else."""
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (script, style)
    ]
    rules = [
        "default-src 'none'",
        f"script-src 'sha256-{hashes[0]}' 'wasm-unsafe-eval'",
        f"style-src 'sha256-{hashes[1]}'",
        "worker-src blob:",
        "img-src blob: data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(rules)


def _read_asset(name: str) -> str:
    return (_ROOM / "assets" / name).read_text(encoding="utf-8")


def _read_worker() -> str:
    library = (_ROOM / "vendor" / "viz.js").read_text(encoding="utf-8")
    return f"{library}\n{_read_asset('worker.js')}"
