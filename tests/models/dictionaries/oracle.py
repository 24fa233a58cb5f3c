"""What a dictionary computes, in plain numpy, by the formulas of the papers and of others' code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

WIDTH, N_FEATURES, N_LAYERS = 6, 12, 4


@dataclass(frozen=True)
class Weights:
    """One random dictionary; rows are features. ``decoders`` has one matrix for each layer."""

    encoder: np.ndarray
    encoder_bias: np.ndarray
    decoders: np.ndarray
    decoder_bias: np.ndarray
    threshold: np.ndarray
    skip: np.ndarray
    r_mag: np.ndarray
    mag_bias: np.ndarray


def draw_weights(seed: int = 0, n_writes: int = 1) -> Weights:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    return Weights(
        draw(N_FEATURES, WIDTH),
        draw(N_FEATURES) / 2,
        draw(n_writes, N_FEATURES, WIDTH),
        draw(WIDTH),
        np.abs(draw(N_FEATURES)) / 2 + 0.1,
        draw(WIDTH, WIDTH),
        draw(N_FEATURES) / 2,
        draw(N_FEATURES) / 2,
    )


@dataclass(frozen=True)
class Formula:
    """How it computes; every switch off is a ReLU transcoder without a skip connection."""

    activation: str = "relu"
    k: int = 3
    subtract: bool = False
    threshold: float | None = None
    normalise: str = ""
    scale_in: float = 1.0
    scale_out: float = 1.0
    by_decoder: str = ""
    skip: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


def compute(weights: Weights, formula: Formula, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, features], and what is written into each layer [writes, n, d]."""
    x = x.astype(np.float64)
    seen, times, plus = x * formula.scale_in, 1.0, 0.0
    if formula.normalise == "norm":
        times = np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(x.shape[1])
        seen = x / times
    elif formula.normalise == "layer":
        plus = x.mean(1, keepdims=True)
        times = np.sqrt(((x - plus) ** 2).sum(1, keepdims=True) / (x.shape[1] - 1))
        seen = (x - plus) / (times + 1e-5)
    if formula.subtract:
        seen = seen - weights.decoder_bias
    linear = seen @ weights.encoder.T.astype(np.float64)
    lengths = np.sqrt((weights.decoders.astype(np.float64) ** 2).sum((0, 2)))
    scaled = lengths if formula.by_decoder else np.ones(len(lengths))
    features = activate(weights, formula, linear, scaled)
    if formula.by_decoder == "choice":
        features = features / scaled
    rows = weights.decoders / (lengths[:, None] if formula.by_decoder == "features" else 1.0)
    written = np.stack([features @ row for row in rows])
    written[0] += weights.decoder_bias
    written = written / formula.scale_out * times + plus
    if formula.skip:
        written[0] += x @ weights.skip.T
    return features, written


def activate(
    weights: Weights, formula: Formula, linear: np.ndarray, scaled: np.ndarray
) -> np.ndarray:
    values = (linear + weights.encoder_bias) * scaled
    kind, k = formula.activation, formula.k
    if kind == "gated":
        magnitude = np.exp(weights.r_mag) * linear + weights.mag_bias
        return (values > 0) * np.maximum(magnitude, 0)
    if kind == "jump":
        threshold = weights.threshold if formula.threshold is None else formula.threshold
        return np.where(values > threshold, np.maximum(values, 0), 0.0)
    if kind == "group":
        out = np.zeros_like(values)
        for row, result in zip(values, out, strict=True):
            for group in np.split(np.arange(len(row)), k):
                best = group[np.argmax(row[group])]
                result[best] = max(row[best], 0)
        return out
    if kind in ("top", "signed_top"):
        out = np.zeros_like(values)
        for row, result in zip(values, out, strict=True):
            best = np.argsort(-row)[:k]
            result[best] = row[best]
        return out if kind == "signed_top" else np.maximum(out, 0)
    return np.maximum(values, 0)
