"""Edge attribution from explicit caches: no mask, no clever algebra, one gradient for each reader's input."""

import torch
from torch import Tensor

from .acdc import Loss
from .names import edge_names
from .run import OracleRun, Values, read_everything


def explicit_eap(run: OracleRun, loss: Loss, kv: bool = False) -> dict[str, float]:
    """(replacement - clean) of the writer, dotted with the gradient of the mean loss at the reader's input.

    The gradient is taken on the clean run. The score is the first-order estimate of the rise of the mean loss
    when the edge is removed: positive means that removing the edge hurts. With resampling the replacement is
    the corrupted run's value. With `kv` key and value inputs belong to key-value heads.
    """
    gradients = reader_gradients(run, loss, kv)
    scores = {}
    for edge in edge_names(run.config, kv=kv):
        writer, _, reader = edge.partition("->")
        difference = run.replacement[writer] - run.clean[writer]
        scores[edge] = (difference.double() * gradients[reader].double()).sum().item()
    return scores


def reader_gradients(run: OracleRun, loss: Loss, kv: bool = False) -> dict[str, Tensor]:
    """Gradient [batch, position, d] of the mean loss at each reader's own input: at a zero added to it."""
    added: dict[str, Tensor] = {}

    def read(reader: str, values: Values, constant: Tensor) -> Tensor:
        added[reader] = torch.zeros_like(values["embed"], requires_grad=True)
        return read_everything(reader, values, constant) + added[reader]

    with torch.enable_grad():
        _, logits = run.forward(run.clean_tokens, read, kv)
        mean = loss(run.at_scored(logits)).double().mean()
    return dict(zip(added, torch.autograd.grad(mean, list(added.values())), strict=True))
