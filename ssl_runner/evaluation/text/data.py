"""Texts to evaluate on: a user's files, read and checked, then tokenized by the encoder's own tokenizer.

Files are UTF-8. n examples, T tokens of an example, W words of a set.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from ssl_runner.data.any.splits import stratified
from ssl_runner.interfaces import Contents, DataSpec, Examples, SplitName, TextSpec

HELD_OUT = 0.1  # of train, where no file is named for val
TOGETHER = 10_000  # texts tokenized at once
Separator = Literal["tab", "comma"]
Files = dict[SplitName, Path]


# --------------------------------------------------------------------------------------------------------------- files


def find_files(key: str, path: str, names: Mapping[SplitName, str | None]) -> Files:
    """The files of a set in the folder `path`; those named None are left out.

    `key`: the evaluator's in the config, "evaluation.tagging", whose node `texts` names them. Raises ValueError where
    one is not there.
    """
    folder = Path(path).expanduser()
    wanted = {split: name for split, name in names.items() if name is not None}
    if not folder.is_dir():
        raise ValueError(
            f"{key}.path is {path!r}, which is not a folder; set it to the folder of {', '.join(wanted.values())}"
        )
    for split, name in wanted.items():
        if not (folder / name).is_file():
            there = ", ".join(sorted(each.name for each in folder.iterdir() if each.is_file())[:10]) or "no files"
            raise ValueError(
                f"{key}.texts.{split} is {name!r}, which is not in {str(folder)!r}; this folder has {there}"
            )
    return {split: folder / name for split, name in wanted.items()}


def by_setting(files: Files) -> Contents:
    """`Evaluator.contents` for the files of a set in the folder `path`."""
    return {"path": {str(split): file for split, file in files.items()}}


def fingerprint(paths: Iterable[Path]) -> str:
    """A fingerprint of the contents of files, independent of their paths: twelve hexadecimal digits."""
    return fingerprint_of(path.read_bytes() for path in paths)


def fingerprint_of(parts: Iterable[bytes]) -> str:
    """Twelve hexadecimal digits."""
    known = hashlib.sha256()
    for part in parts:
        known.update(hashlib.sha256(part).digest())
    return known.hexdigest()[:12]


def read_text(path: Path) -> str:
    """A whole file. Raises ValueError where it is not UTF-8."""
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: see byte {error.start}; save it as UTF-8") from error


class Row(NamedTuple):
    line: int  # of the file, from 1
    cells: tuple[str, ...]


def _cells(path: Path, separator: Separator) -> list[tuple[int, list[str]]]:
    """Rows of a table, each with its line number. Raises ValueError for invalid quotes."""
    text = read_text(path)
    if separator == "tab":
        # Not splitlines: published sentences hold characters that it takes for ends of lines.
        return [(line, row.rstrip("\r").split("\t")) for line, row in enumerate(text.split("\n"), 1) if row.strip()]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error


def read_rows(
    path: Path,
    columns: Mapping[str, int | str],
    *,
    separator: Separator = "tab",
    short: Literal["refuse", "skip"] = "refuse",
) -> list[Row]:
    """The cells of some columns of a table, in the order of `columns`: config key -> column.

    A column is a number from 0 of a table without a header, or a name in its first row. Cells between tabs are as they
    stand; between commas they may be quoted. Empty lines are skipped, and so are rows that are too short, where
    `short` says so. Raises ValueError for a column or cell that is not there, and for an empty table.
    """
    numbered = {type(column) is int for column in columns.values()}
    if len(numbered) > 1:
        given = ", ".join(f"{key} is {column!r}" for key, column in columns.items())
        raise ValueError(f"{given}; give the numbers of all columns (no header) or the names of all (a header)")
    rows = _cells(path, separator)
    places = dict(columns)
    if numbered == {False} and rows:
        _, header = rows.pop(0)
        for key, name in columns.items():
            if name not in header:
                raise ValueError(f"{key} is {name!r}, and {path} has no such column; it has {', '.join(header)}")
            places[key] = header.index(str(name))
    found = []
    for line, row in rows:
        for key, place in places.items():
            if not 0 <= int(place) < len(row):
                if short == "skip":
                    break
                raise ValueError(
                    f"{path}, line {line} has {len(row)} columns, and {key} is {columns[key]!r}; "
                    f"columns count from 0 and are separated by a {separator}"
                )
        else:
            found.append(Row(line, tuple(row[int(place)] for place in places.values())))
    if not found:
        raise ValueError(f"{path} has no rows")
    return found


# ---------------------------------------------------------------------------------------------------------- text, pairs


class TextSet(NamedTuple):
    """A labeled set, as read from files."""

    texts: dict[SplitName, list[tuple[str, ...]]]  # a text an example, or two
    label: dict[SplitName, Tensor]  # (n,) int64 classes or float32 scores
    classes: tuple[str, ...]  # empty: labels are scores
    fingerprint: str


def read_set(
    files: Mapping[SplitName, Path],
    columns: Mapping[str, int | str],
    *,
    labels: Literal["classes", "scores"],
    separator: Separator = "tab",
    short: Literal["refuse", "skip"] = "refuse",
) -> TextSet:
    """Read texts with labels: the first of `columns` is the label's.

    Raises ValueError as `read_rows` does; for a label of val or test that is not in train, and for an invalid score.
    """
    rows = {split: read_rows(path, columns, separator=separator, short=short) for split, path in files.items()}
    classes: tuple[str, ...] = ()
    if labels == "classes":
        classes = tuple(sorted({row.cells[0] for row in rows["train"]}))
        if len(classes) < 2:
            raise ValueError(f"{files['train']} has a single class, {classes[0]!r}; at least two are needed")
        label = {split: torch.tensor(_class_numbers(files[split], rows[split], classes)) for split in rows}
    else:
        label = {split: torch.tensor(_scores(files[split], rows[split])) for split in rows}
    texts = {split: [row.cells[1:] for row in rows[split]] for split in rows}
    return TextSet(texts, label, classes, fingerprint(files.values()))


def with_val(texts: TextSet) -> TextSet:
    """A set that has a val: its own, or a tenth of train, stratified, always the same.

    Raises ValueError where train is too small for that.
    """
    if "val" in texts.texts:
        return texts
    label, train = texts.label["train"], texts.texts["train"]
    rest, held = held_out(label if texts.classes else torch.full((len(label),), -1))
    return texts._replace(
        texts=texts.texts | {"train": [train[i] for i in rest], "val": [train[i] for i in held]},
        label=texts.label | {"train": label[rest], "val": label[held]},
    )


def held_out(label: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the examples of train that stay, and of the tenth that is held out for val."""
    if len(label) < 1 / HELD_OUT:
        raise ValueError(f"train has {len(label)} examples, too few to hold out a tenth of them; name a file for val")
    return stratified(label, HELD_OUT, seed=0)


