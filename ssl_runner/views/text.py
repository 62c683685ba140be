"""Views of texts: (B, T) int64 ids, padded at the end -> (V, B, T)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_runner.interfaces import TextSpec, Views
from ssl_runner.views.corrupt import chosen, deleted


class Repeat(Views):
    """The same text `views` times; views differ only by the encoder's dropout.

    Gao, Yao, Chen 2021, "SimCSE: Simple Contrastive Learning of Sentence Embeddings", https://arxiv.org/abs/2104.08821,
    section 3. Nothing is drawn here.
    """

    def __init__(self, *, views: int) -> None:
        super().__init__()
        self.views = _at_least_one(views)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T) -> (V, B, T)."""
        return x.expand(self.views, -1, -1)


class Deletion(Views):
    """The text without some of its words, each left out with probability `share`; special tokens stay.

    One of the discrete augmentations that Gao et al. 2021, table 1, hold against dropout.
    """

    def __init__(self, spec: TextSpec, *, views: int, share: float) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(
                f"objective.views.share is {share}; it is the fraction of words deleted and must lie in [0, 1)"
            )
        self.views = _at_least_one(views)
        self.share = share
        self.special = spec.special

    def forward(self, x: Tensor) -> Tensor:
        """(B, T) -> (V, B, T)."""
        x = x.repeat(self.views, 1)
        return deleted(x, chosen(x, self.share, self.special), self.special.pad).unflatten(0, (self.views, -1))


class Segments(Views):
    """The segments of a row as separate texts: [CLS] a [SEP] b [SEP] -> [CLS] a [SEP], [CLS] b [SEP].

    Each view is as long as an even share of the row, T' = 1 + (T - 1) // `views`; a longer segment loses its end. Of a
    row with fewer segments the last views are a bare [CLS]. Nothing is drawn.
    """

    def __init__(self, spec: TextSpec, *, views: int) -> None:
        super().__init__()
        self.special = spec.special
        self.views = _at_least_one(views)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T) -> (V, B, T')."""
        rest = x[:, 1:]  # without [CLS]
        width = rest.shape[1] // self.views
        separator = (rest == self.special.sep).long()
        segment = separator.cumsum(dim=1) - separator
        of_view = (segment == torch.arange(self.views, device=x.device)[:, None, None]) & (
            rest != self.special.pad
        )  # (V, B, T - 1)
        order = (~of_view).int().argsort(dim=2, stable=True)[:, :, :width]  # its tokens first, in their order
        texts = rest.expand(self.views, -1, -1).masked_fill(~of_view, self.special.pad).gather(2, order)
        return F.pad(texts, (1, 0), value=self.special.cls)


def _at_least_one(views: int) -> int:
    if views < 1:
        raise ValueError(f"objective.views.views is {views}; it must be at least 1")
    return views
