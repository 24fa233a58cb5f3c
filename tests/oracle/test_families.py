"""Every family of the oracle against Hugging Face itself: names, logits, residual streams."""

import pytest
import torch
from torch import Tensor
from transformers import GPTNeoXConfig, OPTConfig

from .acdc import visits
from .cases import CLOSE, OTHERS, REBUILT, Fields, assert_close, make_case, make_config
from .names import FAMILIES, edge_names, nodes_fed, sizes, upstream_of

pytestmark = pytest.mark.filterwarnings("error")

PLAIN: list[tuple[str, Fields]] = [(family, {}) for family in FAMILIES]
SEQUENTIAL: tuple[str, Fields] = ("gpt_neox", {"use_parallel_residual": False})


# Names and orders


def test_counts_of_known_models() -> None:
    llama = make_config(
        "llama", num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8
    )
    assert len(set(edge_names(llama, kv=True))) == 195_865
    pythia = GPTNeoXConfig(num_hidden_layers=12, num_attention_heads=12, hidden_size=768)
    assert len(set(edge_names(pythia))) == len(set(edge_names(pythia, kv=True))) == 32_347
    gemma = make_config(
        "gemma2", num_hidden_layers=26, num_attention_heads=8, num_key_value_heads=4
    )
    assert len(set(edge_names(gemma, kv=True))) == 50_610


def test_kv_readers_and_their_order() -> None:
    config = make_config(
        "llama", num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, hidden_size=32
    )
    queries, shared = (
        [f"a1.h{h}<q>" for h in range(4)],
        [f"a1.kv{g}<{x}>" for g in (0, 1) for x in "kv"],
    )
    assert list(upstream_of(config, kv=True))[9:] == [*queries, *shared, "m1", "logits"]
    visited = [reader for reader, _ in visits(config, kv=True)]
    shared = ["a1.kv1<v>", "a1.kv0<v>", "a1.kv1<k>", "a1.kv0<k>"]
    assert visited[:10] == ["logits", "m1", *shared, *queries[::-1]]
    assert nodes_fed(config, "a1.kv1<v>") == ["a1.h2", "a1.h3"]
    assert nodes_fed(config, "a1.h2<v>") == ["a1.h2"]
    edges = [
        f"{sender}->{reader}" for reader, senders in visits(config, kv=True) for sender in senders
    ]
    assert sorted(edges) == sorted(edge_names(config, kv=True))


def test_parallel_mlps_do_not_see_their_own_heads() -> None:
    config = GPTNeoXConfig(num_hidden_layers=2, num_attention_heads=2, hidden_size=16)
    before = ["embed", "a0.h0", "a0.h1", "m0"]
    assert upstream_of(config)["m1"] == before
    assert dict(visits(config))["m1"] == ["m0", "a0.h1", "a0.h0", "embed"]
    from_logits = ["m1", "a1.h0", "a1.h1", "m0", "a0.h0", "a0.h1", "embed"]
    assert dict(visits(config, heads="ascending"))["logits"] == from_logits
    config.use_parallel_residual = False
    assert upstream_of(config)["m1"] == [*before, "a1.h0", "a1.h1"]


# The whole model is Hugging Face's


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("family", "fields"), PLAIN + OTHERS + REBUILT)
def test_ends_are_hugging_face(family: str, fields: Fields, dtype: torch.dtype) -> None:
    case = make_case(family, dtype, **fields)
    run, real = case.oracle(), case.mask.bool()
    clean, corrupted = case.hugging_face(case.clean), case.hugging_face(case.corrupted)
    assert (clean - corrupted).abs().max() > 1
    for kv in (False, True):
        everything = set(edge_names(case.model.config, kv=kv))
        assert_close(run.run_all_positions(everything, kv=kv)[real], clean)
        assert_close(run.run_all_positions(set(), kv=kv)[real], corrupted)


@pytest.mark.parametrize(("family", "fields"), OTHERS)
def test_settings_show(family: str, fields: Fields) -> None:
    """The setting moves the logits so far that the test above would fail without it."""
    case, other = make_case(family), make_case(family, **fields)
    other.model.load_state_dict(case.model.state_dict())
    one, another = (c.hugging_face(c.clean) for c in (case, other))
    assert (one - another).abs().max() > 100 * CLOSE * max(one.abs().max(), 1)


# Writers and the residual stream


@pytest.mark.parametrize(("family", "fields"), [*PLAIN, SEQUENTIAL])
def test_writers_add_up_to_the_residual(family: str, fields: Fields) -> None:
    """Each writer equals its hook; with the constants, earlier writers are a reader's input."""
    case = make_case(family, **fields)
    run, real, seen = case.oracle(), case.mask.bool(), case.trace(case.clean)
    assert set(run.clean) == set(seen.writers)
    for name, value in run.clean.items():
        assert value[real].abs().max() > 1e-2
        assert_close(value[real], seen.writers[name][real])
    constants = [run.family.constant(layer) for layer in range(sizes(case.model.config).layers)]
    for reader, upstream in upstream_of(case.model.config).items():
        site = reader.partition(".")[0]
        added = sum(f"a{layer}.h0" in upstream for layer in range(len(constants)))
        total = sum(
            (run.clean[writer] for writer in upstream), sum(constants[:added], torch.zeros(()))
        )
        assert_close(total[real], seen.residual[site][real])


@pytest.mark.parametrize("family", ["gemma2", "olmo2"])
def test_post_norm_denominators_are_those_of_the_run_itself(family: str) -> None:
    """Another input to one head changes the other heads' values, all by the same factor."""
    case = make_case(family)
    run = case.oracle()

    def read(reader: str, values: dict[str, Tensor], constant: Tensor) -> Tensor:
        stream = sum(values.values(), constant)
        return -stream if reader == "a1.h0<v>" else stream

    with torch.no_grad():
        changed, _ = run.forward(case.clean, read)
    ratio = (changed["a1.h3"] / run.clean["a1.h3"])[case.mask.bool()]
    assert_close(ratio, ratio[:, :1].expand_as(ratio), 1e-8)
    assert (ratio - 1).abs().max() > 0.1


# Refusals


@pytest.mark.parametrize(
    ("family", "field", "value"),
    [
        ("gemma2", "attention_bias", True),
        ("olmo2", "attention_bias", True),
        ("gemma2", "use_bidirectional_attention", True),
        ("bloom", "apply_residual_connection_post_layernorm", True),
    ],
)
def test_settings_without_a_graph_are_refused(family: str, field: str, value: bool) -> None:
    case = make_case(family)
    setattr(case.model.config, field, value)
    with pytest.raises(ValueError, match=field):
        case.oracle()


def test_wrong_input_is_refused() -> None:
    case = make_case("llama")
    with pytest.raises(ValueError, match="exclude each other"):
        edge_names(case.model.config, direct=True, kv=True)
    with pytest.raises(ValueError, match="exclude each other"):
        case.oracle().run(set(), direct=True, kv=True)
    with pytest.raises(ValueError, match="not edges of this model"):
        case.oracle().run({"embed->a0.kv0<k>"})
    with pytest.raises(ValueError, match="not edges of this model"):
        case.oracle().run({"embed->a0.h0<k>"}, kv=True)
    with pytest.raises(ValueError, match="not 'opt'"):
        edge_names(OPTConfig())