def _class_numbers(path: Path, rows: Sequence[Row], classes: Sequence[str]) -> list[int]:
    number = {name: place for place, name in enumerate(classes)}
    for row in rows:
        if row.cells[0] not in number:
            some = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
            raise ValueError(f"{path}, line {row.line}: the label {row.cells[0]!r} is not in train, which has {some}")
    return [number[row.cells[0]] for row in rows]


def _scores(path: Path, rows: Sequence[Row]) -> list[float]:
    found = []
    for row in rows:
        try:
            found.append(float(row.cells[0]))
        except ValueError as error:
            raise ValueError(f"{path}, line {row.line}: the score {row.cells[0]!r} is not a number") from error
        if not np.isfinite(found[-1]):
            raise ValueError(f"{path}, line {row.line}: the score {row.cells[0]!r} is not finite")
    return found


class Texts:
    """Tokenized splits: `interfaces.Data`."""

    spec: DataSpec

    def __init__(self, spec: DataSpec, splits: Mapping[SplitName, Examples]) -> None:
        self.spec = spec
        self.splits = splits

    def examples(self, split: SplitName) -> Examples:
        return self.splits[split]


def encode_set(spec: TextSpec, texts: TextSet) -> Texts:
    """Tokenize a set. `spec`: that of the encoder's pretraining data."""
    splits: dict[SplitName, Examples] = {
        split: Examples(encode_texts(spec, texts.texts[split]), texts.label[split]) for split in texts.texts
    }
    return Texts(replace(spec, classes=len(texts.classes), class_names=texts.classes), splits)


