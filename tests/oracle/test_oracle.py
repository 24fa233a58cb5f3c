"""The oracle against Hugging Face itself: by patched modules, and by circuits run with hooks alone.

Longer than other files, because all of it turns around one tiny case and the helpers that patch it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from . import losses
from .acdc import Decision, HeadOrder, oracle_acdc, visits
from .eap import explicit_eap
from .hooked import Trace, hooked_logits, install_hooks, trace
from .names import edge_names, upstream_of
from .run import Ablation, OracleRun

pytestmark = pytest.mark.filterwarnings("error")

ABLATIONS: list[Ablation] = ["resample", "mean", "mean-positional", "zero"]
VOCAB, LENGTHS, PADDED_TO = 50, (6, 4, 5), 7
CONFIGS: dict[str, dict[str, Any]] = {
    "default": {},
    "unscaled": {"scale_attn_weights": False},
    "by layer": {"scale_attn_by_inverse_layer_idx": True},
    "by layer, unscaled": {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True},
    "upcast": {"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True},
    "narrow relu": {"n_inner": 20, "activation_function": "relu"},
    "large epsilon": {"layer_norm_epsilon": 0.1, "activation_function": "gelu", "n_layer": 3},
    "untied": {"tie_word_embeddings": False, "n_head": 4},
}


def tiny_model(dtype: torch.dtype = torch.float64, **fields: Any) -> GPT2LMHeadModel:
    """A random model in which every parameter matters: biases and layer norms are drawn too."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "n_layer": 2,
        "n_head": 3,
        "n_embd": 24,
        "vocab_size": VOCAB,
        "n_positions": 16,
    }
    others: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.2}
    config: dict[str, Any] = {"attn_implementation": "eager"} | shape | others | fields
    model: Any = GPT2LMHeadModel(GPT2Config(**config))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
            elif ".ln_" in name:
                parameter.normal_(mean=1.0, std=0.3)
    return model.to(dtype).eval()


@dataclass
class Case:
    """A model with padded prompt pairs of unequal lengths, scored at different positions."""

    model: Any  # GPT2LMHeadModel; torch types no sub-modules
    clean: Tensor
    corrupted: Tensor
    mask: Tensor
    score_at: Tensor

    def oracle(self, ablation: Ablation = "resample") -> OracleRun:
        return OracleRun(self.model, self.clean, self.corrupted, self.mask, self.score_at, ablation)

    def hugging_face(self, tokens: Tensor) -> Tensor:
        with torch.no_grad():
            return self.model(tokens, attention_mask=self.mask, use_cache=False).logits

    def scored(self, logits: Tensor) -> Tensor:
        return logits[range(len(logits)), self.score_at]

    def run_hooked(
        self, kept: set[str], ablation: Ablation = "resample", direct: bool = False
    ) -> Tensor:
        seen = trace(self.model, self.corrupted, self.mask)
        replacement = replacements_by_loops(seen, ablation)
        logits = hooked_logits(self.model, self.clean, self.mask, seen, replacement, kept, direct)
        return self.scored(logits)


def make_case(dtype: torch.dtype = torch.float64, **fields: Any) -> Case:
    model = tiny_model(dtype, **fields)
    generator = torch.Generator().manual_seed(1)
    clean, corrupted = torch.randint(1, VOCAB, (2, len(LENGTHS), PADDED_TO), generator=generator)
    lengths = torch.tensor(LENGTHS)
    mask = (torch.arange(PADDED_TO) < lengths[:, None]).long()
    return Case(
        model, clean, corrupted, mask, torch.stack([lengths[0] - 1, lengths[1] - 1, lengths[2] - 3])
    )


