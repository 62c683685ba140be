"""Video object segmentation by label propagation: masks follow the similarity of features between frames."""

from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.evaluation.any.subject import TOLD, batches, evaluating
from ssl_runner.evaluation.video.overlap import TOLERANCE, contour_accuracy, region_overlap
from ssl_runner.figures import Clips
from ssl_runner.interfaces import VOID, ClipEncoder, Evaluator, Finding, Masked, Subject, VideoSpec
from ssl_runner.nn.color import WHITE, rgb_to_lab
from ssl_runner.nn.pictures import pictures
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, share

COLORS = ((0.9, 0.2, 0.1), (0.1, 0.5, 0.9), (0.2, 0.8, 0.2), (0.9, 0.8, 0.1), (0.7, 0.3, 0.9))  # of things, in turn

COVER = 0.8  # how much of a mask's color covers the image


class LabelPropagation(Evaluator):
    """Propagate the first frame's masks through clips of a split; nothing is trained, and classes are not used.

        l_i = sum_j a_ij l_j,   a_ij = softmax over the `top_k` most similar j of  f_i . f_j / temperature

    i: a cell of a frame; j: cells of the first frame, and of the `before` frames before, no further than `radius`
    away; l: the share of a cell that each object fills; f: the encoder's feature map of the clip, of unit length. A
    pixel is assigned to the object with the largest share.

    `shown: gray` shows the encoder only the lightness of clips, so that objects are not matched by their color, which
    untrained encoders preserve too; colors are the target of `tracking_by_colorization`.

    Metrics, on test and val: j (region overlap), f (contour accuracy) and their mean, over frames after the first,
    things and clips; also those of the first mask kept in place, the baseline without motion. Objects
    that are not in the first frame are excluded.

    Vondrick, Shrivastava, Fathi, Guadarrama, Murphy 2018, https://arxiv.org/abs/1806.09594; Jabri, Owens, Efros 2020,
    "Space-Time Correspondence as a Contrastive Random Walk", https://arxiv.org/abs/2006.14613, section 4; J and F:
    `evaluation/overlap.py`.
    Differs from the papers: the map is that of the whole clip, which where time is coarser than frames (3-D
    convolutions, tubes) is repeated, and resized to cells of `cell` pixels; the neighborhood is a square. DAVIS leaves
    out the last frame too.
    """

    needs_labels: ClassVar[bool] = False
    needs_masks: ClassVar[bool] = True
    reads: ClassVar[type[VideoSpec]] = VideoSpec
    pixels_are_control: ClassVar[bool] = False  # they have no map
    presentation: ClassVar[frozenset[str]] = frozenset({"batch_size", "pictures"})

    def __init__(
        self,
        *,
        shown: Literal["gray", "color"],
        cell: int,
        before: int,
        radius: float,
        top_k: int,
        temperature: float,
        clips: int,
        batch_size: int,
        pictures: int,
    ) -> None:
        if shown not in ("gray", "color"):
            raise ValueError(f"evaluation.label_propagation.shown is {shown!r}; it must be gray or color")
        for key, value, least in (
            ("cell", cell, 1),
            ("before", before, 0),
            ("top_k", top_k, 1),
            ("clips", clips, 1),
            ("batch_size", batch_size, 1),
            ("pictures", pictures, 1),
        ):
            if value < least:
                raise ValueError(f"evaluation.label_propagation.{key} is {value}; it must be at least {least}")
        if not radius >= 0:
            raise ValueError(f"evaluation.label_propagation.radius is {radius}; it must be 0 pixels or more")
        if not temperature > 0:
            raise ValueError(f"evaluation.label_propagation.temperature is {temperature}; it must be above 0")
        self.shown = shown
        self.cell = cell
        self.before = before
        self.radius = radius
        self.top_k = top_k
        self.temperature = temperature
        self.clips = clips
        self.batch_size = batch_size
        self.pictures = pictures

    def check(self, spec: VideoSpec) -> None:
        if spec.frames < 2:
            raise ValueError(f"dataset.frames is {spec.frames}; evaluation=label_propagation needs at least 2")
        if self.cell > min(spec.height, spec.width):
            raise ValueError(
                f"evaluation.label_propagation.cell is {self.cell}; it must be at most the side of a frame, "
                f"{min(spec.height, spec.width)} pixels"
            )

    def __call__(self, subject: Subject) -> Finding:
        metrics: list[Metric] = []
        measured: dict[str, Any] = {}
        rows: dict[str, np.ndarray] = {}
        for split in TOLD:
            scores, clips, pictures = self._scores(subject, split)
            (j, f), (j_kept, f_kept) = scores.nanmean(dim=2).tolist()
            metrics += [
                share("j_and_f", (j + f) / 2, split=split, headline=True),
                share("j", j, split=split),
                share("f", f, split=split),
                share("j_first_mask_kept", j_kept, split=split, better=Better.NEITHER),
                share("f_first_mask_kept", f_kept, split=split, better=Better.NEITHER),
            ]
            measured[f"{split} examples"] = clips
            rows = rows or pictures
        return Finding(
            metrics,
            Protocol(
                terms={
                    "method": "first frame's masks carried by likeness of features",
                    "contours": f"within {TOLERANCE} of the diagonal",
                },
                measured={**measured, "frames": cast(VideoSpec, subject.data.spec).frames, "seed": subject.seed},
            ),
            {"tracked masks": Clips(rows, note="Test frames, and the masks propagated from the first frame.")},
        )

    def _scores(self, subject: Subject, split: Split) -> tuple[Tensor, int, dict[str, np.ndarray]]:
        """(2, 2, m): of the masks that were tracked, and of the first kept, J and F of each thing, nan where the first
        frame does not show it; the number of clips; pictures."""
        data, encoder = subject.data, subject.encoder
        spec = data.spec
        if not isinstance(encoder, ClipEncoder) or not isinstance(spec, VideoSpec):
            raise ValueError("label_propagation needs an encoder with a feature map of clips")
        self.check(spec)  # the sizes of some videos are known once they are read
        generator = torch.Generator().manual_seed(subject.seed)
        n = len(data.examples(split).label)
        chosen = torch.randperm(n, generator=generator)[: self.clips].sort().values
        masks = cast(Masked, data).masks(split)[chosen].long()
        things = int(without_void(masks[:, 0]).max())
        if things == 0:
            raise ValueError(f"no first frame has an object: its masks in {split} are empty")
        scores: list[Tensor] = []
        rows: dict[str, np.ndarray] = {}
        with evaluating(encoder), torch.inference_mode():
            asked = batches(subject, split, chosen, self.batch_size)
            for (clips, *_), part in zip(asked, masks.split(self.batch_size), strict=True):
                truth = part.to(subject.device)
                seen = lightness(clips) if self.shown == "gray" and spec.channels == 3 else clips
                first = without_void(truth[:, 0])
                tracked = self._track(encoder, seen, first, things)
                kept = first[:, None].expand_as(truth)
                scores.append(torch.stack([measure(found, truth, things) for found in (tracked, kept)]).cpu())
                if not rows:
                    shown = without_void(truth[: self.pictures])
                    rows = strips(clips[: self.pictures], shown, tracked[: self.pictures])
        return torch.cat(scores, dim=2), len(chosen), rows

    def _track(self, encoder: ClipEncoder, clips: Tensor, first: Tensor, things: int) -> Tensor:
        """Clips (B, T, C, H, W) and masks of the first frame (B, H, W) -> (B, T, H, W) int64."""
        frames, size = clips.shape[1], (clips.shape[3], clips.shape[4])
        grid = (size[0] // self.cell, size[1] // self.cell)
        features = of_frames(encoder.map(clips).float(), frames, grid)
        one_hot = F.one_hot(first, things + 1).permute(0, 3, 1, 2).float()
        part = F.adaptive_avg_pool2d(one_hot, grid).flatten(2).mT  # (B, N, things + 1)
        near = neighborhood(grid, self.radius / self.cell).to(clips.device)
        carried = carry(
            features, part, near, before=self.before, top_k=self.top_k, temperature=self.temperature
        )  # (B, T, N, things + 1)
        maps = carried.flatten(0, 1).mT.unflatten(2, grid)
        pixels = F.interpolate(maps, size, mode="bilinear", align_corners=False).argmax(dim=1)
        tracked = pixels.unflatten(0, clips.shape[:2])
        return torch.cat((first[:, None], tracked[:, 1:]), dim=1)


def without_void(masks: Tensor) -> Tensor:
    """Void as ground."""
    return masks.masked_fill(masks == VOID, 0)


def lightness(clips: Tensor) -> Tensor:
    """Clips (B, T, 3, H, W) in gray: L* in [0, 1], three times; what `tracking_by_colorization` sees."""
    gray = rgb_to_lab(clips.flatten(0, 1))[:, :1] / WHITE
    return gray.to(clips.dtype).repeat(1, 3, 1, 1).unflatten(0, clips.shape[:2])


def of_frames(maps: Tensor, frames: int, grid: tuple[int, int]) -> Tensor:
    """A map of clips (B, D, t, h, w), repeated in time and resized in space -> (B, frames, N, D) of unit length."""
    place = torch.arange(frames, device=maps.device) * maps.shape[2] // frames
    each = maps[:, :, place].transpose(1, 2).flatten(0, 1)
    if each.shape[2:] != grid:
        each = F.interpolate(each, grid, mode="bilinear", align_corners=False)
    return F.normalize(each.flatten(2).mT, dim=2).unflatten(0, (-1, frames))


def neighborhood(grid: tuple[int, int], radius: float) -> Tensor:
    """Which cells of a grid are no more than `radius` rows and columns away from which: (N, N) bool."""
    row, column = (axis.flatten() for axis in torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    down, across = (place[:, None] - place for place in (row, column))
    return torch.maximum(down.abs(), across.abs()) <= radius


def carry(features: Tensor, first: Tensor, near: Tensor, *, before: int, top_k: int, temperature: float) -> Tensor:
    """Features (B, T, N, D), labels of the first frame (B, N, L), neighbors (N, N) bool -> (B, T, N, L).

    The first frame is pointed at as a whole, the `before` frames before only nearby.
    """
    labels = [first]
    for now in range(1, features.shape[1]):
        places = [0, *range(max(1, now - before), now)]
        keys = features[:, places].flatten(1, 2)
        allowed = torch.cat([torch.ones_like(near)] + [near] * (len(places) - 1), dim=1)
        likeness = (features[:, now] @ keys.mT / temperature).masked_fill(~allowed, -torch.inf)
        value, place = likeness.topk(min(top_k, likeness.shape[2]), dim=2)
        known = torch.stack([labels[t] for t in places], dim=1).flatten(1, 2)  # (B, R * N, L)
        clip = torch.arange(len(known), device=known.device)[:, None, None]
        labels.append((value.softmax(dim=2)[..., None] * known[clip, place]).sum(dim=2))
    return torch.stack(labels, dim=1)


def measure(found: Tensor, truth: Tensor, things: int) -> Tensor:
    """J and F, their mean over frames after the first: (B, T, H, W) int64, twice -> (2, B * things), nan for things
    that the first frame does not show. What is `VOID` in truth counts for neither."""
    number = torch.arange(1, things + 1, device=truth.device)[:, None, None, None]
    told = truth[:, None, 1:] != VOID
    ours, theirs = (told & (masks[:, None, 1:] == number) for masks in (found, truth))  # (B, things, T - 1, H, W)
    there = (truth[:, None, :1] == number).flatten(2).any(2)
    scores = [score(ours, theirs).mean(dim=2) for score in (region_overlap, contour_accuracy)]
    return torch.stack([value.masked_fill(~there, torch.nan).flatten() for value in scores])


def strips(clips: Tensor, truth: Tensor, tracked: Tensor) -> dict[str, np.ndarray]:
    """The clips with the true masks, and with those that were tracked."""
    return {
        name: np.stack([painted(clip, mask) for clip, mask in zip(clips.cpu(), masks.cpu(), strict=True)])
        for name, masks in (("truth", truth), ("tracked", tracked))
    }


def painted(images: Tensor, masks: Tensor) -> np.ndarray:
    """Images (n, C, H, W) in [0, 1] in gray, covered by the colors of their masks (n, H, W): (n, H, W, 3)."""
    gray = images.float().clamp(0, 1).mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    color = torch.tensor(COLORS)[(masks - 1) % len(COLORS)].movedim(-1, 1)
    covered = (1 - COVER) * gray + COVER * color
    return pictures(torch.where((masks > 0)[:, None], covered, gray))
