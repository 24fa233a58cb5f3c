"""Unit reports, beside what transformers' modules compute: values, rows behind the last norm, and
embeddings along what a unit reads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.catalog.analysis_record import Reading, TextsRecord
from circuitgraph.drawing.reading_html import draw_html
from circuitgraph.errors import ArgumentError, CircuitGraphError, DataError
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Pair, PairTokens
from circuitgraph.tasks.tokenise import tokenise_pairs
from tests.checkpoints import Tiny
from tests.evaluation.test_splice_quality import draw_dictionary, make_spec

TEXTS = ["3 17 41 5 9", "8 2 30", "11 49 0 1", "2 2 2"]


def watch(tiny: Tiny, text: str, module: Any) -> tuple[np.ndarray, np.ndarray]:
    """What a module reads and gives on a text."""
    seen: list[np.ndarray] = []

    def note(_: Any, args: Any, output: Any) -> None:
        seen.extend([args[0][0].numpy(), output[0].numpy()])

    handle = module.register_forward_hook(note)
    with torch.no_grad():
        tiny.hf(torch.tensor([[int(word) for word in text.split()]]))
    handle.remove()
    return seen[0], seen[1]


def rows_of(reading: Reading, table: int) -> list[dict[str, Any]]:
    record = reading.tables[table]
    return [dict(zip(record.columns, row, strict=True)) for row in record.rows]


def test_values_and_texts_are_those_of_transformers(tiny: Tiny) -> None:
    reading = cg.report_units(tiny.ours, ["m2.n7", "m1.n3"], TEXTS, n_texts=2, n_top=3)
    for number, (layer, neuron) in enumerate([(2, 7), (1, 3)]):
        down = tiny.hf.transformer.h[layer].mlp.c_proj
        hidden = [watch(tiny, text, down)[0][:, neuron] for text in TEXTS]
        everything = np.concatenate(hidden)
        row = rows_of(reading, 0)[number]
        assert row["unit"] == f"m{layer}.n{neuron}"
        for name, share in (("least", 0.0), ("median", 0.5), ("0.95", 0.95), ("largest", 1.0)):
            assert row[name] == pytest.approx(np.quantile(everything, share), abs=1e-5)
        sizes = np.abs(everything)
        assert row["active"] == pytest.approx((sizes > 0.1 * sizes.max()).mean())
        order = sorted(range(len(TEXTS)), key=lambda i: -np.abs(hidden[i]).max())
        picture = reading.pictures[number]
        assert isinstance(picture, TextsRecord)
        assert ["".join(text.tokens) for text in picture.texts] == [TEXTS[i] for i in order[:2]]
        np.testing.assert_allclose(
            np.array(picture.texts[0].values, np.float64), hidden[order[0]], atol=1e-5
        )
        peak = int(np.abs(hidden[order[0]]).argmax())
        best = next(row for row in rows_of(reading, 1) if row["unit"] == f"m{layer}.n{neuron}")
        assert best["largest"] == pytest.approx(hidden[order[0]][peak], abs=1e-5)
        assert f"«{picture.texts[0].tokens[peak]}»" in best["text"]


def expect_logits(tiny: Tiny, row: np.ndarray) -> np.ndarray:
    """What a row adds to the logits behind the last norm, with each token's divisor; the mean."""
    norm, head = tiny.hf.transformer.ln_f, tiny.hf.lm_head.weight.detach().numpy()
    final = np.concatenate([watch(tiny, text, norm)[0] for text in TEXTS])
    deviations = np.sqrt(final.var(-1) + norm.eps)
    part = (row - row.mean()) * norm.weight.detach().numpy() * (1 / deviations).mean()
    return head @ part


def check_written(tiny: Tiny, reading: Reading, table: int, row: np.ndarray) -> None:
    logits = expect_logits(tiny, row)
    raised, lowered = rows_of(reading, table)
    order = np.argsort(-logits)
    assert raised["tokens"] == " ".join(repr(str(i)) for i in order[:3])
    assert lowered["tokens"] == " ".join(repr(str(i)) for i in order[::-1][:3])
    assert (raised[""], lowered[""]) == ("raises", "lowers")
    assert raised["first"] == pytest.approx(logits[order[0]], rel=1e-4)
    assert lowered["last"] == pytest.approx(logits[order[-3]], rel=1e-4)


def check_read(tiny: Tiny, reading: Reading, table: int, row: np.ndarray) -> None:
    embedding = tiny.hf.transformer.wte.weight.detach().numpy()
    cosines = embedding @ row / np.linalg.norm(embedding, axis=1) / np.linalg.norm(row)
    order = np.argsort(-cosines)
    (read,) = rows_of(reading, table)
    assert read["tokens"] == " ".join(repr(str(i)) for i in order[:3])
    assert read["first"] == pytest.approx(cosines[order[0]], rel=1e-4)