def replacements_by_loops(corrupted: Trace, ablation: Ablation) -> dict[str, Tensor]:
    """Every ablation from its words, one position at a time."""
    replacement = {}
    for name, value in corrupted.writers.items():
        new = torch.zeros_like(value)
        everywhere = [value[i, t] for i, length in enumerate(LENGTHS) for t in range(length)]
        for t in range(PADDED_TO):
            here = [value[i, t] for i, length in enumerate(LENGTHS) if t < length]
            if ablation == "resample":
                new[:, t] = value[:, t]
            elif ablation == "mean":
                new[:, t] = sum(everywhere) / len(everywhere)
            elif ablation == "mean-positional" and here:
                new[:, t] = sum(here) / len(here)
        replacement[name] = new
    return replacement


def assert_same(left: Tensor, right: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(left, right, rtol=0, atol=tolerance)


def every_edge(case: Case, direct: bool = False) -> set[str]:
    return set(edge_names(case.model.config, direct))


def some_edges(case: Case, share: float, seed: int = 0, direct: bool = False) -> set[str]:
    edges = edge_names(case.model.config, direct)
    drawn = torch.rand(len(edges), generator=torch.Generator().manual_seed(seed)) < share
    return {edge for edge, chosen in zip(edges, drawn.tolist(), strict=True) if chosen}


# Names


def test_counts_of_known_models() -> None:
    small = GPT2Config()
    assert len(set(edge_names(small))) == 32_491
    assert len(set(edge_names(small, direct=True))) == 32_491 + 432
    assert len({edge.split("->")[0] for edge in edge_names(small)}) == 157
    assert len({edge.split("->")[1] for edge in edge_names(small)}) == 445
    assert len(edge_names(GPT2Config(n_layer=2, n_head=8), mlp=False)) == 257
    assert len(edge_names(GPT2Config(n_layer=4, n_head=8), mlp=False)) == 1_281
    assert len(edge_names(GPT2Config(n_layer=4, n_head=8), direct=True, mlp=False)) == 1_377


def test_names_are_canonical() -> None:
    edges = edge_names(GPT2Config(n_layer=2, n_head=4), direct=True)
    assert {
        "embed->a0.h1<q>",
        "a0.h1->m0",
        "m0->a1.h3<v>",
        "a1.h3->logits",
        "a1.h3<q>->a1.h3",
    } <= set(edges)
    assert not {"m0->a0.h0<q>", "a1.h0->m0", "a0.h1->a0.h2<k>", "m1->m1"} & set(edges)


# Ends: everything kept is the clean run, nothing kept the corrupted run


@pytest.mark.parametrize("fields", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("direct", [False, True])
def test_ends_are_hugging_face(fields: dict[str, Any], direct: bool) -> None:
    case = make_case(torch.float32, **fields)
    run, real = case.oracle(), case.mask.bool()
    clean, corrupted = case.hugging_face(case.clean), case.hugging_face(case.corrupted)
    assert (clean - corrupted)[real].abs().max() > 1
    assert_same(run.run_all_positions(every_edge(case, direct), direct)[real], clean[real], 1e-4)
    assert_same(run.run_all_positions(set(), direct)[real], corrupted[real], 1e-4)
    assert_same(run.run(every_edge(case)), case.scored(clean), 1e-4)
    assert_same(run.run(set()), case.scored(corrupted), 1e-4)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_everything_kept_is_clean_under_every_ablation(ablation: Ablation) -> None:
    case = make_case()
    assert_same(
        case.oracle(ablation).run(every_edge(case)), case.scored(case.hugging_face(case.clean))
    )


def test_nothing_kept_under_zero_leaves_the_attention_biases() -> None:
    case = make_case()
    gpt = case.model.transformer
    with torch.no_grad():
        expected = case.model.lm_head(gpt.ln_f(sum(block.attn.c_proj.bias for block in gpt.h)))
    assert_same(case.oracle("zero").run(set()), expected.expand(len(LENGTHS), -1))


# Writers


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_writers_and_replacements_are_those_of_hugging_face(ablation: Ablation) -> None:
    case = make_case()
    run, real = case.oracle(ablation), case.mask.bool()
    clean, corrupted = (
        trace(case.model, tokens, case.mask) for tokens in (case.clean, case.corrupted)
    )
    expected = replacements_by_loops(corrupted, ablation)
    assert list(run.clean) == list(clean.writers) == list(run.replacement)
    for name in run.clean:
        assert_same(run.clean[name][real], clean.writers[name][real])
        assert_same(run.replacement[name][real], expected[name][real])


def test_writers_and_attention_biases_add_up_to_the_residual() -> None:
    case = make_case()
    biases = [block.attn.c_proj.bias for block in case.model.transformer.h]
    total = sum([*case.oracle().clean.values(), *biases], torch.zeros(()))
    assert_same(total, trace(case.model, case.clean, case.mask).residual["logits"])


# A whole node's edges removed = the node patched inside Hugging Face


def run_patched(
    case: Case, module: torch.nn.Module, new: Tensor, columns: slice, *, at_input: bool
) -> Tensor:
    """Scored logits on clean with some columns of a module's input or output overwritten."""

    def overwrite(old: Tensor) -> Tensor:
        out = old.clone()
        out[..., columns] = new[..., columns]
        return out

    def before(_: torch.nn.Module, args: tuple[Tensor]) -> Tensor:
        return overwrite(args[0])

    def after(_: torch.nn.Module, args: tuple[Tensor], out: Tensor) -> Tensor:
        return overwrite(out)

    hook = (
        module.register_forward_pre_hook(before)
        if at_input
        else module.register_forward_hook(after)
    )
    with install_hooks(hook):
        return case.scored(case.hugging_face(case.clean))


def capture_output(case: Case, module: torch.nn.Module, *, at_input: bool) -> Tensor:
    """A module's input or output in the corrupted run."""
    seen: list[Tensor] = []

    def note(_, args: tuple[Tensor], out: Tensor) -> None:
        seen.append(args[0] if at_input else out)

    with install_hooks(module.register_forward_hook(note)):
        case.hugging_face(case.corrupted)
    return seen[0]


def replaced_by_words(value: Tensor, ablation: Ablation) -> Tensor:
    return replacements_by_loops(Trace(writers={"it": value}), ablation)["it"]


def without(case: Case, drop: Callable[[str], bool], direct: bool = False) -> set[str]:
    return {edge for edge in every_edge(case, direct) if not drop(edge)}


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_patching_a_head_is_removing_its_outgoing_edges(ablation: Ablation) -> None:
    case = make_case()
    run, full = case.oracle(ablation), case.scored(case.hugging_face(case.clean))
    for layer, block in enumerate(case.model.transformer.h):
        mixed = replaced_by_words(capture_output(case, block.attn.c_proj, at_input=True), ablation)
        for head in range(3):
            columns = slice(8 * head, 8 * head + 8)
            expected = run_patched(case, block.attn.c_proj, mixed, columns, at_input=True)
            assert (expected - full).abs().max() > 1e-2
            kept = without(case, lambda edge, name=f"a{layer}.h{head}->": edge.startswith(name))
            assert_same(run.run(kept), expected)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_patching_an_mlp_is_removing_its_outgoing_edges(ablation: Ablation) -> None:
    case = make_case()
    run = case.oracle(ablation)
    for layer, block in enumerate(case.model.transformer.h):
        output = replaced_by_words(capture_output(case, block.mlp, at_input=False), ablation)
        expected = run_patched(case, block.mlp, output, slice(None), at_input=False)
        assert_same(
            run.run(without(case, lambda edge, name=f"m{layer}->": edge.startswith(name))), expected
        )


@pytest.mark.parametrize("ablation", ["resample", "zero"])
def test_patching_the_embedding_is_removing_its_outgoing_edges(ablation: Ablation) -> None:
    case = make_case()
    gpt = case.model.transformer
    embedding = replaced_by_words(capture_output(case, gpt.drop, at_input=False), ablation)
    expected = run_patched(case, gpt.drop, embedding, slice(None), at_input=False)
    assert_same(
        case.oracle(ablation).run(without(case, lambda edge: edge.startswith("embed->"))), expected
    )


@pytest.mark.parametrize("letter", "qkv")
def test_patching_q_k_or_v_is_removing_its_incoming_or_its_direct_edge(letter: str) -> None:
    case = make_case()
    run, full = case.oracle(), case.scored(case.hugging_face(case.clean))
    for layer, block in enumerate(case.model.transformer.h):
        output = capture_output(case, block.attn.c_attn, at_input=False)
        for head in range(3):
            start = 24 * "qkv".index(letter) + 8 * head
            expected = run_patched(
                case, block.attn.c_attn, output, slice(start, start + 8), at_input=False
            )
            assert (expected - full).abs().max() > 1e-3
            reader = f"a{layer}.h{head}<{letter}>"
            kept = without(case, lambda edge, name=f"->{reader}": edge.endswith(name))
            assert_same(run.run(kept), expected)
            direct_gone = every_edge(case, direct=True) - {f"{reader}->a{layer}.h{head}"}
            assert_same(run.run(direct_gone, direct=True), expected)


# Any circuit = the same circuit by hooks alone


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("direct", [False, True])
def test_random_circuits_agree_with_hooks(ablation: Ablation, share: float, direct: bool) -> None:
    case = make_case(n_layer=3, n_head=4, n_embd=32, scale_attn_by_inverse_layer_idx=True)
    kept = some_edges(case, share, direct=direct)
    logits = case.oracle(ablation).run(kept, direct)
    assert (logits - case.scored(case.hugging_face(case.clean))).abs().max() > 1e-2
    assert_same(logits, case.run_hooked(kept, ablation, direct))


def test_every_edge_matters() -> None:
    """Removing any one edge moves the logits: no name is mute."""
    case = make_case()
    run, everything = case.oracle(), every_edge(case, direct=True)
    full = run.run(everything, direct=True)
    for edge in everything:
        assert (run.run(everything - {edge}, direct=True) - full).abs().max() > 1e-6, edge


def test_padding_changes_nothing() -> None:
    case = make_case()
    kept = some_edges(case, 0.5)
    for i, length in enumerate(LENGTHS):
        clean, corrupted, mask = (
            t[i : i + 1, :length] for t in (case.clean, case.corrupted, case.mask)
        )
        alone = OracleRun(case.model, clean, corrupted, mask, case.score_at[i : i + 1]).run(kept)
        assert_same(alone, case.oracle().run(kept)[i : i + 1])


def test_wrong_input_is_refused() -> None:
    case = make_case()
    with pytest.raises(ValueError, match="not edges of this model"):
        case.oracle().run({"a9.h0->logits"})
    with pytest.raises(ValueError, match="right-padded"):
        OracleRun(case.model, case.clean, case.corrupted, case.mask.flip(1), case.score_at)
    with pytest.raises(ValueError, match="score_at"):
        OracleRun(case.model, case.clean, case.corrupted, case.mask, case.score_at + 3)
    with pytest.raises(ValueError, match="unknown ablation"):
        case.oracle("median")  # type: ignore[arg-type]


# ACDC


def test_visits_follow_the_reference() -> None:
    config = GPT2Config(n_layer=2, n_head=2)
    visited = list(visits(config, direct=True))
    inputs = [f"a1.h{head}<{letter}>" for letter in "vkq" for head in (1, 0)]
    receivers = ["logits", "m1", *3 * ["a1.h1", "a1.h0"], *inputs, "m0"]
    assert [receiver for receiver, _ in visited][:15] == receivers
    assert visited[0][1] == ["m1", "a1.h1", "a1.h0", "m0", "a0.h1", "a0.h0", "embed"]
    assert visited[1][1] == ["a1.h1", "a1.h0", "m0", "a0.h1", "a0.h0", "embed"]
    assert [senders for _, senders in visited[2:8]] == [
        [f"a1.h{h}<{x}>"] for x in "vkq" for h in (1, 0)
    ]
    assert visited[8] == ("a1.h1<v>", ["m0", "a0.h1", "a0.h0", "embed"])
    assert visited[14] == ("m0", ["a0.h1", "a0.h0", "embed"])
    ascending = dict(visits(config, heads="ascending", mlp=False))
    assert list(ascending)[:3] == ["logits", "a1.h1<v>", "a1.h0<v>"]
    assert ascending["logits"] == ["a1.h0", "a1.h1", "a0.h0", "a0.h1", "embed"]


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("mlp", [False, True])
def test_visits_cover_every_edge_once(direct: bool, mlp: bool) -> None:
    config = GPT2Config(n_layer=3, n_head=4)
    visited = [
        f"{s}->{r}" for r, senders in visits(config, direct=direct, mlp=mlp) for s in senders
    ]
    assert sorted(visited) == sorted(edge_names(config, direct, mlp))


def small_search() -> tuple[Case, losses.Loss]:
    """A model small enough for exhaustive checking, with KL to the full model.

    The KL is 1.1 if no edge is kept.
    """
    case = make_case(n_head=2, n_embd=16, initializer_range=0.5)
    return case, losses.kl_divergence(case.scored(case.hugging_face(case.clean)))


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("ablation", ["resample", "mean"])
@pytest.mark.parametrize("threshold", [0.03, 0.1])
def test_every_decision_is_right(
    absolute: bool, direct: bool, ablation: Ablation, threshold: float
) -> None:
    """Replay a search: effects by hooks, rules by their words, dead nodes by walking the graph."""
    case, loss = small_search()
    decisions = oracle_acdc(
        case.oracle(ablation), loss, threshold, absolute=absolute, direct=direct
    )
    assert sorted(d.edge for d in decisions) == sorted(every_edge(case, direct))
    kept = every_edge(case, direct)
    current = loss(case.run_hooked(kept, ablation, direct)).mean().item()
    for decision in decisions:
        reader = decision.edge.split("->")[1]
        assert decision.tested == alive(reader, kept, direct), decision
        if not decision.tested:
            assert decision == Decision(decision.edge, 0.0, kept=False, tested=False)
            kept.remove(decision.edge)
            continue
        without_it = loss(case.run_hooked(kept - {decision.edge}, ablation, direct)).mean().item()
        assert decision.effect == pytest.approx(without_it - current, abs=1e-9)
        size = abs(decision.effect) if absolute else decision.effect
        assert decision.kept == (not size < threshold)
        if not decision.kept:
            kept.remove(decision.edge)
            current = without_it
    assert {d.tested for d in decisions} == {d.kept for d in decisions} == {False, True}
    assert any(d.tested and not d.kept for d in decisions)


def test_absolute_keeps_what_the_signed_test_removes() -> None:
    """A removal that lowers the loss by more than the threshold passes only the signed test."""
    case, _ = small_search()
    loss = losses.negative_logit_difference(torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6]))
    signed, absolute = (
        oracle_acdc(case.oracle(), loss, 0.1, absolute=choice) for choice in (False, True)
    )
    first = next(i for i, decision in enumerate(signed) if decision.effect < -0.1)
    assert signed[:first] == absolute[:first]
    assert signed[first].effect == absolute[first].effect
    assert (signed[first].kept, absolute[first].kept) == (False, True)


