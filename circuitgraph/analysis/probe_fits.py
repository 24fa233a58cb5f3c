"""Logistic probes, cross-validated, and principal components: scikit-learn, an extra."""

from __future__ import annotations

import importlib.util
import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.errors import DataError, MissingExtraError
from circuitgraph.evaluation.intervals import estimate_proportion

Vectors = Float[np.ndarray, "examples d"]
Labels = Int[np.ndarray, " examples"]


@dataclass(frozen=True)
class ProbeFit:
    """A probe judged on examples that it was not fitted to.

    Attributes:
        right: whether it names each example's class.
        f1: the mean of the classes' F1 scores.
    """

    right: Bool[np.ndarray, " examples"]
    f1: float

    @property
    def accuracy(self) -> float:
        """The share of examples whose class it names."""
        return float(self.right.mean())

    def is_above(self, chance: float) -> bool:
        """Whether the accuracy's interval lies above chance."""
        return estimate_proportion(int(self.right.sum()), len(self.right)).low > chance


def check_probes(what: str = "Probes") -> None:
    """Raise `MissingExtraError` unless scikit-learn is there for them."""
    if importlib.util.find_spec("sklearn") is None:
        raise MissingExtraError(
            f"{what} need scikit-learn, which is not installed. Install it with: "
            "pip install 'circuitgraph-interp[probes]'."
        )


def choose_examples(labels: Labels, groups: Labels, folds: int) -> Bool[np.ndarray, " examples"]:
    """Which examples are of a class that has one in each fold; one fold has all of a group.

    Raises:
        DataError: fewer than two classes have.
    """
    counts = Counter(label for label, _ in set(zip(labels.tolist(), groups.tolist(), strict=True)))
    large = [label for label, n in counts.items() if n >= folds]
    if len(large) < 2:
        raise DataError(
            f"A probe needs two classes of at least {folds} different prompts, one for each fold, "
            f"but the {len(labels)} examples have {len(large)} such of {len(counts)}: use more "
            "prompts, fewer folds, or another label."
        )
    return np.isin(labels, large)


def fit_probe(
    vectors: Vectors, labels: Labels, groups: Labels, *, folds: int, penalty: float, seed: int
) -> ProbeFit:
    """Fit a logistic probe to all folds but one, judge it on that one, and so on.

    Args:
        groups: examples of one group are in one fold.
        penalty: weight of the L2 penalty, of standardised vectors.
        seed: of the folds.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=1000))
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # a probe that is not quite at its optimum is judged as it is
        warnings.simplefilter("ignore", ConvergenceWarning)
        named = cross_val_predict(
            probe, vectors.astype(np.float64), labels, groups=groups, cv=split
        )
    return ProbeFit(named == labels, float(f1_score(labels, named, average="macro")))


def find_components(vectors: Vectors) -> tuple[Float[np.ndarray, "examples 2"], list[float]]:
    """The first two principal components, and which share of the variance each has."""
    from sklearn.decomposition import PCA

    model = PCA(2, svd_solver="full")
    points = model.fit_transform(vectors.astype(np.float64))
    return points, model.explained_variance_ratio_.tolist()
