"""A model's settings: its config.json, with what transformers fills in where a field is left out.

transformers takes two seconds to import. So the plain configurations of known families are read
here, by a table of defaults that tools/config_defaults.py made of transformers' own classes. What
is in any way unusual is left to transformers.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from circuitgraph.errors import ModelError, first_line
from circuitgraph.models.families import families
from circuitgraph.models.hub import quiet_transformers

_DEFAULTS = Path(__file__).parent / "families" / "defaults.json"
_KINDS = {
    int: "int",
    float: "float",
    bool: "bool",
    str: "str",
    type(None): "null",
    list: "list",
    dict: "dict",
}


def read_settings(
    name: str,
    location: str,
    content: Mapping[str, Any],
    options: Mapping[str, Any],
    ignored: Collection[str] = (),
) -> dict[str, Any]:
    """All settings of a checkpoint, as transformers has them once it has read config.json.

    Args:
        content: of config.json, without the fields that are to be ignored.
        options: of transformers' ``from_pretrained``.
        ignored: fields that are to be ignored.

    Raises:
        ModelError: transformers cannot use it either.
    """
    has_own_code = "auto_map" in content and options["trust_remote_code"]
    settings = None if has_own_code else complete_settings(content)
    if settings is None:
        settings = _read_with_transformers(name, location, options)
    return {field: value for field, value in settings.items() if field not in ignored}


def complete_settings(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings of a plain configuration of a known family; None if it takes transformers.

    The family understands every field that is returned.
    """
    table, model_type = _read_table(), content["model_type"]
    fields = table["families"].get(model_type)
    if fields is None or not _is_plain(content, fields):
        return None
    own = {field: value for field, value in content.items() if field not in table["generation"]}
    defaults = {field: entry["default"] for field, entry in fields.items()}
    family = families[model_type]
    try:
        settings = family.fill({**defaults, **own})
        if settings.get("hidden_size", 0) % settings.get("num_attention_heads", 1):
            return None  # which transformers refuses even where heads have a width of their own
        family.read_config(settings)
    except Exception:  # transformers may know better, or has the better message
        return None
    return settings


@cache
def _read_table() -> Mapping[str, Any]:
    return json.loads(_DEFAULTS.read_text(encoding="utf-8"))


def _is_plain(content: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Whether all fields are of the types that transformers wants.

    transformers also has rules of its own for a rotary embedding that is said twice, or by null.
    """
    if content.get("rope_scaling") and content.get("rope_parameters"):
        return False
    if any(name in content and content[name] is None for name in ("rope_theta", "rotary_pct")):
        return False
    return all(
        _KINDS[type(content[field])] in entry["types"]
        for field, entry in fields.items()
        if field in content
    )


def _read_with_transformers(name: str, location: str, options: Mapping[str, Any]) -> dict[str, Any]:
    with quiet_transformers():
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(location, **options).to_dict()
        except Exception as error:
            raise ModelError(
                f"The config.json of {name!r} cannot be used: {first_line(error)}"
            ) from error
