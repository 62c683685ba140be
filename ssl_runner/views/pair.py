"""Two views of an image that differ by one augmentation, or two in sequence, to compare augmentations."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Views
from ssl_runner.views import augment
from ssl_runner.views.image import ImageViews

Augmentation = Literal["none", "crop", "cutout", "color", "noise", "blur", "rotate"]
NOTHING: dict[str, Any] = {  # `ImageViews` that leaves images as they are
    "views": 1, "size": None, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "rotation": 0.0, "flip": 0.0,
    "jitter": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "gray": 0.0,
    "blur": 0.0, "blur_sigma": (1.0, 1.0), "solarize": 0.0, "solarize_threshold": 1.0,
    "cutout": 0.0, "cutout_size": 0.0, "noise": 0.0,
}  # fmt: skip


class PairViews(Views):
    """Two views of each image: one as `second(first(x))`, the other as it is, or drawn in the same way.

        views = (second(first(x)), x)                               branches = one
        views = (second(first(x)), second'(first'(x)))              branches = both, drawn independently

    The same name twice is applied once: a matrix of `first` by `second` has the single augmentations on its diagonal.
    crop: crop, resize, mirror. cutout: black out a square. color: jitter, and at times gray. noise: Gaussian. blur:
    Gaussian. rotate: by one, two or three quarter turns, as likely; what leaves an image that is not square is lost.

    Chen, Kornblith, Norouzi, Hinton 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
    https://arxiv.org/abs/2002.05709, section 3.1 and figure 5, where one branch is augmented (branches = one).
    Differs from the paper: images are of one size here, so none is cropped before the pair is applied (there each is,
    to bring all to one size); no Sobel filter; "none" is offered; blur is applied to every image (in the paper's recipe
    for training, to half of them). Otherwise each augmentation differs as in `ImageViews`.

    All draws are from torch's global generator on the images' device.
    """

    def __init__(
        self,
        *,
        first: Augmentation,
        second: Augmentation,
        branches: Literal["one", "both"],
        crop_scale: tuple[float, float],
        crop_ratio: tuple[float, float],
        flip: float,
        cutout_size: float,
        jitter: float,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
        gray: float,
        noise: float,
        blur_sigma: tuple[float, float],
    ) -> None:
        super().__init__()
        color = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue, "gray": gray}
        known: dict[str, Views] = {  # all are built, so that a bad number is refused whichever are chosen
            "crop": ImageViews(**NOTHING | {"crop_scale": crop_scale, "crop_ratio": crop_ratio, "flip": flip}),
            "cutout": ImageViews(**NOTHING | {"cutout": 1.0, "cutout_size": cutout_size}),
            "color": ImageViews(**NOTHING | {"jitter": jitter} | color),
            "noise": ImageViews(**NOTHING | {"noise": noise}),
            "blur": ImageViews(**NOTHING | {"blur": 1.0, "blur_sigma": blur_sigma}),
            "rotate": QuarterTurns(),
        }
        for key, name in (("first", first), ("second", second)):
            if name not in known and name != "none":
                raise ValueError(f"objective.views.{key} is {name!r}; it must be none, {', '.join(known)}")
        if branches not in ("one", "both"):
            raise ValueError(f"objective.views.branches is {branches!r}; it must be one or both")
        self.chain = nn.ModuleList(known[name] for name in dict.fromkeys((first, second)) if name != "none")
        self.branches = branches

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (2, B, C, H, W) in [0, 1], of the same type; the first view is always augmented."""
        if self.branches == "one":
            return torch.stack((self._augmented(x), x))
        return self._augmented(x.repeat(2, 1, 1, 1)).view(2, *x.shape)

    def _augmented(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        for step in self.chain:
            x = step(x)[0]
        return x


class QuarterTurns(Views):
    """One view of each image, rotated about its center by 90, 180 or 270 degrees; black outside."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (1, B, C, H, W) in [0, 1], of the same type."""
        height, width = x.shape[2:]
        with torch.autocast(x.device.type, enabled=False):  # positions in half precision would be off by whole pixels
            exact = x.to(torch.promote_types(x.dtype, torch.float32))
            angle = 90 * torch.randint(1, 4, (len(x),), device=x.device).to(exact.dtype)
            whole = exact.new_zeros(len(x), 4)
            whole[:, 2], whole[:, 3] = height, width
            still = torch.zeros(len(x), dtype=torch.bool, device=x.device)
            turned = augment.resample(exact, whole, still, angle, (height, width))
        return turned.clamp_(0, 1).to(x.dtype)[None]
