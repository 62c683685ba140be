"""TSDAE: reconstruct a sentence by a Transformer from the vector of the sentence with words deleted."""

from typing import ClassVar

from torch import Tensor

from ssl_runner.interfaces import Batch, Loss, Objective, TextEncoder, TextSpec
from ssl_runner.losses.tokens import mean_of_real, token_nll
from ssl_runner.nn.sentence_decoder import SentenceDecoder
from ssl_runner.views.corrupt import chosen, deleted


class TSDAE(Objective[Tensor, Tensor]):
    """Reconstruct a sentence from a single vector of what is left of it, by a Transformer that attends to that alone.

        x = t without a share `delete` of its words,   y = t
        loss = -(1 / N) sum_n log p(y_n | y_{<n}, f(x))                                                  nats per token

    The decoder (`nn.sentence_decoder`) sees the encoder's pooled vector and the words before the next one; nothing is
    hidden from it, so deletion has to make the vector worth reading.
    Wang, Reimers, Gurevych 2021, "TSDAE: Using Transformer-based Sequential Denoising Auto-Encoder for Unsupervised
    Sentence Embedding Learning", https://arxiv.org/abs/2104.06979, section 3.
    Differs from the paper: encoder and decoder share the token vectors, there all weights, and both start from BERT
    (here: `start_from`, for the encoder); the pooled vector is the mean of tokens. `objective=denoising_text` has a
    recurrent decoder.
    """

    encoder: TextEncoder
    collapse: ClassVar[str] = (
        "the decoder ignores the encoder's vector: lower objective.delete or objective.decoder_depth"
    )

    def __init__(
        self,
        encoder: TextEncoder,
        spec: TextSpec,
        *,
        delete: float,
        decoder_dim: int,
        decoder_depth: int,
        decoder_heads: int,
    ) -> None:
        super().__init__()
        if not 0 <= delete < 1:
            raise ValueError(f"objective.delete is {delete}; it is a fraction of the words and must lie in [0, 1)")
        self.encoder = encoder
        self.length = spec.length
        self.special = spec.special
        self.delete = delete
        self.decoder = SentenceDecoder(encoder, spec, dim=decoder_dim, depth=decoder_depth, heads=decoder_heads)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x, y (B, T) int64."""
        x = batch.data
        return deleted(x, chosen(x, self.delete, self.special), self.special.pad), x

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        following = y[:, 1:]
        scores = self.decoder(self.encoder(x).pooled, y[:, :-1], self.encoder.embedding)
        nll = token_nll(scores, following, self.special.pad)
        value = mean_of_real(nll, following, self.special.pad)
        return Loss(value, {"perplexity": value.detach().exp()})

    def predict(self, x: Tensor) -> Tensor:
        return self.write(self.encode(x))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x).pooled

    def write(self, z: Tensor) -> Tensor:
        return self.decoder.write(z, self.length, self.encoder.embedding)
