"""``compile --verify`` sees every part that is missing or wrong, however small its share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.evaluation.parity import ROUNDINGS, verify
from circuitgraph.models.families import families
from circuitgraph.models.loading import load_model
from circuitgraph.models.spec import Spec
from tests.parity.harness import save_random

_SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40,
    "head_dim": 8,
}
# Caps, scale and epsilon as Gemma 2 has them; the weights are such that scores reach about 3 and
# logits about 5: a cap of 50 or 30 changes little there.
_GEMMA2 = {**_SIZES, "sliding_window": 20, "query_pre_attn_scalar": 10}
_MODELS = {"gemma2": _GEMMA2, "llama": _SIZES}

Plant = Callable[[Spec], Spec]


def _without_last_window(spec: Spec) -> Spec:
    return replace(spec, windows=(*spec.windows[:-2], None, None))


def _with_eps(factor: float) -> Plant:
    def change(spec: Spec) -> Spec:
        norm = replace(spec.norm, eps=spec.norm.eps * factor) if spec.norm else None
        return replace(spec, norm=norm)

    return change


_PLANTS: dict[str, tuple[str, Plant]] = {
    "no final cap": ("gemma2", lambda spec: replace(spec, logit_softcap=None)),
    "no cap of 50 on scores": ("gemma2", lambda spec: replace(spec, attn_softcap=None)),
    # the smallest of all, by some ten roundings
    "a cap of 50.2 on scores": ("gemma2", lambda spec: replace(spec, attn_softcap=50.2)),
    "no scale of the embedding": ("gemma2", lambda spec: replace(spec, embed_scale=1.0)),
    "no scale of the scores": ("gemma2", lambda s: replace(s, attn_scales=(8**-0.5,) * 4)),
    "no window in one layer": ("gemma2", _without_last_window),
    "rotation of neighbours": ("llama", lambda spec: replace(spec, rope_pairs="neighbours")),
    "another epsilon": ("llama", _with_eps(0.1)),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("planted")
    return {
        name: save_random(folder / name, name, scale=0.2, **fields)
        for name, fields in _MODELS.items()
    }


def _verify_planted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, family: str, plant: Plant
) -> Any:
    kind = type(families[family])
    honest = kind.spec
    monkeypatch.setattr(kind, "spec", lambda self, config: plant(honest(self, config)))
    return verify(load_model(folder))


@pytest.mark.parametrize("name", _PLANTS)
def test_a_planted_error_is_seen(
    name: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    family, plant = _PLANTS[name]
    parity = _verify_planted(folders[family], monkeypatch, family, plant)
    assert not parity.held
    assert (parity.difference or 0) > 2 * ROUNDINGS * (parity.rounding or 0)


@pytest.mark.parametrize("family", _MODELS)
def test_the_model_itself_holds(family: str, folders: dict[str, Path]) -> None:
    parity = verify(load_model(folders[family]))
    assert parity.held
    assert parity.rounding is not None
    assert parity.difference is not None
    assert 0 < parity.difference <= ROUNDINGS * parity.rounding
