"""Random views of images."""

import math

import torch
from torch import Tensor

from ssl_runner.interfaces import Views
from ssl_runner.views import augment


class ImageViews(Views):
    """Draw views by rotation, crop, flip, color jitter, gray, blur, solarization, cutout and noise, in this order.

    Chen, Kornblith, Norouzi, Hinton 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
    https://arxiv.org/abs/2002.05709 (crop, flip, jitter, grayscale, blur); Grill et al. 2020,
    https://arxiv.org/abs/2006.07733 (solarization); DeVries, Taylor 2017, https://arxiv.org/abs/1708.04552 (cutout).

    Differs from the papers: the jitter's order is fixed (hue, brightness, contrast, saturation) and clamps once; a
    crop's area is uniform in `crop_scale`, its ratio log-uniform over those with which that area fits into the image
    (others draw both and reject what does not fit); crops need not begin or end at whole pixels; what is cut out is
    black.

    `flip`, `jitter`, `gray`, `blur`, `solarize` and `cutout` are probabilities, each drawn per example and view; what
    has probability 0 costs nothing. Hue, saturation and gray leave gray images as they are; images of other than one or
    three channels, which have no color, they refuse. Brightness and contrast change all channels alike. All draws are
    from torch's global generator on the images' device.
    """

    def __init__(
        self,
        *,
        views: int,
        size: int | None,
        crop_scale: tuple[float, float],
        crop_ratio: tuple[float, float],
        rotation: float,
        flip: float,
        jitter: float,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
        gray: float,
        blur: float,
        blur_sigma: tuple[float, float],
        solarize: float,
        solarize_threshold: float,
        cutout: float,
        cutout_size: float,
        noise: float,
    ) -> None:
        super().__init__()
        _within("views", views, 1, math.inf)
        _within("size", 1 if size is None else size, 1, math.inf)
        _range("crop_scale", crop_scale, 1)
        _range("crop_ratio", crop_ratio, math.inf)
        _within("rotation", rotation, 0, 180)
        chances = {"flip": flip, "jitter": jitter, "gray": gray, "blur": blur, "solarize": solarize, "cutout": cutout}
        for key, value in chances.items():
            _within(key, value, 0, 1)
        for key, value in {"brightness": brightness, "contrast": contrast, "saturation": saturation}.items():
            _within(key, value, 0, math.inf)
        _within("hue", hue, 0, 0.5)
        _range("blur_sigma", blur_sigma, math.inf)
        _within("solarize_threshold", solarize_threshold, 0, 1)
        _within("cutout_size", cutout_size, 0, 1)
        _within("noise", noise, 0, math.inf)
        self.views, self.size = views, size
        self.crop_scale, self.crop_ratio = tuple(crop_scale), tuple(crop_ratio)
        self.rotation, self.flip = rotation, flip
        self.jitter, self.strengths, self.hue = jitter, (brightness, contrast, saturation), hue
        self.gray = gray
        self.blur, self.blur_sigma = blur, tuple(blur_sigma)
        self.solarize, self.solarize_threshold = solarize, solarize_threshold
        self.cutout, self.cutout_size = cutout, cutout_size
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (V, B, C, h, w) in [0, 1], of the same type; h = w = `size`, or h, w = H, W.

        Raises ValueError for examples that are no images, and for changes of color where channels are not colors.
        """
        if x.ndim != 4:
            raise ValueError(
                "these views are for images, and the data are not images: choose others (objective/views=video)"
            )
        self._check_channels(x.shape[1])
        # Positions and colors in half precision would be off by whole pixels and shades: autocast is for networks.
        with torch.autocast(x.device.type, enabled=False):
            views = x.to(torch.promote_types(x.dtype, torch.float32)).repeat(self.views, 1, 1, 1)
            views = self._distort(self._place(views)).clamp_(0, 1)
        return views.to(x.dtype).view(self.views, *x.shape[:2], *views.shape[2:])

    def _check_channels(self, channels: int) -> None:
        """Raise ValueError for settings that change color, if channels are neither gray nor red, green and blue."""
        jittered = {"saturation": self.strengths[2], "hue": self.hue} if self.jitter > 0 else {}
        colored = {key: value for key, value in (jittered | {"gray": self.gray}).items() if value > 0}
        if channels not in (1, 3) and colored:
            given = ", ".join(f"objective.views.{key}={value}" for key, value in colored.items())
            verb = "change" if len(colored) > 1 else "changes"
            raise ValueError(
                f"{given} {verb} color, and the images have {channels} channels, "
                "which are not red, green and blue: set domain=bands, whose views change no color, or these keys to 0"
            )

    def _place(self, x: Tensor) -> Tensor:
        """Rotate, crop, flip: (N, C, H, W) -> (N, C, h, w)."""
        size = (x.shape[2], x.shape[3]) if self.size is None else (self.size, self.size)
        if self.crop_scale == (1, 1) and self.rotation == 0 and self.flip == 0 and size == x.shape[2:]:
            return x
        angle = _uniform(x, -self.rotation, self.rotation) if self.rotation > 0 else None
        return augment.resample(x, self._boxes(x), _chosen(x, self.flip), angle, size)

    def _boxes(self, x: Tensor) -> Tensor:
        """Draw crops: (N, 4) = (top, left, height, width), pixels, at least one pixel high and wide."""
        height, width = x.shape[2:]
        area = _uniform(x, *self.crop_scale) * (height * width)
        # an area fits with ratios from area / height^2 (as high as the image) to width^2 / area (as wide)
        least, greatest = area / height**2, width**2 / area
        low, high = (torch.clamp(torch.full_like(area, end), least, greatest).log() for end in self.crop_ratio)
        ratio = torch.lerp(low, high, _uniform(x, 0, 1)).exp()
        box_width = (area * ratio).sqrt().clamp(1, width)
        box_height = (area / ratio).sqrt().clamp(1, height)
        top = (height - box_height) * _uniform(x, 0, 1)
        left = (width - box_width) * _uniform(x, 0, 1)
        return torch.stack((top, left, box_height, box_width), dim=1)

    def _distort(self, x: Tensor) -> Tensor:
        """Change values: jitter, grayscale, blur, solarization, cutout, noise. (N, C, H, W) -> the same shape."""
        if self.jitter > 0 or (self.gray > 0 and x.shape[1] == 3):
            x = self._color(x)
        if self.blur > 0:
            radius = min(math.ceil(3 * self.blur_sigma[1]), x.shape[2] - 1, x.shape[3] - 1)
            x = augment.gaussian_blur(x, _uniform(x, *self.blur_sigma) * _chosen(x, self.blur), radius)
        if self.solarize > 0:
            x = augment.solarize(x, torch.where(_chosen(x, self.solarize), self.solarize_threshold, 2.0))
        if self.cutout > 0:
            x = augment.cutout(x, self._holes(x))
        if self.noise > 0:
            x = augment.gaussian_noise(x, torch.full((len(x),), self.noise, device=x.device))
        return x

    def _color(self, x: Tensor) -> Tensor:
        """Jitter and gray: (N, C, h, w) -> the same shape. Gray is saturation 0."""
        jitter = _chosen(x, self.jitter)
        if self.jitter > 0 and self.hue > 0 and x.shape[1] == 3:
            x = augment.adjust_hue(x, _uniform(x, -self.hue, self.hue) * jitter)
        brightness, contrast, saturation = (
            torch.where(jitter, _uniform(x, max(0, 1 - strength), 1 + strength), 1.0) for strength in self.strengths
        )
        return augment.adjust_color(x, brightness, contrast, torch.where(_chosen(x, self.gray), 0.0, saturation))

    def _holes(self, x: Tensor) -> Tensor:
        """Draw squares for cutout, their centers uniform in the image: (N, 4) = (top, left, height, width), pixels."""
        height, width = x.shape[2:]
        side = round(self.cutout_size * min(height, width)) * _chosen(x, self.cutout)
        top = (_uniform(x, 0, height).floor() - side // 2).to(side.dtype)
        left = (_uniform(x, 0, width).floor() - side // 2).to(side.dtype)
        return torch.stack((top, left, side, side), dim=1)


def _uniform(x: Tensor, low: float, high: float) -> Tensor:
    """One draw per example of `x`: (N,) in [low, high)."""
    return torch.rand(len(x), device=x.device, dtype=x.dtype) * (high - low) + low


def _chosen(x: Tensor, probability: float) -> Tensor:
    """One draw per example of `x`: (N,) bool."""
    return torch.rand(len(x), device=x.device) < probability


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        need = f"at least {low}" if high == math.inf else f"in [{low}, {high}]"
        raise ValueError(f"objective.views.{key} is {value}; it must be {need}")


def _range(key: str, value: tuple[float, float], most: float) -> None:
    if len(value) != 2 or not 0 < value[0] <= value[1] <= most:
        need = "0 < low <= high" if most == math.inf else f"0 < low <= high <= {most}"
        raise ValueError(f"objective.views.{key} is {list(value)}; it must be [low, high] with {need}")
