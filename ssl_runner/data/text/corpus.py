"""Tokenize text once, into a memory-mapped cache. T tokens of an example, n examples.

A corpus in the cache is one row of int32 ids a split: [EOS] ends a sentence, [SEP] a document. Examples are slices of
it (windows), or rows of a second file (sentences, documents).
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Unpack, get_args

import numpy as np
import torch
from torch import Tensor

from ssl_runner.data.any.mapped import mapped
from ssl_runner.data.any.progress import loop
from ssl_runner.data.any.splits import stratified
from ssl_runner.data.any.tables import LONG
from ssl_runner.data.text.documents import Document
from ssl_runner.data.text.sentences import Sentences, sentences
from ssl_runner.data.text.tokens import (
    CutSettings,
    Tokens,
    Words,
    check_cut,
    count_words,
    find_tokenizer,
    known_tokenizer,
    read_tokenizer,
    special_tokens,
    tokenizer_path,
    train_tokenizer,
    word_ends,
    word_starts,
)
from ssl_runner.interfaces import Contents, Examples, SpecialTokens, SplitName, TextSpec

Example = Literal["window", "sentence", "document"]
Part = Literal["train", "unlabeled", "val", "test"]

CACHE_FORMAT = 4  # to be raised when what is made of a text changes
TOGETHER = 2**21  # bytes of text, and tokens of a corpus, in hand at a time
LONG_SENTENCE = 2000  # characters: in the mean sentences have a hundred; longer ones hardly ever end by rules
LEAST_LENGTH = {"window": 2, "sentence": 3, "document": 3}  # one token to predict; one between [CLS] and [SEP]

log = logging.getLogger(__name__)


Parts = Mapping[Part, Callable[[], Iterator[Document]]]


class CorpusSettings(CutSettings):
    """Settings of datasets of running text; documented in conf/dataset/text_file.yaml."""

    example: Example
    cache: str


class TextSettings(CorpusSettings):
    """Settings of a user's own texts, whose words and sentences are not known."""

    words: Words
    sentences: Sentences


