"""Skip-gram: predict the words around a word."""

from typing import NamedTuple

from torch import Tensor

from ssl_runner.interfaces import Batch, Loss, Objective, TextSpec, WordEncoder
from ssl_runner.losses.word_outputs import WordOutput, word_counts
from ssl_runner.nn.word_windows import DynamicWindow, Subsampling, exchange


class Around(NamedTuple):
    word: Tensor  # (B, T) int64; MASK where none is asked for
    pairs: Tensor  # (B, T, T) bool: whether the word at the first position predicts the one at the second
    noise: Tensor  # (B, S) int64: noise words, which x is to tell from those


class SkipGram(Objective[Tensor, Around]):
    """Predict the words around each word.

        x = w_i,   y = w_j with 0 < |i - j| <= r_i,   r_i ~ U{1, ..., window},   loss = -log p(y | x)     nats per pair

    p(w_j | w_i) has the score v(w_i) . u(w_j): v is a row of the encoder, u of the output's own table.
    `objective.output` says what becomes of the score: a softmax over the vocabulary, or negative sampling. Frequent
    words are left out at random (`nn.word_windows.Subsampling`), and then windows reach over them, as they do over
    words that are not in the vocabulary; windows end with the sentence, and with the example.

    Mikolov, Chen, Corrado, Dean 2013, "Efficient Estimation of Word Representations in Vector Space",
    https://arxiv.org/abs/1301.3781, section 3.2; Mikolov, Sutskever, Chen, Corrado, Dean 2013, "Distributed
    Representations of Words and Phrases and their Compositionality", https://arxiv.org/abs/1310.4546.
    Differs from the paper: a step is taken for all pairs of a batch at once, with the optimizer of the config, and not
    pair by pair with a learning rate that falls linearly; pairs across the ends of examples are not seen, about
    (window + 2) / (3 T) of all.
    """

    encoder: WordEncoder

    def __init__(
        self,
        encoder: WordEncoder,
        spec: TextSpec,
        *,
        window: int,
        subsample: float | None,
        output: WordOutput,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.output = output
        self.mask = spec.special.mask
        self.subsampling = Subsampling(word_counts(spec), spec.special, threshold=subsample)
        self.window = DynamicWindow(window, spec.special)

    def split(self, batch: Batch) -> tuple[Tensor, Around]:
        """x (B, T) int64, MASK where a word is dropped."""
        kept = self.subsampling(batch.data)
        word = batch.data.masked_fill(~kept, self.mask)
        return word, Around(word, self.window(batch.data, kept), self.output.draw(len(word)))

    def shuffle(self, x: Tensor, y: Around) -> tuple[Tensor, Around]:
        """Each position keeps its number of targets; the targets are those of other positions of the batch."""
        return x, y._replace(word=exchange(y.word, y.word != self.mask))

    def loss(self, x: Tensor, y: Around) -> Loss:
        v = self.encoder.embedding(x)
        u, noise = self.output.vectors(y.word, y.noise)
        return Loss(self.output.loss(v, v @ u.mT, y.pairs.to(v.dtype), noise))
