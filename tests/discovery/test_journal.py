"""The journal: what ends anywhere is taken up to the same result, what is another search's or
damaged is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.discovery import journal as journals
from circuitgraph.discovery import resuming
from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.acdc_state import AcdcState
from circuitgraph.discovery.journal import Journal
from circuitgraph.discovery.journal_lines import encode_line
from circuitgraph.discovery.loop import run_search, run_steps
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError, OutputError, SearchError
from circuitgraph.graph.circuit import Circuit
from tests.checkpoints import Tiny, random_prompts

FACTS = {"model": {"weights_sha256": "a" * 64}, "environment": {"versions": {"jax": "1"}}}
ALGORITHM = Acdc(threshold=0.01, absolute=False)


@pytest.fixture(scope="module")
def experiment(tiny: Tiny) -> Experiment:
    return Experiment(tiny.ours, random_prompts(batch=4, longest=6), metric="kl")


@pytest.fixture(scope="module")
def whole(
    experiment: Experiment, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Circuit, bytes]:
    """The circuit of an undisturbed search, and its journal."""
    path = tmp_path_factory.mktemp("whole") / "deep" / "journal.jsonl"
    circuit = run_search(ALGORITHM, experiment, journal=Journal(path, FACTS))
    return circuit, path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def same(one: Circuit, two: Circuit) -> None:
    """Equal bit for bit, with the same close calls."""
    assert one == two
    assert one.scores is not None
    assert two.scores is not None
    assert one.scores.tobytes() == two.scores.tobytes()
    np.testing.assert_array_equal(one.tested, two.tested)
    assert one.provenance["algorithm"]["close_calls"] == two.provenance["algorithm"]["close_calls"]


def content(journal: bytes) -> list[dict]:
    """The entries of a journal less what its steps took."""
    return [
        {k: v for k, v in json.loads(line).items() if k not in ("seconds", "check")}
        for line in journal.splitlines()
    ]


def test_a_journal_changes_nothing(experiment: Experiment, whole: tuple[Circuit, bytes]) -> None:
    same(run_search(ALGORITHM, experiment), whole[0])


def test_every_decision_has_a_line(whole: tuple[Circuit, bytes]) -> None:
    header, *entries = content(whole[1])
    circuit = whole[0]
    decided = {entry["edge"]: entry for entry in entries if "edge" in entry}
    assert len(decided) == len(circuit.mask) == sum("edge" in entry for entry in entries)
    assert circuit.tested is not None
    assert circuit.scores is not None
    for edge, tested, score in zip(
        circuit.graph.edges, circuit.tested, circuit.scores, strict=True
    ):
        assert decided[edge]["kept"] == (edge in circuit)
        assert decided[edge]["effect"] == (score if tested else None)
    assert header["algorithm"] == {"name": "acdc", "arguments": ALGORITHM.arguments}
    assert (header["metric"], header["graph"]["n_edges"]) == ("kl", len(circuit.mask))


@given(where=st.floats(0, 1))
@settings(max_examples=8)
def test_cut_anywhere_it_is_taken_up_to_the_same_circuit(
    experiment: Experiment,
    whole: tuple[Circuit, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    where: float,
) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    path.write_bytes(whole[1][: int(where * len(whole[1]))])
    same(run_search(ALGORITHM, experiment, journal=Journal(path, FACTS)), whole[0])
    assert content(path.read_bytes()) == content(whole[1]), (
        "the journal too is that of an undisturbed search"
    )


def test_a_finished_journal_asks_for_four_steps_to_be_taken_again(
    experiment: Experiment,
    whole: tuple[Circuit, bytes],
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path.write_bytes(whole[1])
    honest, steps = Acdc.take_step, []

    def count(self: Acdc, experiment: Experiment, state: AcdcState) -> AcdcState:
        steps.append(state)
        return honest(self, experiment, state)

    monkeypatch.setattr(Acdc, "take_step", count)
    same(run_search(ALGORITHM, experiment, journal=Journal(path, FACTS)), whole[0])
    assert path.read_bytes() == whole[1]
    assert len(steps) == ALGORITHM.n_rechecks + 1


def test_every_state_comes_back_bit_for_bit(
    experiment: Experiment, whole: tuple[Circuit, bytes]
) -> None:
    """After each step of a search; torn steps at the end are left out."""
    start = state = ALGORITHM.init_state(experiment)
    entries: list[dict] = []
    while len(set(ALGORITHM.count_progress(state))) == 2:
        before, state = state, ALGORITHM.take_step(experiment, state)
        new = ALGORITHM.make_entries(experiment, before, state)
        equal(
            ALGORITHM.resume_state(experiment, start, json.loads(json.dumps(entries + new[:-1]))),
            before,
        )
        entries += new
    equal(ALGORITHM.resume_state(experiment, start, entries), state)


def equal(one: AcdcState, two: AcdcState) -> None:
    for name in ("mask", "effects", "tested", "scale"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes(), name
    for name in ("group", "n_decided", "loss", "n_candidates"):
        assert getattr(one, name) == getattr(two, name), name


def test_it_is_safe_on_disk_at_the_end_of_each_step(experiment: Experiment, path: Path) -> None:
    """What another process reads during the search is what was decided so far."""
    seen = []

    class Watched(Acdc):
        def take_step(self, experiment: Experiment, state: AcdcState) -> AcdcState:
            seen.append((int(state.tested.sum()), content(path.read_bytes())[1:]))
            return super().take_step(experiment, state)

    run_search(Watched(threshold=0.01), experiment, journal=Journal(path))
    assert len(seen) > 5
    for n_tested, entries in seen:
        assert n_tested == sum(entry.get("effect") is not None for entry in entries)


def test_a_search_that_stops_on_a_bad_value_is_taken_up(
    experiment: Experiment, whole: tuple[Circuit, bytes], path: Path
) -> None:
    honest, calls = experiment.removal_losses, []

    def failing(
        mask: np.ndarray, edges: np.ndarray, going: np.ndarray, **options: bool
    ) -> np.ndarray:
        calls.append(edges)
        if len(calls) == 6:
            raise SearchError("Removing a0.h1->m0: kl of prompt 3 is nan.")
        return honest(mask, edges, going, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "removal_losses", failing)
        with pytest.raises(SearchError, match="prompt 3 is nan"):
            run_search(ALGORITHM, experiment, journal=Journal(path, FACTS))
    assert len(content(path.read_bytes())) > 5
    same(run_search(ALGORITHM, experiment, journal=Journal(path, FACTS)), whole[0])


def test_the_seconds_of_both_parts_are_counted(
    experiment: Experiment, whole: tuple[Circuit, bytes], path: Path
) -> None:
    lines = [json.loads(line) for line in whole[1].splitlines()]
    for line in lines:
        line.pop("check")
    last = [line for line in lines if "seconds" in line][-1]
    last["seconds"] = 1000.5
    rewrite(path, lines)
    _, seconds = run_steps(ALGORITHM, experiment, journal=Journal(path, FACTS))
    assert 1000.5 <= seconds < 1500


def rewrite(path: Path, entries: list[dict]) -> None:
    """A journal as it would be written, of any entries."""
    check, text = 0, b""
    for entry in entries:
        line, check = encode_line(entry, check)
        text += line
    path.write_bytes(text)


def test_nothing_decided_leaves_nothing(experiment: Experiment, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "journal.jsonl"

    class Failing(Acdc):
        def take_step(self, experiment: Experiment, state: AcdcState) -> AcdcState:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(Failing(), experiment, journal=Journal(path))
    assert list(tmp_path.iterdir()) == []


def test_anew_forgets_what_was_there(
    experiment: Experiment, whole: tuple[Circuit, bytes], path: Path
) -> None:
    path.write_bytes(b"".join(whole[1].splitlines(keepends=True)[:7]) + b"damaged")
    same(run_search(ALGORITHM, experiment, journal=Journal(path, FACTS, anew=True)), whole[0])
    assert content(path.read_bytes()) == content(whole[1])


OTHERS: dict[str, tuple[Acdc, dict, list[str]]] = {
    "threshold": (
        Acdc(threshold=0.02, absolute=False),
        FACTS,
        ["algorithm.arguments.threshold: 0.01 in the journal, 0.02 now"],
    ),
    "two settings": (
        Acdc(threshold=0.01, absolute=True, heads="ascending"),
        FACTS,
        [
            'heads: "descending" in the journal, "ascending" now',
            "absolute: false in the journal, true now",
        ],
    ),
    "weights": (
        ALGORITHM,
        {**FACTS, "model": {"weights_sha256": "b" * 64}},
        ["model.weights_sha256", "aaaa", "bbbb", "Go on with what the journal has"],
    ),
    "versions": (
        ALGORITHM,
        {**FACTS, "environment": {"versions": {"jax": "2"}}},
        ['environment.versions.jax: "1" in the journal, "2" now', "last digits"],
    ),
    "a fact that the journal lacks": (
        ALGORITHM,
        {**FACTS, "task": "ioi"},
        ['task: nothing in the journal, "ioi" now'],
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_journal_of_another_search_is_refused_with_the_difference(
    experiment: Experiment, whole: tuple[Circuit, bytes], path: Path, case: str
) -> None:
    algorithm, facts, phrases = OTHERS[case]
    path.write_bytes(whole[1])
    with pytest.raises(ArgumentError) as error:
        run_search(algorithm, experiment, journal=Journal(path, facts))
    assert [
        phrase
        for phrase in [*phrases, "another search", str(path)]
        if phrase not in str(error.value)
    ] == []
    assert str(error.value).count(" in the journal, ") == max(
        1, sum(" in the journal, " in p for p in phrases)
    )
    assert path.read_bytes() == whole[1]


def test_a_journal_over_another_graph_or_metric_is_refused(
    tiny: Tiny, whole: tuple[Circuit, bytes], path: Path
) -> None:
    path.write_bytes(whole[1])
    other = Experiment(
        tiny.ours, random_prompts(batch=4, longest=6), graph=tiny.ours.graph(direct=True)
    )
    with pytest.raises(ArgumentError) as error:
        run_search(ALGORITHM, other, journal=Journal(path, FACTS))
    for phrase in (
        'metric: "kl" in the journal, "logit_difference" now',
        "graph.direct: false",
        "graph.n_edges",
    ):
        assert phrase in str(error.value)


def _line(n: int, change: Callable[[bytes], bytes]) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: [*lines[: n - 1], change(lines[n - 1]), *lines[n:]]


def _flipped(line: bytes) -> bytes:
    """The entry with the opposite decision."""
    entry = json.loads(line)
    return json.dumps({**entry, "kept": not entry["kept"]}).encode()


DAMAGE: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "not JSON": (_line(7, lambda line: b"{" + line), "damaged at line 7"),
    "not an object": (_line(7, lambda _: b"[1]"), "damaged at line 7"),
    "a key twice": (
        _line(7, lambda line: b"{" + line[1 : line.index(b",") + 1] + b" " + line[1:]),
        "damaged at line 7",
    ),
    "bytes that are no text": (_line(7, lambda _: b"\xff\xfe\x00"), "damaged at line 7"),
    "another number": (
        _line(7, lambda line: line.replace(b'"kept": ', b'"kept":  ').replace(b"0", b"1", 1)),
        "at line 7",
    ),
    "another decision": (_line(7, _flipped), "damaged at line 7"),
    "without its check": (
        _line(7, lambda line: line.partition(b', "check')[0] + b"}"),
        "damaged at line 7",
    ),
    "line lost": (lambda lines: lines[:6] + lines[7:], "damaged at line 7"),
    "line twice": (lambda lines: lines[:7] + lines[6:], "damaged at line 8"),
    "lines swapped": (
        lambda lines: [*lines[:6], lines[7], lines[6], *lines[8:]],
        "damaged at line 7",
    ),
    "header": (_line(1, lambda line: line.replace(b"kl", b"lk")), "is not the journal of a search"),
    "another file": (lambda _: [b"edge,effect", b"a,1"], "is not the journal of a search"),
    "another file of one line": (lambda _: [b"thesis"], "is not the journal of a search"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_journal_is_refused_with_its_line(
    experiment: Experiment, whole: tuple[Circuit, bytes], path: Path, case: str
) -> None:
    change, phrase = DAMAGE[case]
    damaged = b"\n".join(change(whole[1].splitlines())) + b"\n"
    assert damaged != whole[1]
    path.write_bytes(damaged)
    with pytest.raises(DataError) as error:
        run_search(ALGORITHM, experiment, journal=Journal(path, FACTS))
    assert phrase in str(error.value)
    assert path.read_bytes() == damaged, "nothing is lost"


def test_a_last_line_of_garbage_counts_as_torn(
    experiment: Experiment, whole: tuple[Circuit, bytes], path: Path
) -> None:
    """A computer that lost its power can leave a last line of zeros."""
    lines = whole[1].splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:9]) + b"\0" * 50 + b"\n")
    same(run_search(ALGORITHM, experiment, journal=Journal(path, FACTS)), whole[0])


@pytest.mark.parametrize(
    "entry", [{"edge": "a9.h9->logits", "effect": 1.0, "size": 1.0, "kept": True}, {"edge": 5}]
)
def test_entries_that_are_not_the_algorithms_are_refused(
    experiment: Experiment, entry: dict
) -> None:
    start = ALGORITHM.init_state(experiment)
    with pytest.raises(DataError, match="not those of an ACDC search"):
        ALGORITHM.resume_state(
            experiment,
            start,
            [{**entry, "then": {"group": 0, "place": 1, "loss": 0.0, "width": 1}}],
        )


def test_two_searches_do_not_share_a_journal(experiment: Experiment, path: Path) -> None:
    class Meeting(Acdc):
        def take_step(self, experiment: Experiment, state: AcdcState) -> AcdcState:
            with pytest.raises(ArgumentError, match="Another process is writing the journal"):
                run_search(Acdc(absolute=False), experiment, journal=Journal(path))
            return super().take_step(experiment, state)

    run_search(Meeting(threshold=1e9), experiment, journal=Journal(path))
    assert path.is_file()


@pytest.mark.parametrize("name", ["file/journal.jsonl", "folder", "x" * 300])
def test_a_journal_that_cannot_be_written_is_refused(
    experiment: Experiment, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        run_search(ALGORITHM, experiment, journal=Journal(tmp_path / name))
    assert {p.name for p in tmp_path.iterdir()} == {"file", "folder"}


def test_a_full_disk_stops_the_search_and_loses_nothing(
    experiment: Experiment,
    whole: tuple[Circuit, bytes],
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 4:
            raise OSError(28, os.strerror(28))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journals, "_SYNC_SECONDS", -1.0)
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left on device"):
            run_search(ALGORITHM, experiment, journal=Journal(path, FACTS))
    same(run_search(ALGORITHM, experiment, journal=Journal(path, FACTS)), whole[0])


# What is no journal, and journals that are not true


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "file", "nothing of ours"])
@pytest.mark.parametrize("anew", [True, False])
def test_what_is_no_journal_is_never_written(
    experiment: Experiment, tmp_path: Path, path: Path, kind: str, anew: bool
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("years of work")
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "hard link":
        path.hardlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_text("years of work" if kind == "file" else '{"journal": 1, "check": "0"}\n')
    before = path.lstat().st_ino, path.lstat().st_size, sorted(os.listdir(tmp_path))
    with pytest.raises((OutputError, DataError), match=r"[Cc]hoose another"):
        run_search(ALGORITHM, experiment, journal=Journal(path, FACTS, anew=anew))
    assert (path.lstat().st_ino, path.lstat().st_size, sorted(os.listdir(tmp_path))) == before
    assert victim.read_text() == "years of work"


def change_entry(whole: bytes, number: int, change: Callable[[dict], object]) -> list[dict]:
    """The entries of a journal, one of them changed; negative numbers count from the end."""
    entries = [json.loads(line) for line in whole.splitlines()]
    for entry in entries:
        del entry["check"]
    change(entries[number])
    return entries


def double_effect(entry: dict) -> None:
    entry["effect"] = 2 * entry["effect"] + 1.0


def find_tested(whole: bytes, last: bool) -> int:
    """The line, from 0, of the entry of a tested edge that is kept: in the last step, or not."""
    lines = [json.loads(line) for line in whole.splitlines()]
    tested = [i for i, e in enumerate(lines) if e.get("effect") is not None and e["kept"]]
    return tested[-1] if last else tested[0]


def test_a_last_step_with_another_effect_is_refused_although_its_checks_are_right(
    experiment: Experiment, whole: tuple[Circuit, bytes], path: Path
) -> None:
    number = find_tested(whole[1], last=True)
    entries = change_entry(whole[1], number, double_effect)
    end = next(i for i in range(number, len(entries)) if "seconds" in entries[i])
    rewrite(path, entries[: end + 1])
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"does not agree with the model.*the effect of .* now"):
        run_search(ALGORITHM, experiment, journal=Journal(path, FACTS))
    assert path.read_bytes() == before


def test_a_last_step_that_leads_nowhere_is_refused(
    experiment: Experiment, whole: tuple[Circuit, bytes], path: Path
) -> None:
    rewrite(path, change_entry(whole[1], -1, lambda entry: entry.pop("then")))
    with pytest.raises(DataError, match="it leads nowhere"):
        run_search(ALGORITHM, experiment, journal=Journal(path, FACTS))


def test_any_step_can_be_the_one_that_is_taken_again(
    experiment: Experiment,
    whole: tuple[Circuit, bytes],
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With all of them drawn, a change in the first is seen; drawn are as many as are said."""
    rewrite(path, change_entry(whole[1], find_tested(whole[1], last=False), double_effect))
    monkeypatch.setattr(Acdc, "n_rechecks", 10**6)
    with pytest.raises(DataError, match="does not agree with the model"):
        run_search(ALGORITHM, experiment, journal=Journal(path, FACTS))
    drawn = [resuming._choose_steps(50, 3) for _ in range(40)]
    assert all(len(set(steps)) == 4 and steps[-1] == 49 for steps in drawn)
    assert len({step for steps in drawn for step in steps}) > 30


