"""Texts become examples: exact ids worked by hand, splits, the cache, bad input."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import made_bert
import made_text
import numpy as np
import pytest
import torch
from special_ids import CLS, EOS, PAD, SEP
from tokenizers import Tokenizer

from ssl_runner.backbones.window_mlp import WindowMLP
from ssl_runner.data.any.module import DataModule
from ssl_runner.data.any.tensors import running
from ssl_runner.data.text import corpus, wiki
from ssl_runner.data.text.texts import TextFile, TextFolder, TextTable, WikiSample
from ssl_runner.interfaces import Batch, TextSpec
from ssl_runner.objectives.language_model import LanguageModel

SETTINGS: dict[str, Any] = {
    "example": "window", "length": 4, "tokens": "words", "words": "marks", "vocabulary": 100, "lowercase": True,
    "tokenizer": None, "sentences": "split", "test_fraction": 0.2, "val_fraction": 0.2, "split_seed": 0,
}  # fmt: skip
TEXT = "A b. C d e.\n\nF.\n"  # two documents where blank lines part them


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def text_file(
    folder: Path, text: str | bytes = TEXT, *, val: str = "B.", test: str = "E. D.", **changes: Any
) -> TextFile:
    """A text in three files; what "held" has of their parts is held out of the first."""
    paths: dict[str, str | None] = {}
    for key, content in (("path", text), ("val_path", val), ("test_path", test)):
        path = folder / f"{key}.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        paths[key] = str(path)
    for part in changes.pop("held", ()):
        paths[f"{part}_path"] = None
    given = SETTINGS | {"documents": "blank_lines", "cache": str(folder / "cache"), "length": 3} | paths
    return TextFile(**given | changes)


def shown(source: TextFile, rows: torch.Tensor) -> list[str]:
    names = {PAD: "_", CLS: "<", SEP: "|", EOS: "."}
    tokenizer = Tokenizer.from_str(source.spec.tokenizer)
    return ["".join(names.get(i) or tokenizer.id_to_token(i) for i in row).replace("..", ".") for row in rows.tolist()]


def test_windows_overlap_by_one_token(tmp_path: Path) -> None:
    """a b . EOS c d e . EOS SEP f . EOS SEP, where the mark "." is shown as ".", EOS likewise."""
    source = text_file(tmp_path, length=4, val="b. b. b.", test="e d. e d.")
    data = source.load()["train"].data
    stream = [source.spec.tokenizer and Tokenizer.from_str(source.spec.tokenizer).token_to_id(w) for w in "ab.cdef"]
    a, b, mark, c, d, e, f = stream
    assert data.tolist() == [[a, b, mark, EOS], [EOS, c, d, e], [e, mark, EOS, SEP], [SEP, f, mark, EOS]]
    assert data.dtype == torch.int32
    assert data.stride() == (3, 1)  # views of one row of tokens, not copies
    assert source.load()["train"].label.tolist() == [-1] * 4


def test_sentences_and_documents_are_rows(tmp_path: Path) -> None:
    for example, found in {
        "sentence": ["<ab.|_", "<cde.|", "<f.|__"],
        "document": ["<ab.cd", "<f.|__"],  # the first goes on, and no separator says that it ends
    }.items():
        source = text_file(tmp_path, example=example, length=6)
        splits = source.load()
        assert shown(source, splits["train"].data) == found
        assert shown(source, splits["val"].data) == ["<b.|__"]
    source = text_file(tmp_path, example="document", length=12)
    assert shown(source, source.load()["train"].data)[0] == "<ab.cde.|___"
    assert not (source.load()["train"].data == EOS).any()


def test_the_spec_is_exact_once_it_is_read(tmp_path: Path) -> None:
    source = text_file(tmp_path)
    assert (source.spec.vocabulary, source.spec.tokenizer, source.spec.counts) == (100, "", ())
    source.load()
    spec = source.spec
    assert spec.vocabulary == 6 + len("abcdef.") == len(spec.counts) == len(spec.starts)
    assert spec.words == {"pretrain": 9, "train": 9, "val": 2, "test": 4}  # marks are words here
    assert spec.characters == {"pretrain": 5 + 7 + 3, "train": 15, "val": 3, "test": 6}
    ids = Tokenizer.from_str(spec.tokenizer).get_vocab()
    assert {name: spec.counts[place] for name, place in ids.items() if spec.counts[place]} == {
        **dict.fromkeys("abcdef", 1), ".": 3, "[EOS]": 3, "[SEP]": 2,
    }  # fmt: skip


def test_lines_may_be_sentences_or_end_nothing(tmp_path: Path) -> None:
    text = "a b\nc d. e\n"
    ended = text_file(tmp_path, text, sentences="lines", documents="file")
    assert ended.load()["train"].data.flatten().tolist().count(EOS) >= 1
    assert ended.spec.counts[EOS] == 2
    endless = text_file(tmp_path, text, sentences="none", documents="file")
    endless.load()
    assert (endless.spec.counts[EOS], endless.spec.counts[SEP]) == (0, 1)


def test_whole_documents_are_held_out_and_follow_the_split_seed(tmp_path: Path) -> None:
    text = "\n\n".join(f"w{i} w{i}." for i in range(20))
    kept: dict[int, Any] = {}
    for seed in (0, 0, 1):
        source = text_file(tmp_path, text, held=["val", "test"], example="document", length=6, split_seed=seed,
                           vocabulary=100, sentences="lines")  # fmt: skip
        splits = source.load()
        sizes = {part: len(splits[part].label) for part in ("train", "val", "test")}
        assert sizes == {"train": 13, "val": 3, "test": 4}  # a fifth of 20, a fifth of 16
        known = {int(i) for i in splits["train"].data[:, 1].tolist()}
        assert 1 not in known  # learned from train alone: of the others nothing but the mark is known
        assert set(splits["test"].data[:, 1].tolist()) == {1}
        kept.setdefault(seed, []).append(source.spec.tokenizer)
    assert kept[0][0] == kept[0][1] != kept[1][0]


def test_of_a_single_document_the_end_is_held_out(tmp_path: Path) -> None:
    text = "".join(f"{'abcdefghij'[i % 10]} {i}.\n" for i in range(50, 100))
    source = text_file(tmp_path, text, held=["val", "test"], documents="file", tokens="characters", sentences="lines")
    source.load()
    assert source.spec.characters == {"pretrain": 30 * 6, "train": 180, "val": 60, "test": 60}
    test = source.load()["test"].data
    ids = [*test[:, :-1].flatten().tolist(), *test[-1, -1:].tolist()]
    words = Tokenizer.from_str(source.spec.tokenizer).decode(ids)
    assert words.startswith("a 90.[EOS]b 91.[EOS]c 92.")


WORDS = [f"w{number:03}" for number in range(300)]


@pytest.mark.parametrize(("text", "documents"), [
    (" ".join(WORDS), "file"),  # all in one line
    ("\n".join(WORDS), "file"),  # a line each, without marks: one sentence
    ("\r".join(WORDS), "file"),
    (" ".join(WORDS), "blank_lines"),
    (" ".join(WORDS), "lines"),
    ("Title.\n\n" + " ".join(WORDS[1:]), "file"),
])  # fmt: skip
def test_a_text_without_ends_of_sentences_is_cut_between_words(tmp_path: Path, text: str, documents: str) -> None:
    changes: dict[str, Any] = {"held": ["val", "test"], "documents": documents, "vocabulary": 500, "length": 4}
    source = text_file(tmp_path, text, **changes)
    splits = source.load()
    words = source.spec.words
    whole = len(WORDS) + ("Title" in text)
    assert sum(words[part] for part in ("train", "val", "test")) == whole
    for part in ("val", "test"):
        assert words[part] == pytest.approx(0.2 * whole, abs=3)
    known = Tokenizer.from_str(source.spec.tokenizer)
    seen = [word for row in splits["train"].data.tolist() for word in known.decode(row[:-1]).split()]
    found = [word for word in seen if word.startswith("w")]
    first = WORDS.index(found[0])
    assert first <= 1
    assert found == WORDS[first : first + len(found)]


@pytest.mark.parametrize("text", ["\N{HIRAGANA LETTER A}\N{HIRAGANA LETTER I}" * 50, "xyz" * 40])
def test_a_text_without_spaces_is_cut_between_characters(tmp_path: Path, text: str) -> None:
    source = text_file(tmp_path, text, held=["val", "test"], documents="file", tokens="characters")
    source.load()
    assert sum(source.spec.characters[part] for part in ("train", "val", "test")) == len(text) + 3
    assert source.spec.characters["train"] == pytest.approx(0.6 * len(text), abs=3)


def test_few_ends_of_sentences_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "\n".join(" ".join(WORDS) for _ in range(20))
    changes: dict[str, Any] = {"held": ["val", "test"], "documents": "file", "vocabulary": 500}
    for _ in range(2):  # read, and from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            text_file(tmp_path, text, **changes).load()
        assert "set dataset.sentences=lines if each line is a sentence" in caplog.text
        assert "dataset.documents=lines or blank_lines sets" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        text_file(tmp_path, text, sentences="lines", **changes).load()
    assert not caplog.text


@pytest.mark.parametrize("example", ["sentence", "document"])
@pytest.mark.parametrize("length", [3, 5, 6, 7, 40])
def test_a_row_that_was_cut_does_not_say_that_the_text_ends(tmp_path: Path, example: str, length: int) -> None:
    """Sentences of one to eight tokens, a document each: of longer ones a language model is asked no separator."""
    texts = ["abcdefgh"[:count] for count in range(1, 9)]
    source = text_file(
        tmp_path, "\n\n".join(map(" ".join, texts)), documents="blank_lines", sentences="lines", example=example,
        length=length, val="a", test="a",
    )  # fmt: skip
    data = source.load()["train"].data
    assert shown(source, data) == [f"<{text}|".ljust(length, "_")[:length] for text in texts]
    encoder = WindowMLP(source.spec, window=1, embedding=2, width=2, direct=0)
    model = LanguageModel(encoder, source.spec, output="own")
    _, y = model.split(Batch(data.long(), torch.zeros(8), torch.arange(8)))
    assert (y == SEP).sum() == sum(len(text) + 2 <= length for text in texts)


def made(folder: Path, **changes: Any) -> TextFile:
    if not (folder / "made.txt").exists():
        (folder / "made.txt").write_text(made_text.text(60))
    given = SETTINGS | {"documents": "blank_lines", "cache": str(folder / "cache"), "length": 16} | changes
    return TextFile(path=str(folder / "made.txt"), val_path=None, test_path=None, **given)


@pytest.mark.parametrize("tokens", ["words", "wordpiece", "bpe", "characters"])
def test_tokens_are_those_of_the_tokenizer(tmp_path: Path, tokens: str) -> None:
    """Each sentence by itself, through the library, gives the rows."""
    source = made(tmp_path, tokens=tokens, vocabulary=300, example="sentence", length=64)
    rows = source.load()["pretrain"].data
    tokenizer = Tokenizer.from_str(source.spec.tokenizer)
    sentences = {line for line in (tmp_path / "made.txt").read_text().splitlines() if line}
    expected = {tuple([CLS, *tokenizer.encode(line, add_special_tokens=False).ids, SEP]) for line in sentences}
    assert {tuple(id for id in row if id != PAD) for row in rows.tolist()} <= expected
    assert len(rows) == source.spec.counts[EOS]


def test_what_is_in_hand_at_a_time_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {name: data.clone() for name, (data, _) in made(tmp_path).load().items()}
    rows = {name: data.clone() for name, (data, _) in made(tmp_path, example="sentence").load().items()}
    monkeypatch.setattr(corpus, "TOGETHER", 100)
    again = made(tmp_path, cache=str(tmp_path / "other")).load()
    assert all(torch.equal(again[name].data, data) for name, data in whole.items())
    again = made(tmp_path, cache=str(tmp_path / "other"), example="sentence").load()
    assert all(torch.equal(again[name].data, data) for name, data in rows.items())


# ----------------------------------------------------------------------------------------------------------- the cache


def test_the_second_start_reads_the_cache_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(tmp_path).load()
    monkeypatch.setattr(corpus, "train_tokenizer", None)
    monkeypatch.setattr(corpus, "_stage", None)
    source = made(tmp_path)
    again = source.load()
    assert all(torch.equal(first[name].data, again[name].data) for name in first)
    assert made(tmp_path, length=8).load()["train"].data.shape[1] == 8  # another length takes the same tokens
    (tmp_path / "made.txt").write_text(made_text.text(61))
    with pytest.raises(TypeError):
        source.load()


def test_two_vocabularies_do_not_meet(tmp_path: Path) -> None:
    sizes = []
    for vocabulary in (20, 30):
        source = made(tmp_path, vocabulary=vocabulary)
        source.load()
        sizes.append(source.spec.vocabulary)
    assert sizes == [20, 30]


@pytest.mark.parametrize(
    "file", ["train.int32", "about.json", "tokenizer.json", "sentence-16/val.int32", "sentence-16/about.json"]
)
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, file: str, how: str, caplog: pytest.LogCaptureFixture) -> None:
    first = {name: data.clone() for name, (data, _) in made(tmp_path, example="sentence").load().items()}
    (path,) = (tmp_path / "cache").glob(f"text-*/{file}")
    path.write_bytes(path.read_bytes()[:-5]) if how == "cut" else path.unlink()
    with caplog.at_level(logging.WARNING):
        again = made(tmp_path, example="sentence").load()
    assert "is damaged" in caplog.text
    assert all(torch.equal(again[name].data, data) for name, data in first.items())
    assert not list((tmp_path / "cache").glob(".*"))


def test_nothing_half_made_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(corpus, "word_starts", stop)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path).load()
    assert list((tmp_path / "cache").iterdir()) == []
    made(tmp_path).load()


def test_an_unwritable_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"dataset\.cache .*file failed"):
        made(tmp_path, cache=str(tmp_path / "file")).load()


# --------------------------------------------------------------------------------------------- in the tokens of a run


def test_texts_are_cut_in_the_tokens_of_a_run(tmp_path: Path) -> None:
    first = made(tmp_path)
    first.load()
    (tmp_path / "run" / "encoder").mkdir(parents=True)
    (tmp_path / "run" / "encoder" / "tokenizer.json").write_text(first.spec.tokenizer)
    other = text_file(tmp_path, "The cat sees a zebra. A dog.", length=4, tokenizer=str(tmp_path / "run"), held=["val"],
                      val_fraction=0.4)  # fmt: skip
    assert other.spec.tokenizer == first.spec.tokenizer  # known before it is read
    assert other.spec.starts == first.spec.starts
    assert other.spec.vocabulary == first.spec.vocabulary
    other = text_file(tmp_path, "The cat sees a zebra.", tokenizer=str(tmp_path / "run"), val="The cat.", test="A dog.")
    other.load()
    assert other.spec.tokenizer == first.spec.tokenizer
    assert sum(other.spec.counts) == 6 + 2
    assert other.spec.counts[1] == 1  # the zebra
    with pytest.raises(ValueError, match=r"dataset\.tokenizer .*nowhere does not exist"):
        _ = text_file(tmp_path, tokenizer=str(tmp_path / "nowhere")).spec


# ------------------------------------------------------------------------------------------------- folders and tables


def text_folder(folder: Path, **changes: Any) -> TextFolder:
    given = SETTINGS | {
        "labels": "folders",
        "splits": "folders",
        "cache": str(folder.parent / "cache"),
        "example": "document",
        "length": 8,
    }
    return TextFolder(path=str(folder), **given | changes)


def test_a_folder_of_texts(tmp_path: Path) -> None:
    root = tmp_path / "texts"
    for part, n in (("train", 4), ("val", 1), ("test", 2)):
        for kind in ("bad", "good"):
            (root / part / kind / "deep").mkdir(parents=True)
            for i in range(n):
                (root / part / kind / "deep" / f"{i}.txt").write_text(f"{kind} {part} {i}.")
    source = text_folder(root)
    assert (source.spec.classes, source.spec.class_names) == (2, ("bad", "good"))
    splits = source.load()
    assert splits["train"].label.tolist() == [0] * 4 + [1] * 4
    assert splits["test"].label.tolist() == [0, 0, 1, 1]
    assert shown(source, splits["train"].data[:1]) == ["<badtrain0.|__"]
    assert (text_folder(root, example="window").spec.classes, text_folder(root, labels="none").spec.classes) == (0, 0)
    sentences = text_folder(root, example="sentence")
    assert sentences.load()["train"].label.tolist() == [0] * 4 + [1] * 4
    with pytest.raises(ValueError, match=r"dataset\.path .*nowhere is not an existing folder; .* texts"):
        text_folder(tmp_path / "nowhere").check()
    (tmp_path / "flat").mkdir()
    with pytest.raises(ValueError, match="there is no text in"):
        text_folder(tmp_path / "flat", labels="none").check()


def text_table(folder: Path, content: str, name: str = "t.csv", **changes: Any) -> TextTable:
    (folder / name).write_text(content)
    given = SETTINGS | {"val_path": None, "test_path": None, "text_column": "text", "label_column": "kind"}
    given |= {"cache": str(folder / "cache"), "example": "document", "length": 8, "path": str(folder / name)}
    return TextTable(**given | changes)


def test_a_table_of_texts(tmp_path: Path) -> None:
    content = "kind,text\n" + "".join(f"{10 if i % 2 else 9},text {i}.\n" for i in range(20))
    source = text_table(tmp_path, content)
    assert source.spec.class_names == ("9", "10")  # as numbers
    splits = source.load()
    assert {part: len(label) for part, (_, label) in splits.items()} == {
        "pretrain": 13,
        "train": 13,
        "val": 3,
        "test": 4,
    }
    assert splits["test"].label.bincount().tolist() == [2, 2]  # stratified
    tokenizer = Tokenizer.from_str(source.spec.tokenizer)
    for row, label in zip(*splits["train"], strict=True):
        assert int(tokenizer.id_to_token(int(row[2]))) % 2 == label
    assert text_table(tmp_path, content, label_column=None).spec.classes == 0
    tsv = text_table(tmp_path, content.replace(",", "\t").split("\n", 1)[1], "t.tsv", text_column=1, label_column=0)
    assert torch.equal(tsv.load()["train"].label, splits["train"].label)


@pytest.mark.thorough
def test_wikipedia_is_there_and_clean(tmp_path: Path) -> None:
    settings = {key: value for key, value in SETTINGS.items() if key not in ("words", "sentences")}
    source = WikiSample(
        **settings
        | {
            "length": 64,
            "vocabulary": 2000,
            "test_fraction": 0.05,
            "val_fraction": 0.05,
            "cache": str(tmp_path / "cache"),
        }
    )
    source.check()
    splits = source.load()
    assert 400_000 < source.spec.words["pretrain"] < 500_000
    assert source.spec.counts[SEP] > 50  # articles
    assert source.spec.counts[EOS] > 10_000
    text = Tokenizer.from_str(source.spec.tokenizer).decode(splits["train"].data.flatten().tolist())
    assert not any(mark in text for mark in ("[[", "]]", "{{", "}}", "''", "File:", "http", "=="))


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(("changes", "said"), [
    ({"length": 1}, "dataset.length is 1; with dataset.example=window it must be 2 or more"),
    ({"length": 2, "example": "sentence"}, "dataset.length is 2; with dataset.example=sentence it must be 3 or more"),
    ({"vocabulary": 6}, "dataset.vocabulary is 6; with dataset.tokens=words it must be 7 or more: 6 special tokens"),
    ({"vocabulary": 261, "tokens": "bpe"}, "dataset.vocabulary is 261; with dataset.tokens=bpe it must be 262 or more"),
    ({"val_fraction": 1.0}, "dataset.val_fraction is 1.0; it must lie in (0, 1)"),
    ({"sentences": "none", "example": "sentence"}, "dataset.example is sentence, and this text has no sentences"),
    ({"tokens": "letters"}, "dataset.tokens is letters; it must be words or wordpiece or bpe or characters"),
])  # fmt: skip
def test_bad_settings_are_refused_at_once(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        text_file(tmp_path, **changes)


@pytest.mark.parametrize(("text", "changes", "said"), [
    ("\n \n\n", {}, "the corpus is empty"),
    (b"fine.\n\nnot \xff.", {}, "path.txt is not UTF-8: byte 11 is 0xff"),
    (TEXT, {"length": 30}, "dataset.length is 30, and pretrain has 14 tokens; set it to 14 or less"),
    (TEXT, {"length": 10}, "dataset.length is 10, and val has 4 tokens"),
    (TEXT, {"held": ["test"]}, "each document counts as one example (dataset.documents sets what a document is)"),
    ("a", {"held": ["val"], "documents": "file"}, "val has no text"),
    ("... --- ...", {"val": "\n"}, "val has no text"),
])  # fmt: skip
def test_bad_texts_are_refused(tmp_path: Path, text: str | bytes, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        text_file(tmp_path, text, **changes).load()
    assert len(list((tmp_path / "cache").iterdir())) == (
        "dataset.length" in said
    )  # its tokens are kept, they are right


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    source = text_file(tmp_path)
    (tmp_path / "test_path.txt").unlink()
    with pytest.raises(
        ValueError, match=r"dataset\.test_path .*test_path\.txt does not exist; it must be a UTF-8 text file"
    ):
        source.check()
    (tmp_path / "test_path.txt").write_text("")
    with pytest.raises(ValueError, match=r"test_path\.txt is empty"):
        source.check()


def test_bad_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.label_column is sort, and .*t\.csv has no such column"):
        _ = text_table(tmp_path, "kind,text\n1,a\n", label_column="sort").spec
    with pytest.raises(ValueError, match=r"dataset\.label_column is 0 and dataset\.text_column is text; both must be"):
        text_table(tmp_path, "kind,text\n1,a\n", label_column=0)
    with pytest.raises(ValueError, match=r"must be a \.csv or a \.tsv file"):
        text_table(tmp_path, "", "t.xls")
    (tmp_path / "test.csv").write_text("kind,text\n7,a\n")
    with pytest.raises(ValueError, match=r"test\.csv, line 2: the label '7' is not in .*t\.csv, which has 1, 2"):
        text_table(tmp_path, "kind,text\n1,a\n2,b\n", test_path=str(tmp_path / "test.csv")).load()


@pytest.mark.parametrize(("content", "changes", "said"), [
    ("kind,text\n1,a\n,b\n", {}, r"t\.csv, line 3: the label is empty; .* dataset\.label_column=null"),
    ("kind,text\n1,a\n01,b\n", {}, r"t\.csv: the labels '01' and '1' are the same number"),
    ("kind,text\n1,a\n2,b\n", {"text_column": 1, "label_column": 0}, "line 1: the label is 'kind', and all others are"),
])  # fmt: skip
def test_labels_that_may_be_meant_otherwise_are_refused(tmp_path: Path, content: str, changes: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        _ = text_table(tmp_path, content, **changes).spec


def test_numbers_of_classes_do_not_depend_on_hashes(tmp_path: Path) -> None:
    """The order of a set of strings is another in each process; the numbers are not."""
    content = "kind,text\n" + "".join(
        f"{kind},text\n" for kind in ("b", "-3", "+3", "10", "9", "\N{ROMAN NUMERAL TWO}")
    )
    assert text_table(tmp_path, content).spec.class_names == ("+3", "-3", "10", "9", "b", "\N{ROMAN NUMERAL TWO}")
    content = "kind,text\n" + "".join(f"{kind},text\n" for kind in (10, 9, -3))
    assert text_table(tmp_path, content).spec.class_names == ("-3", "9", "10")


def test_one_class_alone_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = text_table(tmp_path, "kind,text\n1,a\n1,b\n")
    with caplog.at_level(logging.WARNING):
        source.check()
        assert source.spec.classes == 1
        source.check()
    assert [message.partition(": ")[0] for message in caplog.messages] == ["all examples are of one class, 1"]


def test_damaged_articles_are_named(tmp_path: Path) -> None:
    path = tmp_path / "wiki.bz2"
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"wiki\.bz2 is damaged"):
        list(wiki.articles(path))


# ---------------------------------------------------------------------------------------------------------- the module


def test_the_data_module_takes_windows(tmp_path: Path) -> None:
    module = DataModule(made(tmp_path), batch_size=8, seed=0)
    module.setup()
    assert module.spec.size == len(module.examples("pretrain").label)
    assert isinstance(module.spec, TextSpec)
    assert module.spec.tokenizer
    batch = next(iter(module.train_dataloader()))
    assert batch.data.shape == (8, 16)
    assert torch.equal(batch.data, module.examples("pretrain").data[batch.index])
    assert module.spec.to_input(batch.data).dtype == torch.int64
    mark = module.fingerprint()
    assert mark == DataModule(made(tmp_path), batch_size=8, seed=1).fingerprint()
    module.examples("test").data[0, 0] += 1  # in memory alone
    assert module.fingerprint() != mark
    assert DataModule(made(tmp_path), batch_size=8, seed=0).fingerprint() == mark
    with pytest.raises(ValueError, match=r"batch_size is 100000; it must be at most"):
        DataModule(made(tmp_path), batch_size=100_000, seed=0).train_dataloader()


def test_the_cache_is_what_it_is_said_to_be(tmp_path: Path) -> None:
    made(tmp_path).load()
    (folder,) = (tmp_path / "cache").iterdir()
    about = json.loads((folder / "about.json").read_text())
    ids = np.fromfile(folder / "train.int32", dtype=np.int32)
    assert np.bincount(ids, minlength=len(about["counts"])).tolist() == about["counts"]
    assert about["tokens"]["train"] == len(ids)


def test_every_token_is_within_some_epochs_windows(tmp_path: Path) -> None:
    """The first and the last token of a window make room for [CLS] and [SEP]; elsewhere they are seen."""
    source = made(tmp_path)
    module = DataModule(source, batch_size=8, seed=3)
    module.moving = True
    still = source.load()["pretrain"].data
    text = running(still)
    assert text is not None
    length = still.shape[1]
    assert torch.equal(text.unfold(0, length, length - 1)[: len(still)], still)
    loader = module.train_dataloader()
    place = torch.arange(length)
    offsets, within = set(), torch.zeros(len(text), dtype=torch.bool)
    for epoch in range(6 * length):
        loader.sampler.set_epoch(epoch)
        found = list(loader)
        index, data = torch.cat([batch.index for batch in found]), torch.cat([batch.data for batch in found])
        for offset in range(length - 1):
            begin = (index * (length - 1) + offset).clamp(max=len(text) - length)
            if torch.equal(text[begin[:, None] + place], data):
                within[(begin[:, None] + place[1:-1]).flatten()] = True
                offsets.add(offset)
                break
        else:
            raise AssertionError("the windows are not shifted by one number")
    assert within[1:-1].all()
    assert offsets == set(range(length - 1))
    loader.sampler.set_epoch(5)
    again = module.train_dataloader()
    again.sampler.set_epoch(5)
    assert all(torch.equal(a.data, b.data) for a, b in zip(loader, again, strict=True))
    module.moving = False
    assert torch.equal(
        next(iter(module.train_dataloader())).data[0], still[next(iter(module.train_dataloader())).index[0]]
    )


def test_rows_are_no_running_text(tmp_path: Path) -> None:
    assert running(made(tmp_path, example="sentence").load()["pretrain"].data) is None


@pytest.mark.parametrize("example", ["sentence", "document"])
def test_rows_of_a_vocabulary_without_ends_of_sentences(tmp_path: Path, example: str) -> None:
    """As many as with one, each [CLS] its tokens [SEP], by ids of the published vocabulary."""
    (tmp_path / "tokenizer.json").write_text(made_bert.tokenizer(made_text.words()).to_str())
    own = made(tmp_path, example=example, length=64).load()
    source = made(tmp_path, example=example, length=64, tokenizer=str(tmp_path))
    for split, (data, label) in source.load().items():
        assert len(data) == len(own[split].data)
        assert len(label) == len(data)
    known, special = Tokenizer.from_str(source.spec.tokenizer), source.spec.special
    units = (tmp_path / "made.txt").read_text().split("\n\n" if example == "document" else "\n")
    texts = [" ".join(unit.split()) for unit in units if unit.strip()]
    ids = [known.encode(text, add_special_tokens=False).ids for text in texts]
    expected = {(special.cls, *each, special.sep)[:64] for each in ids}  # one that was cut has no end
    assert {tuple(id for id in row if id != special.pad) for row in source.load()["pretrain"].data.tolist()} <= expected
