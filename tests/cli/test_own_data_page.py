"""The commands of docs/own-data.md do what the page says, for models of each kind that it names."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, normalizers, processors
from tokenizers.models import Unigram
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from circuitgraph.tasks.pair_lines import read_pair_file
from tests.cli.conftest import Ran
from tests.models.toys import random_weights, toy_config

PAGE = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text()
LOOK, TOY, REAL = (block.splitlines() for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
PAIR, HEADER, IDS = map(json.loads, re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
NOUNS = ("lamp", "boat", "road", "hill", "fish", "tree", "coin", "door")
CHAT = "<s>{% for m in messages %}user {{ m['content'] }} say (say{% endfor %}"


def save_llama(folder: Path, template: str | None = None) -> None:
    """A random Llama whose tokenizer puts BOS and a space before a text, as Llama 2's."""
    words = ["the", "by", "say", "(", "is", "are", "user", *NOUNS]
    words += ["The", "keys", "key", "to", "cabinet"]
    pieces = [
        *("<unk>", "<s>", "</s>", "▁", "("),
        *(f"▁{word}" for word in words),
        *NOUNS,
        *sorted(set("".join(words)) - {"("}),
    ]
    vocab = [(piece, -1.0 if len(piece) > 1 else -5.0) for piece in dict.fromkeys(pieces)]
    backend = Tokenizer(Unigram(vocab, unk_id=0))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair=None, special_tokens=[("<s>", 1)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    tokenizer.chat_template = template
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
    )
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.data.mul_(12.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_pairs(file: str, lines: Sequence[dict[str, Any]]) -> None:
    Path(file).write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def follow(run: Callable[..., Ran], command: str) -> Ran:
    program, *arguments = shlex.split(command)
    assert program == "circuitgraph"
    ran = run(*arguments)
    assert ran.code in (0, 1), ran.err  # 1: `pairs check` of a model that solves nothing
    return ran


def lamps(ending: str) -> list[dict[str, Any]]:
    return [
        {
            "clean": f"the {a} by the {b}{ending}",
            "corrupted": f"the {b} by the {a}{ending}",
            "answer": a if ending else f" {a}",
            "distractor": b if ending else f" {b}",
        }
        for a in NOUNS[:4]
        for b in NOUNS[4:]
    ]


@pytest.mark.slow
def test_a_model_with_bos_a_chat_model_and_one_pair(run: Callable[..., Ran], here: Path) -> None:
    save_llama(Path("llama"))
    save_llama(Path("chat"), CHAT)
    write_pairs("lamps.jsonl", lamps(" ("))
    answers = {"answer": " is", "distractor": " are"}
    write_pairs("questions.jsonl", [pair | answers for pair in lamps("")])
    write_pairs("one.jsonl", lamps(" (")[:1])
    bos, without, chat, one = (follow(run, command) for command in REAL)
    records = [
        json.loads((here / "runs" / name / "circuit.json").read_text())
        for name in ("lamps", "lamps-without-bos", "chat", "one")
    ]
    assert "'<s>' stands before every prompt, as the tokenizer itself does" in bos.err
    assert "The first prompt: '<s>' 'the'" in bos.err
    assert "was left out as asked for" in without.err
    assert "The first prompt: 'the'" in without.err
    assert re.search(r"The whole model gives a right answer first on \d+ of \d+ prompts", bos.err)
    assert "'<s>' 'user' 'the'" in chat.err
    assert "'<s>' '<s>'" not in chat.err
    assert "Not judged" in one.out
    arguments = [record["task"]["arguments"] for record in records]
    assert [each.get("bos") for each in arguments] == ["yes", "no", "no", "yes"]
    assert [each.get("chat") for each in arguments] == [None, None, True, None]
    assert records[3]["evaluation"] is None
    assert records[3]["task"]["arguments"]["judging"] is False
    # with and without BOS the same prompts are kept for judging
    assert records[0]["task"]["n_prompts"] == records[1]["task"]["n_prompts"]


@pytest.mark.slow
def test_looking_first_then_searching(run: Callable[..., Ran], here: Path) -> None:
    """The first commands, with the page's own line among the pairs."""
    save_llama(Path("my-model"))
    more = [
        PAIR | {"clean": f"The {a} to the {b}", "corrupted": f"The key to the {b}"}
        for a in ("keys", "boat")
        for b in NOUNS
    ]
    write_pairs("pairs.jsonl", [PAIR, *more])
    check, _, evaluated = (follow(run, command) for command in LOOK)
    assert "1: ' key'" not in check.out
    assert "2: 'key'" in check.out
    assert "' are', not ' is'" in check.out
    assert "accuracy" in evaluated.out
    (here / "pairs.jsonl").write_text((here / "pairs.jsonl").read_text() + "\n\n")
    assert "has changed since the circuit was searched for" in follow(run, LOOK[2]).err


@pytest.mark.slow
def test_a_toy_without_a_tokenizer(run: Callable[..., Ran], here: Path) -> None:
    config = toy_config(d_vocab=6, d_vocab_out=5, n_ctx=3)
    torch.save(random_weights(config), here / "toy.pt")
    (here / "toy.json").write_text(json.dumps(config))
    lines = [
        {**IDS, "clean": [a, b, 5], "corrupted": [b, (a + 1) % 5, 5]}
        for a in range(5)
        for b in range(5)
        if [a, b] != [b, (a + 1) % 5]
    ]
    write_pairs("sums.jsonl", lines)
    check, discovered = (follow(run, command) for command in TOY)
    assert "'3' '1' '5'" in check.out or "'3' '1' '='" in check.out
    assert "edges" in discovered.out


def test_the_header_of_the_page_is_one(here: Path) -> None:
    write_pairs("pairs.jsonl", [HEADER, {"clean": "a b"}])
    file = read_pair_file(here / "pairs.jsonl")
    assert file.problems == []
    assert file.header.model_dump(exclude_none=True) == HEADER
