"""Dictionaries trained on a file of tokens: what is read, what is refused, the same bits again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import circuitgraph as cg
from circuitgraph.catalog.dictionary_record import TrainingRecord
from circuitgraph.cli.main import main
from circuitgraph.engine.splice import collect_values
from circuitgraph.errors import CircuitGraphError
from circuitgraph.jobs import token_values
from circuitgraph.jobs import train_dictionary as dictionary_training
from circuitgraph.jobs.token_values import cut_token_file
from circuitgraph.jobs.train_dictionary import train_dictionary_on_file
from circuitgraph.models.dictionaries.hooks import Hook
from circuitgraph.models.dictionaries.training import TrainingSettings
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks import token_documents, token_file
from circuitgraph.tasks.token_file import TokenFile, open_token_file

OUT = Hook("attention_output", 1)
SETTINGS = TrainingSettings(n_features=64, k=6, steps=300, batch=16)
WIDTH = 12


@pytest.fixture(scope="module")
def ids(shipped: LanguageModel) -> np.ndarray:
    """Sequences of token ids."""
    words = shipped.text_tokenizer.vocabulary()
    return np.random.default_rng(0).choice(words, (120, WIDTH)).astype(np.int32)


@pytest.fixture
def array(ids: np.ndarray, tmp_path: Path) -> Path:
    np.save(tmp_path / "ids.npy", ids)
    return tmp_path / "ids.npy"


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 200 tokens, and marks between as few."""
    monkeypatch.setattr(token_values, "_BLOCK_BYTES", 4 * 64 * 200)
    monkeypatch.setattr(token_file, "_BETWEEN_MARKS", 50)
    monkeypatch.setattr(token_documents, "_PIECE", 100)


def read_all(file: TokenFile) -> list[tuple[int, ...]]:
    return file.read_sequences(0, file.n_tokens)[0]


def test_the_same_ids_in_all_layouts(
    shipped: LanguageModel, ids: np.ndarray, array: Path, tmp_path: Path
) -> None:
    save_file({"tokens": ids, "other": np.zeros(3)}, tmp_path / "a.safetensors")
    lines = [json.dumps(row if n % 2 else {"tokens": row}) for n, row in enumerate(ids.tolist())]
    (tmp_path / "a.jsonl").write_text("\n\n".join(lines))
    paths = [array, tmp_path / "a.safetensors", tmp_path / "a.jsonl"]
    files = [open_token_file(path, shipped, context=WIDTH) for path in paths]
    rows = {tuple(row) for row in ids.tolist()}
    for file in files:
        read = read_all(file)
        assert set(read) | set(file.judged) == rows
        assert not set(read) & set(file.judged)
        assert (read, file.judged) == (read_all(files[0]), files[0].judged)
    assert 5 < len(files[0].judged) < 30
    limited = open_token_file(array, shipped, context=WIDTH, limit=40)
    assert read_all(limited) == read_all(files[0])[:40]


def test_text_is_cut_into_sequences(
    shipped: LanguageModel, ids: np.ndarray, tmp_path: Path, small_pieces: None
) -> None:
    tokenizer = shipped.text_tokenizer
    lines = [tokenizer.decode(row) + " \n" for row in ids.tolist()]
    (tmp_path / "a.txt").write_text("".join(lines))
    file = open_token_file(tmp_path / "a.txt", shipped, context=10)
    sequences, n_prefix = [*read_all(file), *file.judged], len(tokenizer.prefix)
    assert max(map(len, sequences)) == 10
    assert {each[:n_prefix] for each in sequences} == {tokenizer.prefix}
    inside = sorted(token for each in sequences for token in each[n_prefix:])
    # a piece's rest of one token is left out
    assert ids.size - len(lines) < len(inside) <= ids.size
    documents = list(file.documents.read(file.documents.start))
    assert len(documents) > 20
    assert [t for document in documents for t in document.ids] == ids.reshape(-1).tolist()
    for start, stop in ((0, 7), (333, 505), (file.n_tokens - 3, file.n_tokens)):
        part, skip = file.read_sequences(start, stop)
        tokens = [token for each in part for token in each][skip : skip + stop - start]
        assert tokens == [token for each in read_all(file) for token in each][start:stop]


def test_blocks_are_the_values_of_the_file(
    shipped: LanguageModel, array: Path, small_pieces: None
) -> None:
    file = open_token_file(array, shipped, context=WIDTH)
    blocks = cut_token_file(shipped, file, [OUT])
    assert blocks.n_blocks > 3
    rows = np.array(read_all(file), np.int32)
    (whole,) = collect_values(shipped.transformer, rows, np.ones_like(rows, bool), [OUT])
    parts = [blocks.read(number)[0] for number in range(blocks.n_blocks)]
    assert {len(part) for part in parts} == {blocks.n_tokens}
    read = np.concatenate(parts)
    assert 0 <= len(whole) - len(read) < blocks.n_blocks
    np.testing.assert_allclose(read, whole[: len(read)], atol=1e-5)
    # 50 steps of 16 tokens for each block: all of them one after the other, or some of them
    assert blocks.n_blocks == 12
    for n_steps, numbers in ((1200, [*range(12), *range(12)]), (300, range(0, 12, 2))):
        launches = [blocks.plan_launch(step, 16, n_steps) for step in range(0, n_steps, 50)]
        assert launches == [(number, 50) for number in numbers]


