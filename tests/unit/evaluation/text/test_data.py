import json

import pytest
import torch
from special_ids import CLS, PAD, SEP
from texts import WORDS, text_spec, write
from tokenizers import Tokenizer

from ssl_runner.evaluation.text.data import (
    Question,
    cut_share,
    encode_questions,
    encode_texts,
    encode_words,
    find_files,
    fingerprint,
    padded,
    read_conll,
    read_rows,
    read_set,
    read_squad,
    share_room,
    text_starts,
    tokenizer_of,
    with_val,
)
from ssl_runner.interfaces import TextSpec

ALL = pytest.mark.parametrize("tokens", ["words", "wordpiece", "bpe", "characters"])


def said(spec, ids):
    """Tokens without the special ones, in words."""
    tokenizer = Tokenizer.from_str(spec.tokenizer)
    return [tokenizer.id_to_token(i) for i in ids.tolist() if i > SEP]


# --------------------------------------------------------------------------------------------------------------- files


def test_files_are_found_and_missing_ones_named(tmp_path):
    write(tmp_path, "a.tsv", "")
    assert find_files("evaluation.x", str(tmp_path), {"train": "a.tsv", "val": None}) == {"train": tmp_path / "a.tsv"}
    with pytest.raises(
        ValueError,
        match=r"^evaluation\.x\.path is '/nowhere', which is not a folder; set it to the folder of a",
    ):
        find_files("evaluation.x", "/nowhere", {"train": "a.tsv"})
    with pytest.raises(
        ValueError, match=r"^evaluation\.x\.texts\.test is 'b\.tsv', which is not in .*; this folder has a\.tsv$"
    ):
        find_files("evaluation.x", str(tmp_path), {"train": "a.tsv", "test": "b.tsv"})


def test_fingerprints_are_of_contents(tmp_path):
    one, two, three = (write(tmp_path, name, text) for name, text in (("1", "ab"), ("2", "ab"), ("3", "a")))
    assert fingerprint([one]) == fingerprint([two]) != fingerprint([three])
    assert fingerprint([one, three]) != fingerprint([three, one])


def test_cells_of_tables(tmp_path):
    tabs = write(tmp_path, "a.tsv", '\ufeff1\tone\x85line "q\r\n\n0\ttwo\textra\n')
    assert read_rows(tabs, {"k.label": 0, "k.text": 1}) == [(1, ("1", 'one\x85line "q')), (3, ("0", "two"))]
    named = write(tmp_path, "b.tsv", "text\tlabel\nhello\t1\n")
    assert read_rows(named, {"k.label": "label", "k.text": "text"}) == [(2, ("1", "hello"))]
    commas = write(tmp_path, "c.csv", 'label,text\n1,"a, ""b""\nc"\n2,d\n')
    read = read_rows(commas, {"k.label": "label", "k.text": "text"}, separator="comma")
    assert [row.cells for row in read] == [("1", 'a, "b"\nc'), ("2", "d")]


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        (
            "1\ta\n0\n",
            {"k.label": 0, "k.text": 1},
            r"t\.tsv, line 2 has 1 columns, and k\.text is 1; columns count from",
        ),
        ("1\ta\n", {"k.label": -1}, r"line 1 has 2 columns, and k\.label is -1"),
        ("a\tb\n1\t2\n", {"k.label": "c"}, r"k\.label is 'c', and .*t\.tsv has no such column; it has a, b"),
        ("a\tb\n1\t2\n", {"k.label": "a", "k.text": 1}, r"k\.label is 'a', k\.text is 1; give the numbers of all"),
        ("", {"k.label": 0}, r"t\.tsv has no rows"),
        ("a\tb\n", {"k.label": "a"}, r"t\.tsv has no rows"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, columns, message):
    with pytest.raises(ValueError, match=message):
        read_rows(write(tmp_path, "t.tsv", text), columns)


def test_short_rows_are_skipped_where_that_is_asked(tmp_path):
    path = write(tmp_path, "t.tsv", "1\ta\n0\n2\tb\n")
    assert [row.line for row in read_rows(path, {"k": 1}, short="skip")] == [1, 3]


def test_quotes_that_do_not_close(tmp_path):
    with pytest.raises(ValueError, match=r"t\.csv, line 2: unexpected end of data"):
        read_rows(write(tmp_path, "t.csv", '1,a\n2,"b\n'), {"k": 0}, separator="comma")


