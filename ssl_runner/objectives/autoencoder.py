"""Autoencoder: reconstruct an image from its code; with corruption, denoising autoencoder."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective
from ssl_runner.losses.reconstruction import bernoulli_nll, squared_error
from ssl_runner.nn.decoders import ConvDecoder

Corruption = Literal["none", "gaussian", "masking", "salt_and_pepper"]


class Autoencoder(Objective[Tensor, Tensor]):
    """Reconstruct an image from its code, a vector of the encoder's width.

        x = corrupt(t),   y = t,   loss = |y - d(f(x))|^2 per pixel (gaussian), or the pixels' cross-entropy (bernoulli)

    Hinton, Salakhutdinov 2006, https://doi.org/10.1126/science.1127647; denoising: Vincent, Larochelle, Bengio,
    Manzagol 2008, "Extracting and Composing Robust Features with Denoising Autoencoders",
    https://doi.org/10.1145/1390156.1390294.
    Differs from the papers: convolutional, trained at once rather than layer by layer.
    """

    def __init__(
        self,
        encoder: Encoder,
        spec: ImageSpec,
        *,
        corruption: Corruption,
        amount: float,
        likelihood: Literal["gaussian", "bernoulli"],
        decoder_widths: list[int],
    ) -> None:
        super().__init__()
        if corruption == "none" and amount != 0:
            raise ValueError(
                f"objective.amount is {amount} with objective.corruption=none; choose a corruption "
                "(gaussian, masking, salt_and_pepper), or set objective.amount=0"
            )
        if corruption != "none" and not 0 < amount < 1:
            raise ValueError(
                f"objective.amount is {amount}; with objective.corruption={corruption} it must lie in (0, 1)"
            )
        self.encoder = encoder
        self.corruption = corruption
        self.amount = amount
        self.likelihood = likelihood
        self.decoder = ConvDecoder(encoder.dim, (spec.channels, spec.height, spec.width), widths=decoder_widths)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x, y (B, C, H, W) in [0, 1]."""
        return corrupt(batch.data, self.corruption, self.amount), batch.data

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        output = self.decoder(self.encoder(x).pooled)
        error = squared_error if self.likelihood == "gaussian" else bernoulli_nll
        return Loss(error(output, y).mean())

    def predict(self, x: Tensor) -> Tensor:
        output = self.decoder(self.encoder(x).pooled).float()
        return output.clamp(0, 1) if self.likelihood == "gaussian" else output.sigmoid()

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.predict(x)

    def compared(self, image: Tensor) -> Tensor:
        return image

    def hidden(self, x: Tensor) -> Tensor:
        return torch.ones_like(x, dtype=torch.bool)

    def hides(self) -> Mapping[str, str | int | float]:
        return {"pixels": "all", "corruption": self.corruption, "amount": self.amount}


def corrupt(image: Tensor, corruption: Corruption, amount: float) -> Tensor:
    """Damage (B, C, H, W) images in [0, 1]. `amount`: standard deviation (gaussian), else fraction of the pixels."""
    if corruption == "none":
        return image
    if corruption == "gaussian":
        return (image + amount * torch.randn_like(image)).clamp(0, 1)
    hit = torch.rand_like(image[:, :1]) < amount  # all channels of a pixel together
    value = 0.0 if corruption == "masking" else (torch.rand_like(image[:, :1]) < 0.5).to(image.dtype)
    return torch.where(hit, value, image)