def test_interrupted_or_not_the_same_dictionary(
    shipped: LanguageModel,
    array: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_pieces: None,
) -> None:
    file = open_token_file(array, shipped, context=WIDTH)

    def train(folder: str, resume: bool = False) -> TrainingRecord:
        place = tmp_path / folder
        return train_dictionary_on_file(shipped, file, OUT, OUT, SETTINGS, place, resume=resume)

    record = train("whole")
    assert record.unexplained < 0.9
    assert (record.n_tokens, record.task.name) == (file.n_tokens, "ids")
    assert (record.splice.answer, record.splice.n_prompts) == (None, len(file.judged))
    assert record.splice.next_token is not None

    runs: Iterator[int] = iter(range(9))
    steps = dictionary_training.train_steps

    def stop_third(*arguments: Any) -> Any:
        if next(runs) == 2:
            raise KeyboardInterrupt
        return steps(*arguments)

    monkeypatch.setattr(dictionary_training, "_SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(dictionary_training, "train_steps", stop_third)
    with pytest.raises(KeyboardInterrupt):
        train("parts")
    train("parts", resume=True)
    whole, again = (cg.load_dictionary(tmp_path / name) for name in ("whole", "parts"))
    for name in ("w_enc", "b_enc", "w_dec", "b_dec", "threshold"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))


def save_array(values: Any, name: str = "a.npy") -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        np.save(folder / name, values)
        return name

    return save


def write(name: str, content: bytes) -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        (folder / name).write_bytes(content)
        return name

    return save


def claim_more(folder: Path) -> str:
    """An array whose header claims a billion rows."""
    np.save(folder / "a.npy", np.zeros((100, 4), np.int32))
    content = (folder / "a.npy").read_bytes()
    (folder / "a.npy").write_bytes(content.replace(b"(100, 4)", b"(999999999, 4)", 1)[:-400])
    return "a.npy"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: "gone.txt", "There is no file"),
        (write("a.csv", b""), "is none of"),
        (write("a.txt", b""), "is too small"),
        (write("a.txt", b"\xff\xfe"), "is no text in UTF-8 from line 1"),
        (write("a.txt", b"dog\nunheard-of"), "line 1 of .* does not know, after"),
        (write("a.jsonl", b'[1, 2]\n{"text": 3}'), "Line 2 of .* holds neither a text nor"),
        (write("a.jsonl", b"[1, 2]\n[1, true]"), "Line 2 of .* holds neither a text nor"),
        (write("a.jsonl", b"[1, 2]\n\n[1,"), "Line 3 of .* is no JSON"),
        (write("a.jsonl", b"[1, 2]\n[1, 2, -1]"), "Line 2 of .* holds the token id -1"),
        (save_array([[1, 2], [3, 10**6]]), "Row 1 of .* holds the token id 1000000"),
        (save_array(np.zeros((3, 4))), r"has the shape \[3, 4\] of float64"),
        (save_array(np.zeros(3, int)), r"has the shape \[3\] of int64"),
        (
            save_array(np.array([[object()]])),
            "cannot be read: Array can't be memory-mapped: Python objects",
        ),
        (claim_more, "cannot be read"),
        (write("a.npy", b"PK\x03\x04"), "cannot be read"),
        (write("a.safetensors", b"\x08"), "is truncated or is no safetensors"),
    ],
)
def test_what_is_refused(
    shipped: LanguageModel, tmp_path: Path, make: Callable[[Path], str], message: str
) -> None:
    with pytest.raises(CircuitGraphError, match=message):
        open_token_file(tmp_path / make(tmp_path), shipped)


def test_the_command(
    array: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", f"circuitgraph train-sae {words}".split())
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return int(str(ended.value.code)), shown.out, shown.err

    words = f"--tokens {array} --hook blocks.1.hook_attn_out --features 40 --k 4 --steps 5"
    words += f" --batch 32 --context {WIDTH} --out {tmp_path / 'made'} --json"
    code, out, _ = run(f"--model induction-2l {words}")
    assert code == 0
    record = TrainingRecord.model_validate_json(out)
    assert record.task.arguments == {"tokens": str(array), "context": WIDTH}
    for more, message in (
        ("", "--tokens says nothing of a model"),
        ("--model induction-2l --task induction", "--tokens stands instead of"),
    ):
        assert message in run(f"{words} {more} --resume")[2]
    words = "--task induction --hook blocks.1.hook_attn_out --context 3 --out x"
    assert "--context is about a file of --tokens" in run(words)[2]
