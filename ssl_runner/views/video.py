"""Random views of clips."""

import torch
from torch import Tensor

from ssl_runner.interfaces import Views
from ssl_runner.nn.frames import take
from ssl_runner.views.image import ImageViews
from ssl_runner.views.pair import NOTHING


class ClipViews(Views):
    """Draw views of clips: evenly spaced frames with the same crop and color jitter.

        view = color(crop(t[start + stride (0, 1, ..., frames - 1)]))

    Every view has a start, a stride, a crop and colors of its own, the same for all of its frames, so that what moves
    in it is what moved in the clip. Strides are drawn from 1 to `stride`, or to the greatest with which `frames` frames
    fit into the clip; starts from all with which they then do. `frames: null` is half of the clip's, rounded up.

    Qian, Meng, Gong, Yang, Wang, Belongie, Cui 2021, "Spatiotemporal Contrastive Video Representation Learning",
    https://arxiv.org/abs/2008.03800, section 3 (same augmentations in all frames); clips of one video as the views of
    SimCLR and BYOL: Feichtenhofer, Fan, Xiong, Girshick, He 2021, "A Large-Scale Study on Unsupervised Spatiotemporal
    Representation Learning", https://arxiv.org/abs/2104.14558.
    Differs from the papers: starts are drawn independently and evenly (Qian et al. prefer views that are near in time);
    strides differ from view to view; no blur. Crops and colors differ from the images' as in `ImageViews`; contrast is
    towards the mean of the whole view, not of each frame.

    All draws are from torch's global generator on the clips' device.
    """

    def __init__(
        self,
        *,
        views: int,
        frames: int | None,
        stride: int,
        size: int | None,
        crop_scale: tuple[float, float],
        crop_ratio: tuple[float, float],
        flip: float,
        jitter: float,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
        gray: float,
    ) -> None:
        super().__init__()
        for key, value in (("views", views), ("frames", 1 if frames is None else frames), ("stride", stride)):
            if value < 1:
                raise ValueError(f"objective.views.{key} is {value}; it must be at least 1")
        self.views = views
        self.frames = frames
        self.stride = stride
        place = {"size": size, "crop_scale": crop_scale, "crop_ratio": crop_ratio, "flip": flip}
        color = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue, "gray": gray}
        self.place = ImageViews(**NOTHING | place)
        self.color = ImageViews(**NOTHING | {"jitter": jitter} | color)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) in [0, 1] -> (V, B, t, C, h, w) in [0, 1], of the same type.

        Raises ValueError for examples that are no clips, and for clips of too few frames.
        """
        if x.ndim != 5:
            raise ValueError(
                "these views are for clips, and the data are not clips: choose others (objective/views=natural)"
            )
        clips = take(x, self._places(x)).flatten(0, 1)  # (V B, t, C, H, W)
        # What has one place for all frames sees them as channels, what has one color as one tall image.
        placed = self.place(clips.flatten(1, 2))[0].unflatten(1, clips.shape[1:3])
        tall = placed.transpose(1, 2)  # (V B, C, t, h, w)
        colored = self.color(tall.flatten(2, 3))[0].unflatten(2, tall.shape[2:4])
        return colored.transpose(1, 2).unflatten(0, (self.views, len(x)))

    def _places(self, x: Tensor) -> Tensor:
        """Draw which frames each view shows: (V, B, t) int64."""
        length = x.shape[1]
        frames = (length + 1) // 2 if self.frames is None else self.frames
        if frames > length:
            raise ValueError(
                f"objective.views.frames is {frames}, and clips have {length} frames: set it to {length} or less"
            )
        greatest = min(self.stride, (length - 1) // max(frames - 1, 1)) if frames > 1 else 1
        shape = (self.views, len(x))
        stride = torch.randint(1, greatest + 1, shape, device=x.device)
        starts = length - stride * (frames - 1)  # how many there are
        start = torch.minimum((torch.rand(shape, device=x.device) * starts).long(), starts - 1)
        return start[..., None] + stride[..., None] * torch.arange(frames, device=x.device)
