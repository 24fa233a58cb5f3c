"""Settings of config.json without transformers: the same as transformers makes of it, or none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from transformers import CONFIG_MAPPING

from circuitgraph.models import settings
from circuitgraph.models.families import COMMON_IRRELEVANT, families
from circuitgraph.models.settings import complete_settings
from circuitgraph.models.spec import Spec
from tests.parity.cases import CASES
from tools.config_defaults import LEFT_TO_TRANSFORMERS, collect_defaults

FAMILIES = sorted({label.partition(":")[0] for label in CASES})
OLD_SPELLINGS: list[dict[str, Any]] = [
    {"rope_theta": 77.0},
    {"rope_theta": None},
    {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 55.0},
    {"rope_scaling": None, "partial_rotary_factor": 0.5},
    {"rotary_pct": 0.5, "rotary_emb_base": 300},
    {"rope_local_base_freq": 33.0, "rope_theta": 44.0, "sliding_window_pattern": 2},
    {"max_length": 30, "temperature": 0.5, "num_labels": 3},
    {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
]


def read_by_transformers(content: dict[str, Any]) -> Any:
    """What a model is by transformers' own reading; None if that, or the family, refuses."""
    try:
        config = CONFIG_MAPPING[content["model_type"]].from_dict(deepcopy(content))
        return understand(config.to_dict())
    except Exception:  # of many kinds
        return None


def understand(content: dict[str, Any]) -> tuple[Spec, Any]:
    configured, spec = families[content["model_type"]].read_config(content)
    return spec, sorted(configured.names)


def change(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The configuration with one field left out, null, or of another type; and older spellings."""
    for field in content.keys() - COMMON_IRRELEVANT:
        yield {name: value for name, value in content.items() if name != field}
        yield content | {field: None}
        yield content | {field: str(content[field])}
    for spelling in OLD_SPELLINGS:
        yield content | spelling
        yield {k: v for k, v in content.items() if not k.startswith("rope")} | spelling
        yield {"model_type": content["model_type"], **spelling}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_type", FAMILIES)
def test_settings_are_those_of_transformers_or_left_to_it(model_type: str) -> None:
    """Of the parity cases, as their author wrote them, and with every field that there is."""
    n_quick = 0
    for label, fields in CASES.items():
        if label.partition(":")[0] != model_type:
            continue
        config = CONFIG_MAPPING[model_type](**fields)
        whole = json.loads(config.to_json_string(use_diff=False))
        for content in ({**fields, "model_type": model_type}, whole):
            for changed in (content, *(change(whole) if content is whole else ())):
                plain = json.loads(json.dumps(changed))
                quick = complete_settings(plain)
                if quick is not None:
                    assert understand(quick) == read_by_transformers(plain), changed
                    n_quick += 1
    is_left = model_type in LEFT_TO_TRANSFORMERS
    assert n_quick == 0 if is_left else n_quick > 20


def test_the_table_of_defaults_is_that_of_the_installed_transformers() -> None:
    """Else run tools/config_defaults.py, as its first line says."""
    assert json.loads(json.dumps(collect_defaults())) == settings._read_table()
