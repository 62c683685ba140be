"""CIE L*a*b* colors, in which equal distances look about equally different; white is D65.

L* is lightness in 0 ... 100; a* goes from green to red, b* from blue to yellow, within about -110 ... 110 for what a
screen shows; both are 0 for grays. CIE 15:2004, section 8.2.1; sRGB: IEC 61966-2-1.
"""

from functools import cache

import torch
from torch import Tensor

# Linear red, green, blue of sRGB's primaries to X, Y, Z: http://www.brucelindbloom.com/index.html?Eqn_RGB_XYZ_Matrix.html
TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
TO_WHITE = tuple(tuple(part / sum(row) for part in row) for row in TO_XYZ)  # over white's: grays have a* = b* = 0
WHITE = 100.0  # L* of white
DELTA = 6 / 29  # of the CIE's function f: cube root above DELTA^3, a straight line below


def rgb_to_lab(image: Tensor) -> Tensor:
    """sRGB (B, 3, H, W) in [0, 1] -> (B, 3, H, W): L*, a*, b*. In float32, or the image's type if that is wider."""
    with torch.autocast(image.device.type, enabled=False):
        rgb = image.to(torch.promote_types(image.dtype, torch.float32))
        red, green, blue = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4).unbind(1)
        xyz = torch.stack([red * r + green * g + blue * b for r, g, b in TO_WHITE], dim=1)
        f = torch.where(xyz > DELTA**3, xyz.clamp_min(DELTA**3) ** (1 / 3), xyz / (3 * DELTA**2) + 4 / 29)
        x, y, z = f.unbind(1)
        return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """The inverse of `rgb_to_lab`: (B, 3, H, W) -> (B, 3, H, W); colors that sRGB has not are clamped to [0, 1]."""
    with torch.autocast(lab.device.type, enabled=False):
        lab = lab.to(torch.promote_types(lab.dtype, torch.float32))
        lightness, a, b = lab.unbind(1)
        y = (lightness + 16) / 116
        f = torch.stack((y + a / 500, y, y - b / 200), dim=1)
        xyz = torch.where(f > DELTA, f**3, 3 * DELTA**2 * (f - 4 / 29))
        from_white = torch.linalg.inv(torch.tensor(TO_WHITE, dtype=torch.float64)).to(xyz)
        linear = torch.einsum("ij,bjhw->bihw", from_white, xyz).clamp(0, 1)
        return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).clamp(0, 1)


@cache
def ab_centers(step: float) -> Tensor:
    """(Q, 2) centers of the squares of `step` x `step` in the a*b* plane that hold a color of sRGB, a* slowest.

    The squares lie about multiples of `step`. Looked for among 6 x 128^2 colors on the surface of the sRGB cube: those
    inside have no other (a*, b*), for made ever lighter a color leaves the cube through its surface.

    >>> ab_centers(10.0).shape
    torch.Size([262, 2])
    """
    level = torch.linspace(0, 1, 128)
    face = torch.cartesian_prod(level, level)
    cube = [torch.cat((face, end.expand(len(face), 1)), dim=1).roll(i, 1) for i in range(3) for end in level[[0, -1]]]
    ab = rgb_to_lab(torch.cat(cube).T[None, :, None])[0, 1:, 0]
    return torch.unique((ab / step).round().int().T, dim=0) * step
