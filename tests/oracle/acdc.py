"""The reference's greedy search, one full forward pass per tested edge."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from transformers import PreTrainedConfig

from .names import head_names, kv_head_names, nodes_moved, refuse_direct_with_kv, sizes
from .run import OracleRun
from .units import read_apart

Loss = Callable[[Tensor], Tensor]
HeadOrder = Literal["descending", "ascending"]


@dataclass(frozen=True)
class Decision:
    """The decision about one edge.

    Edges into dead nodes are not tested: their effect is 0 by rule.
    """

    edge: str
    effect: float
    kept: bool
    tested: bool


def oracle_acdc(
    run: OracleRun,
    loss: Loss,
    threshold: float,
    *,
    absolute: bool = False,
    direct: bool = False,
    heads: HeadOrder = "descending",
    mlp: bool = True,
    kv: bool = False,
) -> list[Decision]:
    """Decide every edge once, from the output back; `heads` is the senders' order within a layer.

    With `kv` key and value inputs belong to key-value heads.
    """
    if heads not in ("descending", "ascending"):
        raise ValueError(f"heads must be 'descending' or 'ascending', not {heads!r}")
    if not mlp:
        _check_mlps_are_silent(run)
    kept = set(run.edge_names(direct, mlp, kv))
    current = _mean_loss(run, loss, kept, direct, kv)
    decisions = []
    order = visits(run.config, direct=direct, heads=heads, mlp=mlp, kv=kv)
    # of an MLP in parts the shared input first, then those of units, the highest first
    apart = (
        (own, senders)
        for reader, senders in order
        for own in reversed(read_apart(reader, run.parts, run.own))
    )
    for reader, senders in apart:
        dead = _is_dead(run, reader, kept, direct)
        for sender in _in_parts(run, senders, heads):
            edge = f"{sender}->{reader}"
            if dead:
                kept.remove(edge)
                decisions.append(Decision(edge, effect=0.0, kept=False, tested=False))
                continue
            without = _mean_loss(run, loss, kept - {edge}, direct, kv)
            effect = without - current
            removed = (abs(effect) if absolute else effect) < threshold
            if removed:
                kept.remove(edge)
                current = without
            decisions.append(Decision(edge, effect, kept=not removed, tested=True))
    return decisions


def visits(
    config: PreTrainedConfig,
    *,
    direct: bool = False,
    heads: HeadOrder = "descending",
    mlp: bool = True,
    kv: bool = False,
) -> Iterator[tuple[str, list[str]]]:
    """Receivers in the order of visits, each with its senders in the order of tests.

    The receiver of a direct edge is the head itself; it comes up three times, once each for v, k
    and q.
    """
    refuse_direct_with_kv(direct, kv)
    size = sizes(config)
    yield "logits", _senders(config, size.layers, heads, mlp)
    for layer in reversed(range(size.layers)):
        before = _senders(config, layer, heads, mlp)
        own_heads = head_names(config, layer)
        if mlp:
            yield f"m{layer}", ([] if size.parallel else _in_order(own_heads, heads)) + before
        if direct:
            yield from (
                (head, [f"{head}<{letter}>"]) for letter in "vkq" for head in reversed(own_heads)
            )
        for letter in "vkq":
            owners = kv_head_names(config, layer) if kv and letter != "q" else own_heads
            yield from ((f"{owner}<{letter}>", before) for owner in reversed(owners))


def _senders(config: PreTrainedConfig, layer: int, heads: HeadOrder, mlp: bool) -> list[str]:
    """Writers before the attention of `layer`: last layer first, MLP before heads, then embed."""
    senders = []
    for earlier in reversed(range(layer)):
        senders += [f"m{earlier}"] if mlp else []
        senders += _in_order(head_names(config, earlier), heads)
    return [*senders, "embed"]


def _in_order(names: list[str], heads: HeadOrder) -> list[str]:
    return names[::-1] if heads == "descending" else names


def _in_parts(run: OracleRun, senders: list[str], heads: HeadOrder) -> list[str]:
    """The senders with split MLPs in their parts, in the order of heads."""
    parts = [_in_order(run.names_of_parts.get(sender, [sender]), heads) for sender in senders]
    return [name for names in parts for name in names]


def _is_dead(run: OracleRun, reader: str, kept: set[str], direct: bool) -> bool:
    """Whether nothing that is kept carries this receiver's value any further."""
    if reader == "logits":
        return False
    node, bracket, _ = reader.partition("<")
    if direct and bracket and f"{reader}->{node}" not in kept:
        return True
    moved = nodes_moved(run.config, reader)
    own = read_apart(node, run.parts, run.own)[:-1]  # parts that this reader does not feed
    starts = tuple(
        f"{part}->"
        for name in moved
        for part in run.names_of_parts.get(name, [name])
        if part not in own
    )
    return not any(edge.startswith(starts) for edge in kept)


def _mean_loss(run: OracleRun, loss: Loss, kept: set[str], direct: bool, kv: bool) -> float:
    return loss(run.run(kept, direct, kv)).double().mean().item()


def _check_mlps_are_silent(run: OracleRun) -> None:
    """Without MLP nodes the search takes MLPs as absent, right only if they write zeros."""
    mlps = [name for name in run.clean if name.startswith("m")]
    loud = [name for name in mlps if run.clean[name].any() or run.corrupted[name].any()]
    if loud:
        raise ValueError(f"mlp=False, but these MLPs write to the residual stream: {loud}")
