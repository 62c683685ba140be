"""A two-dimensional projection of feature space."""

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ssl_runner.evaluation.any.subject import named_layer
from ssl_runner.figures import Scatter
from ssl_runner.interfaces import Evaluator, Finding, Subject
from ssl_runner.results.metrics import Better, Protocol, description, share

NEIGHBORS = 10  # of trustworthiness
NOTES = {
    "pca": "Features of test examples on the two directions in which they vary most.",
    "tsne": "Features of test examples by t-SNE: neighbors are preserved; distances between groups are not meaningful.",
}


class Projection(Evaluator):
    """Project up to `examples` seeded examples of "test" to two dimensions; labels only color them.

    "pca": the two principal components. "tsne": van der Maaten, Hinton 2008, started from these. Metrics:
    trustworthiness (0 to 1: how far the ten neighbors in the plane are neighbors in feature space), and for "pca"
    explained_variance, the share of the variance that the plane shows.
    """

    needs_labels: ClassVar[bool] = False
    pixels_are_control: ClassVar[bool] = False

    def __init__(self, *, layer: str | int, method: Literal["pca", "tsne"], examples: int) -> None:
        self.layer = named_layer("evaluation.projection.layer", layer)
        if examples < 4:
            raise ValueError(f"evaluation.projection.examples is {examples}; it must be at least 4")
        self.method = method
        self.examples = examples

    def __call__(self, subject: Subject) -> Finding:
        from sklearn.manifold import trustworthiness

        test = subject.features("test", self.layer)
        generator = torch.Generator().manual_seed(subject.seed)
        chosen = torch.randperm(len(test.label), generator=generator)[: self.examples].sort().values
        features = test.data[chosen]
        points, shown = principal_plane(features)
        of_plane = [share("explained_variance", shown, better=Better.NEITHER)]
        if self.method == "tsne":
            points, of_plane = neighbor_plane(features, points, subject.seed), []
        neighbors = min(NEIGHBORS, (len(chosen) - 1) // 2)
        trust = float(trustworthiness(features.numpy(), points, n_neighbors=neighbors))
        return Finding(
            [description("trustworthiness", trust, headline=True), *of_plane],
            Protocol(measured={"test examples": len(chosen), "neighbors": neighbors, "seed": subject.seed}),
            {
                self.method: Scatter(
                    points, test.label[chosen].numpy(), subject.data.spec.class_names, NOTES[self.method]
                )
            },
        )


def principal_plane(x: Tensor) -> tuple[np.ndarray, float]:
    """(n, D) -> (n, 2) float32, and the share of the variance that it shows (0 where there is none)."""
    centered = (x - x.mean(dim=0)).double()
    left, size, right = torch.linalg.svd(centered, full_matrices=False)
    strongest = right.gather(1, right.abs().argmax(dim=1, keepdim=True)).sign().flatten()  # axes have no sign: fix one
    points = torch.zeros(len(x), 2, dtype=torch.double)
    points[:, : min(2, len(size))] = (left * size * strongest)[:, :2]
    total = size.square().sum()
    shown = (size[:2].square().sum() / total).item() if total > 1e-12 * x.double().square().sum() else 0.0
    return points.float().numpy(), shown


def neighbor_plane(x: Tensor, start: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE of (n, D), from `start` (n, 2): (n, 2) float32."""
    from sklearn.manifold import TSNE

    scale = start[:, 0].std()
    if scale == 0:
        return start
    perplexity = min(30.0, (len(x) - 1) / 3)
    tsne = TSNE(init=1e-4 * start / scale, perplexity=perplexity, learning_rate="auto", random_state=seed)
    return tsne.fit_transform(x.numpy())
