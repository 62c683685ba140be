"""Denoising autoencoder of text: reconstruct a sentence from the vector of a corrupted one."""

from typing import ClassVar

from torch import Tensor

from ssl_runner.interfaces import Batch, Loss, Objective, TextEncoder, TextSpec
from ssl_runner.losses.tokens import mean_of_real, token_nll
from ssl_runner.nn.token_decoder import TokenDecoder
from ssl_runner.views.corrupt import chosen, deleted, masked, reordered


class DenoisingText(Objective[Tensor, Tensor]):
    """Reconstruct a sentence from a single vector of it, encoded with words shuffled, masked and deleted.

        x = corrupt(t),   y = t,   loss = -(1 / N) sum_n log p(y_n | y_{<n}, f(x))                      nats per token

    A share `reorder` of the words is shuffled, then a share `delete` is removed, and a share `mask` of the rest becomes
    MASK; special tokens stay. The decoder sees only the encoder's pooled vector and the words before the next one, of
    these without a share `word_dropout` in training.

    Hill, Cho, Korhonen 2016, "Learning Distributed Representations of Sentences from Unlabeled Data",
    https://arxiv.org/abs/1602.03483 (words left out and moved, the sentence as one vector); Lewis et al. 2019, "BART",
    https://arxiv.org/abs/1910.13461, section 2.2 (masking, deletion); Wang, Reimers, Gurevych 2021, "TSDAE",
    https://arxiv.org/abs/2104.06979 (the pooled vector of a Transformer alone).
    Differs from the papers: Hill et al. swap neighbors, BART moves whole sentences and its decoder sees all tokens of
    the encoder, for which the vector of the sentence need say nothing; the decoder is a GRU.
    """

    collapse: ClassVar[str] = (
        "the decoder ignores the encoder's vector: raise objective.word_dropout, or lower objective.delete and "
        "objective.mask"
    )

    def __init__(
        self,
        encoder: TextEncoder,
        spec: TextSpec,
        *,
        delete: float,
        mask: float,
        reorder: float,
        word_dropout: float,
        decoder_dim: int,
        decoder_hidden: int,
    ) -> None:
        super().__init__()
        for name, share in (("delete", delete), ("mask", mask), ("reorder", reorder)):
            if not 0 <= share <= 1:
                raise ValueError(f"objective.{name} is {share}; it is a fraction of the words and must lie in [0, 1]")
        self.encoder = encoder
        self.length = spec.length
        self.special = spec.special
        self.delete = delete
        self.mask = mask
        self.reorder = reorder
        self.decoder = TokenDecoder(
            spec, encoder.dim, dim=decoder_dim, hidden=decoder_hidden, word_dropout=word_dropout
        )

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x, y (B, T) int64."""
        x = batch.data
        if self.reorder > 0:
            x = reordered(x, chosen(x, self.reorder, self.special))
        if self.delete > 0:
            x = deleted(x, chosen(x, self.delete, self.special), self.special.pad)
        if self.mask > 0:
            x = masked(x, chosen(x, self.mask, self.special), self.special.mask)
        return x, batch.data

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        following = y[:, 1:]
        nll = token_nll(self.decoder(self.encoder(x).pooled, y), following, self.special.pad)
        value = mean_of_real(nll, following, self.special.pad)
        return Loss(value, {"perplexity": value.detach().exp()})

    def predict(self, x: Tensor) -> Tensor:
        return self.write(self.encode(x))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x).pooled

    def write(self, z: Tensor) -> Tensor:
        return self.decoder.write(z, self.length)
