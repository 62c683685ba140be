"""An exported encoder as a user has it: any form of input, features of any layer. B batch, N positions, D width."""

import logging
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from ssl_runner.assembly.inputs import input_from
from ssl_runner.assembly.layers import grid_of, positions_of
from ssl_runner.interfaces import DataSpec, Encoder, Features, TextEncoder, TextSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

Per = Literal["example", "position", "grid"]


class LoadedEncoder(nn.Module):
    """A pretrained encoder with the input that its data had, which is made of what is given.

        images    tensors and arrays (B, C, H, W) or (B, H, W, C), pictures of PIL, one or a list; uint8, or floats in
                  [0, 1]; other sizes are resized, which is logged once
        clips     likewise, with the frames as a second dimension; a list of pictures is one clip
        texts     strings, one or a list, in tokens of its own tokenizer; or their ids (B, T)
        vectors   floats (B, N, D)

    One example is a batch of one. `encoder` is the network itself, in eval mode; `spec` describes its data. The weights
    are frozen:
    `requires_grad_()` asks for gradients, and an input that requires gradients gets them. Input moves to the device of
    the weights.
    """

    def __init__(self, encoder: Encoder, spec: DataSpec, *, resize: bool) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.spec = spec
        self.dim = encoder.dim
        self.resize = resize
        self._said: set[str] = set()
        self.eval()

    def input(self, x: Any) -> Tensor:
        """What the network gets of `x`. Raises ValueError for a range or shape that it does not read."""
        encoder = self.encoder
        reach = encoder.reach if isinstance(encoder, TextEncoder) else None
        found = input_from(
            x, self.spec, resize=self.resize, reach=reach, tokenizer=lambda: tokenizer_of(self.spec), say=self._say
        )
        return found.to(next(encoder.parameters()).device)

    def forward(self, x: Any, *, layers: bool = False) -> Features:
        """`pooled` (B, D) and `tokens` (B, N, D), and with `layers` a pooled vector per block. Raises as `input`."""
        return self.encoder(self.input(x), layers=layers)

    def features(self, x: Any, *, layer: int = -1, per: Per = "example") -> Tensor:
        """The features of one layer: (B, D) of each example, (B, N, D) of each position, or (B, D, h, w) as a grid, of
        clips (B, D, t, h, w).

        `layer`: a block, counted from the first (0) or from the last (-1). At padding of texts positions are undefined.
        Raises ValueError for a layer that there is not, and for a grid of what has none.
        """
        given = self.input(x)
        count = len(self.encoder(given[:1], layers=True).layers)
        if not -count <= layer < count:
            raise ValueError(f"layer is {layer}; this encoder has {count}: 0 to {count - 1}, or -{count} to -1")
        layer -= count if layer >= 0 else 0
        match per:
            case "example":
                return self.encoder(given).pooled if layer == -1 else self.encoder(given, layers=True).layers[layer]
            case "position":
                return positions_of(self.encoder, given, layer, count)
            case "grid":
                return grid_of(self.encoder, given, layer, count)
        raise ValueError(f"per is {per!r}; it must be example, position or grid")

    @property
    def tokenizer(self) -> "Tokenizer":
        """The tokenizer of an encoder of text. Raises ValueError for any other."""
        return tokenizer_of(self.spec)

    def _say(self, remark: str, *values: object) -> None:
        """Once, with the first values."""
        if remark not in self._said:
            self._said.add(remark)
            log.warning(remark, *values)


@cache
def _tokenizer(text: str) -> "Tokenizer":
    from tokenizers import Tokenizer

    return Tokenizer.from_str(text)


def tokenizer_of(spec: DataSpec) -> "Tokenizer":
    if not isinstance(spec, TextSpec) or not spec.tokenizer:
        raise ValueError(f"the encoder has no tokenizer: it was pretrained on {spec.kind}, without one")
    return _tokenizer(spec.tokenizer)
