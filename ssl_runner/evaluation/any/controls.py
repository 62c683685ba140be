"""Untrained encoders as controls: raw pixels and bags of words."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.interfaces import Encoder, Features, ImageSpec, TextSpec, VideoSpec

MOST = 32  # pixels: larger images are averaged down to this side
MOST_OF_CLIPS = (8, 16, 16)  # frames, pixels, pixels: longer or larger clips are averaged down to these
MOST_WORDS = 2048  # of `BagOfWords.pooled`


class Pixels(Encoder):
    """The raw image: `pooled` is (B, C * h * w), the pixels, channel by channel; `tokens` is (B, h * w, C).

    A side above 32 pixels is averaged down to 32 (each output pixel the mean of its share of the input). It has no
    blocks: whichever layer is asked for, `subject.extract` gives the pixels.
    """

    kind: ClassVar[str] = "the pixels themselves"

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.size = (min(spec.height, MOST), min(spec.width, MOST))
        self.dim = spec.channels * self.size[0] * self.size[1]

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        if x.shape[2:] != self.size:
            x = F.adaptive_avg_pool2d(x, self.size)
        return Features(x.flatten(2).mT, x.flatten(1))


class PixelsOfClips(Encoder):
    """The raw clip: `pooled` is (B, C * t * h * w), the pixels, channel by channel, frame by frame; `tokens` is
    (B, t * h * w, C).

    More than 8 frames are averaged down to 8, a side above 16 pixels to 16 (each the mean of its share of the input):
    2,048 numbers a channel. Like `Pixels` it has no blocks.
    """

    kind: ClassVar[str] = "the pixels themselves"

    def __init__(self, spec: VideoSpec) -> None:
        super().__init__()
        frames, height, width = map(min, (spec.frames, spec.height, spec.width), MOST_OF_CLIPS)
        self.size = (frames, height, width)
        self.dim = spec.channels * frames * height * width

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        x = F.adaptive_avg_pool3d(x.transpose(1, 2), self.size)
        return Features(x.flatten(2).mT, x.flatten(1))


class BagOfWords(Encoder):
    """A bag of words: `pooled` is (B, W), tf-idf of the W ids that are the most frequent in
    the corpus, scaled to length 1; `tokens` is (B, T, 1), the idf of each.

        tf-idf_w = tf_w (1 + log(1 / p_w)),   p_w = 1 - (1 - q_w)^T

    q_w: the share of id w in the corpus, one occurrence added to each; so p_w is the share of texts of T tokens that
    would hold it, if tokens were drawn one by one. Special ids are left out; W is 2,048 at most. Evaluators of texts
    take `count_ids` instead, with all ids, and idf from their own training texts. It has no blocks: whichever layer
    is asked for, `subject.extract` gives these. Spärck Jones 1972, https://doi.org/10.1108/eb026526.
    """

    kind: ClassVar[str] = "the words themselves, whatever their order"
    reach: int | None = None  # tokens of a text that are read, where evaluations name a text's length: as the encoder's
    chosen: Tensor  # (W,) ids
    idf: Tensor  # (V,)

    def __init__(self, spec: TextSpec) -> None:
        super().__init__()
        special, ordinary = list(spec.special.ids), spec.special.ordinary(spec.vocabulary)
        count = torch.tensor(spec.counts or [0] * spec.vocabulary, dtype=torch.double) + 1
        count[special] = 0
        share = count / count.sum()
        idf = 1 - torch.log(-torch.expm1(spec.length * torch.log1p(-share)))  # infinite for special ids
        idf[special] = 0
        order = ordinary[count[ordinary].sort(descending=True, stable=True).indices]
        self.register_buffer("chosen", order[:MOST_WORDS].sort().values, persistent=False)
        self.register_buffer("idf", idf.float(), persistent=False)
        self.dim = len(self.chosen)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        weight = self.idf[x]
        whole = weight.new_zeros(len(x), len(self.idf)).scatter_add_(1, x, weight)
        return Features(weight[:, :, None], F.normalize(whole[:, self.chosen], dim=1))


def count_ids(ids: Tensor, spec: TextSpec) -> Any:
    """How often each id is in each text, special ids left out: (n, T) -> a sparse matrix (n, V) of scipy."""
    from scipy.sparse import csr_matrix

    row, column = (~spec.special.among(ids)).nonzero(as_tuple=True)
    found = (np.ones(len(row)), (row.numpy(), ids[row, column].numpy()))
    return csr_matrix(found, shape=(len(ids), spec.vocabulary))
