"""Tracking by colorization: copy the colors of a gray frame from earlier frames."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_runner.interfaces import LOGGED, Batch, FrameEncoder, Loss, Objective, VideoSpec
from ssl_runner.losses.pointing import copied, negative_log
from ssl_runner.nn.color import WHITE, lab_to_rgb, rgb_to_lab
from ssl_runner.nn.frames import take
from ssl_runner.nn.kmeans import kmeans, nearest
from ssl_runner.results.metrics import BASELINE, Kind


class Gray(NamedTuple):
    gray: Tensor  # (B, R + 1, 3, H, W) lightness in [0, 1], three times; the last frame is the one to color
    reference: Tensor  # (B, R, 3, H, W) in [0, 1]: the other frames in their colors, for the eye
    color: Tensor  # (B, R, h, w) int64: the color of each of their cells, numbered for each clip by itself
    centers: Tensor  # (B, K, 2) a*, b* of each color


class Colored(NamedTuple):
    image: Tensor  # (B, 3, H, W) in [0, 1]: the last frame, for the eye
    color: Tensor  # (B, h, w) int64: the color of each of its cells


class TrackingByColorization(Objective[Gray, Colored]):
    """Predict the colors of a gray frame by attention to the cells of earlier frames.

        x = gray frames t_1 ... t_R, t, colors c_j of all cells j of the first R;   y = the colors of the cells of t
        p(y_i = k | x) = sum_j a_ij [c_j = k],   a_ij = softmax_j(f_i . f_j / sqrt(E)),   loss = -log p    nats per cell

    Colors can only be copied, so that what a cell's vector f has to say is what belongs together from frame to frame:
    masks or points are carried along by the same pointing. f are the encoder's maps, led to E channels and, where its
    grid is another, resized to cells. `unmoved` in the logs is the accuracy of copying each cell from the same place
    of the frame before.

    Vondrick, Shrivastava, Fathi, Guadarrama, Murphy 2018, "Tracking Emerges by Colorizing Videos",
    https://arxiv.org/abs/1806.09594.
    Differs from the paper: colors are classes of a clip, by k-means in the a*b* plane over the cells of its reference
    frames, not of the whole dataset: they need no name, for they are only copied; vectors are of one frame, without
    convolutions over time; products of vectors are divided by sqrt(E).
    The encoder has as many channels as the data, so that it is the one that is evaluated.
    """

    logged: ClassVar[Mapping[str, Kind]] = {**LOGGED, "unmoved": BASELINE}
    encoder: FrameEncoder

    def __init__(
        self,
        encoder: FrameEncoder,
        spec: VideoSpec,
        *,
        references: int,
        step: int,
        cell: int,
        colors: int,
        width: int,
    ) -> None:
        super().__init__()
        if spec.channels != 3:
            raise ValueError(
                f"dataset: clips have {spec.channels} channel{'s' if spec.channels > 1 else ''}; "
                "objective=tracking_by_colorization needs red, green and blue: choose clips in color "
                "(dataset=moving_digits dataset.color=true)"
            )
        for key, value, least in (
            ("references", references, 1),
            ("step", step, 1),
            ("colors", colors, 2),
            ("width", width, 1),
        ):
            if value < least:
                raise ValueError(f"objective.{key} is {value}; it must be at least {least}")
        if references * step >= spec.frames:
            raise ValueError(
                f"objective.references is {references} and objective.step {step}; they need clips of at least "
                f"{references * step + 1} frames, and dataset.frames is {spec.frames}"
            )
        if not 1 <= cell <= min(spec.height, spec.width):
            raise ValueError(
                f"objective.cell is {cell}; it must be at least 1 pixel and at most the frame's side, "
                f"{min(spec.height, spec.width)}"
            )
        self.encoder = encoder
        self.references = references
        self.step = step
        self.grid = (spec.height // cell, spec.width // cell)
        self.colors = colors
        self.embed = nn.Conv2d(encoder.dim, width, 1)

    def split(self, batch: Batch) -> tuple[Gray, Colored]:
        clips = batch.data
        reach = self.references * self.step
        start = torch.randint(clips.shape[1] - reach, (len(clips), 1), device=clips.device)
        places = start + self.step * torch.arange(self.references + 1, device=clips.device)
        shown = take(clips, places)  # (B, R + 1, 3, H, W)
        lab = rgb_to_lab(shown.flatten(0, 1))
        gray = (lab[:, :1] / WHITE).to(clips.dtype).repeat(1, 3, 1, 1).view_as(shown)
        ab = (
            F.adaptive_avg_pool2d(lab[:, 1:], self.grid).flatten(2).mT.unflatten(0, shown.shape[:2])
        )  # (B, R + 1, N, 2)
        known, asked = ab[:, :-1].flatten(1, 2), ab[:, -1]
        centers = kmeans(known, self.colors)
        color = nearest(known, centers).view(len(clips), self.references, *self.grid)
        x = Gray(gray, shown[:, :-1], color, centers)
        return x, Colored(shown[:, -1], nearest(asked, centers).view(-1, *self.grid))

    def loss(self, x: Gray, y: Colored) -> Loss:
        p = self._probabilities(x)
        target = y.color.flatten(1)
        logs = {
            "accuracy": (p.argmax(dim=2) == target).float().mean(),
            "unmoved": (x.color[:, -1] == y.color).float().mean(),
        }
        return Loss(negative_log(p, target), logs)

    def predict(self, x: Gray) -> Colored:
        """The most probable color of each cell; in pictures, the attention-weighted mean."""
        p = self._probabilities(x)
        ab = (p @ x.centers.to(p.dtype)).mT.unflatten(2, self.grid)
        lightness = x.gray[:, -1, :1].to(ab.dtype) * WHITE
        smooth = F.interpolate(ab, lightness.shape[2:], mode="bilinear", align_corners=False)
        image = lab_to_rgb(torch.cat((lightness, smooth), dim=1)).to(x.gray.dtype)
        return Colored(image, p.argmax(dim=2).view(-1, *self.grid))

    def _probabilities(self, x: Gray) -> Tensor:
        """(B, N, K): probability of each color in each cell of the last frame."""
        maps = self.encoder.map(x.gray).transpose(1, 2)  # (B, R + 1, D, h, w)
        vectors = self.embed(maps.flatten(0, 1))
        if vectors.shape[2:] != self.grid:
            vectors = F.interpolate(vectors, self.grid, mode="bilinear", align_corners=False)
        vectors = vectors.flatten(2).mT.unflatten(0, maps.shape[:2])  # (B, R + 1, N, E)
        one_hot = F.one_hot(x.color.flatten(1), self.colors)
        return copied(vectors[:, -1], vectors[:, :-1].flatten(1, 2), one_hot)
