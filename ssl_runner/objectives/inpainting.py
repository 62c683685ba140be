"""Inpainting: predict the content of a hole in an image (context encoder)."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective
from ssl_runner.losses.adversarial import held, judge_loss, maker_loss, non_saturating_loss
from ssl_runner.losses.reconstruction import squared_error
from ssl_runner.nn.decoders import GridDecoder
from ssl_runner.nn.gather import divisor
from ssl_runner.nn.judge import Judge
from ssl_runner.views.holes import Shape, holes


class Context(NamedTuple):
    image: Tensor  # (B, C, H, W), the hole mid-gray
    hole: Tensor  # (B, 1, H, W) bool: the pixels that are asked for


class Inpainting(Objective[Context, Tensor]):
    """Fill a hole in an image: predict any part of it from any other.

        x = (t outside the hole M, M),   y = t,   D = judge,   F(x) = the image that is drawn of x
        loss = (1 - w) |M (y - F(x))|^2 + w log(1 - D(F(x)))           for the encoder and the decoder
             + (- log D(y) - log(1 - D(F(x))))                         for the judge, w > 0
                                          mean per value in the hole; nats per image

    The two players are decoupled: the judge is held constant in the first line, the image in the second
    (`losses/adversarial.py`), so that one backward pass and one optimizer with two groups play the paper's
    min over F, max over D.
    Pathak, Kraehenbuehl, Donahue, Darrell, Efros 2016, "Context Encoders: Feature Learning by Inpainting",
    https://arxiv.org/abs/1604.07379, eq. 1 to 3. As there the judge sees the whole of F(x), not the hole alone and not
    its surroundings, and the bottleneck is fully connected channel by channel, followed by a 1 x 1 convolution.

    `fooling: non_saturating` has -log D(F(x)) in the place of log(1 - D(F(x))), as the authors' code; `clamp` shows the
    judge F(x) cut to [0, 1], as images are, so that it cannot tell them apart by values that no image has.
    Differs from the paper: the judge's loss is not multiplied by w (for Adam that only changes epsilon's part); no
    border of the hole is weighted more; free shapes are blobs of smooth noise, not outlines of objects; the judge is
    normalized by groups of channels, not over the batch; what is hidden is mid-gray, not the mean of the data.
    """

    def __init__(
        self,
        encoder: Encoder,
        spec: ImageSpec,
        *,
        hole: Shape,
        part: float,
        blocks: int,
        decoder_widths: list[int],
        adversary: float,
        fooling: Literal["minimax", "non_saturating"],
        clamp: bool,
        judge_widths: list[int],
        judge_lr_scale: float,
    ) -> None:
        super().__init__()
        if not 0 < part < 1:
            raise ValueError(f"objective.part is {part}; it must lie in (0, 1)")
        if blocks < 1:
            raise ValueError(f"objective.blocks is {blocks}; it must be at least 1")
        if not 0 <= adversary < 1:
            raise ValueError(
                f"objective.adversary is {adversary}; it must lie in [0, 1) (paper: 0.001; 0: no discriminator)"
            )
        if not judge_lr_scale > 0:
            raise ValueError(f"objective.judge_lr_scale is {judge_lr_scale}; it must be above 0")
        fits = 0.5 ** len(judge_widths) * min(spec.height, spec.width) >= 1
        if adversary > 0 and not fits:
            raise ValueError(
                f"objective.judge_widths is {judge_widths}; each width halves the image, and {spec.height} x "
                f"{spec.width} pixels cannot be halved {len(judge_widths)} times: set fewer widths"
            )
        self.hole, self.part, self.blocks = hole, part, blocks
        if not bool(self._holes(torch.zeros(1, spec.channels, spec.height, spec.width)).any()):
            raise ValueError(
                f"objective.part is {part}; with objective.hole={hole} that is no pixel of images of {spec.height} x "
                f"{spec.width}: set it larger"
            )
        self.adversary = adversary
        self.fooling = non_saturating_loss if fooling == "non_saturating" else maker_loss
        self.clamp = clamp
        self.judge_lr_scale = judge_lr_scale
        self.encoder = encoder
        self.decoder = GridDecoder((spec.channels, spec.height, spec.width), widths=decoder_widths)
        self.bottleneck = Bottleneck(_places(encoder, spec), encoder.dim, decoder_widths[0], self.decoder.grid)
        self.judge = Judge(spec.channels, widths=judge_widths) if adversary > 0 else None

    def split(self, batch: Batch) -> tuple[Context, Tensor]:
        hole = self._holes(batch.data)
        return Context(batch.data.masked_fill(hole, 0.5), hole), batch.data

    def loss(self, x: Context, y: Tensor) -> Loss:
        drawn = self._draw(x)
        error = (squared_error(drawn, y) * x.hole).sum() / (divisor(x.hole.sum()) * y.shape[1])
        if self.judge is None:
            return Loss(error)
        shown = drawn.clamp(0, 1) if self.clamp else drawn
        real, made = self.judge(torch.cat((y, shown.detach().to(y.dtype)))).chunk(2)
        judged = judge_loss(real, made)
        fooling = self.fooling(held(self.judge, shown))
        logs = {
            "reconstruction": error.detach(),
            "fooling": fooling.detach(),
            "judge": judged.detach(),
            "judge_accuracy": torch.cat((real > 0, made < 0)).float().mean(),
        }
        return Loss((1 - self.adversary) * error + self.adversary * fooling + judged, logs)

    def groups(self) -> list[dict[str, Any]]:
        """The generator, and the discriminator with its own learning rate."""
        if self.judge is None:
            return super().groups()
        maker = [p for part in (self.encoder, self.bottleneck, self.decoder) for p in part.parameters()]
        return [{"params": maker}, {"params": list(self.judge.parameters()), "lr_scale": self.judge_lr_scale}]

    def predict(self, x: Context) -> Tensor:
        return torch.where(x.hole, self._draw(x).to(x.image.dtype).clamp(0, 1), x.image)

    def reconstruct(self, x: Context) -> Tensor:
        return self.predict(x)

    def compared(self, image: Tensor) -> Tensor:
        return image

    def hidden(self, x: Context) -> Tensor:
        return x.hole.expand_as(x.image)

    def hides(self) -> Mapping[str, str | int | float]:
        number = {"blocks": self.blocks} if self.hole == "blocks" else {}
        return {"pixels": "the hole", "hole": self.hole, "part": self.part, **number}

    def _draw(self, x: Context) -> Tensor:
        """(B, C, H, W): the whole image, unbounded values."""
        return self.decoder(self.bottleneck(self.encoder(x.image).tokens))

    def _holes(self, like: Tensor) -> Tensor:
        return holes(self.hole, self.part, self.blocks, like)


class Bottleneck(nn.Module):
    """Connect each position of a grid to all positions: (B, N, D) -> (B, width, h, w).

    Each of the D channels has its own N x (h w) matrix, none to another; a 1 x 1 convolution then mixes them.
    """

    def __init__(self, places: int, dim: int, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.weight = nn.Parameter(torch.randn(dim, places, grid[0] * grid[1]) * places**-0.5)
        self.mix = nn.Conv2d(dim, width, 1, bias=False)  # BatchNorm follows
        nn.init.kaiming_normal_(self.mix.weight, nonlinearity="linear")

    def forward(self, tokens: Tensor) -> Tensor:
        return self.mix(torch.einsum("bnd,dnm->bdm", tokens, self.weight).unflatten(2, self.grid))


def _places(encoder: Encoder, spec: ImageSpec) -> int:
    """The number of tokens of the encoder for an image, found by encoding one in eval mode."""
    training = encoder.training
    encoder.eval()
    with torch.no_grad():
        count = encoder(torch.zeros(1, spec.channels, spec.height, spec.width)).tokens.shape[1]
    encoder.train(training)
    return count
