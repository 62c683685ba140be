"""Skip-gram: predict the words around a word."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from ssl_runner.interfaces import Batch, Loss, Objective, TextSpec, WordEncoder
from ssl_runner.losses.word_outputs import WordOutput, word_counts
from ssl_runner.nn.tables import look_up
from ssl_runner.nn.word_windows import (
    ROW,
    DynamicWindow,
    Subsampling,
    columns,
    exchange,
    filled,
    pairs,
    rows,
    word_apart,
)


class Around(NamedTuple):
    word: Tensor  # (B, L) int64: the words of x again
    before: Tensor  # (B, L) int32: how many of them before each place it predicts; 0 at PAD
    after: Tensor  # (B, L) int32: and after it
    noise: Tensor  # (B, L / ROW, S) int64: noise words of each row of places, which x is to tell from those


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
        self.pad = spec.special.pad
        self.subsampling = Subsampling(word_counts(spec), spec.special, threshold=subsample)
        self.window = DynamicWindow(window, spec.special)

    def split(self, batch: Batch) -> tuple[Tensor, Around]:
        """x (B, L) int64: the kept words of each example, then PAD."""
        word, before, after = self.window(batch.data, self.subsampling(batch.data))
        noise = self.output.draw(word.numel() // ROW).view(len(word), word.shape[1] // ROW, -1)
        return word, Around(word, before, after, noise)

    def shuffle(self, x: Tensor, y: Around) -> tuple[Tensor, Around]:
        """Each position keeps its number of targets; the targets are those of other positions of the batch."""
        return x, y._replace(word=exchange(y.word, y.word != self.pad))

    def passages(self, x: Tensor, y: Around, read: Callable[[Sequence[int]], str]) -> Mapping[str, Sequence[str]]:
        """A word of each example, and those around it."""
        words, others = word_apart(x, y.before, y.after, read)
        return {"x, a word": words, "y, those around it": others}

    def loss(self, x: Tensor, y: Around) -> Loss:
        window = self.window.window
        chosen = filled(x, self.pad)
        v = look_up(self.encoder.embedding, rows(x)[chosen])
        around, noise = columns(y.word, window, self.pad)[chosen], y.noise.flatten(0, 1)[chosen]
        u, noise = self.output.vectors(around, noise)
        asked = pairs(rows(y.before)[chosen], rows(y.after)[chosen], window).to(v.dtype)
        return Loss(self.output.loss(v, v @ u.mT, asked, noise))