def test_what_is_not_utf_8_is_named_with_its_place(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_bytes(b"1\tcaf" + "é".encode("latin-1") + b"\n")
    with pytest.raises(ValueError, match=r"t\.tsv is not UTF-8: see byte 5; save it as UTF-8"):
        read_rows(path, {"k": 0})


# ---------------------------------------------------------------------------------------------------------------- sets


def test_labels_become_numbers_by_train(tmp_path):
    files = {
        "train": write(tmp_path, "train", "b\tx\na\ty\nb\tz\n"),
        "test": write(tmp_path, "test", "a\tw\n"),
    }
    texts = read_set(files, {"k.label": 0, "k.text": 1}, labels="classes")
    assert texts.classes == ("a", "b")
    assert texts.label["train"].tolist() == [1, 0, 1]
    assert texts.texts["test"] == [("w",)]
    write(tmp_path, "test", "a\tw\n\nc\tw\n")
    with pytest.raises(ValueError, match=r"test, line 3: the label 'c' is not in train, which has a, b$"):
        read_set(files, {"k.label": 0, "k.text": 1}, labels="classes")
    write(tmp_path, "train", "a\tx\n")
    with pytest.raises(ValueError, match=r"train has a single class, 'a'"):
        read_set(files, {"k.label": 0, "k.text": 1}, labels="classes")


@pytest.mark.parametrize(("score", "message"), [("high", "'high' is not a number"), ("nan", "'nan' is not finite")])
def test_scores_are_numbers(tmp_path, score, message):
    files = {"test": write(tmp_path, "test", f"1.5\tx\ty\n{score}\tx\ty\n")}
    with pytest.raises(ValueError, match=f"test, line 2: the score {message}"):
        read_set(files, {"s": 0, "a": 1, "b": 2}, labels="scores")


def test_a_tenth_of_train_is_held_out_stratified_and_always_the_same(tmp_path):
    rows = "".join(f"{'ab'[i % 4 == 0]}\ttext {i}\n" for i in range(80))
    files = {"train": write(tmp_path, "train", rows), "test": write(tmp_path, "test", rows)}
    whole = read_set(files, {"k.label": 0, "k.text": 1}, labels="classes")
    cut, again = with_val(whole), with_val(whole)
    assert cut.texts == again.texts
    assert len(cut.texts["val"]) == 8
    assert cut.label["val"].bincount().tolist() == [6, 2]
    assert sorted(cut.texts["train"] + cut.texts["val"]) == sorted(whole.texts["train"])
    for split in ("train", "val"):
        kept = [(text, label) for text, label in zip(cut.texts[split], cut.label[split].tolist(), strict=True)]
        assert set(kept) <= set(zip(whole.texts["train"], whole.label["train"].tolist(), strict=True))
    assert with_val(cut) is cut
    few = whole._replace(
        texts=whole.texts | {"train": whole.texts["train"][:9]},
        label=whole.label | {"train": whole.label["train"][:9]},
    )
    with pytest.raises(ValueError, match="train has 9 examples, too few to hold out a tenth"):
        with_val(few)


# -------------------------------------------------------------------------------------------------------------- tokens


def test_texts_and_pairs_as_ids():
    spec = text_spec()
    the, cat, sat, dog = tokenizer_of(spec).encode("the cat sat dog").ids
    single = encode_texts(spec, [("the cat",), ("dog",), ("",)])
    assert single.dtype == torch.int32
    assert single.tolist() == [[CLS, the, cat, SEP], [CLS, dog, SEP, PAD], [CLS, SEP, PAD, PAD]]
    pair = encode_texts(spec, [("the cat", "sat")])
    assert pair.tolist() == [[CLS, the, cat, SEP, sat, SEP]]


def test_what_is_too_long_is_cut():
    spec = text_spec(length=8)
    one, a, b = " ".join(["cat"] * 20), " ".join(["the"] * 20), " ".join(["dog"] * 20)
    assert said(spec, encode_texts(spec, [(one,)])[0]) == ["cat"] * 6
    assert said(spec, encode_texts(spec, [(a, b)])[0]) == ["the"] * 3 + ["dog"] * 2
    assert said(spec, encode_texts(spec, [("the", b)])[0]) == ["the"] + ["dog"] * 4
    assert encode_texts(spec, [(a, b)]).shape == (1, 8)
    with pytest.raises(ValueError, match="the encoder reads 4 tokens, and a pair of texts needs 5"):
        encode_texts(text_spec(length=4), [(a, b)])


def test_what_is_cut_is_counted_and_what_just_fits_is_not():
    """Of eight tokens six are of a text, and five of a pair."""
    spec = text_spec(length=8)
    texts = [(" ".join(["cat"] * count),) for count in (1, 5, 6, 7, 20)]
    assert cut_share(spec, texts) == 0.4
    pairs = [(" ".join(["cat"] * count), "the dog") for count in (1, 3, 4)]
    assert cut_share(spec, pairs) == 0.333


def test_cutting_takes_off_the_longer_one_token_by_token():
    for first in range(12):
        for second in range(12):
            a, b = first, second
            while a + b > 7:
                a, b = (a - 1, b) if a > b else (a, b - 1)
            assert share_room(first, second, 7) == (a, b)


def test_padding():
    assert padded([[1, 2], [3], []], PAD).tolist() == [[1, 2], [3, PAD], [PAD, PAD]]


def test_an_encoder_without_a_tokenizer_is_refused():
    with pytest.raises(ValueError, match="the encoder has no tokenizer"):
        encode_texts(TextSpec(length=8, vocabulary=9), [("a",)])


# --------------------------------------------------------------------------------------------------------------- words


def test_conll_files(tmp_path):
    text = "-DOCSTART- -X- O\n\nThe\tO\nU.S.\tB-loc\n\n\nNew NN I-loc\nYork NN I-loc\n"
    found = read_conll(write(tmp_path, "t", text))
    assert found == ([["The", "U.S."], ["New", "York"]], [["O", "B-loc"], ["I-loc", "I-loc"]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tO\nb\n", "t, line 2: 'b' has no tag; a line must be a word and its tag"),
        ("a\tO\n\nb\tX-loc\n", "t, line 3: the tag 'X-loc' must be O, B-type or I-type"),
        ("a\tB-\n", "t, line 1: the tag 'B-' must be"),
        ("\n\n", "t has no words"),
    ],
)
def test_conll_files_that_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_conll(write(tmp_path, "t", text))


TRICKY = [
    ["Paul's", "cat", "don't", "sat", "."],
    ["U.S.", "(", "Rome", ")", "--", "at", "@paul", "http://a.b/c"],
    ["cafe\u0301", "naïve", "日本", "😀", "x"],  # a combined accent, other scripts
    ["a\u00a0b", "mat"],  # a space that is no space
    ["x"],
]


@ALL
@pytest.mark.parametrize("lowercase", [True, False])
def test_each_word_has_the_first_token_of_its_text(tokens, lowercase):
    spec = text_spec(tokens, length=80, lowercase=lowercase)
    tokenizer = tokenizer_of(spec)
    found = encode_words(spec, TRICKY)
    words = [word for sentence in TRICKY for word in sentence]
    assert found.word.tolist() == list(range(len(words)))  # every word, once, in order
    assert found.row.tolist() == [row for row, sentence in enumerate(TRICKY) for _ in sentence]
    for row, sentence in enumerate(TRICKY):
        offsets = tokenizer.encode(" ".join(sentence)).offsets
        expected, begin = [], 0
        for word in sentence:
            text = {begin + place for place, char in enumerate(word) if not char.isspace()}
            expected.append(next(place for place, span in enumerate(offsets) if text & set(range(*span))) + 1)
            begin += len(word) + 1
        assert found.column[found.row == row].tolist() == expected, sentence
    assert (found.ids[:, 0] == CLS).all()


def test_words_beyond_the_length_have_no_token():
    spec = text_spec(length=5)
    found = encode_words(spec, [["cat", "sat", "on", "mat", "dog"], ["cat"]])
    assert found.word.tolist() == [0, 1, 2, 5]
    assert said(spec, found.ids[found.row, found.column]) == ["cat", "sat", "on", "cat"]
    assert found.ids.shape == (2, 5)


def test_words_of_which_nothing_is_kept_have_no_token():
    found = encode_words(text_spec(), [["cat", "\u200b\u200d", "mat"]])
    kept = found.word.tolist()
    assert kept in ([0, 2], [0, 1, 2])
    assert 2 in kept


def test_tokens_of_spaces_have_no_text():
    start, is_text = text_starts(" a  b", [(0, 2), (2, 4), (4, 5), (0, 1)])
    assert (start.tolist(), is_text.tolist()) == ([1, 4, 4, 1], [True, False, True, False])


# ----------------------------------------------------------------------------------------------------------- questions


def squad(answers, context="the gold lies on the mat"):
    asked = [{"id": "q7", "question": "what lies", "answers": answers}]
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": asked}]}]})


def test_squad_files(tmp_path):
    right = squad([{"text": "gold", "answer_start": 4}, {"text": "the gold", "answer_start": 0}])
    (found,) = read_squad(write(tmp_path, "s", right))
    assert found == (0, "the gold lies on the mat", "what lies", ("gold", "the gold"), 4, "q7")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "s, line 1 is not JSON"),
        ("[]", r"s is not in SQuAD's format \(data, paragraphs, qas, answers\)"),
        ('{"data": [{"paragraphs": [{"qas": [{}]}]}]}', "s is not in SQuAD's format .*context"),
        ('{"data": [{"paragraphs": [{"context": "a", "qas": []}]}]}', "s has no questions"),
        (squad([]), "s, question 'q7' has 0 answers, and its is_impossible is False; a question without an answer"),
        (
            squad([{"text": "gold", "answer_start": 5}]),
            "question 'q7': its answer 'gold' is not at character 5",
        ),
        (squad([{"text": "", "answer_start": 5}]), "its answer '' is not at"),
    ],
)
def test_squad_files_that_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_squad(write(tmp_path, "s", text))


