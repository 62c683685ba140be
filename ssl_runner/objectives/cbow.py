"""CBOW (continuous bag of words): predict a word from the words around it."""

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
    word: Tensor  # (B, L) int64: the kept words of each example, then PAD
    before: Tensor  # (B, L) int32: how many of them before each place are around it; 0 at PAD
    after: Tensor  # (B, L) int32: and after it


class Center(NamedTuple):
    word: Tensor  # (B, L) int64; PAD where none is asked for
    noise: Tensor  # (B, L / ROW, S) int64: noise words of each row of places, which x is to tell from those


class CBOW(Objective[Around, Center]):
    """Predict each word from the mean of the words around it.

        x = {w_j: 0 < |i - j| <= r_i},   y = w_i,   r_i ~ U{1, ..., window},   loss = -log p(y | x)      nats per word

    p(w_i | x) has the score mean of v(w_j) . u(w_i): v is a row of the encoder, u of the output's own table.
    `objective.output` says what becomes of the score: a softmax over the vocabulary, or negative sampling. Frequent
    words are left out at random (`nn.word_windows.Subsampling`), and then windows reach over them, as they do over
    words that are not in the vocabulary; windows end with the sentence, and with the example.

    Mikolov, Chen, Corrado, Dean 2013, "Efficient Estimation of Word Representations in Vector Space",
    https://arxiv.org/abs/1301.3781, section 3.1; Mikolov, Sutskever, Chen, Corrado, Dean 2013, "Distributed
    Representations of Words and Phrases and their Compositionality", https://arxiv.org/abs/1310.4546.
    Differs from the paper: a step is taken for all words of a batch at once, with the optimizer of the config, and not
    word by word with a learning rate that falls linearly. The gradient is that of the mean: word2vec's code gives each
    word around the whole of it (Irsoy, Benton, Stratos 2021, https://arxiv.org/abs/2012.15332).
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

    def split(self, batch: Batch) -> tuple[Around, Center]:
        word, before, after = self.window(batch.data, self.subsampling(batch.data))
        noise = self.output.draw(word.numel() // ROW).view(len(word), word.shape[1] // ROW, -1)
        return Around(word, before, after), Center(word.masked_fill(before + after == 0, self.pad), noise)

    def shuffle(self, x: Around, y: Center) -> tuple[Around, Center]:
        """Each position gets the target word of another position of the batch."""
        return x, y._replace(word=exchange(y.word, y.word != self.pad))

    def passages(self, x: Around, y: Center, read: Callable[[Sequence[int]], str]) -> Mapping[str, Sequence[str]]:
        """A word of each example, and those around it."""
        words, others = word_apart(x.word, x.before, x.after, read)
        return {"x, the words around": others, "y, the word": words}

    def loss(self, x: Around, y: Center) -> Loss:
        window = self.window.window
        chosen = filled(x.word, self.pad)
        before, after, center = (rows(each)[chosen] for each in (x.before, x.after, y.word))
        around = look_up(self.encoder.embedding, columns(x.word, window, self.pad)[chosen])
        share = pairs(before, after, window).to(around.dtype) / (before + after).clamp_min(1)[:, :, None]
        v = share @ around
        u, noise = self.output.vectors(center, y.noise.flatten(0, 1)[chosen])
        asked = (center != self.pad)[:, :, None].to(v.dtype)
        return Loss(self.output.loss(v, (v * u).sum(dim=2, keepdim=True), asked, noise))