@pytest.mark.parametrize("heads", ["descending", "ascending"])
def test_decisions_come_in_the_order_of_visits(heads: HeadOrder) -> None:
    case, loss = small_search()
    decisions = oracle_acdc(case.oracle(), loss, 0.03, heads=heads, direct=True)
    receivers = visits(case.model.config, heads=heads, direct=True)
    assert [d.edge for d in decisions] == [f"{s}->{r}" for r, senders in receivers for s in senders]


def alive(reader: str, kept: set[str], direct: bool) -> bool:
    """Whether a kept path leads from a reader to the output, found by walking."""
    if reader == "logits":
        return True
    node = reader.split("<")[0]
    if direct and node != reader and f"{reader}->{node}" not in kept:
        return False
    targets = {edge.split("->")[1] for edge in kept if edge.split("->")[0] == node}
    return any(alive(target, kept, direct) for target in targets)


def test_removals_into_dead_nodes_change_nothing() -> None:
    """The rule 'untested, effect 0' is exact: such a removal leaves the logits, bit for bit."""
    case, loss = small_search()
    run, kept, seen = case.oracle(), every_edge(case), 0
    for decision in oracle_acdc(run, loss, 0.1):
        after = kept - {decision.edge} if not decision.kept else kept
        if not decision.tested:
            assert torch.equal(run.run(kept), run.run(after))
            seen += 1
        kept = after
    assert seen > 0


