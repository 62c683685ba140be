"""Image operations with parameters per example: pure functions, batched, on the device of the images.

Images are (N, C, H, W) float in [0, 1], parameters are (N,) unless said otherwise. Each operation has a neutral
parameter that leaves an example as it is, so that "not to this one" needs no branch, and no function waits for the
device. Nothing here is meant to be differentiated.

Each function equals torchvision's functional form, example by example; where it does not, its docstring says so.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601; torchvision's first weight is 0.2989, so its gray is up to 1e-4 darker


def resample(x: Tensor, box: Tensor, flip: Tensor, angle: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Rotate, crop, resize and flip in one bilinear reading: (N, C, H, W) -> (N, C, *size).

    The image is turned counter-clockwise about its center by `angle` degrees (None: by none), black where there is
    nothing; `box` (N, 4) = (top, left, height, width) in pixels, not necessarily whole, is cut from it, resized to
    `size`, and mirrored left to right where `flip` (bool).

    Read once where a chain of functions interpolates twice, hence sharper. Sides that shrink are not low-passed
    (torchvision: antialias=False).
    """
    height, width = x.shape[-2:]
    top, left, box_height, box_width = box.unbind(1)
    v = _places(top, box_height, size[0])[:, :, None]
    u = _places(left, box_width, size[1])
    u = torch.where(flip[:, None], u.flip(1), u)[:, None, :]
    if angle is not None:
        turn = torch.deg2rad(angle)[:, None, None]
        u, v = u - (width - 1) / 2, v - (height - 1) / 2
        u, v = (
            turn.cos() * u - turn.sin() * v + (width - 1) / 2,
            turn.sin() * u + turn.cos() * v + (height - 1) / 2,
        )
    # grid_sample counts from -1, the left edge of the first pixel, to 1, the right edge of the last
    grid = torch.stack(torch.broadcast_tensors((2 * u + 1) / width - 1, (2 * v + 1) / height - 1), dim=-1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def crops(x: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Cut K squares of whole pixels from each image: (N, C, H, W), `top`, `left` (N, K) int64 -> (K, N, C, side, side).

    Nothing is interpolated. Squares must lie in the image.
    """
    offset = torch.arange(side, device=x.device)
    rows, columns = (start.T[:, :, None] + offset for start in (top, left))  # (K, N, side)
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return x[image, :, rows[..., :, None], columns[..., None, :]].movedim(-1, 2)  # indexing puts channels last


def _places(start: Tensor, length: Tensor, count: int) -> Tensor:
    """Centers of `count` equal cells of [start, start + length), (N, count), counted in pixels from the first's center.

    As in a crop that is resized, nothing beyond the crop's outermost pixel centers is read.
    """
    start, length = start[:, None], length[:, None]
    cells = (torch.arange(count, device=start.device, dtype=start.dtype) + 0.5) / count
    return torch.clamp(start + length * cells - 0.5, start, start + length - 1)


def luma(x: Tensor) -> Tensor:
    """Gray value of each pixel, (N, C, H, W) -> (N, H, W): the channels' mean where these are not red, green, blue."""
    if x.shape[1] != 3:
        return x.mean(1)
    red, green, blue = x.unbind(1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def adjust_color(x: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Multiply brightness, then contrast, then saturation by a factor >= 0; 1 is neutral, saturation 0 is grayscale.

        y = b x,   z = c y + (1 - c) mean(luma(y)),   out = s z + (1 - s) luma(z),   clamped to [0, 1]

    in the closed form out = b c s x + b c (1 - s) luma(x) + (1 - c) b mean(luma(x)). Clamped once, at the end; a chain
    of functions clamps in between too. Images of other than three channels have no saturation to adjust.
    """
    gray = luma(x)
    mean = gray.mean((1, 2))
    gain, shift = brightness * contrast, (1 - contrast) * brightness * mean
    if x.shape[1] != 3:
        return (x * _wide(gain, x)).add_(_wide(shift, x)).clamp_(0, 1)
    gray = (gray * _wide(gain * (1 - saturation), gray)).add_(_wide(shift, gray))
    return torch.addcmul(gray[:, None], x, _wide(gain * saturation, x)).clamp_(0, 1)


def adjust_hue(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of red-green-blue images by `turns` of the color circle, in [-0.5, 0.5]; 0 is neutral.

    HSV's value and saturation stay. With lo, hi the least and greatest of (r, g, b) and t(n) the circular distance from
    the new hue to that of channel n (red 0, green 1/3, blue 2/3), channel n becomes
    lo + (hi - lo) clamp(2 - 6 t(n), 0, 1). The old hue needs no case distinction: its distance from red, in sixths, is
    1 + (g + b - r - lo) / (hi - lo), on the side of green if g > b.
    """
    red, green, blue = x.unbind(1)
    lo = torch.minimum(torch.minimum(red, green), blue)
    chroma = torch.maximum(torch.maximum(red, green), blue).sub_(lo)
    hue = (green + blue).sub_(red).sub_(lo).div_(chroma.clamp_min(1e-9)).add_(1).copysign_(green - blue)
    # 2.5: a half turn so that the fraction less 0.5 is the signed distance, two more so that it is of a positive number
    hue = hue.div_(6).add_(_wide(turns + 2.5, hue))
    distance = torch.stack((hue, hue - 1 / 3, hue - 2 / 3), dim=1).frac_().sub_(0.5).abs_()
    return torch.addcmul(lo[:, None], distance.mul_(-6).add_(2).clamp_(0, 1), chroma[:, None])


def gaussian_blur(x: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Convolve with a Gaussian of `sigma` pixels, cut off beyond `radius` pixels; 0 is neutral. Mirrored at the border.

    `radius` must be less than both sides of the image.
    """
    n, c, height, width = x.shape
    offset = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    # a sigma of 1e-3 makes every weight but the middle one exactly 0
    kernel = torch.softmax(-0.5 * (offset / sigma.to(x.dtype).clamp_min(1e-3)[:, None]) ** 2, dim=1)
    kernel = kernel.repeat_interleave(c, 0, output_size=n * c)[:, None]
    x = F.pad(x, (radius, radius, radius, radius), mode="reflect").reshape(1, n * c, height + 2 * radius, -1)
    x = F.conv2d(x, kernel[:, :, None, :], groups=n * c)
    return F.conv2d(x, kernel[:, :, :, None], groups=n * c).view(n, c, height, width)


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Replace each value v >= `threshold` by 1 - v; a threshold above 1 is neutral."""
    return torch.where(x >= _wide(threshold, x), 1 - x, x)


def cutout(x: Tensor, box: Tensor) -> Tensor:
    """Black out `box` (N, 4) = (top, left, height, width), pixels, as far as it lies in the image; 0 x 0 is neutral."""
    top, left, height, width = (side[:, None] for side in box.unbind(1))
    row = torch.arange(x.shape[2], device=x.device)
    column = torch.arange(x.shape[3], device=x.device)
    rows = (row >= top) & (row < top + height)
    columns = (column >= left) & (column < left + width)
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def gaussian_noise(x: Tensor, std: Tensor) -> Tensor:
    """Add noise ~ N(0, `std`^2) to each value, clamp to [0, 1]; 0 is neutral. Draws from torch's global generator."""
    return torch.randn_like(x).mul_(_wide(std, x)).add_(x).clamp_(0, 1)


def _wide(parameter: Tensor, like: Tensor) -> Tensor:
    """(N,) -> (N, 1, ...), to be broadcast over `like` (N, ...)."""
    return parameter.to(like.dtype).view(-1, *[1] * (like.ndim - 1))
