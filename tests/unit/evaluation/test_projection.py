import numpy as np
import pytest
import torch
from findings import keys

from ssl_runner.evaluation.projection import Projection, principal_plane
from ssl_runner.figures import Scatter


def test_principal_plane_is_that_of_scikit_learn():
    from sklearn.decomposition import PCA

    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5, 2, 0.1, 9]) + 3
    points, shown = principal_plane(x)
    pca = PCA(2).fit(x.numpy())
    assert np.allclose(np.abs(points), np.abs(pca.transform(x.numpy())), atol=1e-4)
    assert shown == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-5)


def test_principal_plane_of_a_line_and_of_a_point():
    line, shown = principal_plane(torch.tensor([[0.0], [1], [3], [4]]))
    assert np.allclose(line, [[-2, 0], [-1, 0], [1, 0], [2, 0]])
    assert shown == pytest.approx(1)
    point, shown = principal_plane(torch.full((6, 3), 0.3))
    assert np.allclose(point, 0, atol=1e-6)
    assert shown == 0


@pytest.mark.parametrize(
    ("method", "metrics"), [("pca", ["trustworthiness", "explained_variance"]), ("tsne", ["trustworthiness"])]
)
def test_points_and_labels_belong_together(subject, table, method, metrics):
    found = Projection(layer="pooled", method=method, examples=20)(subject("label"))
    assert keys(found) == [(name, "test", ()) for name in metrics]
    figure = found.figures[method]
    assert isinstance(figure, Scatter)
    assert figure.points.shape == (20, 2)
    groups = [figure.points[figure.label == c].mean(axis=0) for c in range(4)]
    for point, label in zip(figure.points, figure.label, strict=True):
        assert np.argmin([np.linalg.norm(point - group) for group in groups]) == label


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_collapsed_encoder_is_a_point(subject, method):
    found = Projection(layer="pooled", method=method, examples=40)(subject("constant"))
    assert np.allclose(found.figures[method].points, 0, atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match=r"evaluation\.projection\.examples is 3"):
        Projection(layer="pooled", method="pca", examples=3)