def test_extreme_thresholds() -> None:
    case, loss = small_search()
    run = case.oracle()
    nothing_removed = oracle_acdc(run, loss, -torch.inf)
    assert all(d.kept and d.tested for d in nothing_removed)
    everything_removed = oracle_acdc(run, loss, torch.inf)
    assert not any(d.kept for d in everything_removed)
    into_logits = upstream_of(case.model.config)["logits"]
    assert [d.tested for d in everything_removed] == [
        d.edge.endswith("->logits") for d in everything_removed
    ]
    assert sum(d.tested for d in everything_removed) == len(into_logits)


def test_equality_keeps_the_edge() -> None:
    """The test is strict: with a loss that never moves, threshold 0 keeps everything."""
    case, _ = small_search()
    run = case.oracle()
    assert all(
        d.kept and d.effect == 0 for d in oracle_acdc(run, lambda logits: 0 * logits[:, 0], 0.0)
    )
    assert all(
        d.kept for d in oracle_acdc(run, lambda logits: 0 * logits[:, 0], 0.0, absolute=True)
    )


def test_models_with_silent_mlps_may_leave_them_out() -> None:
    case, loss = small_search()
    with pytest.raises(ValueError, match="mlp=False"):
        oracle_acdc(case.oracle(), loss, 0.1, mlp=False)
    with torch.no_grad():
        for block in case.model.transformer.h:
            block.mlp.c_proj.weight.zero_()
            block.mlp.c_proj.bias.zero_()
    loss = losses.kl_divergence(case.scored(case.hugging_face(case.clean)))
    run = case.oracle()
    decisions = oracle_acdc(run, loss, 0.05, mlp=False)
    assert len(decisions) == len(edge_names(case.model.config, mlp=False))
    kept = {d.edge for d in decisions if d.kept}
    with_mlps = {d.edge for d in oracle_acdc(run, loss, 0.05) if d.kept}
    assert kept
    assert kept == with_mlps


