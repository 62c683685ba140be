"""Detectors of torchvision over the maps of an encoder. B images, L levels, D_l channels of a level, K classes."""

import copy
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.interfaces import Boxes, Encoder, MapEncoder, PatchEncoder, Staged

Kind = Literal["faster_rcnn", "retinanet"]
SCALES = 3  # sizes of anchors on each level
RATIOS = (0.5, 1.0, 2.0)  # height to width of anchors of each size
RARE = 0.02  # share of boxes that may be smaller than all anchors, or larger
SCORE = 0.01  # found boxes of a lower one are left out
MOST = 100  # boxes found in an image, as COCO counts them
PROPOSALS = 200  # of Faster R-CNN's first stage, per image
SAMPLED = 64  # of these, per image, on which its second stage is trained


class Found(NamedTuple):
    """What a detector finds in an image, the best first."""

    corners: Tensor  # (m, 4) left, top, right, bottom as shares of its width and height
    label: Tensor  # (m,) int64, from 0
    score: Tensor  # (m,) in [0, 1]


def maps_of(encoder: Encoder, x: Tensor, levels: int) -> list[Tensor]:
    """The maps of the last `levels` stages, fine to coarse: (B, C, H, W) -> (B, D_l, h_l, w_l) each.

    One level is the grid of the encoder. Raises ValueError for an encoder without so many stages, or without a grid.
    """
    if levels == 1 and isinstance(encoder, MapEncoder):
        return [encoder.map(x)]
    if levels == 1 and isinstance(encoder, PatchEncoder):
        return [encoder(x).tokens.mT.unflatten(2, encoder.grid)]
    if not isinstance(encoder, MapEncoder) or not isinstance(encoder, Staged):
        raise ValueError(f"levels is {levels}; this backbone shows the map of its last stage alone: set it to 1")
    if levels > len(encoder.stages):
        raise ValueError(f"levels is {levels}; this backbone has {len(encoder.stages)} stages")
    with outputs(list(encoder.stages)[-levels:]) as found:
        encoder.map(x)
    if not all(isinstance(each, Tensor) and each.ndim == 4 for each in found):
        raise ValueError(
            f"levels is {levels}; the stages of this backbone give no maps (of a RevNet: two halves): set 1"
        )
    return found


@contextmanager
def outputs(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """A list that is filled with what modules give, as they are called inside."""
    found: list[Tensor] = []
    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_hook(lambda _, __, given: found.append(given)).remove)
        yield found


class Moments(NamedTuple):
    """Mean and deviation of each channel of a map over positions and images."""

    mean: Tensor  # (D,)
    std: Tensor  # (D,); 1 where it is constant


def moments(encoder: Encoder, inputs: Iterator[Tensor], levels: int) -> list[Moments]:
    """Of each level, over all batches (B, C, H, W) of `inputs`."""
    sums: list[Tensor] = []  # of each level, (3, D): values, their squares, how many
    with torch.inference_mode():
        for x in inputs:
            maps = [each.float().flatten(2) for each in maps_of(encoder, x, levels)]
            new = [_sums(each) for each in maps]
            sums = [old + each for old, each in zip(sums, new, strict=True)] if sums else new
    found = []
    for total in sums:
        mean = total[0] / total[2]
        std = (total[1] / total[2] - mean.square()).clamp_min(0).sqrt()
        found.append(Moments(mean.float(), torch.where(std > 1e-6 * mean.abs(), std, 1.0).float()))
    return found


def _sums(values: Tensor) -> Tensor:
    """(B, D, N) -> (3, D) float64, on the CPU, since not every device has it."""
    count = torch.full_like(values[0, :, 0], values.shape[0] * values.shape[2])
    return torch.stack([values.sum((0, 2)), values.square().sum((0, 2)), count]).cpu().double()


class Pyramid(nn.Module):
    """What a detector reads: the maps of an encoder, standardized, through a feature pyramid (Lin et al. 2017,
    https://arxiv.org/abs/1612.03144), of which one level is a 1 x 1 and a 3 x 3 convolution.

    The encoder stays in eval mode, so that batch normalization keeps its statistics; `trained`: whether its weights
    move.
    """

    def __init__(self, encoder: Encoder, scaled: Sequence[Moments], width: int, *, trained: bool) -> None:
        from torchvision.ops import FeaturePyramidNetwork  # not at the top: it takes seconds

        super().__init__()
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(trained)
        self.trained = trained
        self.levels = len(scaled)
        self.out_channels = width
        for level, (mean, std) in enumerate(scaled):
            self.register_buffer(f"mean_{level}", mean)
            self.register_buffer(f"std_{level}", std)
        self.neck = FeaturePyramidNetwork([len(each.mean) for each in scaled], width)

    def train(self, mode: bool = True) -> "Pyramid":
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, x: Tensor) -> "OrderedDict[str, Tensor]":
        with torch.set_grad_enabled(self.trained and torch.is_grad_enabled()):
            maps = maps_of(self.encoder, x, self.levels)
        standard = OrderedDict(
            (str(level), (each - self._part("mean", level)) / self._part("std", level))
            for level, each in enumerate(maps)
        )
        found: OrderedDict[str, Tensor] = self.neck(standard)
        return found

    def _part(self, name: str, level: int) -> Tensor:
        part: Tensor = getattr(self, f"{name}_{level}")
        return part[:, None, None]


