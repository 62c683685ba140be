import json

import made_bert
import pytest
import torch
from special_ids import SPECIAL, UNK
from tokenizers import Tokenizer

from ssl_runner.data.text.tokens import (
    count_words,
    find_tokenizer,
    read_tokenizer,
    special_tokens,
    train_tokenizer,
    word_ends,
    word_starts,
)
from ssl_runner.interfaces import SpecialTokens
from ssl_runner.nn.tokens import word_begins

TEXT = ["The cat sees the dog's bone.", "the dog sees <unk> the cats", "THE END [SEP] of it (no)"] * 3


def trained(tokens: str, *, words: str = "marks", vocabulary: int = 300, lowercase: bool = True) -> Tokenizer:
    return Tokenizer.from_str(
        train_tokenizer(TEXT, tokens=tokens, words=words, vocabulary=vocabulary, lowercase=lowercase)
    )


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return tokenizer.encode(text, add_special_tokens=False).tokens


KINDS = ["words", "wordpiece", "bpe", "characters"]


@pytest.mark.parametrize("tokens", KINDS)
def test_special_ids_come_first_and_no_text_makes_one(tokens: str) -> None:
    tokenizer = trained(tokens)
    assert [tokenizer.id_to_token(place) for place in range(len(SPECIAL))] == list(SPECIAL)
    ids = tokenizer.encode("[SEP] [MASK][PAD] [sep] the", add_special_tokens=False).ids
    assert all(each == UNK or each >= len(SPECIAL) for each in ids)
    ids = trained(tokens, words="spaces", lowercase=False).encode("[SEP] x [MASK][PAD]", add_special_tokens=False).ids
    assert all(each == UNK or each >= len(SPECIAL) for each in ids)
    assert sorted(tokenizer.get_vocab().values()) == list(range(tokenizer.get_vocab_size()))


@pytest.mark.parametrize("tokens", KINDS)
def test_training_repeats_and_keeps_to_the_vocabulary(tokens: str) -> None:
    least = 270 if tokens == "bpe" else 20
    assert trained(tokens, vocabulary=least).get_vocab_size() <= least
    assert trained(tokens).to_str() == trained(tokens).to_str()


@pytest.mark.parametrize(("tokens", "lowercase", "back"), [
    ("words", True, "the cat sees the dog 's bone ."),
    ("wordpiece", True, "the cat sees the dog 's bone ."),
    ("bpe", False, " The cat sees the dog's bone."),
    ("characters", False, "The cat sees the dog's bone."),
])  # fmt: skip
def test_a_text_comes_back(tokens: str, lowercase: bool, back: str) -> None:
    tokenizer = trained(tokens, lowercase=lowercase)
    assert tokenizer.decode(tokenizer.encode(TEXT[0], add_special_tokens=False).ids) == back


def test_words_are_the_most_frequent_ones() -> None:
    """Nine of "the"; six of "cat(s)"? no: cat 3, cats 3, dog 6, sees 6, and a mark an apostrophe's word."""
    tokenizer = trained("words", vocabulary=9)
    assert [tokenizer.id_to_token(place) for place in (6, 7, 8)] == ["the", "dog", "sees"]
    assert pieces(tokenizer, "the bird sees") == ["the", "[UNK]", "sees"]
    assert pieces(trained("words", words="spaces"), "the cats <unk> bone.") == ["the", "cats", "[UNK]", "bone."]
    assert "<unk>" not in trained("words", words="spaces").get_vocab()


def test_bytes_leave_nothing_unknown() -> None:
    tokenizer = trained("bpe")
    assert tokenizer.decode(tokenizer.encode("日本 🙂", add_special_tokens=False).ids) == " 日本 🙂"


@pytest.mark.parametrize(("words", "count"), [("marks", 8), ("spaces", 6)])
def test_words_are_counted_as_they_are_cut(words: str, count: int) -> None:
    assert count_words(["The cat sees the dog's bone."], words) == count
    assert len(pieces(trained("words", words=words), TEXT[0])) == count