class Corpus:
    """Convert texts to examples.

    `spec` is exact after `load`. Raises ValueError for values that no text suits.
    """

    def __init__(self, **settings: Unpack[TextSettings]) -> None:
        example, sentences = settings["example"], settings["sentences"]
        for name, value, options in (
            ("example", example, Example), ("tokens", settings["tokens"], Tokens), ("words", settings["words"], Words),
            ("sentences", sentences, Sentences),
        ):  # fmt: skip
            if value not in get_args(options):
                raise ValueError(f"dataset.{name} is {value}; it must be {' or '.join(get_args(options))}")
        check_cut(settings)
        if settings["length"] < LEAST_LENGTH[example]:
            raise ValueError(
                f"dataset.length is {settings['length']}; with dataset.example={example} it must be "
                f"{LEAST_LENGTH[example]} or more"
            )
        if example == "sentence" and sentences == "none":
            raise ValueError("dataset.example is sentence, and this text has no sentences; set it to window")
        self.example = example
        self.length = settings["length"]
        self.tokens = settings["tokens"]
        self.words = settings["words"]
        self.vocabulary = settings["vocabulary"]
        self.lowercase = settings["lowercase"]
        self.tokenizer = tokenizer_path(settings)
        self.sentences = sentences
        self.cache = Path(settings["cache"]).expanduser().absolute()
        self.test_fraction = settings["test_fraction"]
        self.val_fraction = settings["val_fraction"]
        self.split_seed = settings["split_seed"]
        self._read: dict[str, Any] | None = None  # what is known after `load`

    def spec(self, class_names: Sequence[str] = ()) -> TextSpec:
        """The type and shape of an example. Windows have no class, since they cross documents.

        Raises ValueError if `dataset.tokenizer` cannot be read."""
        names = () if self.example == "window" else tuple(class_names)
        known = self._read or {"vocabulary": self.vocabulary}
        if self._read is None and self.tokenizer is not None:
            known = known_tokenizer(self.tokenizer)
        return TextSpec(length=self.length, example=self.example, classes=len(names), class_names=names, **known)

    def contents(self) -> Contents:
        """`DataSource.contents` for a given tokenizer."""
        return {} if self.tokenizer is None else {"tokenizer": {"": find_tokenizer(self.tokenizer)}}

    def load(self, parts: Parts, files: Sequence[Path], reading: Mapping[str, Any]) -> Mapping[SplitName, Examples]:
        """Read `parts`, or their cached tokens if neither files nor settings have changed.

        `files`: what is read, known by their paths, lengths and times of change. `reading`: all else that decides what
        `parts` give. "unlabeled" is pretrained on beside "train". Where "val" or "test" are missing, whole documents
        of train are held out, stratified; of a single document its end, the very last for test.
        Raises ValueError for texts that cannot be used, and where the cache cannot be written.
        """
        stats = [(str(file), file.stat()) for file in files]
        known = [(name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats]
        given = None if self.tokenizer is None else read_tokenizer(find_tokenizer(self.tokenizer))
        learned = [self.tokens, self.vocabulary, self.lowercase] if given is None else given
        split = [self.test_fraction, self.val_fraction, self.split_seed]
        settings = [learned, self.words, self.sentences, split]
        identity = json.dumps([CACHE_FORMAT, known, settings, reading], sort_keys=True)
        folder = self.cache / f"text-{hashlib.sha256(identity.encode()).hexdigest()[:24]}"
        size = sum(length for _, length, *_ in known)
        try:
            about = _made(folder, lambda made: self._make(made, parts, size, given, reading), _whole_corpus)
            self._say_long(about, reading)
            tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
            special = special_tokens(tokenizer)
            self._read = {
                "vocabulary": len(about["counts"]),
                "tokenizer": tokenizer,
                "special": special,
                **{name: tuple(about[name]) for name in ("counts", "starts", "ends")},
                **{name: about[name] for name in ("tokens", "words", "characters")},
            }
            return self._examples(folder, about, special)
        except OSError as error:
            raise ValueError(f"reading text into dataset.cache {self.cache} failed: {error}") from error

    # ------------------------------------------------------------------------------------------- text -> tokens

    def _say_long(self, about: Mapping[str, Any], reading: Mapping[str, Any]) -> None:
        each = about["characters"]["train"] / max(1, about["sentences"]["train"])
        if self.sentences == "split" and each > LONG_SENTENCE:
            log.warning(
                "sentences of this text have %d characters on average: punctuation or blank lines rarely end one; "
                "set dataset.sentences=lines if each line is a sentence, or none to ignore sentences%s",
                each,
                "; dataset.documents=lines or blank_lines sets what a document is" if "documents" in reading else "",
            )

    def _make(self, made: Path, parts: Parts, size: int, tokenizer: str | None, reading: Mapping[str, Any]) -> None:
        """Write a whole corpus into the folder `made`; `size` of its files, bytes. `tokenizer`: None to learn it."""
        from tokenizers import Tokenizer

        with tempfile.TemporaryDirectory(dir=made.parent) as temporary, _Advance() as advance:
            advance.begin("reading text", size)
            staged = {
                part: _stage(Path(temporary) / part, read(), self.sentences, advance) for part, read in parts.items()
            }
            splits = self._split(staged, reading)
            if tokenizer is None:
                advance.begin("learning the vocabulary", splits["train"].size)
                tokenizer = train_tokenizer(
                    _Lines(splits["train"], advance),
                    tokens=self.tokens,
                    words=self.words,
                    vocabulary=self.vocabulary,
                    lowercase=self.lowercase,
                )
            (made / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
            reader, special = Tokenizer.from_str(tokenizer), special_tokens(tokenizer)
            advance.begin("cutting it in tokens", sum(split.size for split in splits.values()))
            encoded = {
                name: self._encode(made, name, split, reader, special, advance) for name, split in splits.items()
            }
        train, more = encoded["train"], encoded.pop("unlabeled", None)
        pretrain = train if more is None else train.plus(more)
        whole: dict[str, _Encoded] = {"pretrain": pretrain, **encoded}
        about = {
            "counts": pretrain.counts.tolist(),
            "starts": word_starts(tokenizer),
            "ends": word_ends(tokenizer),
            **{
                name: {split: getattr(each, name) for split, each in whole.items()}
                for name in ("tokens", "words", "characters", "sentences")
            },
        }
        (made / "about.json").write_text(json.dumps(about))
        for split in ("train", "val", "test"):
            if about["words"][split] == 0:
                decides = ", dataset.documents" if "documents" in reading else ""
                raise ValueError(
                    f"{split} has no text; use more text (dataset.path) or a larger dataset.val_fraction or "
                    f"dataset.test_fraction; these and dataset.sentences{decides} decide where the text is split"
                )

    def _split(self, staged: Mapping[Part, "_Staged"], reading: Mapping[str, Any]) -> dict[str, "_Split"]:
        if staged["train"].ends.size == 0:
            raise ValueError("the corpus is empty: the files of dataset.path or dataset.root have no text")
        splits: dict[str, _Split] = {part: each.split(np.arange(len(each.ends))) for part, each in staged.items()}
        lacking = [part for part in get_args(Part)[:1:-1] if part not in staged]
        train = staged["train"]
        fractions = {"test": self.test_fraction, "val": self.val_fraction}
        if len(train.ends) == 1:
            for part in lacking:
                splits["train"], splits[part] = splits["train"].cut(fractions[part] * train.ends[-1])
            return splits
        rest = torch.arange(len(train.ends))
        label = torch.from_numpy(train.label)
        for part in lacking:
            try:
                kept, held = stratified(label[rest], fractions[part], self.split_seed)
            except ValueError as error:
                decides = " (dataset.documents sets what a document is)" if "documents" in reading else ""
                raise ValueError(f"{error}; each document counts as one example{decides}") from error
            splits[part], rest = train.split(rest[held].numpy()), rest[kept]
        splits["train"] = train.split(rest.numpy())
        return splits

    def _encode(
        self, made: Path, name: str, split: "_Split", tokenizer: Any, special: SpecialTokens, advance: "_Advance"
    ) -> "_Encoded":
        """Write the tokens of a split; those of "unlabeled" after those of "train"."""
        end = [] if self.sentences == "none" or special.eos is None else [special.eos]
        sep = special.sep
        file = made / f"{'train' if name == 'unlabeled' else name}.int32"
        place = file.stat().st_size // 4 if file.is_file() else 0
        found = _Encoded(np.zeros(tokenizer.get_vocab_size(), dtype=np.int64), 0, 0, 0, 0)
        last = sep
        with file.open("ab") as out, file.with_suffix(".ends").open("ab") as ends:
            for lines in _batches(_counted(split, advance, ends=True)):
                cut = iter(tokenizer.encode_batch_fast([line for line in lines if line], add_special_tokens=False))
                rows = [[*next(cut).ids, *end] if line else [sep] for line in lines]
                ids = np.fromiter(chain.from_iterable(rows), dtype=np.int32)
                ids.tofile(out)
                last = int(ids[-1])
                if special.eos is None:  # then nothing in the text says where its sentences end
                    after = place + np.cumsum([len(row) for row in rows])
                    after[[bool(line) for line in lines]].astype(np.int64).tofile(ends)
                place += len(ids)
                found = found.plus(
                    _Encoded(
                        np.bincount(ids, minlength=len(found.counts)),
                        len(ids),
                        count_words(lines, self.words),
                        sum(len(line) + 1 for line in lines if line),
                        sum(1 for line in lines if line),
                    )
                )
            if last != sep:  # a document that was cut
                np.array([sep], dtype=np.int32).tofile(out)
                found = found.plus(_Encoded(np.bincount([sep], minlength=len(found.counts)), 1, 0, 0, 0))
        with (made / f"{'train' if name == 'unlabeled' else name}.label").open("ab") as out:
            split.label.astype(np.int64).tofile(out)
        return found

    # --------------------------------------------------------------------------------------- tokens -> examples

    def _examples(self, folder: Path, about: Mapping[str, Any], special: SpecialTokens) -> Mapping[SplitName, Examples]:
        pretrain, train = about["tokens"]["pretrain"], about["tokens"]["train"]
        streams = {"pretrain": _map(folder / "train.int32", np.int32)}
        streams |= {split: _map(folder / f"{split}.int32", np.int32) for split in ("val", "test")}
        if self.example == "window":
            cut = {split: windows(torch.from_numpy(ids), self.length, split) for split, ids in streams.items()}
            cut["train"] = cut["pretrain"]
            if train < pretrain:
                cut["train"] = windows(torch.from_numpy(streams["pretrain"][:train]), self.length, "train")
            return {split: Examples(cut[split], torch.full((len(cut[split]),), -1)) for split in get_args(SplitName)}
        return self._rows_of(folder, streams, train, special)

    def _rows_of(
        self, folder: Path, streams: Mapping[str, np.ndarray], train: int, special: SpecialTokens
    ) -> Mapping[SplitName, Examples]:
        """Sentences or documents, a row each. `streams`: tokens of each split; `train`: how many of "pretrain" are of
        "train"."""

        def make(made: Path) -> None:
            sizes = {}
            for split, ids in streams.items():
                name = "train" if split == "pretrain" else split
                label = _map(folder / f"{name}.label", np.int64)
                bounds = _bounds(ids, folder / f"{name}.ends", self.example, special)
                ends = _rows(made, name, ids, label, bounds, self.length, special)
                sizes[split] = len(ends)
                if split == "pretrain":
                    sizes["train"] = int((ends <= train).sum())
            (made / "about.json").write_text(json.dumps(sizes))

        def whole(made: Path) -> dict[str, int]:
            sizes = json.loads((made / "about.json").read_text())
            for name, split in (("train", "pretrain"), ("val", "val"), ("test", "test")):
                if (made / f"{name}.int32").stat().st_size != 4 * self.length * sizes[split]:
                    raise ValueError(f"{name}.int32 has another length")
            return sizes

        rows = folder / f"{self.example}-{self.length}"
        sizes = _made(rows, make, whole)
        found: dict[str, Examples] = {}
        for name, split in (("train", "pretrain"), ("val", "val"), ("test", "test")):
            if sizes[split] == 0:
                raise ValueError(f"{split} has no {self.example}; use more text")
            data = torch.from_numpy(_map(rows / f"{name}.int32", np.int32).reshape(sizes[split], self.length))
            found[split] = Examples(data, torch.from_numpy(np.array(_map(rows / f"{name}.label", np.int64))))
        n = sizes["train"]
        found["train"] = found["pretrain"] if n == sizes["pretrain"] else Examples(*(x[:n] for x in found["pretrain"]))
        return {split: found[split] for split in get_args(SplitName)}


def windows(ids: Tensor, length: int, split: str) -> Tensor:
    """(N,) -> (n, T): views that overlap by one token; the remainder is dropped."""
    if len(ids) < length:
        raise ValueError(
            f"dataset.length is {length}, and {split} has {len(ids)} tokens; set it to {len(ids)} or less, or make "
            f"{split} larger"
        )
    return ids.as_strided(((len(ids) - 1) // (length - 1), length), (length - 1, 1))


class _Bounds(NamedTuple):
    starts: np.ndarray  # (m,) where in a corpus each sentence or document begins
    stops: np.ndarray  # (m,) the place after its last token
    documents: np.ndarray  # (documents,) where each document ends


def _bounds(ids: np.ndarray, ends: Path, example: Example, special: SpecialTokens) -> _Bounds:
    """Of all sentences or documents of `ids`. `ends`: a file of where sentences end, for a vocabulary without [EOS]."""
    documents = _places(ids, [special.sep])
    if example == "sentence" and special.eos is None:
        stops = _map(ends, np.int64)
        starts = np.concatenate(([0], stops))[: len(stops)]
        starts = starts + np.isin(starts, documents)  # a document's end is no part of the next sentence
    else:
        marks = [special.sep] if example == "document" or special.eos is None else [special.sep, special.eos]
        stops = _places(ids, marks)
        starts = np.concatenate(([0], stops + 1))[: len(stops)]
    full = stops > starts  # nothing stands between the end of a last sentence and that of its document
    return _Bounds(starts[full], stops[full], documents)


def _rows(
    made: Path, name: str, ids: np.ndarray, label: np.ndarray, bounds: _Bounds, length: int, special: SpecialTokens
) -> np.ndarray:
    """Write a row of every sentence or document of `ids`, as `_padded` has it; return where in `ids` each ends."""
    with (made / f"{name}.int32").open("wb") as out:
        step = max(1, TOGETHER // length)
        for first in range(0, len(bounds.starts), step):
            part = slice(first, first + step)
            _padded(ids, bounds.starts[part], bounds.stops[part], length, special).tofile(out)
    label[np.searchsorted(bounds.documents, bounds.stops)].tofile(made / f"{name}.label")
    return bounds.stops


def _places(ids: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    """Where one of `wanted` stands, ascending."""
    parts = [
        first + np.flatnonzero(np.isin(ids[first : first + TOGETHER], wanted)) for first in range(0, len(ids), TOGETHER)
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _padded(ids: np.ndarray, starts: np.ndarray, stops: np.ndarray, length: int, special: SpecialTokens) -> np.ndarray:
    """(n, T) of the tokens from `starts` (n,) up to `stops` (n,), ends of sentences left out: [CLS] tokens [SEP] PAD...

    What is longer than T is its first T ids, without [SEP]: that would say that the text ends there.
    """
    rows = np.full((len(starts), length), special.pad, dtype=np.int32)
    for row, start, stop in zip(rows, starts.tolist(), stops.tolist(), strict=True):
        # Between two ends of sentences there are tokens: of twice as many, half are none at least.
        tokens = ids[start : min(stop, start + 2 * length)]
        tokens = tokens[tokens != special.eos][: length - 1] if special.eos is not None else tokens[: length - 1]
        row[0], row[1 : 1 + len(tokens)] = special.cls, tokens
        row[1 + len(tokens) : 2 + len(tokens)] = special.sep  # no place of the row, where it is full
    return rows


def _map(path: Path, dtype: Any) -> np.ndarray:
    """(N,), memory-mapped."""
    return mapped(path, dtype=dtype).numpy()


# ------------------------------------------------------------------------------------------------------- cache


def _made(folder: Path, make: Callable[[Path], None], whole: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """What `whole` reads of `folder`, which `make` fills beside it where it is missing or damaged."""
    if folder.is_dir():
        try:
            return whole(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the cache %s is damaged (%s) and is rebuilt", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".reading-") as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        make(made)
        for file in made.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was quicker, with the same
                raise
    return whole(folder)


def _whole_corpus(folder: Path) -> dict[str, Any]:
    """about.json, if all files have the lengths that it states."""
    from tokenizers import Tokenizer

    about = json.loads((folder / "about.json").read_text())
    for name, split in (("train", "pretrain"), ("val", "val"), ("test", "test")):
        if (folder / f"{name}.int32").stat().st_size != 4 * about["tokens"][split]:
            raise ValueError(f"{name}.int32 has another length")
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"tokenizer.json cannot be read: {error}") from error
    if tokenizer.get_vocab_size() != len(about["counts"]):
        raise ValueError("tokenizer.json has another vocabulary")
    return about


# ----------------------------------------------------------------------------------------------- text, staged


class _Encoded(NamedTuple):
    counts: np.ndarray  # (vocabulary,)
    tokens: int
    words: int
    characters: int
    sentences: int

    def plus(self, other: "_Encoded") -> "_Encoded":
        return _Encoded(
            self.counts + other.counts,
            self.tokens + other.tokens,
            self.words + other.words,
            self.characters + other.characters,
            self.sentences + other.sentences,
        )


class _Split(NamedTuple):
    path: Path  # of a staged file
    pieces: list[tuple[int, int]]  # of it, bytes, ascending
    label: np.ndarray  # (documents,)

    @property
    def size(self) -> int:
        return sum(end - start for start, end in self.pieces)

    def cut(self, held: float) -> tuple["_Split", "_Split"]:
        """The only piece without its last `held` bytes, to the end of a sentence, and these.

        Where that would leave either empty, a sentence earlier; or, where that would hold out more than twice as much,
        within a sentence: at a space, or where there is none between two characters.
        """
        ((start, end),) = self.pieces
        aim = max(start, int(end - held))
        with self.path.open("rb") as file:
            file.seek(max(start, aim - 1))
            file.readline()  # to where the next line begins
            first = second = file.tell()
            if not start < first < end - 1:
                first, second = _within(file, start, end, held)
        return _Split(self.path, [(start, first)], self.label), _Split(self.path, [(second, end)], self.label)


def _within(file: BinaryIO, start: int, end: int, held: float) -> tuple[int, int]:
    """Near `held` bytes before `end`, where a sentence or a word ends and where the next begins; or twice where a
    character begins, or `end`."""
    aim = max(start, int(end - held))
    begin = max(start + 1, aim - LONG)
    file.seek(begin)
    near = file.read(min(end, aim + LONG) - begin).rstrip(b"\n")
    line = near.rfind(b"\n", 0, max(0, aim - begin))
    if line >= 0 and end - (begin + line) <= 2 * held:
        return begin + line + 1, begin + line + 1
    place = near.find(b" ", max(0, aim - begin))
    if place < 0:
        place = near.rfind(b" ")
    if place >= 0:
        return begin + place, begin + place + 1
    place = max(0, min(aim - begin, len(near) - 1))
    while place > 0 and near[place] & 0xC0 == 0x80:  # a byte that continues a character
        place -= 1
    while place < len(near) and near[place] & 0xC0 == 0x80:
        place += 1
    return (begin + place, begin + place) if place < len(near) else (end, end)


class _Staged(NamedTuple):
    """A file with one sentence per line, and an empty line after each document."""

    path: Path
    ends: np.ndarray  # (documents,) bytes
    label: np.ndarray  # (documents,)

    def split(self, chosen: np.ndarray) -> _Split:
        starts = np.concatenate(([0], self.ends))
        pieces: list[tuple[int, int]] = []
        for start, end in zip(starts[chosen].tolist(), self.ends[chosen].tolist(), strict=True):
            if pieces and pieces[-1][1] == start:
                start = pieces.pop()[0]
            pieces.append((start, end))
        return _Split(self.path, pieces, self.label[chosen])


def _stage(path: Path, documents: Iterable[Document], rule: Sentences, advance: "_Advance") -> _Staged:
    ends: list[int] = []
    label: list[int] = []
    place = 0
    with path.open("wb") as out:
        for document in documents:
            before = place
            for sentence in sentences(document.lines, rule):
                line = f"{sentence}\n".encode()
                out.write(line)
                place += len(line)
                advance(len(line))
            if place > before:
                out.write(b"\n")
                place += 1
                ends.append(place)
                label.append(document.label)
    return _Staged(path, np.array(ends, dtype=np.int64), np.array(label, dtype=np.int64))


def _counted(split: _Split, advance: "_Advance", ends: bool = False) -> Iterator[str]:
    """The sentences of a split; with `ends`, "" after each document."""
    with split.path.open("rb") as file:
        for start, end in split.pieces:
            file.seek(start)
            while start < end:
                line = file.readline(end - start)
                start += len(line)
                advance(len(line))
                if text := line.rstrip(b"\n").decode():
                    yield text
                elif ends:
                    yield ""


class _Lines:
    """The sentences of a split, as a re-iterable."""

    def __init__(self, split: _Split, advance: "_Advance") -> None:
        self.split = split
        self.advance = advance

    def __iter__(self) -> Iterator[str]:
        return _counted(self.split, self.advance)


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line)
        if size >= TOGETHER:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Advance(ExitStack):
    """How far a corpus is read, by bytes of text."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0

    def begin(self, what: str, size: int) -> None:
        self.close()  # the loop before
        self.loop, self.waiting = self.enter_context(loop(what, size)), 0

    def __call__(self, size: int) -> None:
        self.waiting += size
        if self.waiting >= TOGETHER // 8:
            self.loop.advance(self.waiting)
            self.waiting = 0
