"""A vocabulary with word vectors, as a subject and as gensim's KeyedVectors."""

from collections.abc import Sequence
from pathlib import Path

import torch
from gensim.models import KeyedVectors
from special_ids import SPECIAL
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor

from ssl_runner.backbones.word_vectors import WordVectors
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.interfaces import Examples, TextSpec


class Texts:
    """Nothing but a spec: evaluations of words read no examples."""

    def __init__(self, spec: TextSpec) -> None:
        self.spec = spec

    def examples(self, split: str) -> Examples:
        raise AssertionError(f"{split} was read")


def spec_of(words: Sequence[str], starts: tuple[bool, ...] = ()) -> TextSpec:
    """Words by falling frequency, but stored in alphabetical order: ids are no ranks."""
    stored = [*SPECIAL, *sorted(words)]
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(stored)}, unk_token=SPECIAL[1]))
    counts = [0] * len(SPECIAL) + [len(words) - words.index(word) for word in stored[len(SPECIAL) :]]
    return TextSpec(length=4, vocabulary=len(stored), tokenizer=tokenizer.to_str(), counts=tuple(counts), starts=starts)


def subject_of(words: Sequence[str], vectors: Tensor, starts: tuple[bool, ...] = ()) -> FrozenSubject:
    """`vectors` (n, E) of `words`, the most frequent first."""
    spec = spec_of(words, starts)
    encoder = WordVectors(spec, width=vectors.shape[1], gradient="dense")
    with torch.no_grad():
        for word, vector in zip(words, vectors, strict=True):
            encoder.embedding.weight[len(SPECIAL) + sorted(words).index(word)] = vector
    return FrozenSubject(
        encoder,
        Texts(spec),
        seed=0,
        device=torch.device("cpu"),
        batch_size=16,
    )


def keyed(words: Sequence[str], vectors: Tensor) -> KeyedVectors:
    found = KeyedVectors(vectors.shape[1])
    found.add_vectors(list(words), vectors.numpy())
    return found


def words_in(file: Path, skipped: str) -> list[str]:
    """All words of a file of pairs or questions, in order of appearance."""
    lines = [line.split() for line in file.read_text().splitlines() if line and not line.startswith(skipped)]
    return list(dict.fromkeys(word for line in lines for word in line if word[0].isalpha()))
