"""Semantic textual similarity: cosine of sentence vectors, compared with human scores."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.evaluation.any.scores import score_metrics
from ssl_runner.evaluation.any.subject import TOLD, evaluating
from ssl_runner.evaluation.text import bag_of_words
from ssl_runner.evaluation.text.data import cut_share, encode_texts
from ssl_runner.evaluation.text.files import PLACES, OfFiles, ScoredPairs
from ssl_runner.evaluation.text.heads import is_control
from ssl_runner.evaluation.text.reading import (
    BATCH,
    Reader,
    finite,
    named_layer,
    read_texts,
    reading,
    text_encoder,
    text_spec,
    trimmed,
)
from ssl_runner.interfaces import Finding, Subject, TextSpec
from ssl_runner.results.metrics import Protocol

DECIMALS = 6  # of a cosine: what float32 cannot tell apart has the same rank
Pooler = Literal["cls", "mean"]


class SentenceSimilarity(OfFiles):
    """Rank correlation, over all pairs of a file, of the cosine of two sentence vectors with the human score.

    Nothing is trained. `length`: tokens of a sentence (`text_layers.text_spec`). `pooler`: "mean", over all tokens of a
    layer, [CLS] and [SEP] among them; "cls", the first token's vector, which in a causal encoder is the same for all.
    `layer`: "pooled" (the encoder's last), or a block counted from the end. Bag of words: the cosine of tf-idf vectors,
    idf from the sentences of val. Where all cosines are the same, the correlation is 0. Metrics: spearman and pearson,
    on test and val. Cer, Diab, Agirre, Lopez-Gazpio, Specia 2017, https://arxiv.org/abs/1708.00055; all pairs together
    as in Gao, Yao, Chen 2021 (SimCSE), https://arxiv.org/abs/2104.08821, appendix B.
    """

    presentation: ClassVar[frozenset[str]] = PLACES - {"texts.train"}
    key: ClassVar[str] = "evaluation.sts"

    def __init__(self, *, path: str, texts: ScoredPairs, length: int, pooler: Pooler, layer: str | int) -> None:
        self.layer = named_layer(f"{self.key}.layer", layer)
        self.pooler = pooler
        super().__init__(path=path, texts=texts, length=length, least=3)
        self.pairs = texts.read(self.key, self.files)

    def __call__(self, subject: Subject) -> Finding:
        spec, texts = text_spec(subject, self.length), self.pairs.texts
        control = {}
        if is_control(subject):
            bag = bag_of_words.scores_answer(spec, texts["val"])
            similarity = {split: bag.answer(rows) for split, rows in texts.items()}
            control = {"control": bag.said}
        else:
            similarity = {
                split: pair_cosines(subject, spec, pairs, self.layer, self.pooler) for split, pairs in texts.items()
            }
        score = self.pairs.label
        metrics = [each for split in TOLD for each in score_metrics(similarity[split], score[split], split)]
        return Finding(
            metrics,
            Protocol(
                terms={
                    "method": "cosine of sentence vectors",
                    "pairs": "all together",
                    "files": self.pairs.fingerprint,
                },
                measured={
                    **{f"{split} examples": len(score[split]) for split in TOLD},
                    **reading(spec, cut_share(spec, [(text,) for row in texts["test"] for text in row])),
                    "seed": subject.seed,
                    **control,
                },
            ),
        )


def pair_cosines(
    subject: Subject, spec: TextSpec, pairs: Sequence[tuple[str, ...]], layer: str, pooler: Pooler
) -> Tensor:
    """(n,) float64: the cosine of the two sentence vectors of each pair."""
    a, b = (
        sentence_vectors(subject, encode_texts(spec, [(text,) for text in column]), layer, pooler)
        for column in zip(*pairs, strict=True)
    )
    return F.cosine_similarity(a.double(), b.double(), dim=1).round(decimals=DECIMALS)


def sentence_vectors(subject: Subject, ids: Tensor, layer: str, pooler: Pooler) -> Tensor:
    """(n, T) ids -> (n, D) float32 on the CPU"""
    encoder = text_encoder(subject.encoder)
    if pooler == "mean":
        return read_texts(subject, Reader(encoder, layer, "text"), ids)
    place = -1 if layer == "pooled" else int(layer)
    with evaluating(encoder), torch.inference_mode():
        parts = [
            encoder.states(trimmed(part.long().to(subject.device), encoder.special.pad))[place][:, 0].float().cpu()
            for part in ids.split(BATCH)
        ]
    return finite(torch.cat(parts))
