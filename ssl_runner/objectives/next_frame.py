"""Next-frame prediction: predict frames from those before them."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, ClipEncoder, Loss, Objective, VideoSpec
from ssl_runner.losses.adversarial import held, judge_loss, maker_loss
from ssl_runner.losses.reconstruction import absolute_error, squared_error
from ssl_runner.nn.conv_lstm import ConvLSTM
from ssl_runner.nn.decoders import GridDecoder
from ssl_runner.nn.frames import take
from ssl_runner.nn.judge import Judge

KERNEL = 3  # of the convolutions of `predictor: convolutional`
SMALL = 0.01  # weights that draw changes begin as this part of what is usual: the first prediction is near a copy


class NextFrame(Objective[Tensor, Tensor]):
    """Predict the frames that follow from the frames before them.

        x = t_1 ... t_P,   y = t_{P+1} ... t_{P+K},   F_k(x) = t_P + d(h_1) + ... + d(h_k),   h = predictor(f(x))
        loss = (1 - w) |y - F(x)|^n + w log(1 - D(x, F(x)))           for the encoder, the predictor and the decoder
             + (- log D(x, y) - log(1 - D(x, F(x))))                  for the judge, w > 0
                                                                  mean per value, n = 1 or 2; nats per clip

    `predictor`:
      recurrent      a ConvLSTM reads the encoder's map from its first time to its last, and then what it gave out
                     itself, once a frame to come (Shi et al. 2015, https://arxiv.org/abs/1506.04214, figure 3);
      convolutional  two convolutions over the map, all of its times as channels, give all h at once.
    `previous` in the logs is the error of copying the last frame, of the same kind: what is to be beaten.
    The judge D sees the frames one after the other as channels; its two players are decoupled as in `inpainting`
    (`losses/adversarial.py`).

    Mathieu, Couprie, LeCun 2016, "Deep multi-scale video prediction beyond mean square error",
    https://arxiv.org/abs/1511.05440, section 3; Srivastava, Mansimov, Salakhutdinov 2015,
    https://arxiv.org/abs/1502.04681, section 2.
    Differs from the papers: one scale, no loss on gradients of images; changes are added to the last frame, so that the
    encoder has to say what moves, and copying is where it starts; the adversarial loss is the minimax one.
    """

    def __init__(
        self,
        encoder: ClipEncoder,
        spec: VideoSpec,
        *,
        past: int,
        ahead: int,
        predictor: Literal["recurrent", "convolutional"],
        width: int,
        decoder_widths: list[int],
        error: Literal["l1", "l2"],
        adversary: float,
        judge_widths: list[int],
        judge_lr_scale: float,
    ) -> None:
        super().__init__()
        for key, value in (("past", past), ("ahead", ahead), ("width", width)):
            if value < 1:
                raise ValueError(f"objective.{key} is {value}; it must be at least 1")
        if past + ahead > spec.frames:
            raise ValueError(
                f"objective.past is {past} and objective.ahead {ahead}; they need clips of at least {past + ahead} "
                f"frames, and dataset.frames is {spec.frames}"
            )
        if error not in ("l1", "l2"):
            raise ValueError(f"objective.error is {error!r}; it must be l1 or l2")
        if not 0 <= adversary < 1:
            raise ValueError(f"objective.adversary is {adversary}; it must lie in [0, 1) (0: no discriminator)")
        if not judge_lr_scale > 0:
            raise ValueError(f"objective.judge_lr_scale is {judge_lr_scale}; it must be above 0")
        if adversary > 0 and 0.5 ** len(judge_widths) * min(spec.height, spec.width) < 1:
            raise ValueError(
                f"objective.judge_widths is {judge_widths}; each width halves the frame, and {spec.height} x "
                f"{spec.width} pixels cannot be halved {len(judge_widths)} times: set fewer widths"
            )
        self.encoder: ClipEncoder = encoder
        self.past = past
        self.ahead = ahead
        self.error = squared_error if error == "l2" else absolute_error
        self.adversary = adversary
        self.judge_lr_scale = judge_lr_scale
        self.predictor: Recurrent | Convolutional
        match predictor:
            case "recurrent":
                self.predictor = Recurrent(encoder.dim, width, ahead)
            case "convolutional":
                times = _times(encoder, torch.zeros(1, past, spec.channels, spec.height, spec.width))
                self.predictor = Convolutional(encoder.dim * times, width, ahead)
            case _:
                raise ValueError(f"objective.predictor is {predictor!r}; it must be recurrent or convolutional")
        self.decoder = GridDecoder((spec.channels, spec.height, spec.width), widths=decoder_widths)
        with torch.no_grad():
            self.decoder.last.weight.mul_(SMALL)
        self.widen = nn.Conv2d(width, decoder_widths[0], 1, bias=False)  # BatchNorm follows
        self.judge = Judge(spec.channels * (past + ahead), widths=judge_widths) if adversary > 0 else None

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        clips, length = batch.data, self.past + self.ahead
        start = torch.randint(clips.shape[1] - length + 1, (len(clips), 1), device=clips.device)
        shown = take(clips, start + torch.arange(length, device=clips.device))
        return shown[:, : self.past], shown[:, self.past :]

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        drawn = self._draw(x)
        error = self.error(drawn, y).mean()
        logs = {"error": error.detach(), "previous": self.error(x[:, -1:].expand_as(y), y).mean()}
        judge = self.judge
        if judge is None:
            return Loss(error, logs)
        real, made = (torch.cat((x, after), dim=1).flatten(1, 2) for after in (y, drawn.to(y.dtype)))
        real_logit, made_logit = judge(torch.cat((real, made.detach()))).chunk(2)
        judged = judge_loss(real_logit, made_logit)
        fooling = maker_loss(held(judge, made))
        logs |= {
            "fooling": fooling.detach(),
            "judge": judged.detach(),
            "judge_accuracy": torch.cat((real_logit > 0, made_logit < 0)).float().mean(),
        }
        return Loss((1 - self.adversary) * error + self.adversary * fooling + judged, logs)

    def groups(self) -> list[dict[str, Any]]:
        """The generator, and the discriminator with its own learning rate."""
        if self.judge is None:
            return super().groups()
        maker = [p for part in (self.encoder, self.predictor, self.widen, self.decoder) for p in part.parameters()]
        return [{"params": maker}, {"params": list(self.judge.parameters()), "lr_scale": self.judge_lr_scale}]

    def predict(self, x: Tensor) -> Tensor:
        return self.foresee(x)

    def foresee(self, x: Tensor) -> Tensor:
        return self._draw(x).to(x.dtype).clamp(0, 1)

    def _draw(self, x: Tensor) -> Tensor:
        """(B, P, C, H, W) -> (B, K, C, H, W): the predicted frames, unbounded values."""
        hidden = self.predictor(self.encoder.map(x)).flatten(0, 1)  # (B * K, width, h, w)
        if hidden.shape[2:] != self.decoder.grid:
            hidden = F.interpolate(hidden, self.decoder.grid, mode="bilinear", align_corners=False)
        changes = self.decoder(self.widen(hidden)).unflatten(0, (-1, self.ahead))
        return x[:, -1:] + changes.cumsum(dim=1)


class Recurrent(nn.Module):
    """(B, D, t, h, w) -> (B, K, width, h, w): a recurrent network, continued on its own output."""

    def __init__(self, dim: int, width: int, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.read = ConvLSTM(dim, width)
        self.go_on = ConvLSTM(width, width)

    def forward(self, maps: Tensor) -> Tensor:
        state = None
        for each in maps.unbind(2):
            state = self.read(each, state)
        made = []
        for _ in range(self.ahead):
            state = self.go_on(state[0], state)  # type: ignore[index]  # a map has at least one time
            made.append(state[0])
        return torch.stack(made, dim=1)


class Convolutional(nn.Module):
    """(B, D, t, h, w) -> (B, K, width, h, w): two convolutions over all times as channels."""

    def __init__(self, dim: int, width: int, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.layers = nn.Sequential(
            nn.Conv2d(dim, width, KERNEL, padding=KERNEL // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width * ahead, KERNEL, padding=KERNEL // 2),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return self.layers(maps.flatten(1, 2)).unflatten(1, (self.ahead, -1))


def _times(encoder: ClipEncoder, clip: Tensor) -> int:
    """The number of time steps of the encoder's feature map, found by encoding a clip in eval mode."""
    training = encoder.training
    encoder.eval()
    with torch.no_grad():
        times = encoder.map(clip).shape[2]
    encoder.train(training)
    return times