def anchor_sizes(boxes: Boxes, side: tuple[int, int], levels: int) -> list[list[float]]:
    """Sides of anchors on each level, pixels: `SCALES` each, in a geometric row from the smallest boxes to the largest.

    A box's side is the square root of its area in an image of `side` (height, width). Raises ValueError for no box.
    """
    corners = boxes.corners[~boxes.ignored]
    if not len(corners):
        raise ValueError("train has no box that is not ignored: there is nothing to learn from")
    size = corners[:, 2:] - corners[:, :2]
    sides = (size.prod(dim=1) * side[0] * side[1]).sqrt().clamp_min(1)
    low, high = sides.quantile(torch.tensor([RARE, 1 - RARE])).log().tolist()
    row = torch.linspace(low, high, levels * SCALES).exp()
    return [[round(each, 1) for each in part.tolist()] for part in row.split(SCALES)]


class Detector(nn.Module):
    """Faster R-CNN (Ren, He, Girshick, Sun 2015, https://arxiv.org/abs/1506.01497) or RetinaNet (Lin, Goyal, Girshick,
    He, Dollar 2017, https://arxiv.org/abs/1708.02002) of torchvision, over a `Pyramid`.

    `sizes`: sides of anchors on each level, pixels. Differs from the papers: all layers after the encoder have `width`
    channels (the two layers of Faster R-CNN's second stage four times that), and Faster R-CNN trains on fewer
    proposals, to suit small images; both find at most 100 boxes.
    """

    def __init__(self, kind: Kind, pyramid: Pyramid, sizes: Sequence[Sequence[float]], classes: int, side: int) -> None:
        super().__init__()
        self.first = 1 if kind == "faster_rcnn" else 0  # number of the first class: 0 is Faster R-CNN's background
        make = faster_rcnn if kind == "faster_rcnn" else retinanet
        # Images are normalized in the encoder, and resized before: torchvision's transform only makes a batch of them.
        as_they_are = {
            "image_mean": [0.0], "image_std": [1.0], "min_size": side, "max_size": side, "size_divisible": 1,
            "_skip_resize": True,
        }  # fmt: skip
        self.net = make(pyramid, [tuple(each) for each in sizes], classes + self.first, as_they_are)

    def loss(self, x: Tensor, targets: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """() of a batch (B, C, H, W) and the corners (m, 4), in pixels, and labels (m,) of each image."""
        named = [{"boxes": corners, "labels": label + self.first} for corners, label in targets]
        losses: dict[str, Tensor] = self.net(list(x), named)
        return torch.stack(list(losses.values())).sum()

    def find(self, x: Tensor) -> list[Found]:
        """(B, C, H, W) -> what is found in each, on the CPU."""
        scale = torch.tensor([x.shape[3], x.shape[2]] * 2)
        return [
            Found(each["boxes"].cpu() / scale, each["labels"].cpu() - self.first, each["scores"].cpu())
            for each in self.net(list(x))
        ]


def faster_rcnn(pyramid: Pyramid, sizes: list[tuple[float, ...]], classes: int, transform: dict[str, Any]) -> nn.Module:
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.ops import MultiScaleRoIAlign

    levels, width = [str(level) for level in range(len(sizes))], pyramid.out_channels
    return FasterRCNN(
        pyramid,
        rpn_anchor_generator=_anchors(sizes),
        rpn_pre_nms_top_n_train=2 * PROPOSALS,
        rpn_pre_nms_top_n_test=2 * PROPOSALS,
        rpn_post_nms_top_n_train=PROPOSALS,
        rpn_post_nms_top_n_test=PROPOSALS,
        box_roi_pool=MultiScaleRoIAlign(levels, output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(width * 7 * 7, 4 * width),
        box_predictor=FastRCNNPredictor(4 * width, classes),
        box_batch_size_per_image=SAMPLED,
        box_score_thresh=SCORE,
        box_detections_per_img=MOST,
        **transform,
    )


def retinanet(pyramid: Pyramid, sizes: list[tuple[float, ...]], classes: int, transform: dict[str, Any]) -> nn.Module:
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.retinanet import RetinaNetHead

    anchors = _anchors(sizes)
    head = RetinaNetHead(
        pyramid.out_channels, anchors.num_anchors_per_location()[0], classes, norm_layer=partial(nn.GroupNorm, 8)
    )
    return RetinaNet(
        pyramid,
        classes,
        anchor_generator=anchors,
        head=head,
        score_thresh=SCORE,
        detections_per_img=MOST,
        topk_candidates=5 * MOST,
        **transform,
    )


def _anchors(sizes: list[tuple[float, ...]]) -> Any:
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    return AnchorGenerator(tuple(sizes), (RATIOS,) * len(sizes))


def resized(x: Tensor, size: int | None) -> Tensor:
    """(B, C, H, W) -> (B, C, size, size); None: as they are."""
    if size is None or x.shape[2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def mirrored(x: Tensor, targets: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Half of a batch (B, C, H, W), drawn at random, left and right exchanged, with its boxes."""
    turned = torch.rand(len(x)) < 0.5
    shown = torch.where(turned.to(x.device)[:, None, None, None], x.flip(3), x)
    width = x.shape[3]
    found = []
    for turn, (corners, label) in zip(turned.tolist(), targets, strict=True):
        left, top, right, bottom = corners.unbind(1)
        found.append((torch.stack((width - right, top, width - left, bottom), 1) if turn else corners, label))
    return shown, found
