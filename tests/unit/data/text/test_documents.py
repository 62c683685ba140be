from pathlib import Path

import pytest

from ssl_runner.data.any import tables
from ssl_runner.data.any.tables import Table, read_lines
from ssl_runner.data.text.documents import read_documents, wikitext_articles


def written(folder: Path, content: bytes | str, name: str = "text.txt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "\N{ZERO WIDTH NO-BREAK SPACE}one\r\n\nthrée\nfour")
    assert list(read_lines(path)) == ["one", "", "thrée", "four"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("long", [5, 6, 7, 2**16])
def test_lines_end_as_any_system_ends_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, long: int
) -> None:
    monkeypatch.setattr(tables, "LONG", long)
    lines = ["a", "", "b", "c", "", "", "d"]
    assert list(read_lines(written(tmp_path, end.join(lines) + end))) == lines
    assert list(read_lines(written(tmp_path, end.join(lines)))) == lines


def test_a_space_before_an_end_makes_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LONG", 4)
    for end in ("\n", "\r\n", "\r"):
        for text in (f"aaa {end}b", f"aa {end}b", f"aaaa{end}b"):
            found = list(read_lines(written(tmp_path, text)))
            assert "".join(found) == text.replace(end, "")
            assert all(line.strip() for line in found)


def test_text_in_utf_16_is_refused(tmp_path: Path) -> None:
    content = "text\nplain".encode("utf-16-le")  # which is UTF-8 with zeros
    with pytest.raises(ValueError, match=r"text\.txt is not text, or is UTF-16: byte 1 is 0; texts must be UTF-8"):
        list(read_lines(written(tmp_path, content)))
    with pytest.raises(ValueError, match=r"t\.csv, line 1: it has a null character"):
        rows(written(tmp_path, content, "t.csv"), text="text")


@pytest.mark.parametrize(("text", "pieces"), [
    ("aaa bbb ccc ddd eee", ["aaa bbb ", "ccc ddd ", "eee"]),
    ("äöüäöüäöü", ["äöüä", "öüäö", "ü"]),  # two bytes each
    ("a\nbb cc dd ee ff", ["a", "bb cc ", "dd ee ff"]),
])  # fmt: skip
def test_long_lines_come_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, pieces: list[str]
) -> None:
    monkeypatch.setattr(tables, "LONG", 9)
    found = list(read_lines(written(tmp_path, text)))
    assert "".join(found) == text.replace("\n", "")
    assert all(len(piece.encode()) <= 18 for piece in found)
    if "ä" not in text:
        assert all(piece.endswith(" ") for piece in found[:-1] if piece != "a")


@pytest.mark.parametrize(("content", "byte"), [
    (b"all right\nnot \xff here", "byte 14 is 0xff"),
    (b"\xef\xbb\xbfab\xe9c", "byte 5 is 0xe9"),  # Latin-1 after a mark
    (b"cut \xc3", "byte 4 is 0xc3"),
])  # fmt: skip
def test_what_is_not_utf8_is_named_with_its_place(tmp_path: Path, content: bytes, byte: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=f"{path.name} is not UTF-8: {byte}"):
        list(read_lines(path))
    table = written(tmp_path, b"text\n" + content, "table.csv")
    with pytest.raises(ValueError, match=r"table\.csv is not UTF-8: byte"):
        list(Table(table, {"dataset.text_column": "text"}).rows())


@pytest.mark.parametrize(("how", "found"), [
    ("file", [["a", "", "b", "c", "", ""]]),
    ("blank_lines", [["a"], ["b", "c"]]),
    ("lines", [["a"], [""], ["b"], ["c"], [""], [""]]),
])  # fmt: skip
def test_what_a_document_is(tmp_path: Path, how: str, found: list[list[str]]) -> None:
    path = written(tmp_path, "a\n\nb\nc\n\n \n".replace(" ", ""))
    assert [list(document.lines) for document in read_documents(path, how, 3)] == found
    assert {document.label for document in read_documents(path, how, 3)} == {3}


def test_articles_of_wikitext_begin_with_their_titles(tmp_path: Path) -> None:
    path = written(tmp_path, " \n = First = \n \n One . \n = = Part = = \n Two . \n = Second = \n Three . \n")
    found = [[line.strip() for line in document.lines if line.strip()] for document in wikitext_articles(path)]
    assert [lines for lines in found if lines] == [
        ["= First =", "One .", "= = Part = =", "Two ."],
        ["= Second =", "Three ."],
    ]


def rows(path: Path, **columns: int | str) -> list[list[str]]:
    return [row.values for row in Table(path, columns).rows()]


def test_tables_have_columns_by_name_or_number(tmp_path: Path) -> None:
    csv = written(tmp_path, 'kind,text\n1,"a, ""b""\nc"\n2,d\n\n', "t.csv")
    assert rows(csv, text="text", kind="kind") == [['a, "b"\nc', "1"], ["d", "2"]]
    assert rows(csv, text=1)[0] == ["text"]
    tsv = written(tmp_path, '1\tsay "a\n2\tb', "t.tsv")
    assert rows(tsv, text=1, kind=0) == [['say "a', "1"], ["b", "2"]]


@pytest.mark.parametrize(("columns", "said"), [
    ({"text": "words"}, "text is words, and .*t.csv has no such column; its header has kind, text"),
    ({"text": 2}, "text is 2, and .*t.csv has 2 columns; it must be 0 to 1"),
    ({"text": "text"}, r"t.csv, line 3: 1 cell, and the first row has 2"),
])  # fmt: skip
def test_columns_and_cells_that_are_not_there_are_named(
    tmp_path: Path, columns: dict[str, int | str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        rows(written(tmp_path, "kind,text\n1,a\n2\n", "t.csv"), **columns)


@pytest.mark.parametrize(("content", "said"), [
    ('kind,text\n1,a\n2,b, and c\n', "line 3: 3 cells, and the first row has 2; quote texts with commas"),
    ('kind,text\n1,"a\nb"\n\n2\n', "line 5: 1 cell, and the first row has 2"),
    ('kind,text\n1,a\n2,"b\n3,c\n4,d\n', "line 3: a quote opens there, or later, and is never closed"),
    ('kind,text\n1,"a\n2,"b"\n', 'line 2: the closing quote of a cell must be followed by a comma'),
    ('kind,text,text\n1,a,b\n', "text is text, and the header of .* has it 2 times"),
])  # fmt: skip
def test_rows_that_are_not_whole_are_refused_with_their_line(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rows(written(tmp_path, content, "t.csv"), text="text")


def test_rows_know_their_lines_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    content = '\nkind,text\n1,"a\n\nb"\n\n,\n2,c\n  \n'
    found = list(Table(written(tmp_path, content, "t.csv"), {"text": "text"}).rows())
    assert found == [(3, ["a\n\nb"]), (8, ["c"])]
    assert rows(written(tmp_path, "text\rone\rtwo\r", "cr.csv"), text="text") == [["one"], ["two"]]


def test_cells_may_be_long_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, f"text\nfirst\n{'long ' * 40_000}\n", "t.csv")  # 200,000 characters
    assert len(rows(path, text="text")[1][0]) == 200_000
    monkeypatch.setattr(tables, "LONGEST", 100_000)
    with pytest.raises(ValueError, match="line 3: a cell is longer than 100000 characters"):
        rows(path, text="text")