# Attribution


def test_eap_uses_hugging_faces_own_gradients() -> None:
    case = make_case(n_layer=3)
    answer, distractor = torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])
    loss = losses.negative_logit_difference(answer, distractor)
    gradients = gradients_by_hooks(case, loss)
    clean, corrupted = (
        trace(case.model, tokens, case.mask) for tokens in (case.clean, case.corrupted)
    )
    scores = explicit_eap(case.oracle(), loss)
    assert list(scores) == edge_names(case.model.config)
    for edge, score in scores.items():
        writer, reader = edge.split("->")
        expected = (
            ((corrupted.writers[writer] - clean.writers[writer]) * gradients[reader]).sum().item()
        )
        assert score == pytest.approx(expected, abs=1e-9), edge
        assert abs(score) > 1e-9, edge


def gradients_by_hooks(case: Case, loss: losses.Loss) -> dict[str, Tensor]:
    """Gradients at readers' inputs from Hugging Face's backward pass; q, k, v by one more step."""
    gpt, inputs, projected = case.model.transformer, {}, {}
    norms = {"logits": gpt.ln_f} | {f"m{i}": block.ln_2 for i, block in enumerate(gpt.h)}
    handles = []
    for name, norm in norms.items():

        def read_a_copy(_, args: tuple[Tensor], name: str = name) -> Tensor:
            inputs[name] = args[0].clone()  # the residual stream itself has other readers too
            return inputs[name]

        handles.append(norm.register_forward_pre_hook(read_a_copy))
    for layer, block in enumerate(gpt.h):

        def note(_, args: tuple[Tensor], out: Tensor, layer: int = layer) -> None:
            projected[layer] = out

        handles.append(block.attn.c_attn.register_forward_hook(note))
    with install_hooks(*handles):
        logits = case.model(case.clean, attention_mask=case.mask, use_cache=False).logits
    mean = loss(case.scored(logits)).mean()
    inner = torch.autograd.grad(mean, list(inputs.values()), retain_graph=True)
    gradients = dict(zip(inputs, inner, strict=True))
    outer = torch.autograd.grad(mean, list(projected.values()))
    residual = trace(case.model, case.clean, case.mask).residual
    for layer, gradient in enumerate(outer):
        block, x = gpt.h[layer], residual[f"a{layer}"].requires_grad_()
        for index in range(9):
            columns = slice(8 * index, 8 * index + 8)
            part = (block.attn.c_attn(block.ln_1(x)) * gradient)[..., columns].sum()
            gradients[f"a{layer}.h{index % 3}<{'qkv'[index // 3]}>"] = torch.autograd.grad(part, x)[
                0
            ]
    return gradients


