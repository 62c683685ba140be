"""Clustering: whether unsupervised clusters in feature space match the classes."""

import warnings
from functools import partial

import numpy as np
from torch.nn import functional as F

from ssl_runner.evaluation.any.subject import TOLD, named_layer, sizes
from ssl_runner.interfaces import Evaluator, Finding, Subject
from ssl_runner.results.metrics import (
    Better,
    Metric,
    Protocol,
    Split,
    Unit,
    share,
)


class Clustering(Evaluator):
    """k-means on the features of "test", and separately of "val", with as many clusters as classes; labels only score
    the result.

    Features are scaled to length 1, so that distances are those of the cosine. Metrics: nmi (normalized mutual
    information, arithmetic mean of the entropies; 0 to 1), ari (adjusted Rand index; 0 in expectation for chance, 1 at
    best), accuracy (of the best one-to-one naming of clusters by classes; in [0, 1]).
    """

    def __init__(self, *, layer: str | int, restarts: int) -> None:
        self.layer = named_layer("evaluation.clustering.layer", layer)
        if restarts < 1:
            raise ValueError(f"evaluation.clustering.restarts is {restarts}; it must be at least 1")
        self.restarts = restarts

    def __call__(self, subject: Subject) -> Finding:
        metrics: list[Metric] = []
        clusters = {}
        for split in TOLD:
            features, label = subject.features(split, self.layer)
            clusters[split] = min(subject.data.spec.classes, len(label))
            found = group(F.normalize(features, dim=1).numpy(), clusters[split], self.restarts, subject.seed)
            metrics += _scores(label.numpy(), found, split)
        return Finding(
            metrics,
            Protocol(
                terms={"method": "k-means", "features": "scaled to length 1"},
                measured={
                    **{f"{split} clusters": count for split, count in clusters.items()},
                    **sizes(subject, *TOLD),
                    "seed": subject.seed,
                },
            ),
        )


def group(features: np.ndarray, clusters: int, restarts: int, seed: int) -> np.ndarray:
    """k-means: (n, D) -> (n,) the number of each example's cluster."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # A collapsed encoder has fewer distinct features than clusters; the metrics say so well enough.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return KMeans(clusters, n_init=restarts, random_state=seed).fit_predict(features)


def _scores(label: np.ndarray, found: np.ndarray, split: Split) -> list[Metric]:
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    plain = partial(Metric, unit=Unit.PLAIN, better=Better.HIGHER, split=split)
    return [
        plain(name="nmi", value=float(normalized_mutual_info_score(label, found)), headline=True),
        plain(name="ari", value=float(adjusted_rand_score(label, found))),
        share("accuracy", matched_accuracy(label, found), split=split),
    ]


def matched_accuracy(label: np.ndarray, found: np.ndarray) -> float:
    """The share of examples whose cluster is named by their class, (n,) and (n,), under the best one-to-one naming."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((found.max() + 1, label.max() + 1), dtype=np.int64)
    np.add.at(counts, (found, label), 1)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(label))
