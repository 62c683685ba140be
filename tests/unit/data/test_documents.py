from pathlib import Path

import pytest

from ssl_runner.data import documents
from ssl_runner.data.documents import Table, read_documents, read_lines, wikitext_articles


def written(folder: Path, content: bytes | str, name: str = "text.txt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "\N{ZERO WIDTH NO-BREAK SPACE}one\r\n\nthrée\nfour")
    assert list(read_lines(path)) == ["one", "", "thrée", "four"]


@pytest.mark.parametrize(("text", "pieces"), [
    ("aaa bbb ccc ddd eee", ["aaa bbb ", "ccc ddd ", "eee"]),
    ("äöüäöüäöü", ["äöüä", "öüäö", "ü"]),  # two bytes each
    ("a\nbb cc dd ee ff", ["a", "bb cc ", "dd ee ff"]),
])  # fmt: skip
def test_long_lines_come_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, pieces: list[str]
) -> None:
    monkeypatch.setattr(documents, "LONG", 9)
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
    return list(Table(path, columns).rows())


def test_tables_have_columns_by_name_or_number(tmp_path: Path) -> None:
    csv = written(tmp_path, 'kind,text\n1,"a, ""b""\nc"\n2,d\n\n', "t.csv")
    assert rows(csv, text="text", kind="kind") == [['a, "b"\nc', "1"], ["d", "2"]]
    assert rows(csv, text=1)[0] == ["text"]
    tsv = written(tmp_path, '1\tsay "a\n2\tb', "t.tsv")
    assert rows(tsv, text=1, kind=0) == [['say "a', "1"], ["b", "2"]]


@pytest.mark.parametrize(("columns", "said"), [
    ({"text": "words"}, "text is words, and .*t.csv has no such column; its first row names kind, text"),
    ({"text": 2}, "text is 2, and .*t.csv has 2 columns; it must be 0 to 1"),
    ({"text": "text", "kind": "kind"}, r"t.csv, line 3: there are 1 columns"),
])  # fmt: skip
def test_columns_and_cells_that_are_not_there_are_named(
    tmp_path: Path, columns: dict[str, int | str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        rows(written(tmp_path, "kind,text\n1,a\n2\n", "t.csv"), **columns)
