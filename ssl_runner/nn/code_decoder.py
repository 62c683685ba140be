"""Images from grids of codes, by the weights of an objective that was trained to make them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ssl_runner.nn.decoders import GridDecoder

CODES, SHAPE, WIDTHS = "codes", "shape", "widths"  # keys of a program beside the names of weights


class CodeDecoder(nn.Module):
    """The decoder of `objectives.vq.VQ` by itself: (n, h, w) int64 -> (n, C, H, W) in [0, 1], the expected image."""

    codes: Tensor  # (K, D)

    def __init__(self, program: Mapping[str, Tensor]) -> None:
        """`program`: the vectors of the codes (K, D), the shape of an image (C, H, W), the decoder's widths, and the
        weights of both layers by name. Raises ValueError for one that is none."""
        super().__init__()
        try:
            shape, widths = (tuple(map(int, program[key])) for key in (SHAPE, WIDTHS))
            self.register_buffer("codes", program[CODES])
            self.expand = nn.Conv2d(self.codes.shape[1], widths[0], 3, padding=1)
            self.draw = GridDecoder((shape[0], shape[1], shape[2]), widths=widths)
            self.load_state_dict({name: each for name, each in program.items() if name not in (SHAPE, WIDTHS)})
        except (KeyError, IndexError, TypeError, RuntimeError) as error:
            raise ValueError(f"no decoder of codes: {error}") from error
        self.shape = shape
        self.requires_grad_(False).eval()

    def forward(self, tokens: Tensor) -> Tensor:
        cells = self.codes[tokens].permute(0, 3, 1, 2)
        return self.draw(self.expand(cells)).clamp(0, 1)


def program_of(codes: Tensor, shape: tuple[int, int, int], widths: list[int], **parts: nn.Module) -> dict[str, Tensor]:
    """What `CodeDecoder` is made of; `parts`: its layers, by name."""
    weights = {
        f"{name}.{key}": value.detach() for name, part in parts.items() for key, value in part.state_dict().items()
    }
    return {CODES: codes.detach(), SHAPE: torch.tensor(shape), WIDTHS: torch.tensor(widths), **weights}