def question(context, answer):
    return Question(0, context, "what lies on it", (answer,), context.index(answer))


@ALL
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.8])
def test_windows_hold_the_whole_text_and_the_answer_where_it_is(tokens, overlap):
    context = f"{WORDS} (the U.S. cafe\u0301, Acme's) {WORDS}"
    asked = [question(context, "U.S. cafe\u0301"), question("the gold", "gold"), question(context, "who what")]
    spec = text_spec(tokens, length=64 if tokens == "characters" else 24)
    windows = encode_questions(spec, asked, key="evaluation.span_qa", asked=6, overlap=overlap)
    assert windows.ids.shape[1] <= spec.length
    for number, each in enumerate(asked):
        mine = windows.question == number
        text = each.context.replace("\u0301", "")
        seen = set()
        for start, end in zip(windows.start[mine].tolist(), windows.end[mine].tolist(), strict=True):
            seen |= {place for a, b in zip(start, end, strict=True) if a >= 0 for place in range(a, b)}
        missing = {place for place, char in enumerate(each.context) if not char.isspace()} - seen
        assert all(each.context[place] == "\u0301" for place in missing), text
        held = 0
        for row in mine.nonzero().flatten().tolist():
            first, last = windows.answer[row].tolist()
            if (first, last) == (0, 0):
                continue
            held += 1
            found = each.context[windows.start[row, first] : windows.end[row, last]]
            if tokens == "words" and each.answers[0].startswith("U.S."):
                assert found.startswith("U.S. caf")
            else:
                assert found.replace("\u0301", "").strip() == each.answers[0].replace("\u0301", "")
        assert held >= 1 or overlap == 0.0
    ends = (windows.ids == SEP).sum(dim=1)
    assert (ends == 2).all()
    assert ((windows.start >= 0).sum(dim=1) >= 1).all()
    inside = windows.start >= 0
    assert ((windows.ids[inside] != PAD) & (windows.ids[inside] != SEP) & (windows.ids[inside] != CLS)).all()


def test_windows_by_hand():
    """A question of 2 tokens, windows of 8: 3 of the text fit, each begins 2 tokens after the one before."""
    spec = text_spec(length=8)
    asked = [Question(0, "the cat sat on a mat", "what lies on", ("on a",), 12)]
    windows = encode_questions(spec, asked, key="evaluation.span_qa", asked=2, overlap=0.34)
    parts = [said(spec, row) for row in windows.ids]
    assert parts == [
        ["what", "lies", "the", "cat", "sat"],
        ["what", "lies", "sat", "on", "a"],
        ["what", "lies", "a", "mat"],
    ]
    assert windows.answer.tolist() == [[0, 0], [5, 6], [0, 0]]
    assert windows.start[1].tolist() == [-1, -1, -1, -1, 8, 12, 15, -1]
    assert windows.end[1].tolist() == [-1, -1, -1, -1, 11, 14, 16, -1]


def test_questions_that_leave_no_room_are_refused():
    with pytest.raises(
        ValueError, match=r"evaluation\.span_qa\.question is 6 tokens and the encoder reads 9; .* 4 or less"
    ):
        encode_questions(
            text_spec(length=9), [question("the gold", "gold")], key="evaluation.span_qa", asked=6, overlap=0.5
        )
