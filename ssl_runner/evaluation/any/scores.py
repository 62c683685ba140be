"""Metrics of answers: accuracies, F1 scores, correlations, and metrics of entities and answer spans.

n examples, W words.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from ssl_runner.results.metrics import Better, Metric, Split, correlation, share

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_MARKS = str.maketrans("", "", string.punctuation)


def accuracy(predicted: Tensor, label: Tensor) -> float:
    """(n,), (n,) -> the share of equal entries."""
    return (predicted == label).double().mean().item()


def balanced_accuracy(predicted: Tensor, label: Tensor, classes: int) -> float:
    """(n,), (n,) -> the mean, over the classes that are in `label`, of the share of their examples that is right.
    Brodersen et al. 2010, https://doi.org/10.1109/ICPR.2010.764."""
    total = label.bincount(minlength=classes)
    right = label[predicted == label].bincount(minlength=classes)
    there = total > 0
    return (right[there] / total[there].double()).mean().item()


def majority(train: Tensor, label: Tensor) -> float:
    """The accuracy on `label`, (n,), of the class that is most frequent in `train`, the first one in case of a tie."""
    return accuracy(train.bincount().argmax(), label)


def f1(predicted: Tensor, label: Tensor, positive: int) -> float:
    """Of one class, 2 TP / (2 TP + FP + FN); 0 if the class is neither present nor predicted."""
    right = ((predicted == positive) & (label == positive)).sum().item()
    named = (predicted == positive).sum().item() + (label == positive).sum().item()
    return 2 * right / named if named else 0.0


def macro_f1(predicted: Tensor, label: Tensor, classes: int) -> float:
    """The mean over classes of their F1."""
    return sum(f1(predicted, label, each) for each in range(classes)) / classes


def class_metrics(predicted: Tensor, label: Tensor, train: Tensor, classes: int, split: Split) -> list[Metric]:
    """accuracy, macro_f1 (the mean of the classes' F1), and majority, the accuracy of the class that is most frequent
    in `train`, the labels learned from."""
    return [
        share("accuracy", accuracy(predicted, label), split=split, headline=True),
        share("macro_f1", macro_f1(predicted, label, classes), split=split),
        share("majority", majority(train, label), split=split, better=Better.NEITHER),
    ]


def score_metrics(predicted: Tensor, score: Tensor, split: Split) -> list[Metric]:
    """spearman and pearson, correlations of answers with scores."""
    return [
        correlation("spearman", spearman(predicted, score), split=split, headline=True),
        correlation("pearson", pearson(predicted, score), split=split),
    ]


def matthews(predicted: Tensor, label: Tensor) -> float:
    """The correlation of classes 0 and 1, in [-1, 1]; 0 where one of the two is constant. Matthews 1975,
    https://doi.org/10.1016/0005-2795(75)90109-9."""
    return pearson(predicted, label)


def pearson(a: Tensor, b: Tensor) -> float:
    """The linear correlation of (n,) and (n,), in [-1, 1]; 0 where one of the two is constant."""
    centered = [each.double() - each.double().mean() for each in (a, b)]
    sizes = [each.norm().item() for each in centered]
    if any(size <= 1e-12 * each.double().norm().item() for size, each in zip(sizes, (a, b), strict=True)):
        return 0.0
    return max(-1.0, min(1.0, (centered[0] @ centered[1]).item() / (sizes[0] * sizes[1])))


def spearman(a: Tensor, b: Tensor) -> float:
    """The linear correlation of the ranks, ties have their mean rank; 0 where one of the two is constant."""
    return pearson(ranks(a), ranks(b))


def ranks(x: Tensor) -> Tensor:
    """(n,) -> (n,) from 1; equal values have the mean of their ranks.

    >>> ranks(Tensor([3.0, 1.0, 3.0, 2.0]))
    tensor([3.5000, 1.0000, 3.5000, 2.0000], dtype=torch.float64)
    """
    _, group, count = x.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    return (last - (count - 1) / 2)[group]


def chunks(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """The entities of a sentence: (type, first word, last word).

    The rule of the CoNLL shared tasks: an entity begins at B-x, and at I-x after a word that is not inside an x; it
    goes on through I-x. Tjong Kim Sang, De Meulder 2003, https://aclanthology.org/W03-0419.

    >>> sorted(chunks(["B-per", "I-per", "O", "I-loc", "B-loc", "I-per"]))
    [('loc', 3, 3), ('loc', 4, 4), ('per', 0, 1), ('per', 5, 5)]
    """
    found: list[tuple[str, int, int]] = []
    inside = ""
    for place, tag in enumerate(tags):
        kind = tag[2:] if tag != "O" else ""
        if kind and tag[0] == "I" and kind == inside:
            found[-1] = (kind, found[-1][1], place)
        elif kind:
            found.append((kind, place, place))
        inside = kind
    return set(found)


def chunk_scores(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> tuple[float, float, float]:
    """F1, precision and recall of the entities of all sentences; an entity is correct if its type and both ends are."""
    right = named = there = 0
    for guess, answer in zip(predicted, true, strict=True):
        a, b = chunks(guess), chunks(answer)
        right, named, there = right + len(a & b), named + len(a), there + len(b)
    precision, recall = right / named if named else 0.0, right / there if there else 0.0
    return 2 * right / (named + there) if named + there else 0.0, precision, recall


def plain_answer(text: str) -> str:
    """Normalize an answer as SQuAD does: in lower case, without punctuation and articles, single spaces.

    Rajpurkar, Zhang, Lopyrev, Liang 2016, https://arxiv.org/abs/1606.05250, section 6.1.

    >>> plain_answer("  The U.S.   Army, an  army!")
    'us army army'
    """
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_MARKS)).split())


def exact_match(predicted: str, answers: Sequence[str]) -> float:
    """1 if the guess equals one of the answers after SQuAD's normalization."""
    return float(any(plain_answer(predicted) == plain_answer(each) for each in answers))


def answer_f1(predicted: str, answers: Sequence[str]) -> float:
    """The F1 of the words of a guess and of an answer, each counted as often as it is there; of the best answer."""
    return max(_word_f1(plain_answer(predicted).split(), plain_answer(each).split()) for each in answers)


def _word_f1(guess: list[str], answer: list[str]) -> float:
    common = sum((Counter(guess) & Counter(answer)).values())
    return 2 * common / (len(guess) + len(answer)) if common else 0.0
