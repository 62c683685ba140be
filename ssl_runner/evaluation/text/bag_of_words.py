"""The bag-of-words control, in place of an encoder of text. n examples, V ids."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_runner.evaluation.any.controls import count_ids
from ssl_runner.evaluation.text.data import TextSet, encode_texts
from ssl_runner.interfaces import TextSpec

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)  # C of the logistic regression
STEPS = 1000  # of its solver, at most

Rows = Sequence[tuple[str, ...]]  # texts, or pairs of them


class Control(NamedTuple):
    """The answers that replace those of an encoder."""

    answer: Callable[[Rows], Tensor]  # (n, K) log p of classes, or (n,) scores
    chosen: Mapping[str, Any]  # on val
    said: str  # how, in words


def control(spec: TextSpec, texts: TextSet) -> Control:
    """Of texts or pairs with classes, or of pairs with scores."""
    return classes_answer(spec, texts) if texts.classes else scores_answer(spec, texts.texts["train"])


def tf_idf(spec: TextSpec, rows: Rows) -> Callable[[Rows], list[Any]]:
    """What turns texts into sparse vectors (n, V), one a text of an example; idf of all texts of `rows`.

    As scikit-learn has them: tf (1 + log((1 + n) / (1 + df))), scaled to length 1.
    """
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import TfidfTransformer

    def counts(rows: Rows) -> list[Any]:
        columns = zip(*rows, strict=True)
        return [count_ids(encode_texts(spec, [(text,) for text in column]), spec) for column in columns]

    weigh = TfidfTransformer().fit(vstack(counts(rows)))
    return lambda rows: [weigh.transform(part) for part in counts(rows)]


def classes_answer(spec: TextSpec, texts: TextSet) -> Control:
    """Logistic regression on tf-idf vectors, its C chosen on val, of equals the least.

    Of a pair with vectors a and b it reads a, b, |a - b| and a * b: so it can see what both have in common.
    """
    from scipy.sparse import hstack
    from sklearn.linear_model import LogisticRegression

    vectors_of = tf_idf(spec, texts.texts["train"])

    def features(rows: Rows) -> Any:
        vectors = vectors_of(rows)
        if len(vectors) == 1:
            return vectors[0]
        a, b = vectors
        return hstack([a, b, abs(a - b), a.multiply(b)]).tocsr()

    x, x_val = features(texts.texts["train"]), features(texts.texts["val"])
    y, y_val = texts.label["train"].numpy(), texts.label["val"].numpy()
    models = [LogisticRegression(C=strength, max_iter=STEPS).fit(x, y) for strength in STRENGTHS]
    scores = [model.score(x_val, y_val) for model in models]
    best = int(np.argmax(scores))
    said = "logistic regression on tf-idf vectors"
    known = torch.from_numpy(models[best].classes_)

    def answer(rows: Rows) -> Tensor:
        """(n, K) log p; -inf of a class that train does not have"""
        log_p = torch.full((len(rows), len(texts.classes)), -torch.inf, dtype=torch.double)
        log_p[:, known] = torch.from_numpy(models[best].predict_log_proba(features(rows)))
        return log_p

    return Control(answer, {"C": STRENGTHS[best]}, said)


def scores_answer(spec: TextSpec, rows: Rows) -> Control:
    """The cosine of the tf-idf vectors of two texts, idf from `rows`."""
    vectors_of = tf_idf(spec, rows)

    def answer(rows: Rows) -> Tensor:
        a, b = vectors_of(rows)
        return torch.from_numpy(np.asarray(a.multiply(b).sum(axis=1)).ravel())

    return Control(answer, {}, "cosine of tf-idf vectors")


def frequent_tags(token: Tensor, tag: Tensor, vocabulary: int, tags: int) -> Tensor:
    """The tag that each id has most often, (vocabulary,); of ids never seen, the one that is most frequent of all."""
    counts = torch.bincount(token * tags + tag, minlength=vocabulary * tags).view(vocabulary, tags)
    return torch.where(counts.sum(dim=1) > 0, counts.argmax(dim=1), counts.sum(dim=0).argmax())
