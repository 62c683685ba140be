"""CPC for text: identify a later word, among others, from the words up to the current one."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, CausalEncoder, Loss, Objective, TextSpec, another
from ssl_runner.losses.contrastive import info_nce, watched
from ssl_runner.losses.precision import float32
from ssl_runner.nn.gather import gather, rank


class Future(NamedTuple):
    tokens: Tensor  # (B, T) int64: the text in which the predicted words are, each with its others as candidates
    others: Tensor  # (K,) int64: the places of further candidates in the batches of all ranks, b * T + t


class CPCText(Objective[Tensor, Future]):
    """Identify the word some positions later, among words of this and other texts, from the words so far.

        z_t = e(word t),   c_t = f(words up to t),   x = the text,   y = the text, and places of further candidates
        loss = mean over t and k = 1 ... steps of  -log( e^{z_{t+k}' W_k c_t} / sum_z e^{z' W_k c_t} )

    in nats per prediction; z runs over the words of the text and up to `negatives` of the others'. e is the encoder's
    table of word vectors, f its causal network. Padding is neither predicted nor a candidate.
    van den Oord, Li, Vinyals 2018, "Representation Learning with Contrastive Predictive Coding",
    https://arxiv.org/abs/1807.03748, section 3.3 and eq. 4.
    Differs from the paper: what is encoded and predicted are words, not sentences. Elsewhere the predicted word has the
    same vector and so the same score; there it is a negative like any other: the bound is for candidates drawn as
    often as they occur.
    """

    def __init__(self, encoder: CausalEncoder, spec: TextSpec, *, steps: int, negatives: int) -> None:
        super().__init__()
        if not 1 <= steps < spec.length:
            raise ValueError(
                f"objective.steps is {steps}; predictions are at least one word ahead and end within the "
                f"{spec.length} tokens of dataset.length"
            )
        if negatives < 0:
            raise ValueError(f"objective.negatives is {negatives}; it must be 0 or more words of other texts")
        self.encoder: CausalEncoder = encoder
        self.pad = spec.special.pad
        self.negatives = negatives
        width = encoder.embedding.embedding_dim
        self.predict_ahead = nn.ModuleList(nn.Linear(encoder.dim, width, bias=False) for _ in range(steps))

    def split(self, batch: Batch) -> tuple[Tensor, Future]:
        """x (B, T) int64."""
        x = batch.data
        padding = gather(x == self.pad).flatten()
        order = torch.rand(len(padding), device=x.device) + padding  # padding comes last
        return x, Future(x, order.argsort()[: self.negatives])

    def shuffle(self, x: Tensor, y: Future) -> tuple[Tensor, Future]:
        """Later words are predicted from the words of another text."""
        return x, y._replace(tokens=y.tokens[another(len(x), x.device)])

    def loss(self, x: Tensor, y: Future) -> Loss:
        count, length = x.shape
        context = self.encoder(x[:, :-1]).tokens  # after the last word nothing is predicted
        z = self.encoder.embedding(y.tokens)  # (B, T, E)
        others = gather(y.tokens).flatten()[y.others]
        expected, target, real = [], [], []
        place = torch.arange(length, device=x.device)
        for ahead, head in enumerate(self.predict_ahead, start=1):
            expected.append(head(context[:, : length - ahead]))
            target.append(place == place[ahead:, None])
            real.append((x[:, :-ahead] != self.pad) & (y.tokens[:, ahead:] != self.pad))
        sim = _scores(torch.cat(expected, dim=1), z, self.encoder.embedding(others))

        here = torch.cat(target).expand(count, -1, -1)  # (B, A, T)
        asked = torch.cat(real, dim=1)[:, :, None]  # (B, A, 1): what is no padding
        of_text = (rank() * count + torch.arange(count, device=x.device))[:, None, None]
        foreign = (y.others // length != of_text) & (
            others != self.pad
        )  # (B, 1, K): those of the text are there already
        pos = torch.cat((here & asked, torch.zeros_like(foreign).expand(-1, here.shape[1], -1)), dim=2).flatten(0, 1)
        neg = torch.cat((~here & (y.tokens != self.pad)[:, None] & asked, foreign & asked), dim=2).flatten(0, 1)
        return Loss(info_nce(sim, pos, neg), watched(sim.detach(), sim.detach(), pos, neg))


@float32
def _scores(expected: Tensor, own: Tensor, others: Tensor) -> Tensor:
    """Predictions (B, A, E) with the text's words (B, T, E) and others' (K, E) -> (B * A, T + K)."""
    return torch.cat((expected @ own.mT, expected @ others.T), dim=2).flatten(0, 1)
