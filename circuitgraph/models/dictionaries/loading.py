"""From a name to a dictionary: a folder or file here, or a place on the hub, in a known layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from circuitgraph.errors import ArgumentError, ModelError, list_problems
from circuitgraph.models.assemble import check_dtype
from circuitgraph.models.dictionaries import DictionaryLayout, GivenSettings, layouts
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.files import DictionaryFiles, locate_files
from circuitgraph.models.dictionaries.hooks import parse_hook
from circuitgraph.models.dictionaries.stored_dictionary import StoredDictionary

_N_LISTED = 12  # names of files in a message


def load_dictionary(
    name: str | Path,
    *,
    layer: int | None = None,
    hook: str | None = None,
    hook_out: str | None = None,
    k: int | None = None,
    input_scale: float | None = None,
    revision: str | None = None,
    local_only: bool = False,
    dtype: str = "float32",
) -> Dictionary:
    """Load one dictionary with all its weights.

    Args:
        name: a folder, a file of weights, or a place on the hub (``owner/repository/folder``). The
            layout is recognised by the files.
        layer: which one, where there is one for each of several layers.
        hook, hook_out: where it reads and writes, where the files do not say: names of
            TransformerLens or of Hugging Face modules.
        k: number of active features, where the files do not say (Qwen Scope).
        input_scale: sqrt(d) divided by the average length of inputs, where it was trained on inputs
            so scaled and the files do not say.
        revision, local_only: as of `load_model`.
        dtype: precision of the weights: float32, bfloat16, float16 or float64.

    Raises:
        ModelError: not found, in no known layout or in several, damaged, or with an architecture,
            activation or normalisation that nothing here computes.
        ArgumentError: an argument that this dictionary does not take.
    """
    check_dtype(dtype)
    return open_dictionary(
        name,
        layer=layer,
        hook=hook,
        hook_out=hook_out,
        k=k,
        input_scale=input_scale,
        revision=revision,
        local_only=local_only,
    ).load(dtype)


def open_dictionary(
    name: str | Path,
    *,
    layer: int | None = None,
    hook: str | None = None,
    hook_out: str | None = None,
    k: int | None = None,
    input_scale: float | None = None,
    revision: str | None = None,
    local_only: bool = False,
) -> StoredDictionary:
    """One dictionary of which the settings and the headers of files were read, and no weights.

    Its `StoredDictionary.read_decoder_rows` reads the rows of some features. Arguments and errors
    are those of `load_dictionary`.
    """
    files = locate_files(str(name), revision=revision, local_only=local_only)
    known = recognise_layout(files)
    given = _check_given(known, files, GivenSettings(k, input_scale))
    members = known.list_members(files)
    if members is not None and layer is None and len(members) == 1:
        layer = members[0]
    if members is not None and layer not in members:
        raise ArgumentError(
            f"{files.name!r} holds a dictionary for each of the layers "
            f"{', '.join(map(str, members))}: give one with layer, instead of {layer}."
        )
    stored = known.open(files, given, layer or 0)
    if members is None:
        _refuse_leftovers(known, [stored])
    stored = _place_dictionary(stored, hook, hook_out)
    if layer is not None and stored.spec.reads is not None and stored.spec.reads.layer != layer:
        raise ArgumentError(f"layer is {layer}, but {files.name!r} reads {stored.spec.reads}.")
    return stored


def open_dictionaries(
    name: str | Path,
    *,
    k: int | None = None,
    input_scale: float | None = None,
    revision: str | None = None,
    local_only: bool = False,
) -> tuple[StoredDictionary, ...]:
    """All dictionaries of a set or of a cross-layer transcoder, lowest layer first; no weights are
    read. Arguments and errors are those of `load_dictionary`.
    """
    files = locate_files(str(name), revision=revision, local_only=local_only)
    known = recognise_layout(files)
    given = _check_given(known, files, GivenSettings(k, input_scale))
    members = known.list_members(files)
    stored = [known.open(files, given, layer) for layer in ([0] if members is None else members)]
    if not stored:
        raise ModelError(f"{files.name!r} holds no dictionaries. {_list_files(files)}")
    _refuse_leftovers(known, stored)
    return tuple(stored)


def recognise_layout(files: DictionaryFiles) -> DictionaryLayout:
    """The one layout that these files are in.

    Raises:
        ModelError: none, or several; says what there is and what layouts are known.
    """
    matches = [name for name in layouts.names() if layouts[name].recognise(files)]
    if len(matches) == 1:
        return layouts[matches[0]]
    known = [f"{name}: {layouts[name].holds}" for name in matches or layouts.names()]
    if matches:
        title = (
            f"{files.name!r} is in several layouts: name one of its files instead of the folder."
        )
    else:
        title = f"{files.name!r} is no dictionary in a known layout. {_list_files(files)} Known:"
    raise ModelError(list_problems(title, known))


def _list_files(files: DictionaryFiles) -> str:
    names = [files.only] if files.only else sorted(files.names)
    more = f" and {len(names) - _N_LISTED:,} more" if len(names) > _N_LISTED else ""
    return f"Its files: {', '.join(names[:_N_LISTED]) or 'none'}{more}."


def _check_given(
    known: DictionaryLayout, files: DictionaryFiles, given: GivenSettings
) -> GivenSettings:
    """Refuse settings that the files of this layout have themselves."""
    for setting in ("k", "input_scale"):
        value = getattr(given, setting)
        if value is not None and setting not in known.takes:
            raise ArgumentError(
                f"{setting} is {value}, but the files of {files.name!r} say it: leave it out."
            )
        if value is not None and not 0 < value < float("inf"):
            raise ArgumentError(f"{setting} is {value}, but must be above 0.")
    return given


def _place_dictionary(
    stored: StoredDictionary, hook: str | None, hook_out: str | None
) -> StoredDictionary:
    """The dictionary with the places that the user names."""
    if hook is None and hook_out is None:
        return stored
    if stored.spec.reads is not None:
        raise ArgumentError(
            f"{stored.name!r} says itself that it reads {stored.spec.reads}: leave hook and "
            "hook_out out."
        )
    if hook is None:
        raise ArgumentError("hook_out was given without hook: give both.")
    reads = parse_hook(hook)
    writes = parse_hook(hook_out) if hook_out else reads
    return replace(stored, spec=replace(stored.spec, reads=reads, writes=(writes,)))


def _refuse_leftovers(known: DictionaryLayout, stored: Sequence[StoredDictionary]) -> None:
    """Refuse tensors that are not read: what they would change is not known."""
    held = {tensor for one in stored for tensor in one.checkpoint.shapes}
    held -= {part.tensor for one in stored for _, part in one.parts}
    left = sorted(tensor for tensor in held if not re.fullmatch(known.unused, tensor))
    if left:
        title = f"{stored[0].name!r} holds tensors that nothing here reads:"
        raise ModelError(list_problems(title, left))