@pytest.mark.parametrize(("tokens", "text", "starts"), [
    ("words", "the dog's", [True, True, True]),
    ("wordpiece", "cats zzz", [True, True, True]),
    ("bpe", "the cats.", [True, True, False, True]),
    ("characters", "a b.", [False, False, False, True]),
])  # fmt: skip
def test_which_ids_begin_a_word(tokens: str, text: str, starts: list[bool]) -> None:
    saved = train_tokenizer(TEXT, tokens=tokens, words="marks", vocabulary=290, lowercase=True)
    known = word_starts(saved)
    tokenizer = Tokenizer.from_str(saved)
    assert len(known) == tokenizer.get_vocab_size()
    assert all(known[: len(SPECIAL)])
    encoded = tokenizer.encode(text, add_special_tokens=False)
    for piece, place in zip(encoded.tokens, encoded.ids, strict=True):
        expected = {
            "words": True,
            "wordpiece": not piece.startswith("##"),
            "bpe": piece.startswith("Ġ") or not piece[0].isalnum(),
            "characters": not piece[0].isalnum() and piece != " ",
        }
        assert known[place] == expected[tokens], piece


def test_only_tokenizers_with_all_roles_are_read(tmp_path) -> None:
    encoder = tmp_path / "run" / "encoder"
    encoder.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"dataset\.tokenizer .*run does not exist"):
        find_tokenizer(tmp_path / "run")
    saved = trained("words").to_str()
    (encoder / "tokenizer.json").write_text(saved)
    for path in (tmp_path / "run", encoder, encoder / "tokenizer.json"):
        assert read_tokenizer(find_tokenizer(path)) == saved
    other = json.loads(saved)
    other["model"]["vocab"] = {"the": 0, "[UNK]": 1}
    (encoder / "tokenizer.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"its vocabulary has no \[PAD\] or <pad>"):
        read_tokenizer(encoder / "tokenizer.json")
    (encoder / "tokenizer.json").write_text(saved[:100])
    with pytest.raises(ValueError, match="cannot be read as a tokenizer"):
        read_tokenizer(encoder / "tokenizer.json")


def test_a_published_vocabulary_has_its_own_ids(tmp_path) -> None:
    published = made_bert.tokenizer()
    published.enable_truncation(3)
    published.enable_padding(length=9)
    (tmp_path / "tokenizer.json").write_text(published.to_str())
    read = read_tokenizer(find_tokenizer(tmp_path))
    assert special_tokens(read) == made_bert.IDS
    assert special_tokens(trained("words").to_str()) == SpecialTokens()
    words = ["the", "s", "##i", "##t", "##s", "[UNK]"]
    assert Tokenizer.from_str(read).encode("The sits \N{SNOWMAN}", add_special_tokens=False).tokens == words
    assert made_bert.IDS.sep not in Tokenizer.from_str(read).encode("a [SEP]", add_special_tokens=False).ids
    starts = word_starts(read)
    assert len(starts) == published.get_vocab_size()
    assert [starts[published.token_to_id(piece)] for piece in ("the", "s", "##a", "[CLS]")] == [True, True, False, True]


@pytest.mark.parametrize(("text", "count"), [
    ("मुझे हिन्दी में लिखना पसंद है", 6), ("السَّلَامُ عَلَيْكُمْ", 2), ("می\u200cخواهم بروم", 2), ("cafe\u0301 olé!", 3),  # noqa: RUF001
])  # fmt: skip
def test_marks_that_combine_are_part_of_their_word(text: str, count: int) -> None:
    """What is counted is what is cut: each word of a line is one token of a vocabulary of words."""
    assert count_words([text, ""], "marks") == count
    learned = Tokenizer.from_str(train_tokenizer([text], tokens="words", words="marks", vocabulary=99, lowercase=True))
    assert len(learned.encode(text, add_special_tokens=False).ids) == count
    assert count_words([text], "spaces") == len(text.split())


@pytest.mark.parametrize("tokens", ["words", "wordpiece", "bpe", "characters"])
def test_words_begin_in_tokens_where_they_do_in_the_text(tokens: str) -> None:
    lines = ["The cat (hello) sees", "(hello the dog's bone, again: “it” … no_one is 3.5", "naïve ça हिन्दी में"]
    saved = train_tokenizer(lines * 9, tokens=tokens, words="marks", vocabulary=400, lowercase=False)
    starts, ends = torch.tensor(word_starts(saved)), torch.tensor(word_ends(saved))
    for line in lines:
        ids = torch.tensor([Tokenizer.from_str(saved).encode(line, add_special_tokens=False).ids])
        assert int(word_begins(ids, starts, ends).sum()) == count_words([line], "marks")
