"""VQ-VAE: reconstruct an image from a grid of discrete codes."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, ImageSpec, Loss, MapEncoder, Objective
from ssl_runner.losses.precision import wide
from ssl_runner.nn.code_decoder import program_of
from ssl_runner.nn.codebook import Codebook, perplexity
from ssl_runner.nn.decoders import GridDecoder
from ssl_runner.nn.gather import gather, mean_over_ranks


class Seen(NamedTuple):
    image: Tensor  # (B, C, H, W)
    place: Tensor  # (B,) from [0, 1): the cell at which a code without use may begin again


class Coded(NamedTuple):
    """Of a batch, for the codebook."""

    share: Tensor  # (K,)
    total: Tensor  # (K, D)
    spare: Tensor  # (B, D) a vector of each image


class VQ(Objective[Seen, Tensor]):
    """Reconstruct an image from the nearest code of each cell's vector.

        x = t,   y = t,   z = project(f(x)) a vector a cell,   e = the code nearest to z
        loss = |y - g(e)|^2 / deviation^2 / 2 + commitment |z - stop(e)|^2, each summed over its values     per image

    The decoder's gradient passes e by as if it were z (straight through). Codes have no gradient: they are moving
    averages of the vectors nearest to them (`nn.codebook`). With a uniform prior over codes KL(q || p) is constant,
    cells x log(codes) nats, so that the first term is -ELBO but for constants; the prior that is fitted afterwards,
    `objective=language_model` on the codes, makes it smaller. `code_perplexity`: e^entropy of the use of codes in the
    batch; `running_perplexity`: of that in all steps lately.

    van den Oord, Vinyals, Kavukcuoglu 2017, "Neural Discrete Representation Learning",
    https://arxiv.org/abs/1711.00937; Razavi, van den Oord, Vinyals 2019, "Generating Diverse High-Fidelity Images with
    VQ-VAE-2", https://arxiv.org/abs/1906.00446.
    Differs from the papers: one grid of codes; a code without use begins again at a vector of the batch.
    """

    collapse: ClassVar[str] = (
        "a few codes serve all cells: lower objective.commitment, raise objective.least, or lower optimizer.lr"
    )
    floors: ClassVar[Mapping[str, float]] = {"running_perplexity": 1.5}

    def __init__(
        self,
        encoder: MapEncoder,
        spec: ImageSpec,
        *,
        codes: int,
        code_width: int,
        commitment: float,
        decay: float,
        least: float,
        deviation: float,
        decoder_widths: list[int],
    ) -> None:
        super().__init__()
        for key, number in (("codes", codes), ("code_width", code_width)):
            if number < (2 if key == "codes" else 1):
                raise ValueError(f"objective.{key} is {number}; it must be at least {2 if key == 'codes' else 1}")
        if not commitment > 0:
            raise ValueError(
                f"objective.commitment is {commitment}; it must be above 0: else vectors leave their codes"
            )
        if not 0 <= decay < 1:
            raise ValueError(f"objective.decay is {decay}; it must lie in [0, 1); 0 takes the codes of the batch alone")
        if not 0 <= least < 1:
            raise ValueError(f"objective.least is {least}; it is a fraction of an equal share, in [0, 1)")
        if not deviation > 0:
            raise ValueError(f"objective.deviation is {deviation}; it must be above 0")
        self.encoder: MapEncoder = encoder
        self.commitment = commitment
        self.deviation = deviation
        self.project = nn.Conv2d(encoder.dim, code_width, 1)
        self.codebook = Codebook(codes, code_width, decay=decay, least=least)
        self.expand = nn.Conv2d(code_width, decoder_widths[0] if decoder_widths else 1, 3, padding=1)
        self.shape, self.widths = (spec.channels, spec.height, spec.width), list(decoder_widths)
        self.draw = GridDecoder(self.shape, widths=decoder_widths)

    def split(self, batch: Batch) -> tuple[Seen, Tensor]:
        """y (B, C, H, W) in [0, 1]."""
        return Seen(batch.data, torch.rand(len(batch.data), device=batch.data.device)), batch.data

    def loss(self, x: Seen, y: Tensor) -> Loss:
        z = self._cells(x.image)
        chosen = self.codebook.nearest(z)
        e = self.codebook.codes[chosen].to(z.dtype)
        output = self._picture(z + (e - z).detach()).float()
        error = (wide(y) - output).square().flatten(1).sum(dim=1).mean()
        apart = (z - e.detach()).square().flatten(1).sum(dim=1).mean()
        with torch.no_grad():
            flat = z.flatten(0, 2)
            share, total = self.codebook.statistics(flat, chosen.flatten())
            cells = z.flatten(1, 2)
            place = (x.place * cells.shape[1]).long().clamp_max(cells.shape[1] - 1)
            spare = cells.gather(1, place[:, None, None].expand(-1, 1, cells.shape[2]))[:, 0]
            logs = {
                "squared_error": error.detach() / y[0].numel(),
                "commitment": apart.detach(),
                "code_perplexity": perplexity(share),
                "running_perplexity": perplexity(self.codebook.share / self.codebook.share.sum()),
                "codes_used": (share > 0).sum().float(),
            }
        value = error / (2 * self.deviation**2) + self.commitment * apart
        return Loss(value, logs, Coded(share, total, spare))

    @torch.no_grad()
    def after_step(self, carries: Sequence[Coded], progress: float) -> None:
        share, total = (
            mean_over_ranks(torch.stack(list(each)).mean(dim=0))
            for each in (
                [carry.share for carry in carries],
                [carry.total for carry in carries],
            )
        )
        self.codebook.update(share, total, torch.cat([gather(carry.spare) for carry in carries]))

    def predict(self, x: Seen) -> Tensor:
        return self.pictures(self.tokens(x.image))

    def reconstruct(self, x: Seen) -> Tensor:
        return self.predict(x)

    def compared(self, image: Tensor) -> Tensor:
        return image

    def hidden(self, x: Seen) -> Tensor:
        return torch.ones_like(x.image, dtype=torch.bool)

    def hides(self) -> Mapping[str, str | int | float]:
        return {"pixels": "all", "corruption": "none", "amount": 0.0}

    def tokens(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, h, w) int64: the code of each cell."""
        return self.codebook.nearest(self._cells(image))

    def pictures(self, tokens: Tensor) -> Tensor:
        """(n, h, w) int64 -> (n, C, H, W) in [0, 1]: the expected image of each grid of codes."""
        return self._picture(self.codebook.codes[tokens].to(self.expand.weight.dtype)).float().clamp(0, 1)

    def program(self) -> Mapping[str, Tensor]:
        return program_of(self.codebook.codes, self.shape, self.widths, expand=self.expand, draw=self.draw)

    def _cells(self, image: Tensor) -> Tensor:
        """(B, h, w, D), float32: the vector of each cell."""
        grid = self.project(self.encoder.map(image))
        if grid.shape[2:] != self.draw.grid:
            down, across = grid.shape[2:]
            raise ValueError(
                f"the encoder has {down} x {across} cells, and objective.decoder_widths makes images from "
                f"{self.draw.grid[0]} x {self.draw.grid[1]}: each width doubles the sides, so set as many as the "
                "encoder halves them"
            )
        return wide(grid).permute(0, 2, 3, 1)

    def _picture(self, cells: Tensor) -> Tensor:
        """(B, h, w, D) -> (B, C, H, W), unbounded."""
        picture: Tensor = self.draw(self.expand(cells.permute(0, 3, 1, 2)))
        return picture