JUNK = [None, True, -1, 5, 10**30, 1e300, "x", [], [1], {}, {"a": 1}]
# What only another measurement can show to be wrong, and the time.
MEASURED = {"effect", "loss", "size", "width"}


@pytest.fixture(scope="module")
def start(experiment: Experiment) -> AcdcState:
    return ALGORITHM.init_state(experiment)


@pytest.mark.parametrize(
    "key", ["edge", "kept", "then", "effect", "size", "group", "place", "loss", "width", "expected"]
)
def test_entries_without_meaning_are_refused_although_their_checks_are_right(
    experiment: Experiment, whole: tuple[Circuit, bytes], start: AcdcState, key: str
) -> None:
    """Refused with a clear error; or what was changed can be, as far as anything but a measurement
    shows.
    """
    for junk in JUNK:
        entries = change_entry(whole[1], 1, lambda _: None)[1:]
        while "edge" not in entries[-1]:
            entries.pop()
        entry = entries[-1]
        place = entry if key in entry else entry["then"]
        old, place[key] = place[key], junk
        with contextlib.suppress(DataError):
            resuming._replay_steps(ALGORITHM, experiment, start, Path("some.jsonl"), [entries])
            assert key in MEASURED or junk == old, junk
        del place[key]
        with contextlib.suppress(DataError):
            resuming._replay_steps(ALGORITHM, experiment, start, Path("some.jsonl"), [entries])
            assert key in {*MEASURED, "then"}, "left out"