# -------------------------------------------------------------------------------------------------------------- tokens


def tokenizer_of(spec: TextSpec) -> Tokenizer:
    if not spec.tokenizer:
        raise ValueError("the encoder has no tokenizer: its data have not been read, or are random ids")
    return Tokenizer.from_str(spec.tokenizer)


def encodings(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterable[Encoding]:
    """Each text by itself, without special tokens."""
    for start in range(0, len(texts), TOGETHER):
        yield from tokenizer.encode_batch(list(texts[start : start + TOGETHER]), add_special_tokens=False)


def encode_texts(spec: TextSpec, texts: Sequence[tuple[str, ...]]) -> Tensor:
    """(n, T) int32, no wider than the longest example: [CLS] a [SEP], or [CLS] a [SEP] b [SEP], and PAD.

    What is longer than `spec.length` is cut: of two texts the longer one, until both are as long. Raises ValueError
    where two texts do not fit at all.
    """
    tokenizer, special = tokenizer_of(spec), spec.special
    parts = [[each.ids for each in encodings(tokenizer, column)] for column in zip(*texts, strict=True)]
    if len(parts) == 1:
        return padded([[special.cls, *a[: spec.length - 2], special.sep] for a in parts[0]], special.pad)
    room = spec.length - 3
    if room < 2:
        raise ValueError(
            f"the encoder reads {spec.length} tokens, and a pair of texts needs 5: pretrain with a longer "
            "dataset.length"
        )
    rows = []
    for a, b in zip(*parts, strict=True):
        first, second = share_room(len(a), len(b), room)
        rows.append([special.cls, *a[:first], special.sep, *b[:second], special.sep])
    return padded(rows, special.pad)


def share_room(first: int, second: int, room: int) -> tuple[int, int]:
    """Truncate two lengths to fit in `room`, the longer one first.

    >>> share_room(3, 4, 10), share_room(3, 9, 10), share_room(9, 3, 10), share_room(9, 9, 9)
    ((3, 4), (3, 7), (7, 3), (5, 4))
    """
    return min(first, max(room - second, (room + 1) // 2)), min(second, max(room - first, room // 2))


def padded(rows: Sequence[Sequence[int]], pad: int) -> Tensor:
    """(n, T) int32, T the longest row's length, `pad` after the others."""
    ids = np.full((len(rows), max(map(len, rows))), pad, dtype=np.int32)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    return torch.from_numpy(ids)


def cut_share(spec: TextSpec, texts: Sequence[tuple[str, ...]]) -> float:
    """The share of examples that `encode_texts` truncates."""
    tokenizer = tokenizer_of(spec)
    columns = [[len(each) for each in encodings(tokenizer, column)] for column in zip(*texts, strict=True)]
    whole = [sum(parts) + len(parts) + 1 for parts in zip(*columns, strict=True)]  # with the special ones
    return round(sum(length > spec.length for length in whole) / len(whole), 3)


def check_length(key: str, length: int, *, least: int) -> None:
    """Raises ValueError unless `length`, including special tokens, is at least `least`."""
    if length < least:
        raise ValueError(f"{key}.length is {length} tokens; it must be at least {least}, including special tokens")


# --------------------------------------------------------------------------------------------------------------- words


class Tagged(NamedTuple):
    """Sentences of tagged words, as read from a file."""

    words: list[list[str]]
    tags: list[list[str]]  # of each word


def read_conll(path: Path, *, word: int = 0, tag: int = -1, entities: bool = True) -> Tagged:
    """One word per line, an empty line after each sentence. `word` and `tag`: their columns, from 0, or from the end.

    `entities`: tags are O, B-type and I-type; else they may be anything, and lines without a tag (_), as CoNLL-U has
    them for words that stand for several, and its comments are skipped. Cells are separated by tabs, or by spaces if
    the line has no tab. Lines of -DOCSTART- are skipped. Raises ValueError for a line without a tag, a tag of another
    form, and an empty file.
    """
    words: list[list[str]] = []
    tags: list[list[str]] = []
    inside = False
    for line, row in enumerate(read_text(path).split("\n"), 1):
        row = row.strip()
        if not row or row.startswith("-DOCSTART-"):
            inside = False
            continue
        if not entities and row.startswith("# ") and "\t" not in row:
            continue
        cells = row.split("\t") if "\t" in row else row.split(" " if entities else None)
        if len(cells) <= max(1, word, tag, ~word, ~tag) or not cells[word]:
            raise ValueError(
                f"{path}, line {line}: {row!r} has no tag; a line must be a word and its tag, separated by a tab, in "
                f"the columns {word} and {tag}"
            )
        found = cells[tag].strip()
        if not entities and found == "_":
            continue
        if entities and found != "O" and not (found[:2] in ("B-", "I-") and len(found) > 2):
            raise ValueError(f"{path}, line {line}: the tag {found!r} must be O, B-type or I-type")
        if not inside:
            words.append([])
            tags.append([])
            inside = True
        words[-1].append(cells[word])
        tags[-1].append(found)
    if not words:
        raise ValueError(f"{path} has no words")
    return Tagged(words, tags)


class WordTokens(NamedTuple):
    """Sentences as ids, and where each word begins. m of the W words stand within T tokens."""

    ids: Tensor  # (n, T) int32
    row: Tensor  # (m,) int64: the sentence of a word
    column: Tensor  # (m,) int64: its first token
    word: Tensor  # (m,) int64: its place among the W words of all sentences


def encode_words(spec: TextSpec, sentences: Sequence[Sequence[str]]) -> WordTokens:
    """Sentences, words joined by spaces: [CLS] tokens [SEP]. A word's token is the first with a character of it.

    Words beyond `spec.length`, and those that the tokenizer drops, have none.
    """
    texts = [" ".join(words) for words in sentences]
    rows, row, column, word = [], [], [], []
    before = 0
    for place, (text, encoding) in enumerate(zip(texts, encodings(tokenizer_of(spec), texts), strict=True)):
        kept = encoding.ids[: spec.length - 2]
        rows.append([spec.special.cls, *kept, spec.special.sep])
        lengths = np.array([len(each) for each in sentences[place]])
        begins = np.concatenate(([0], (lengths + 1).cumsum()[:-1]))
        start, is_text = text_starts(text, encoding.offsets[: len(kept)])
        token = is_text.nonzero()[0]
        of_word, first = np.unique(begins.searchsorted(start[token], side="right") - 1, return_index=True)
        row += [place] * len(first)
        column += (token[first] + 1).tolist()
        word += (before + of_word).tolist()
        before += len(lengths)
    return WordTokens(
        padded(rows, spec.special.pad), *(torch.tensor(each, dtype=torch.int64) for each in (row, column, word))
    )


def text_starts(text: str, offsets: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Where each token's text begins, (tokens,), its leading spaces left out; and whether there is any, (tokens,) bool.

    >>> text_starts("a bc", [(0, 1), (1, 3), (3, 4), (1, 2)])
    (array([0, 2, 3, 2]), array([ True,  True,  True, False]))
    """
    following = np.arange(len(text) + 1)  # the first place from here on that is no space
    for place in range(len(text) - 1, -1, -1):
        if text[place].isspace():
            following[place] = following[place + 1]
    spans = np.array(offsets, dtype=np.int64).reshape(-1, 2)
    start = following[spans[:, 0]]
    return start, start < spans[:, 1]


# ----------------------------------------------------------------------------------------------------------- questions


class Question(NamedTuple):
    """A question about a context, and its correct answers, which are spans of the context; none: it has no answer."""

    article: int
    context: str
    question: str
    answers: tuple[str, ...]
    start: int  # of the first answer, characters; -1: there is none
    id: str = ""  # "": the file has none


def read_squad(path: Path) -> list[Question]:
    """A file in SQuAD's format, 1.1, or 2.0 with questions that have no answer (`is_impossible`). Raises ValueError if
    it is not, or an answer is not at its stated position."""
    try:
        articles = json.loads(read_text(path))["data"]
        questions = [
            _question(path, number, paragraph["context"], asked)
            for number, article in enumerate(articles)
            for paragraph in article["paragraphs"]
            for asked in paragraph["qas"]
        ]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno} is not JSON: {error.msg}") from error
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not in SQuAD's format (data, paragraphs, qas, answers): {error!r}") from error
    if not questions:
        raise ValueError(f"{path} has no questions")
    return questions


def _question(path: Path, article: int, context: str, asked: Mapping[str, Any]) -> Question:
    name = f"{path}, question {asked.get('id', asked['question'])!r}"
    key = str(asked.get("id", ""))
    if asked.get("is_impossible", False) != (not asked["answers"]):
        raise ValueError(
            f"{name} has {len(asked['answers'])} answers, and its is_impossible is "
            f"{asked.get('is_impossible', False)}; a question without an answer needs is_impossible: true, any other "
            "an answer"
        )
    if not asked["answers"]:
        return Question(article, context, asked["question"], (), -1, key)
    for answer in asked["answers"]:
        start = answer["answer_start"]
        if not answer["text"] or context[start : start + len(answer["text"])] != answer["text"]:
            raise ValueError(f"{name}: its answer {answer['text']!r} is not at character {start} of its context")
    answers = tuple(dict.fromkeys(answer["text"] for answer in asked["answers"]))
    return Question(article, context, asked["question"], answers, asked["answers"][0]["answer_start"], key)


class Windows(NamedTuple):
    """Windows of contexts with their questions, [CLS] question [SEP] window [SEP]; m windows, several per question."""

    ids: Tensor  # (m, T) int32
    question: Tensor  # (m,) int64: its place among the questions
    start: Tensor  # (m, T) int64: where each token of the part begins in the text, characters; -1 elsewhere
    end: Tensor  # (m, T) int64: where it ends
    answer: Tensor  # (m, 2) int64: the first answer's first and last token; 0 and 0, [CLS], where it is not in the part


def cut_questions(spec: TextSpec, questions: Sequence[Question], asked: int) -> float:
    """The share of the questions that are longer than `asked` tokens; texts are read to their ends."""
    found = encodings(tokenizer_of(spec), [each.question for each in questions])
    return round(sum(len(each.ids) > asked for each in found) / len(questions), 3)


def encode_questions(spec: TextSpec, questions: Sequence[Question], *, key: str, asked: int, overlap: float) -> Windows:
    """Cut texts into parts that fit beside their question, each sharing `overlap` of itself with the next.

    Questions are cut to `asked` tokens. `key`: the evaluator's in the config. Raises ValueError where nothing fits
    beside them.
    """
    least = spec.length - asked - 3
    if least < 1:
        raise ValueError(
            f"{key}.question is {asked} tokens and the encoder reads {spec.length}; a question, a window of its "
            f"context and 3 special tokens must fit: set it to {spec.length // 2} or less"
        )
    tokenizer, special = tokenizer_of(spec), spec.special
    contexts = list(dict.fromkeys(each.context for each in questions))
    encoded = {
        text: (found.ids, text_starts(text, found.offsets)[0], np.array([end for _, end in found.offsets], dtype=int))
        for text, found in zip(contexts, encodings(tokenizer, contexts), strict=True)
    }
    rows, number, starts, ends, answers = [], [], [], [], []
    asked_ids = [each.ids[:asked] for each in encodings(tokenizer, [each.question for each in questions])]
    for place, (each, ids) in enumerate(zip(questions, asked_ids, strict=True)):
        text_ids, start, end = encoded[each.context]
        length = len(each.answers[0]) if each.answers else 0
        held = ((end > each.start) & (start < each.start + length)).nonzero()[0]  # the answer's tokens
        room = spec.length - len(ids) - 3
        step = max(1, round(room * (1 - overlap)))
        before = len(ids) + 2
        for left in range(0, max(len(text_ids) - room, 0) + step, step):
            part = slice(left, left + room)
            rows.append([special.cls, *ids, special.sep, *text_ids[part], special.sep])
            number.append(place)
            starts.append([-1] * before + start[part].tolist())
            ends.append([-1] * before + end[part].tolist())
            whole = len(held) > 0 and left <= held[0] and held[-1] < left + room
            answers.append((before + held[0] - left, before + held[-1] - left) if whole else (0, 0))
    tokens = padded(rows, special.pad)
    width = tokens.shape[1]
    return Windows(
        tokens,
        torch.tensor(number),
        torch.tensor([row + [-1] * (width - len(row)) for row in starts]),
        torch.tensor([row + [-1] * (width - len(row)) for row in ends]),
        torch.tensor(answers, dtype=torch.int64).reshape(-1, 2),
    )
