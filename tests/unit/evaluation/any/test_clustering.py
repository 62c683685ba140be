from itertools import permutations

import numpy as np
import pytest
from findings import keys, metric, value

from ssl_runner.evaluation.any.clustering import Clustering, matched_accuracy


@pytest.mark.parametrize("seed", range(4))
def test_matched_accuracy_is_the_best_of_all_namings(seed):
    rng = np.random.default_rng(seed)
    label, found = rng.integers(4, size=20), rng.integers(4, size=20)
    best = max(np.mean(np.array(names)[found] == label) for names in permutations(range(4)))
    assert matched_accuracy(label, found) == pytest.approx(best)


def test_matched_accuracy_with_fewer_clusters_than_classes():
    assert matched_accuracy(np.array([0, 1, 2, 2]), np.array([0, 0, 1, 1])) == 0.75


def test_classes_that_are_groups_are_found(subject):
    found = Clustering(layer="pooled", restarts=2)(subject("label"))
    assert keys(found) == [(name, split, ()) for split in ("test", "val") for name in ("nmi", "ari", "accuracy")]
    assert [each.value for each in found.metrics] == pytest.approx([1] * 6)
    assert metric(found, "nmi").headline
    assert found.protocol.measured["test clusters"] == 4


def test_a_collapsed_encoder_has_no_groups(subject):
    found = Clustering(layer="pooled", restarts=2)(subject("constant"))
    assert [value(found, name) for name in ("nmi", "ari", "accuracy")] == pytest.approx([0, 0, 0.25])


def test_refusals():
    with pytest.raises(ValueError, match=r"evaluation\.clustering\.restarts is 0"):
        Clustering(layer="pooled", restarts=0)
