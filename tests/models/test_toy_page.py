"""The example of docs/toy-models.md runs, and its recipes are configurations that load."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from circuitgraph.models.loading import load_model
from tests.models.checkpoint_files import gate
from tests.models.test_state_dict_layout import save_toy
from tests.models.toys import Toy, random_weights

PAGE = (Path(__file__).parents[2] / "docs" / "toy-models.md").read_text()


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/toy-models.md", "exec"), {})  # noqa: S102
    assert re.fullmatch(r"\(2, 3, 5\) \['[0-4]', '[0-4]'\]\n", capsys.readouterr().out)


@pytest.mark.parametrize("number", [0, 1])
def test_the_recipes_load(tmp_path: Path, number: int) -> None:
    recipe = re.findall(r"`(\{.*?\})`", PAGE, re.DOTALL)[number]
    config = json.loads(re.sub(r"\s+", " ", recipe))
    weights = random_weights(config | {"d_vocab_out": config["d_vocab"]}, mlp_bias=True)
    weights = {name: w / 4 for name, w in weights.items()}  # wider than the other toys
    rate, causal = config.get("attn_coeff", 1.0), "attention_dir" not in config
    toy = Toy(weights, config, rate=rate, causal=causal)
    model = load_model(save_toy(tmp_path, toy.weights), config=config)
    tokens = np.random.default_rng(0).integers(0, config["d_vocab"], (2, config["n_ctx"]))
    theirs = toy.run(torch.tensor(tokens))["logits"].numpy()
    assert np.abs(theirs).max() > 0.5
    np.testing.assert_allclose(model.logits(tokens), theirs, atol=gate(theirs))