def test_a_full_disk_within_a_line_leaves_whole_lines(
    experiment: Experiment, whole: tuple[Circuit, bytes], path: Path
) -> None:
    """A limit on the size of files stands for the disk; the line that is too long is taken back."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole[1]) // 2, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written: File too large"):
            run_search(ALGORITHM, experiment, journal=Journal(path, FACTS))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = path.read_bytes()
    assert kept.endswith(b"}\n")
    assert content(kept) == content(whole[1])[: kept.count(b"\n")]
    same(run_search(ALGORITHM, experiment, journal=Journal(path, FACTS)), whole[0])


def test_ctrl_c_just_after_a_step_was_written_loses_nothing(
    experiment: Experiment,
    whole: tuple[Circuit, bytes],
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    synchronise = os.fsync
    calls = iter((synchronise, _interrupt))  # of the header and of the first step
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: next(calls)(descriptor))
        patch.setattr(journals, "_SYNC_SECONDS", -1.0)
        with pytest.raises(KeyboardInterrupt):
            run_search(ALGORITHM, experiment, journal=Journal(path, FACTS))
    assert path.read_bytes().count(b"\n") > 1
    same(run_search(ALGORITHM, experiment, journal=Journal(path, FACTS)), whole[0])


def _interrupt(_: int) -> None:
    raise KeyboardInterrupt
