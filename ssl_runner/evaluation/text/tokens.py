"""Conversions between texts and tokens. n examples of T tokens."""

from collections.abc import Sequence
from typing import cast

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ssl_runner.interfaces import SpecialTokens, Subject, TextSpec

CHUNK = 4096  # examples counted at once


def running_text(data: Tensor, pad: int) -> Tensor | None:
    """(n, T) windows -> (N,) the text that they overlap in; None for sentences, which do not go on from each other."""
    if bool((data[1:, 0] != data[:-1, -1]).any()) or bool((data[-1] == pad).any()):
        return None
    return torch.cat([data[0], data[1:, 1:].flatten()])


def token_counts(subject: Subject) -> Tensor:
    """(vocabulary,) int64: counts of each id in the examples of "train", without padding."""
    spec = cast(TextSpec, subject.data.spec)
    vocabulary = spec.vocabulary
    counts = torch.zeros(vocabulary, dtype=torch.int64)
    for part in subject.data.examples("train").data.split(CHUNK):
        counts += torch.bincount(part.flatten(), minlength=vocabulary)
    counts[spec.special.pad] = 0
    return counts


def beginning(spec: TextSpec, rows: Tensor) -> list[int]:
    """What precedes a text in a corpus, of which `rows` (n, T) are examples: [CLS] of a sentence or document; in
    running text the end of a sentence, or that of a document, if the corpus has any that something follows; else
    nothing."""
    if int(rows[0, 0]) == spec.special.cls:
        return [spec.special.cls]
    for each in (spec.special.eos, spec.special.sep):
        if each is not None and (not spec.counts or spec.counts[each] > 1):  # the only one ends the corpus
            return [each]
    return []


def ending(spec: TextSpec, begin: list[int]) -> list[int]:
    """What follows a sentence in a corpus whose texts begin with `begin`: [SEP], the end of a sentence, or nothing that
    is marked."""
    if begin == [spec.special.cls]:
        return [spec.special.sep]
    return begin if begin == [spec.special.eos] else []


def readable(tokenizer: Tokenizer, ids: Sequence[int], special: SpecialTokens) -> str:
    """Token ids as text, each sentence decoded for itself; special tokens are omitted."""
    sentences: list[list[int]] = [[]]
    for token in ids:
        if token in (special.pad, special.cls, special.sep, special.eos):
            sentences.append([])
        else:
            sentences[-1].append(token)
    return " ".join(filter(None, (tokenizer.decode(sentence).strip() for sentence in sentences)))
