"""A model without a tokenizer, from pairs of token ids to a tested hypothesis."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import shipped_models
from circuitgraph.tasks.loading import load_task
from tests.hypotheses.texts import SHIPPED
from tests.users import circuitgraph

N_PAIRS = 500  # so that values are shared among prompts, as scrubbing needs


def write_ids(file: Path, shipped: LanguageModel) -> None:
    """The shipped task's pairs as ids, and which ids are alike."""
    tokenizer = shipped.tokenizer
    assert tokenizer is not None
    task = load_task("induction", shipped, min_words=5, max_words=6)
    pairs = [pair for split in ("discovery", "evaluation") for pair in task.pairs(N_PAIRS, split)]
    alike = sorted({str(token) for pair in pairs for token in tokenizer.encode(pair.clean)})
    lines = [{"words": {"tokens": alike}}] + [
        {
            "clean": tokenizer.encode(pair.clean),
            "corrupted": tokenizer.encode(str(pair.corrupted)),
            "answer": tokenizer.encode(str(pair.answer))[0],
            "distractor": tokenizer.encode(str(pair.distractor))[0],
            "roles": dict(pair.roles),
        }
        for pair in pairs
    ]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


@pytest.mark.slow
def test_values_are_ids_and_relabelling_exchanges_them(
    tmp_path: Path, shipped: LanguageModel
) -> None:
    """Every claim of the shipped hypothesis holds on ids as well, but those that need no file."""
    folder = tmp_path / "mute"
    shutil.copytree(shipped_models()["induction-2l"], folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    write_ids(tmp_path / "ids.jsonl", shipped)
    text = (SHIPPED / "induction.py").read_text()
    text = text.replace('task="induction", model="induction-2l"', 'task="ids.jsonl", model="mute"')
    (tmp_path / "mine.py").write_text(text[: text.index('H.property("interchange"')])
    ran = circuitgraph("test", "--json", "--profile", "ci", tmp_path / "mine.py", "--prompts", "60")
    claims = {claim["claim"]: claim for claim in json.loads(ran.stdout)["claims"]}
    holds = claims["holds[token_names_do_not_matter]"]
    assert (holds["verdict"], claims["property[behaviour]"]["verdict"]) == ("held", "held"), holds
    assert claims["program"]["verdict"] == "held"
    assert claims["scrub"]["verdict"] in ("held", "not shown")  # so few prompts show little
