"""Clustering: whether the classes are groups in feature space, found without a label."""

import warnings

import numpy as np
from torch.nn import functional as F

from ssl_runner.evaluation.subject import named_layer
from ssl_runner.interfaces import Evaluator, Finding, Subject


class Clustering(Evaluator):
    """k-means on the "test" features, as many clusters as classes; labels only score what was found.

    Features are scaled to length 1, so that distances are those of the cosine. Metrics: nmi (normalised mutual
    information, arithmetic mean of the entropies; 0 to 1), ari (adjusted Rand index; 0 in expectation for chance, 1 at
    best), accuracy (of the best one-to-one naming of clusters by classes; in [0, 1]).
    """

    def __init__(self, *, layer: str | int, restarts: int) -> None:
        self.layer = named_layer("evaluation.clustering.layer", layer)
        if restarts < 1:
            raise ValueError(f"evaluation.clustering.restarts is {restarts}; it must be at least 1")
        self.restarts = restarts

    def __call__(self, subject: Subject) -> Finding:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

        test = subject.features("test", self.layer)
        clusters = min(subject.data.spec.classes, len(test.label))
        means = KMeans(clusters, n_init=self.restarts, random_state=subject.seed)
        with warnings.catch_warnings():
            # A collapsed encoder has fewer distinct features than clusters; the metrics say so well enough.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = means.fit_predict(F.normalize(test.data, dim=1).numpy())
        label = test.label.numpy()
        return Finding(
            metrics={
                "nmi": float(normalized_mutual_info_score(label, found)),
                "ari": float(adjusted_rand_score(label, found)),
                "accuracy": matched_accuracy(label, found),
            },
            protocol={
                "evaluator": "k-means",
                "layer": self.layer,
                "features": "scaled to length 1",
                "split": "test",
                "examples": len(label),
                "clusters": clusters,
                "restarts": self.restarts,
                "seed": subject.seed,
            },
        )


def matched_accuracy(label: np.ndarray, found: np.ndarray) -> float:
    """The share of examples whose cluster is named by their class, (n,) and (n,), under the best one-to-one naming."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((found.max() + 1, label.max() + 1), dtype=np.int64)
    np.add.at(counts, (found, label), 1)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(label))
