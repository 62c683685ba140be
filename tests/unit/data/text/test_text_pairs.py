"""Rows as they are cut, splits, a tokenizer of another run, and refusals."""

import json
from pathlib import Path

import pytest
import torch
from special_ids import CLS, PAD, SEP, UNK
from tokenizers import Tokenizer

from ssl_runner.data.text.text_pairs import TextPairs
from ssl_runner.views.text import Segments

LETTERS = [f"{a}{b}" for a in "abcdefghij" for b in "abcdefghij"]
SETTINGS = {
    "columns": ["one", "same", "against"], "tokenizer": None, "length": 13, "tokens": "words", "vocabulary": 200,
    "lowercase": True, "test_fraction": 0.2, "val_fraction": 0.25, "split_seed": 0,
}  # fmt: skip


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Row n: the word n; the words n and n + 1, in a quoted cell with a comma; six times the word n."""
    rows = [f'{w},"{w}, {LETTERS[n + 1]}",{" ".join([w] * 6)}' for n, w in enumerate(LETTERS[:50])]
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(["one,same,against", *rows]), encoding="utf-8")
    return path


def pairs(path: Path, **changes: object) -> TextPairs:
    return TextPairs(path=str(path), **SETTINGS | changes)


def test_rows_become_texts_between_separators(table: Path) -> None:
    source = pairs(table)
    found = source.load()
    assert [len(found[split].label) for split in ("pretrain", "train", "val", "test")] == [30, 30, 10, 10]
    known = Tokenizer.from_str(source.spec.tokenizer).get_vocab()
    rest = found["train"].data.tolist()
    for row in rest:
        word = row[1]
        assert row[:3] == [CLS, word, SEP]
        assert row[3:7] == [word, known[","], row[5], SEP]
        assert row[7:] == [word, word, word, SEP, PAD, PAD]  # three of six: as much room as the others have
        assert word > UNK
    texts = Segments(source.spec, views=3)(found["train"].data.long())
    assert texts.shape == (3, 30, 5)
    word = found["train"].data[:, 1:2]
    assert torch.equal(texts[2], torch.cat((texts[2][:, :1], word, word, word, texts[2][:, 4:]), dim=1))
    assert (found["train"].label == -1).all()
    assert len({row[1] for row in rest}) == 30


def test_the_spec_is_exact_once_read(table: Path) -> None:
    source = pairs(table)
    assert source.spec.vocabulary == 200
    assert source.spec.tokenizer == ""
    train = source.load()["train"].data
    spec = source.spec
    assert (
        spec.vocabulary == len(spec.counts) == len(spec.starts) == Tokenizer.from_str(spec.tokenizer).get_vocab_size()
    )
    assert spec.counts[SEP] == 90
    assert spec.counts[PAD] == 0
    assert sum(spec.counts) == int((train != PAD).sum())


def test_the_tokenizer_of_another_run(table: Path, tmp_path: Path) -> None:
    first = pairs(table)
    first.load()
    folder = tmp_path / "run" / "encoder"
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(first.spec.tokenizer)
    (folder / "tokens.json").write_text(json.dumps({"counts": first.spec.counts, "starts": first.spec.starts}))
    other = table.with_name("other.tsv")
    other.write_text("zz yy\taa\n" * 20)
    for place in (tmp_path / "run", folder):
        second = pairs(other, columns=[1, 0], tokenizer=str(place))
        assert second.spec.vocabulary == first.spec.vocabulary
        row = second.load()["train"].data[0].tolist()
        aa = Tokenizer.from_str(first.spec.tokenizer).token_to_id("aa")
        assert row[:6] == [CLS, aa, SEP, UNK, UNK, SEP]
        assert second.spec.starts == first.spec.starts
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset\.tokenizer\) cannot be read as a tokenizer"):
        _ = pairs(other, columns=[1, 0], tokenizer=str(folder)).spec
    with pytest.raises(ValueError, match=r"dataset\.tokenizer .* does not exist"):
        _ = pairs(other, columns=[1, 0], tokenizer=str(tmp_path)).spec


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"columns": ["one"]}, r"dataset\.columns is \['one'\]"),
        ({"columns": ["one", 1]}, r"dataset\.columns is"),
        ({"columns": [1, 1]}, r"dataset\.columns is"),
        ({"length": 6}, r"dataset\.length is 6; with 3 texts a row it must be 7"),
        ({"vocabulary": 6}, r"dataset\.vocabulary is 6"),
        ({"val_fraction": 1.0}, r"dataset\.val_fraction is 1\.0"),
    ],
)
def test_what_is_refused(table: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pairs(table, **change)


def test_files_that_do_not_suit(table: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.csv does not exist"):
        pairs(tmp_path / "missing.csv").check()
    with pytest.raises(ValueError, match=r"a\.txt must be a \.csv or a \.tsv"):
        pairs(tmp_path / "a.txt")
    with pytest.raises(ValueError, match=r"dataset\.columns\[1\] is other, and .* has no such column"):
        pairs(table, columns=["one", "other"]).check()
    table.write_text("one,same,against\n")
    with pytest.raises(ValueError, match="has no rows"):
        pairs(table).check()
    table.write_text("one,same,against\na,b,c\na, ,c\n")
    with pytest.raises(ValueError, match=r"pairs\.csv \(dataset\.path\), line 3: a text is empty"):
        pairs(table).load()