def test_eap_is_the_slope_of_the_loss() -> None:
    """Close to the clean prompts the score is the effect of removal itself, to first order."""
    case = make_case()
    loss = losses.negative_log_probability(torch.tensor([1, 2, 3]))
    run = case.oracle()
    scores = explicit_eap(run, loss)
    step = 1e-5
    clean = loss(run.run(every_edge(case))).mean().item()
    for name, value in run.clean.items():
        run.replacement[name] = value + step * (run.corrupted[name] - value)
    run.base = run._base_inputs()
    for edge in sorted(some_edges(case, 0.15)):
        slope = (loss(run.run(every_edge(case) - {edge})).mean().item() - clean) / step
        assert slope == pytest.approx(scores[edge], rel=1e-2, abs=1e-4), edge


# Losses


def test_losses_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 3.0]], dtype=torch.float64)
    answer, distractor = torch.tensor([2, 1]), torch.tensor([0, 0])
    p = (
        torch.exp(logits[0, 2]) / logits[0].exp().sum(),
        torch.exp(logits[1, 1]) / logits[1].exp().sum(),
    )
    probability = torch.stack(p)
    assert losses.negative_logit_difference(answer, distractor)(logits).tolist() == [1.0, -3.0]
    assert losses.negative_logit(answer)(logits).tolist() == [-1.0, -3.0]
    assert_same(losses.negative_probability(answer)(logits), -probability)
    assert_same(losses.negative_log_probability(answer)(logits), -probability.log())
    expected = torch.nn.functional.cross_entropy(logits, answer, reduction="none")
    assert_same(losses.cross_entropy(answer)(logits), expected)
    assert losses.rank(answer)(logits).tolist() == [1.0, 0.0]
    assert losses.negative_reciprocal_rank(answer)(logits).tolist() == [-0.5, -1.0]
    assert losses.negative_accuracy(answer)(logits).tolist() == [0.0, -1.0]


def test_kl_by_torch_and_its_zero() -> None:
    full, circuit = torch.randn(
        2, 4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    expected = torch.nn.functional.kl_div(
        circuit.log_softmax(-1), full.log_softmax(-1), log_target=True, reduction="none"
    ).sum(-1)
    assert_same(losses.kl_divergence(full)(circuit), expected)
    assert_same(losses.kl_divergence(full.log_softmax(-1))(circuit), expected)
    assert_same(losses.kl_divergence(full)(full), torch.zeros(4, dtype=torch.float64))
