"""Prompts clustered by what each edge does on them, and whether the clusters' circuits differ."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.catalog.records import Interval
from circuitgraph.evaluation.intervals import summarise_spread

ALPHA = 0.05
LEAST_PROMPTS = 4  # of a cluster: fewer are outliers, not a mechanism
_N_DIRECTIONS = 10  # principal ones, in which clusters are looked for
_N_STARTS = 4  # of k-means
_N_DEALS = 499
_SMALL = 1e-12

Effects = Float[np.ndarray, "prompts edges"]
Labels = Int[np.ndarray, " prompts"]


@dataclass(frozen=True)
class PromptClusters:
    """Clusters of prompts beside what one cluster would look like.

    Attributes:
        labels: the cluster of each prompt, in the best partition with two clusters or more; all 0
            if no partition has clusters that are large enough.
        silhouettes: of the best partition into each number of clusters.
        chance: the highest silhouette of data of one cluster; None where there is no partition.
        p: share of such data with a silhouette as high.
    """

    labels: Labels
    silhouettes: dict[int, float]
    chance: Interval | None
    p: float

    @property
    def are_several(self) -> bool:
        """Whether one cluster is not enough."""
        return self.p <= ALPHA


def cluster_prompts(effects: Effects, *, most: int, n_null: int, seed: int) -> PromptClusters:
    """The best partition of the prompts by the pattern of their effects, whatever its strength.

    The null is one Gaussian cluster with the mean and the covariance of the effects, partitioned in
    the same way: any cloud can be cut, so that a silhouette says nothing by itself.

    Args:
        most: the largest number of clusters that is tried.
        n_null: number of null data sets.
    """
    rng = np.random.default_rng(seed)
    best, labels = _partition(effects, most, seed)
    if not best:
        return PromptClusters(np.zeros(len(effects), int), {}, None, 1.0)
    middle = effects.mean(axis=0)
    mixing = rng.normal(size=(n_null, len(effects), len(effects))) / np.sqrt(len(effects) - 1)
    highest = [
        max(_partition(middle + each @ (effects - middle), most, seed)[0].values(), default=0.0)
        for each in mixing
    ]
    reached = sum(value >= max(best.values()) for value in highest)
    p = (1 + reached) / (1 + n_null)
    return PromptClusters(labels, best, summarise_spread(highest), p)


def _partition(effects: Effects, most: int, seed: int) -> tuple[dict[int, float], Labels]:
    """The silhouette of each number of clusters that gives large ones, and the best labels."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import silhouette_score

    points = _find_directions(effects)
    scores: dict[int, float] = {}
    best = np.zeros(len(points), int)
    for n in range(2, most + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than n
            # its stub has the default alone, "auto"
            means = KMeans(n, n_init=_N_STARTS, random_state=seed)  # pyright: ignore[reportArgumentType]
            labels = means.fit_predict(points)
        if np.bincount(labels, minlength=n).min() < LEAST_PROMPTS:
            continue
        scores[n] = float(silhouette_score(points, labels))
        if scores[n] == max(scores.values()):
            best = labels.astype(int)
    return scores, best


def _find_directions(effects: Effects) -> Float[np.ndarray, "prompts directions"]:
    """Prompts as patterns of length 1, in their principal directions."""
    lengths = np.linalg.norm(effects, axis=1, keepdims=True)
    patterns = effects / np.maximum(lengths, _SMALL)
    left, sizes, _ = np.linalg.svd(patterns - patterns.mean(axis=0), full_matrices=False)
    return (left * sizes)[:, :_N_DIRECTIONS]


@dataclass(frozen=True)
class ClusterComparison:
    """Circuits of clusters, how alike they are, and how alike those of shuffled labels are.

    Attributes:
        masks: the circuit of each cluster.
        overlap: mean Jaccard overlap of two of them.
        chance: the same of prompts dealt out at random into groups of the same sizes.
        p: share of such deals whose circuits are no more alike.
    """

    masks: Bool[np.ndarray, "clusters edges"]
    overlap: float
    chance: Interval
    p: float


def compare_clusters(
    effects: Effects, gaps: Float[np.ndarray, " prompts"], labels: Labels, share: float, seed: int
) -> ClusterComparison:
    """A circuit for each cluster, and a permutation test of whether they differ beyond chance.

    A circuit is the edges whose mean effect on the cluster's prompts is at least this share of the
    cluster's mean gap.

    Args:
        gaps: metric of the whole model less that of nothing, of each prompt.
    """
    rng = np.random.default_rng(seed)
    masks = _select_edges(effects, gaps, labels, share)
    overlap = _measure_overlap(masks)
    shuffled = [
        _measure_overlap(_select_edges(effects, gaps, rng.permutation(labels), share))
        for _ in range(_N_DEALS)
    ]
    p = (1 + sum(value <= overlap for value in shuffled)) / (1 + _N_DEALS)
    return ClusterComparison(masks, overlap, summarise_spread(shuffled), p)


def _select_edges(
    effects: Effects, gaps: Float[np.ndarray, " prompts"], labels: Labels, share: float
) -> Bool[np.ndarray, "clusters edges"]:
    members = [labels == label for label in np.unique(labels)]
    return np.stack(
        [np.abs(effects[own].mean(0)) >= share * abs(gaps[own].mean()) for own in members]
    )


def _measure_overlap(masks: Bool[np.ndarray, "clusters edges"]) -> float:
    """Mean Jaccard overlap of pairs; two empty circuits overlap fully."""
    overlaps = []
    for one, two in combinations(masks, 2):
        either = int((one | two).sum())
        overlaps.append(int((one & two).sum()) / either if either else 1.0)
    return float(np.mean(overlaps))
