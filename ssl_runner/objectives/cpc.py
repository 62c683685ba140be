"""CPC (contrastive predictive coding): identify patches further down, among others, from the rows above."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, ImageSpec, Loss, MapEncoder, Objective
from ssl_runner.losses.contrastive import info_nce, watched
from ssl_runner.losses.precision import float32
from ssl_runner.nn.gather import gather, rank, ranks
from ssl_runner.nn.patches import patchify
from ssl_runner.views.mismatch import mismatch


class CPC(Objective[Tensor, Tensor]):
    """Identify the patch some rows below, among patches of this and other images, from the rows up to the current one.

        z_ij = f(patch in row i, column j),   c_ij = g(z of the rows up to i)
        x = the grid of overlapping patches,   y = the places in the batch of further candidates
        loss = mean over i, j and k = nearest ... farthest of  -log( e^{z_{i+k,j}' W_k c_ij} / sum_z e^{z' W_k c_ij} )

    in nats per prediction; z runs over all patches of the image and `negatives` patches of other images.
    van den Oord, Li, Vinyals 2018, "Representation Learning with Contrastive Predictive Coding",
    https://arxiv.org/abs/1807.03748, section 3.3 and eq. 4.
    Differs from the paper: g sees whole rows down to its own, a few of them, by convolutions over two rows and three
    columns; the batch's images share their candidates from other images; each patch is moved at random rather than
    cropped; the features of an image are those of the whole image, not the mean over its patches.
    """

    target: Tensor  # (A, P) bool: of the A predictions of an image which of its P patches is the one predicted
    top: Tensor  # (rows,) int64: where patches begin, pixels
    left: Tensor  # (columns,) int64

    def __init__(
        self,
        encoder: MapEncoder,
        spec: ImageSpec,
        *,
        patch: float,
        stride: float,
        jitter: float,
        context_dim: int,
        context_depth: int,
        nearest: int,
        farthest: int,
        negatives: int,
    ) -> None:
        super().__init__()
        patch, stride, jitter = _pixels(patch, stride, jitter, spec)
        if context_dim < 1 or context_depth < 1:
            raise ValueError(
                f"objective.context_dim is {context_dim} and objective.context_depth {context_depth}; both must be at "
                "least 1"
            )
        self.grid = ((spec.height - patch) // stride + 1, (spec.width - patch) // stride + 1)
        if not 1 <= nearest <= farthest < self.grid[0]:
            raise ValueError(
                f"objective.nearest is {nearest} and objective.farthest {farthest}; predictions must be at least one "
                f"row ahead and end within the {self.grid[0]} rows that objective.patch={patch} and "
                f"objective.stride={stride} give"
            )
        if negatives < 0:
            raise ValueError(f"objective.negatives is {negatives}; it must be 0 or more patches of other images")
        self.encoder = encoder
        self.patch = patch
        self.jitter = jitter
        self.negatives = negatives
        self.steps = range(nearest, farthest + 1)
        self.context = RowContext(encoder.dim, context_dim, context_depth)
        self.predict_ahead = nn.ModuleList(nn.Linear(context_dim, encoder.dim, bias=False) for _ in self.steps)
        rows, columns = self.grid
        # the prediction k rows ahead of place a is of place a + k * columns
        eye = torch.eye(rows * columns, dtype=torch.bool)
        self.register_buffer("target", torch.cat([eye[k * columns :] for k in self.steps]), persistent=False)
        for name, count, side in (("top", rows, spec.height), ("left", columns, spec.width)):
            start = torch.arange(count) * stride
            self.register_buffer(name, start + (side - patch - start[-1]) // 2, persistent=False)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (B, C, rows * patch, columns * patch): the patches side by side; y (K,) int64, a place of
        all processes' patches is b * P + p."""
        x = self._cut(batch.data)
        places = ranks() * len(x) * self.grid[0] * self.grid[1]
        return x, torch.randperm(places, device=x.device)[: self.negatives]

    def shuffle(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Each row of patches except for the first comes from another image."""
        rows = mismatch(x.unflatten(2, (self.grid[0], self.patch)).permute(2, 0, 1, 3, 4))
        return rows.permute(1, 2, 0, 3, 4).flatten(2, 3), y

    def _cut(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, rows * patch, columns * patch), each patch moved by up to `jitter` pixels."""
        (rows, columns), side = self.grid, self.patch
        within = torch.arange(side, device=image.device)
        place = []
        for start, most in (
            (self.top[:, None].expand(rows, columns), image.shape[2] - side),
            (self.left.expand(rows, columns), image.shape[3] - side),
        ):
            moved = start + torch.randint(-self.jitter, self.jitter + 1, (len(image), *self.grid), device=image.device)
            place.append(moved.clamp(0, most)[..., None] + within)  # (B, rows, columns, side)
        down, across = place[0].transpose(2, 3).flatten(1, 2), place[1]
        down = down[:, :, :, None].expand(-1, -1, -1, side).flatten(2)  # (B, rows * side, columns * side)
        across = across[:, :, None].expand(-1, -1, side, -1, -1).flatten(1, 2).flatten(2)
        of_image = torch.arange(len(image), device=image.device)[:, None, None]
        return image[of_image, :, down, across].permute(0, 3, 1, 2)

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        count, channels = x.shape[:2]
        patches = patchify(x, self.patch).unflatten(2, (self.patch, self.patch, channels))
        z = self.encoder(patches.flatten(0, 1).permute(0, 3, 1, 2)).pooled.unflatten(0, (count, -1))  # (B, P, D)
        context = self.context(z.unflatten(1, self.grid).permute(0, 3, 1, 2)).flatten(2).mT  # (B, P, context_dim)
        expected = [
            head(context[:, : -k * self.grid[1]]) for k, head in zip(self.steps, self.predict_ahead, strict=True)
        ]
        sim = _scores(torch.cat(expected, dim=1), z, gather(z).flatten(0, 1)[y])

        of_image = (rank() * count + torch.arange(count, device=x.device)).repeat_interleave(len(self.target))
        other = y // z.shape[1] != of_image[:, None]  # (B * A, K): those of the image itself are there already
        here = self.target.repeat(count, 1)
        pos, neg = torch.cat((here, torch.zeros_like(other)), dim=1), torch.cat((~here, other), dim=1)
        return Loss(info_nce(sim, pos, neg), watched(sim.detach(), sim.detach(), pos, neg))


def _pixels(patch: float, stride: float, jitter: float, spec: ImageSpec) -> tuple[int, int, int]:
    """The side of a patch, the stride and the jitter in pixels. Raises ValueError."""
    shorter = min(spec.height, spec.width)
    if jitter < 0:
        raise ValueError(f"objective.jitter is {jitter}; it must be 0 pixels (none) or more")
    side = _whole("patch", patch, shorter)
    step = _whole("stride", stride, side)
    if step < 1 or not step <= side <= shorter:
        raise ValueError(
            f"objective.patch is {patch} and objective.stride {stride}; patches must be at least as wide as the "
            f"stride, and fit into images of {spec.height} x {spec.width} pixels"
        )
    return side, step, _whole("jitter", jitter, side)


def _whole(key: str, value: float, of: int) -> int:
    """Pixels: `value` itself, or below 1 that part `of` a number of pixels, rounded."""
    if value >= 1 and value != int(value):
        raise ValueError(f"objective.{key} is {value}; it must be a whole number of pixels, or a part below 1")
    return round(value * of) if value < 1 else int(value)


@float32
def _scores(expected: Tensor, own: Tensor, others: Tensor) -> Tensor:
    """Predictions (B, A, D) with the image's patches (B, P, D) and other images' (K, D) -> (B * A, P + K)."""
    return torch.cat((expected @ own.mT, expected @ others.T), dim=2).flatten(0, 1)


class RowContext(nn.Module):
    """Summarize a grid from the top: (B, D, rows, columns) -> (B, dim, rows, columns); no position sees lower rows.

    `depth` residual convolutions, each over the row above and its own, and three columns. No normalization: over the
    grid it would tell of the rows below.
    """

    def __init__(self, dim_in: int, dim: int, depth: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(dim_in, dim, 1)
        self.layers = nn.ModuleList(nn.Conv2d(dim, dim, (2, 3)) for _ in range(depth))

    def forward(self, z: Tensor) -> Tensor:
        c = self.embed(z)
        for layer in self.layers:
            c = c + layer(F.pad(F.relu(c), (1, 1, 1, 0)))  # columns on both sides, a row above
        return c
