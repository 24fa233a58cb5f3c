"""Every reader of files that others may have written, each with files that it can read."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mutations import Change, change_entry, change_gguf, change_header

ROOT = Path(__file__).resolve().parent.parent
CIRCUIT = ROOT / "catalog" / "circuits" / "induction-2l" / "induction" / "acdc"
MODEL = ROOT / "catalog" / "models" / "induction-2l"
PAIRS = (
    b'{"clean": "dog chair moon dog", "corrupted": "dog chair moon moon", "answer": " chair", '
    b'"distractor": " moon", "roles": {"end": -1}, "score_at": "end"}\n'
)
CONFIG = b"threshold = 0.5\nlimit = 10\nthresholds = [0.1, 0.2]\n[set]\nsteps = 5\n"
IN_ENTRY = ("circuit.json", "judgement.json", "evidence/claims-x.json", "card.md")
SCORES = "scores.safetensors"
CLAIMS = {
    "claims": [
        {"file": "h.py", "hypothesis": "x", "claim": "c", "verdict": "held", "summary": "s"}
        | {"detail": "", "seconds": 0.5}
    ],
    "errors": [],
    "counts": {"held": 1},
}
GGUF = ("gpt2", "llama")  # kinds of its tokenizer
FORMATS = {"mib-json": "x.json", "mib-pt": "x.pt", "edge-list": "x.csv"}
FORMATS |= {"auto-circuit": "x.txt", "acdc": "x.txt"}
LISTS = {
    "auto-circuit": b"Resid Start->A0.1.Q, 0.5\nA0.1->MLP 1\nMLP 1->Resid End, -1e-3\n",
    "acdc": b"blocks.1.hook_q_input[:, :, 0] <- blocks.0.attn.hook_result[:, :, 1]\n"
    b"(('blocks.1.hook_resid_post', [:], 'blocks.1.hook_mlp_out', [:]), 0.25)\n",
}
TRANSFORMER_LENS = {
    "n_layers": 1,
    "d_model": 8,
    "n_ctx": 8,
    "d_head": 4,
    "n_heads": 2,
    "d_vocab": 6,
    "attn_only": True,
    "act_fn": None,
    "normalization_type": None,
}


@dataclass(frozen=True)
class Reader:
    """A way to read one file.

    Attributes:
        file: the name of the file that is mutated.
        make: writes the unharmed files into a folder.
        read: reads what is in the folder.
        change: a change that knows this kind of file.
    """

    name: str
    file: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    change: Change | None = None


def list_readers() -> list[Reader]:
    """Every reader of files that others may have written."""
    return [
        Reader("circuit", "circuit.json", _copy(CIRCUIT), _read_circuit),
        Reader("scores", "scores.safetensors", _copy(CIRCUIT), _read_circuit, change_header),
        Reader("config.json", "config.json", _copy(MODEL), _load_model),
        Reader("weights", "model.safetensors", _copy(MODEL), _load_model, change_header),
        Reader("tokenizer", "tokenizer.json", _copy(MODEL), _load_model),
        Reader("tokenizer config", "tokenizer_config.json", _copy(MODEL), _load_model),
        Reader("index", "model.safetensors.index.json", _write_index, _load_model),
        Reader("TransformerLens config", "x.json", _write_lens, lambda d: _load_model(d / "x.pt")),
        Reader("TransformerLens weights", "x.pt", _write_lens, lambda d: _load_model(d / "x.pt")),
        *(Reader(f"GGUF, {k}", "x.gguf", _write_gguf(k), _load_gguf, change_gguf) for k in GGUF),
        Reader("journal", "x.jsonl", _write_journal, _resume_same),
        Reader("journal, checks right", "x.jsonl", _write_journal, _resume_search, change_entry),
        Reader("pairs", "x.jsonl", _write("x.jsonl", PAIRS * 3), _read_pairs("x.jsonl")),
        Reader("table of pairs", "x.csv", _write("x.csv", b"clean,answer\na b, c\n"), _read_table),
        Reader("leaderboard cell", "t/m/a.json", _write_cell, _read_cells),
        Reader("stored hypothesis", "h.json", _write_hypothesis, _read_hypothesis),
        *(Reader(f"catalog, {f}", f"m/t/a/{f}", _write_catalog, _read_catalog) for f in IN_ENTRY),
        Reader("catalog, scores", f"m/t/a/{SCORES}", _write_catalog, _read_catalog, change_header),
        Reader("catalog in a zip", "c.zip", _write_zip, _read_zip),
        Reader("options", "c.toml", _write("c.toml", CONFIG), _read_options),
        *(
            Reader(f"circuit, {name}", file, _write_format(name, file), _read_format(name, file))
            for name, file in FORMATS.items()
        ),
    ]


# The corpus


def _copy(source: Path) -> Callable[[Path], None]:
    def copy_files(folder: Path) -> None:
        for path in source.iterdir():
            shutil.copy(path, folder)

    return copy_files


def _write(file: str, content: bytes) -> Callable[[Path], None]:
    def write_file(folder: Path) -> None:
        (folder / file).write_bytes(content)

    return write_file


def _write_index(folder: Path) -> None:
    _copy(MODEL)(folder)
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": {"wte.weight": "a.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _write_lens(folder: Path) -> None:
    import torch

    shapes = {"embed.W_E": (6, 8), "pos_embed.W_pos": (8, 8), "unembed.W_U": (8, 6)}
    shapes |= {f"blocks.0.attn.W_{x}": (2, 8, 4) for x in "QKV"} | {"blocks.0.attn.W_O": (2, 4, 8)}
    generator = torch.Generator().manual_seed(0)
    torch.save({n: torch.randn(s, generator=generator) for n, s in shapes.items()}, folder / "x.pt")
    (folder / "x.json").write_text(json.dumps(TRANSFORMER_LENS))


def _write_format(name: str, file: str) -> Callable[[Path], None]:
    """A circuit of a small graph; lists of tools that circuitgraph does not write are by hand."""
    if name in LISTS:
        return _write(file, LISTS[name])

    def write_file(folder: Path) -> None:
        import numpy as np

        from circuitgraph.graph.circuit import Circuit
        from circuitgraph.graph.graph import Graph
        from circuitgraph.jobs.export import export_circuit

        graph = Graph(2, 2)
        circuit = Circuit.top(graph, np.arange(graph.n_edges) / 7, 20)
        options: dict[str, Any] = {} if name == "edge-list" else {"d_model": 8}
        export_circuit(circuit, folder / file, name, **options)

    return write_file


def _write_cell(folder: Path) -> None:
    (folder / "t" / "m").mkdir(parents=True)
    question = {"task": "t", "model": "m", "weights_sha256": "0", "algorithm": "a"}
    question |= {"arguments": {"threshold": 0.5}, "metric": "kl", "ablation": "zero", "seed": 0}
    question |= {"n_discovery": 5, "n_evaluation": 5, "n_bootstraps": 0}
    cell = {"question": question, "score": None, "refused": "why | not"}
    (folder / "t" / "m" / "a.json").write_text(json.dumps(cell))


def _write_hypothesis(folder: Path) -> None:
    variable = {"name": "y", "parents": [], "sites": ["a0.h3"], "source": "def y(p):\n    return 1"}
    record = {"name": "h", "task": "induction", "model": "m", "variables": [variable]}
    record |= {"output": "y", "properties": [{"name": "p", "kind": "injective", "settings": {}}]}
    (folder / "h.json").write_text(json.dumps(record))


def _write_gguf(kind: str) -> Callable[[Path], None]:
    """A model of one layer, with bytes and one merged pair as tokens."""

    def write_file(folder: Path) -> None:
        import gguf
        import numpy as np

        writer, rng = gguf.GGUFWriter(folder / "x.gguf", "llama"), np.random.default_rng(0)
        tokens = _write_gguf_tokenizer(writer, kind)
        sizes = {"context": 16, "embedding": 8, "feed_forward": 8, "key": 4, "value": 4}
        for name, size in sizes.items():
            getattr(writer, f"add_{name}_length")(size)
        for name in ("block_count", "head_count_kv"):
            getattr(writer, f"add_{name}")(1)
        writer.add_head_count(2)
        writer.add_layer_norm_rms_eps(1e-5)
        shapes = {"attn_q": (8, 8), "attn_k": (4, 8), "attn_v": (4, 8), "attn_output": (8, 8)}
        shapes |= {f"ffn_{part}": (8, 8) for part in ("up", "down", "gate")}
        shapes |= {"attn_norm": (8,), "ffn_norm": (8,)}
        whole = {f"blk.0.{name}": shape for name, shape in shapes.items()}
        whole |= {"token_embd": (len(tokens), 8), "output_norm": (8,)}
        for name, shape in whole.items():
            writer.add_tensor(f"{name}.weight", rng.normal(size=shape).astype(np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return write_file


def _write_gguf_tokenizer(writer: Any, kind: str) -> list[str]:
    letters = ["d", "o", "g", "do", "dog"]
    if kind == "llama":
        letters = ["<unk>", "\u2581", *letters, *(f"<0x{byte:02X}>" for byte in range(256))]
        writer.add_token_scores([-float(i) for i in range(len(letters))])
        writer.add_token_types([2, *[1] * 6, *[6] * 256])
        writer.add_unk_token_id(0)
        writer.add_add_bos_token(False)
    else:
        writer.add_token_merges(["d o", "do g"])
        writer.add_tokenizer_pre("gpt-2")
        writer.add_bos_token_id(0)
    writer.add_tokenizer_model(kind)
    writer.add_token_list(letters)
    return letters


@lru_cache(maxsize=1)
def _make_search() -> tuple[Any, Any]:
    """A search of a few steps, and the model and prompts that it is about."""
    import circuitgraph as cg
    from circuitgraph.discovery.acdc import Acdc
    from circuitgraph.engine.experiment import Experiment

    model = cg.load_model("constructed:histogram")
    prompts = cg.load_task("constructed:histogram", model).prompts(3)
    return Acdc(threshold=0.5), Experiment(model, prompts)


def _write_journal(folder: Path) -> None:
    _run_search(folder / "x.jsonl")


def _run_search(path: Path) -> list[str]:
    """Run the search with that journal to its end; what it decided."""
    from circuitgraph.discovery.journal import Journal
    from circuitgraph.discovery.loop import run_search

    algorithm, experiment = _make_search()
    return run_search(algorithm, experiment, journal=Journal(path)).edges


def _write_catalog(folder: Path) -> None:
    for slug in "ab":
        entry = folder / "m" / "t" / slug
        (entry / "evidence").mkdir(parents=True)
        _copy(CIRCUIT)(entry)
        (entry / "evidence" / "claims-x.json").write_text(json.dumps(CLAIMS))


def _write_zip(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as other:
        _write_catalog(Path(other))
        shutil.make_archive(str(folder / "c"), "zip", other)


# The readers


def _read_catalog(folder: Path) -> None:
    """List, open and file again; the entry that is not harmed must be there."""
    from circuitgraph.catalog.store import Catalog

    catalog = Catalog(folder)
    if "m/t/b" not in [entry.entry for entry in catalog.list()]:
        raise AssertionError("an entry was hidden")
    _read_entry(catalog.get("m/t/a"))
    with tempfile.TemporaryDirectory() as other:
        Catalog(other).add(folder / "m" / "t" / "a", name="x/y/z")
        if {path.name for path in Path(other).iterdir()} != {"x"}:
            raise AssertionError("something was written beside the entry")


def _read_zip(folder: Path) -> None:
    from circuitgraph.catalog.store import Catalog

    catalog = Catalog(f"zip://::{folder}/c.zip")
    for summary in catalog.list():
        _read_entry(catalog.get(summary.entry))


def _read_entry(entry: Any) -> None:
    entry.read_circuit()
    entry.read_judgement()
    entry.read_evidence()
    entry.read_card()


def _read_circuit(folder: Path) -> None:
    from circuitgraph.catalog.files import load_circuit
    from circuitgraph.drawing.dot import to_dot

    _ = to_dot(load_circuit(folder)).source


def _load_model(path: Path) -> None:
    from circuitgraph.models.loading import load_model

    model = load_model(path, local_only=True)
    if model.tokenizer is not None:
        model.tokenizer.encode("dog chair moon")


def _load_gguf(folder: Path) -> None:
    _load_model(folder / "x.gguf")


def _resume_search(folder: Path) -> list[str]:
    """Go on with a copy of the journal, which the search writes."""
    copy = folder / "copy.jsonl"
    shutil.copy(folder / "x.jsonl", copy)
    try:
        return _run_search(copy)
    finally:
        copy.unlink(missing_ok=True)


def _resume_same(folder: Path) -> None:
    """Go on with the journal; whatever was taken from it, the circuit must be the right one."""
    if _resume_search(folder) != _search_anew():
        raise AssertionError("another circuit")


@lru_cache(maxsize=1)
def _search_anew() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        return _run_search(Path(folder) / "x.jsonl")


def _read_pairs(file: str) -> Callable[[Path], None]:
    def read_file(folder: Path) -> None:
        from circuitgraph.tasks.pair_lines import read_pair_file

        content = read_pair_file(folder / file)
        content.refuse_problems(folder / file, content.problems)

    return read_file


_read_table = _read_pairs("x.csv")


def _read_format(name: str, file: str) -> Callable[[Path], None]:
    def read_file(folder: Path) -> None:
        from circuitgraph.catalog.formats.base import decoders
        from circuitgraph.graph.graph import Graph

        decoders[name].decode_file(folder / file, Graph(2, 2))

    return read_file


def _read_cells(folder: Path) -> None:
    from circuitgraph.catalog.leaderboard_record import CELLS
    from circuitgraph.cli.leaderboard_report import format_markdown

    format_markdown(CELLS.read_all(folder))


def _read_hypothesis(folder: Path) -> None:
    from circuitgraph.catalog.hypothesis_record import HypothesisRecord
    from circuitgraph.errors import DataError
    from circuitgraph.foreign import read_text
    from circuitgraph.hypotheses.writing.file import write_source

    try:
        text = read_text(folder / "h.json")
    except ValueError as error:
        raise DataError(str(error)) from error
    write_source(HypothesisRecord.from_json(text))


def _read_options(folder: Path) -> None:
    import typer

    from circuitgraph.cli.config_file import read_config
    from circuitgraph.cli.main import app

    command = typer.main.get_command(app).commands["discover"]  # pyright: ignore[reportAttributeAccessIssue]
    read_config(command.make_context("discover", [], resilient_parsing=True), folder / "c.toml")
