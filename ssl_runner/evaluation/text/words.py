"""The words of a vocabulary with their vectors, and files of words for evaluations.

V words, E width of their vectors.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.interfaces import SpecialTokens, Subject, TextEncoder, TextSpec

Case = Literal["fold", "exact"]


class Words(NamedTuple):
    """The vocabulary, the most frequent word first, each word once."""

    names: list[str]
    vectors: Tensor  # (V, E) float32 of length 1, on the subject's device
    places: dict[str, int]  # of each word, as `folded` writes it


def words_of(subject: Subject, *, restrict: int | None, case: Case) -> Words:
    """All words of a single token, with their static vectors (token embeddings).

    Special ids are no words, nor are pieces that do not begin one. `restrict`: the most frequent words alone. With
    `case=fold` capitals do not tell words apart: of two that differ in them the more frequent counts. Raises ValueError
    for an encoder or data that have no words.
    """
    spec, encoder = subject.data.spec, subject.encoder
    if not isinstance(spec, TextSpec) or not isinstance(encoder, TextEncoder):
        raise ValueError("evaluations of words need text: these data have no vocabulary")
    table = encoder.embedding.weight.detach().to(subject.device)
    return named(table, spec.tokenizer, spec.special, spec.counts, spec.starts, restrict=restrict, case=case)


def named(
    table: Tensor,
    tokenizer: str,
    special: SpecialTokens,
    counts: Sequence[int],
    starts: Sequence[bool],
    *,
    restrict: int | None,
    case: Case,
) -> Words:
    """The words of a table of token embeddings (vocabulary, E); `counts` and `starts` as a `TextSpec` has them."""
    known = ~special.among(torch.arange(len(table)))
    if starts:
        known &= torch.tensor(starts)
    ids = torch.tensor(counts or [0] * len(table)).argsort(descending=True, stable=True)
    ids = ids[known[ids]][:restrict]
    read = Tokenizer.from_str(tokenizer)
    names: list[str] = []
    rows: list[int] = []
    places: dict[str, int] = {}
    for row, decoded in zip(ids.tolist(), read.decode_batch(ids[:, None].tolist()), strict=True):
        name = decoded.strip()
        if name and folded(name, case) not in places:
            places[folded(name, case)] = len(names)
            names.append(name)
            rows.append(row)
    vectors = table[torch.tensor(rows, dtype=torch.long, device=table.device)]
    return Words(names, F.normalize(vectors.float(), dim=1), places)


def folded(word: str, case: Case) -> str:
    """The form of a word for lookup.

    >>> folded("Paris", "fold") == folded("paris", "fold"), folded("Paris", "exact") == folded("paris", "exact")
    (True, False)
    """
    return word.upper() if case == "fold" else word


def check_restrict(key: str, restrict: int | None) -> None:
    """Raises ValueError unless `restrict` is null or at least 2."""
    if restrict is not None and restrict < 2:
        raise ValueError(f"{key} is {restrict}; it must be at least 2 words, or null for all")


def words_file(key: str, path: str | None, shipped: str) -> Path:
    """The file at `path`, or gensim's copy of `shipped`. Raises ValueError where it is not there."""
    if path is not None:
        file = Path(path).expanduser()
        if not file.is_file():
            raise ValueError(f"{key} is {path!r}, which is not an existing file")
        return file
    found = importlib.util.find_spec("gensim")
    file = Path(found.origin if found is not None and found.origin is not None else ".").parent / "test" / "test_data"
    if not (file / shipped).is_file():
        raise ValueError(f"{key} is null, and gensim's copy of {shipped} is missing: install gensim, or name a file")
    return file / shipped


def lines_of(file: Path) -> list[tuple[int, str]]:
    """The non-blank lines of a file, with their numbers. Raises ValueError if it is not UTF-8."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(file)!r} is not UTF-8: byte {error.start} cannot be read") from error
    return [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