def test_directions_of_a_neuron(tiny: Tiny) -> None:
    reading = cg.report_units(tiny.ours, ["m1.n8"], TEXTS, n_top=3)
    block = tiny.hf.transformer.h[1]
    check_written(tiny, reading, 2, block.mlp.c_proj.weight.detach().numpy()[8])
    row = block.ln_2.weight.detach().numpy() * block.mlp.c_fc.weight.detach().numpy()[:, 8]
    check_read(tiny, reading, 3, row - row.mean())
    assert "averaged over all tokens" in reading.notes[0]


def test_features_of_a_dictionary(tiny: Tiny) -> None:
    made = draw_dictionary(make_spec("blocks.1.hook_mlp_out"), 24)
    bias = made.b_enc.at[5].set(-1e3).at[6].set(1e3)
    dictionary = Dictionary(made.w_enc, bias, made.w_dec, made.b_dec, made.spec)
    units = ["m1.f4", "m1.f5", "m1.f6"]
    reading = cg.report_units(tiny.ours, units, TEXTS, dictionaries=[dictionary], n_top=3)
    mlp = tiny.hf.transformer.h[1].mlp
    outputs = np.concatenate([watch(tiny, text, mlp)[1] for text in TEXTS])
    values = np.maximum(outputs @ np.asarray(made.w_enc[4]) + float(bias[4]), 0)
    active, dead, dense = rows_of(reading, 0)
    assert active["largest"] == pytest.approx(values.max(), abs=1e-5)
    assert active["not 0"] == pytest.approx((values > 0).mean())
    assert [row["status"] for row in (dead, dense)] == ["dead", "dense"]
    assert (dead["largest"], dead["not 0"], dead["active"]) == (0, 0, 0)
    alone = cg.report_units(tiny.ours, units[:1], TEXTS, dictionaries=[dictionary], n_top=3)
    check_written(tiny, alone, 2, np.asarray(made.w_dec[0, 4]))
    check_read(tiny, alone, 3, np.asarray(made.w_enc[4]))


def test_what_heads_fetch_is_written_through_their_output_weights(tiny: Tiny) -> None:
    dictionary = draw_dictionary(make_spec("blocks.1.attn.hook_z"), 24)
    reading = cg.report_units(tiny.ours, ["m1.f4"], TEXTS, dictionaries=[dictionary], n_top=3)
    weight = tiny.hf.transformer.h[1].attn.c_proj.weight.detach().numpy()
    check_written(tiny, reading, 2, np.asarray(dictionary.w_dec[0, 4]) @ weight)
    assert len(reading.tables) == 3, "it reads no direction of the stream"


def test_tokens_are_data(tiny: Tiny) -> None:
    """No token ends an element, opens one, or reaches a terminal as it is."""
    bad = ["<script>alert(1)</script>", "\x1b[31m", '"&', "\n", "\u202e"]
    vocab = tuple(bad + [str(i) for i in range(len(bad), tiny.ours.spec.d_vocab)])
    model = LanguageModel("a", "gpt2", "a", None, tiny.ours.transformer, None, vocab, vocab)
    reading = _read_ids(model)
    html = draw_html(reading, "<b>\x1b", str).decode()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<b>" not in html
    assert not set("\x1b\u202e") & set(html)
    assert r"\x1b[31m" in html
    assert "&quot;&amp;" in html
    assert html.count("<section") == html.count("</section>") == 1
    assert "http" not in html


def _read_ids(model: LanguageModel) -> Reading:
    """A report on token ids, which no text of these names gives."""
    pair = Pair("a", None, None, tokens=PairTokens(clean=(0, 1, 2, 3, 4, 7), corrupted=()))
    return cg.report_units(model, ["m1.n3"], tokenise_pairs([pair], model.text_tokenizer))


def test_what_is_refused(tiny: Tiny) -> None:
    cases: list[tuple[list[str], list[str], dict[str, Any], str]] = [
        (["m1.n40"], TEXTS, {}, "its MLPs have 40 neurons"),
        (["a1.h0"], TEXTS, {}, "'a1.h0' is no unit"),
        ([], TEXTS, {}, "there are none: name some"),
        (["m1.n4"], [], {}, "there are none"),
        (["m1.n4"], ["3 99"], {}, "unknown token at position 2"),
        (["m1.n4"], TEXTS, {"n_top": 51}, "top is 51"),
        (["m1.n4"], TEXTS, {"n_texts": 0}, "the number of texts is 0"),
    ]
    for units, texts, settings, problem in cases:
        with pytest.raises(CircuitGraphError, match=problem):
            cg.report_units(tiny.ours, units, texts, **settings)
    with pytest.raises(DataError, match="The texts are one text"):
        cg.report_units(tiny.ours, ["m1.n4"], "3 4")
    with pytest.raises(ArgumentError, match=r"m1.f2: no dictionary reads in layer 1"):
        cg.report_units(tiny.ours, ["m1.f2"], TEXTS)
