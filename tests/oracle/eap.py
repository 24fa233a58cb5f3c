"""Edge attribution from explicit caches: no mask, no algebra, one gradient per reader's input."""

import torch
from torch import Tensor

from .acdc import Loss
from .names import head_names
from .run import OracleRun, Values, read_everything


def explicit_eap(run: OracleRun, loss: Loss, kv: bool = False) -> dict[str, float]:
    """(replacement - clean) of the writer, times the mean loss's gradient at the reader's input.

    The gradient is taken on the clean run. The score is the first-order estimate of the rise of the
    mean loss when the edge is removed: positive means that removing the edge hurts. With resampling
    the replacement is the corrupted run's value. With `kv` key and value inputs belong to key-value
    heads.
    """
    return scores_of(run, [reader_gradients(run, loss, kv)], kv)


def explicit_eap_ig_inputs(
    run: OracleRun, loss: Loss, steps: int, kv: bool = False
) -> dict[str, float]:
    """As EAP, the gradient averaged over points from the corrupted embedding on to the clean one.

    They are k / steps of the way, k = 0 ... steps - 1.
    """
    far, near = run.corrupted["embed"], run.clean["embed"]
    starts = [far + k / steps * (near - far) for k in range(steps)]
    return scores_of(
        run, [reader_gradients(run, loss, kv, {"embed": start}) for start in starts], kv
    )


def explicit_clean_corrupted(run: OracleRun, loss: Loss, kv: bool = False) -> dict[str, float]:
    """As EAP, the gradient averaged over the clean and the corrupted run."""
    starts = [run.clean["embed"], run.corrupted["embed"]]
    return scores_of(
        run, [reader_gradients(run, loss, kv, {"embed": start}) for start in starts], kv
    )


def explicit_eap_ig_activations(
    run: OracleRun, loss: Loss, steps: int, kv: bool = False
) -> dict[str, float]:
    """As EAP, the gradient averaged over runs in each of which one group of writers is fixed.

    Groups: the embedding, the heads of a layer, the MLP of a layer. A group is k / steps of the way
    from its replacements to its clean values, k = 1 ... steps; the others are computed, from the
    clean prompts.
    """
    groups = [["embed"]]
    for layer in range(run.family.sizes.layers):
        mlp = f"m{layer}"
        groups += [head_names(run.config, layer), run.names_of_parts.get(mlp, [mlp])]
    gradients = []
    for group in groups:
        for k in range(1, steps + 1):
            part = k / steps
            fixed = {w: part * run.clean[w] + (1 - part) * run.replacement[w] for w in group}
            gradients.append(reader_gradients(run, loss, kv, fixed))
    return scores_of(run, gradients, kv)


def explicit_information_flow(run: OracleRun, kv: bool = False) -> dict[str, float]:
    """The share of a reader's input x that comes from a writer w.

    It is max(0, |x| - |x - w|) in the L1 norm, as a share.

    The shares of all writers of a reader at a position add up to one; they are averaged over the
    positions of a prompt, then over prompts.
    """
    scores: dict[str, float] = {}

    def read(reader: str, values: Values, constant: Tensor) -> Tensor:
        x = read_everything(reader, values, constant)
        nearness = {
            w: (x.abs().sum(-1) - (x - value).abs().sum(-1)).clamp(min=0)
            for w, value in values.items()
        }
        total = sum(nearness.values(), torch.zeros(()))
        for writer, near in nearness.items():
            share = (near / total).nan_to_num(0) * run.mask
            scores[f"{writer}->{reader}"] = (share.sum(1) / run.mask.sum(1)).mean().item()
        return x

    with torch.no_grad():
        run.forward(run.clean_tokens, read, kv)
    return scores


def explicit_importances(run: OracleRun, loss: Loss) -> dict[str, float]:
    """|(replacement - clean) . gradient at a node's output|, averaged over prompts, per node."""
    added = {
        writer: torch.zeros_like(value, requires_grad=True) for writer, value in run.clean.items()
    }

    def read(reader: str, values: Values, constant: Tensor) -> Tensor:
        return read_everything(
            reader, {w: value + added[w] for w, value in values.items()}, constant
        )

    with torch.enable_grad():
        _, logits = run.forward(run.clean_tokens, read)
        total = loss(run.at_scored(logits)).double().sum()
    gradients = dict(zip(added, torch.autograd.grad(total, list(added.values())), strict=True))
    products = {
        w: (run.replacement[w] - run.clean[w]).double() * gradients[w].double()
        for w in added
        if w != "embed"
    }
    return {writer: product.sum((1, 2)).abs().mean().item() for writer, product in products.items()}


def scores_of(run: OracleRun, gradients: list[dict[str, Tensor]], kv: bool) -> dict[str, float]:
    """(replacement - clean) of the writer, times the mean gradient at the reader's input."""
    scores = {}
    for edge in run.edge_names(kv=kv):
        writer, _, reader = edge.partition("->")
        difference = (run.replacement[writer] - run.clean[writer]).double()
        scores[edge] = sum(
            (difference * each[reader].double()).sum().item() for each in gradients
        ) / len(gradients)
    return scores


def reader_gradients(
    run: OracleRun, loss: Loss, kv: bool = False, fixed: Values | None = None
) -> dict[str, Tensor]:
    """Gradient [batch, position, d] of the mean loss at a zero added to each reader's own input.

    Writers in `fixed` have those values whatever they read: what only they read has no gradient.
    """
    added: dict[str, Tensor] = {}

    def read(reader: str, values: Values, constant: Tensor) -> Tensor:
        added[reader] = torch.zeros_like(values["embed"], requires_grad=True)
        seen = {writer: (fixed or {}).get(writer, value) for writer, value in values.items()}
        return read_everything(reader, seen, constant) + added[reader]

    with torch.enable_grad():
        _, logits = run.forward(run.clean_tokens, read, kv)
        mean = loss(run.at_scored(logits)).double().mean()
    gradients = torch.autograd.grad(mean, list(added.values()), materialize_grads=bool(fixed))
    return dict(zip(added, gradients, strict=True))
