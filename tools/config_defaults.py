"""What transformers fills in where a config.json leaves a field out, as a JSON file.

    python tools/config_defaults.py --write circuitgraph/models/families/defaults.json

With this file a model of a known family is loaded without transformers. It has, for each family,
the default and the types of every field that the family's file names. A test compares it with the
transformers that is installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import CONFIG_MAPPING, GenerationConfig

from circuitgraph.models.families import COMMON_IRRELEVANT, COMMON_REQUIRED, families
from circuitgraph.models.families.transformer_lens import TransformerLens

# Their classes make fields of others in ways of their own, or refuse what others take: transformers
# itself reads their configurations (`tests/models/test_settings.py` shows which need that).
LEFT_TO_TRANSFORMERS = {
    *("codegen", "cwm", "gemma3", "glm", "glm4", "glm4_moe"),
    *("gpt_oss", "internlm3", "nemotron", "persimmon", "qwen2_moe"),
}
_KINDS = {int: "int", float: "float", bool: "bool", str: "str", type(None): "null"}


def collect_defaults() -> dict[str, Any]:
    """The content of the file."""
    known = [
        name
        for name in families.names()
        if not isinstance(families[name], TransformerLens) and name not in LEFT_TO_TRANSFORMERS
    ]
    return {
        "generation": sorted(GenerationConfig._get_default_generation_params()),
        "families": {name: _list_fields(name) for name in known},
    }


def format_defaults(content: dict[str, Any]) -> str:
    """The content as JSON, a line for each field."""
    lines = []
    for name, fields in content["families"].items():
        listed = ",\n".join(
            f"  {json.dumps(f)}: {json.dumps(entry)}" for f, entry in fields.items()
        )
        lines.append(f" {json.dumps(name)}: {{\n{listed}\n }}")
    generation = json.dumps(content["generation"])
    return f'{{"generation": {generation},\n"families": {{\n' + ",\n".join(lines) + "\n}}\n"


def _list_fields(model_type: str) -> dict[str, Any]:
    """The default of each field that the family names, and the types that it may have."""
    config_class = CONFIG_MAPPING[model_type]
    family = families[model_type]
    hints = typing.get_type_hints(config_class, localns={"torch": torch})
    names = {*family.handled, *family.irrelevant, *family.required}
    names |= {*COMMON_IRRELEVANT, *COMMON_REQUIRED}
    fields = {}
    for field in dataclasses.fields(config_class):
        if field.name in names:
            is_made = field.default is dataclasses.MISSING
            default = field.default_factory() if is_made else field.default  # pyright: ignore
            name = config_class.attribute_map.get(field.name, field.name)
            fields[name] = {"default": default, "types": _list_kinds(hints[field.name])}
    theta = config_class.default_theta
    if "rope_parameters" in fields and isinstance(theta, (int, float)):
        fields["rope_theta"] = {"default": theta, "types": ["float", "int"]}
    return dict(sorted(fields.items()))


def _list_kinds(hint: Any) -> list[str]:
    """The JSON types that an annotation allows, by name."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return sorted({_KINDS[type(value)] for value in typing.get_args(hint)})
    if origin in (typing.Union, types.UnionType):
        return sorted({kind for part in typing.get_args(hint) for kind in _list_kinds(part)})
    if origin is typing.Annotated:
        return _list_kinds(typing.get_args(hint)[0])
    plain = origin or hint
    if plain in _KINDS:
        return [_KINDS[plain]]
    if issubclass(plain, (list, tuple)):
        return ["list"]
    return ["dict"]  # of settings, or a configuration within the configuration


def main() -> None:
    """Print the file's content, or write it."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE")
    path = parser.parse_args().write
    text = format_defaults(collect_defaults())
    if path is None:
        print(text, end="")
    else:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
