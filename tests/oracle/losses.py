"""Losses: factories that give functions [batch, vocab] logits -> [batch], all of them minimised."""

from collections.abc import Callable

from torch import Tensor

Loss = Callable[[Tensor], Tensor]


def negative_logit_difference(answer: Tensor, distractor: Tensor) -> Loss:
    return lambda logits: _pick(logits, distractor) - _pick(logits, answer)


def negative_logit(answer: Tensor) -> Loss:
    return lambda logits: -_pick(logits, answer)


def negative_log_probability(answer: Tensor) -> Loss:
    return lambda logits: -_pick(logits.log_softmax(-1), answer)


def negative_probability(answer: Tensor) -> Loss:
    return lambda logits: -_pick(logits.softmax(-1), answer)


def negative_probability_difference(answer: Tensor, distractor: Tensor) -> Loss:
    return lambda logits: _pick(logits.softmax(-1), distractor) - _pick(logits.softmax(-1), answer)


def cross_entropy(answer: Tensor) -> Loss:
    """The negative log-probability by its other definition: log-sum-exp minus logit."""
    return lambda logits: logits.logsumexp(-1) - _pick(logits, answer)


def kl_divergence(full: Tensor) -> Loss:
    """KL(full || circuit), summed over the vocabulary; `full` holds log-probabilities or logits."""
    full_log_probs = full.log_softmax(-1)
    return lambda logits: (full_log_probs.exp() * (full_log_probs - logits.log_softmax(-1))).sum(-1)


def rank(answer: Tensor) -> Loss:
    """How many tokens have a strictly larger logit than the answer; ties count for the answer."""
    return lambda logits: (logits > _pick(logits, answer)[:, None]).sum(-1).to(logits.dtype)


def negative_reciprocal_rank(answer: Tensor) -> Loss:
    return lambda logits: -1 / (rank(answer)(logits) + 1)


def negative_accuracy(answer: Tensor) -> Loss:
    return lambda logits: -(logits.argmax(-1) == answer).to(logits.dtype)


def _pick(values: Tensor, token: Tensor) -> Tensor:
    """values[i, token[i]]."""
    return values.gather(-1, token[:, None])[:, 0]
