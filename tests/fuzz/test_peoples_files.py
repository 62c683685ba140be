"""Folders, tables, arrays and images with generated oddities: each is read rightly, or refused with a message.

What is made is known: a generator gives the files together with what they mean, or None where they can be meant in
several ways or in none, and have to be refused.
"""

import csv
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from ssl_runner.data.any.tables import Table
from ssl_runner.data.images.arrays import Arrays
from ssl_runner.data.images.image_folder import ImageFolder
from ssl_runner.data.text.texts import TextTable
from ssl_runner.interfaces import DataSpec, Examples, SplitName

SPLIT = {"train": ("train", "Train", "TRAIN", "training"), "val": ("val", "valid", "validation", "Dev"),
         "test": ("test", "TEST", "testing")}  # fmt: skip
KINDS = ("cat", "dog", "über", "a b", "10", "9")
QUICK = {"folders": 20, "tables": 15, "arrays": 15, "images": 5}
SLOW = {"folders": 200, "tables": 150, "arrays": 150, "images": 50}


def several(count: int) -> Callable[[Any], Any]:
    """So many cases, the same in each run."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return lambda test: seed(0)(
        settings(max_examples=count, deadline=None, database=None, suppress_health_check=quiet)(test)
    )


@contextmanager
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def read_rightly(read: Callable[[], Any], clear: bool, *said: str) -> Any:
    """What `read` gives where it is clear what is meant; None where it is refused, as it has to be, with `said`."""
    try:
        found = read()
    except ValueError as error:
        refusal = str(error)
    else:
        assert clear, "it was read, and can be meant otherwise"
        return found
    assert not clear, f"it is clear, and was refused: {refusal}"
    assert all(part in refusal for part in said), refusal
    return None


# ------------------------------------------------------------------------------------------------------------- folders


class Tree(NamedTuple):
    files: Mapping[str, bytes]
    links: Mapping[str, str]  # place -> target, from the root
    settings: Mapping[str, str]
    truth: Mapping[str, frozenset[tuple[str, int]]] | None  # split -> (class, number of the image)


@cache
def png(red: int, green: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((2, 2, 3), (red, green, 0), np.uint8)).save(out, "png")
    return out.getvalue()


NEUTRAL = ("hidden", "system", "loop", "notes", "upper", "deeper", "hollow beside", "loose")
DOUBTFUL = ("unknown", "twice", "called test", "inside", "higher", "again", "dangling", "lacks", "hollow", "pipe")


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    parted = draw(st.booleans())
    labels = draw(st.sampled_from(["folders", "none"]))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=2, max_size=3, unique=True))
    parts = {"train": ""}
    if parted:
        parts = {part: draw(st.sampled_from(names)) + "/" for part, names in SPLIT.items()}
        for part in draw(st.sets(st.sampled_from(["val", "test"]))):
            del parts[part]
    splits = "folders"
    if not parted and draw(st.booleans()):
        kinds, splits = ["train", "test", *kinds], "none"
    odd = set(draw(st.lists(st.sampled_from(NEUTRAL), max_size=3)))
    if draw(st.booleans()):
        odd |= set(draw(st.lists(st.sampled_from(DOUBTFUL), min_size=1, max_size=3)))
    files: dict[str, bytes] = {}
    truth: dict[str, set[tuple[str, int]]] = {part: set() for part in parts}
    suffix = ".PNG" if "upper" in odd else ".png"
    number = 0
    for part, folder in parts.items():
        for kind in kinds:
            for _ in range(draw(st.integers(5, 6))):
                number += 1
                deep = "x/" if "deeper" in odd and number % 2 else ""
                files[f"{folder}{kind}/{deep}{number}{suffix}"] = png(20 + kinds.index(kind), number)
                truth[part].add((kind, number))
    links: dict[str, str] = {}
    first, other = (f"{parts['train']}{kind}" for kind in kinds[:2])
    more = {"hidden": f".trash/{first}/0.png", "system": f"__MACOSX/{first}/0.png", "notes": f"{first}/notes.txt"}
    files |= {name: png(200, 200) for oddity, name in more.items() if oddity in odd}
    if "loop" in odd:
        links[f"{first}/loop"] = draw(st.sampled_from([".", first, os.path.dirname(first) or "."]))
    if "hollow beside" in odd and parted:
        files["annotations/a.json"] = b"{}"
    if "loose" in odd and (parted or labels == "folders"):
        files["0.png"] = png(200, 200)
    doubtful = odd & set(DOUBTFUL)
    for oddity in sorted(doubtful):
        match oddity:
            case "unknown" if parted:
                files["unlabeled/0.png"] = png(200, 200)
            case "twice" if parted:
                used = {name.lower() for name in parts.values()}
                extra = next(name for name in SPLIT["train"] if f"{name.lower()}/" not in used)
                files[f"{extra}/{kinds[0]}/0.png"] = png(200, 200)
            case "called test" if not parted and splits == "folders":
                files["test/0.png"] = png(200, 200)
            case "inside" if not parted and splits == "folders":
                files |= {f"{first}/{part}/0.png": png(200, 200) for part in ("train", "Test")}
            case "higher" if parted and len(parts) > 1:
                files = {f"data/{name}": content for name, content in files.items()}
                links = {f"data/{name}": f"data/{target}" for name, target in links.items()}
            case "again":
                links[f"{first}/again"] = other
            case "dangling":
                links[f"{first}/0.png"] = "nothing"
            case "lacks" if labels == "folders" and len(parts) > 1:
                files[f"{list(parts.values())[-1]}other/0.png"] = png(200, 200)
            case "hollow" if labels == "folders":
                files[f"{parts['train']}empty/a.txt"] = b""
            case "pipe":
                links[f"{first}/pipe.png"] = "|"
            case _:
                doubtful.discard(oddity)
    meant = None if doubtful else {part: frozenset(found) for part, found in truth.items()}
    return Tree(files, links, {"labels": labels, "splits": splits}, meant)


def check_tree(made: Tree) -> None:
    with place() as folder:
        root = folder / "data"
        for name, content in made.files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        for name, target in made.links.items():
            if target == "|":
                os.mkfifo(root / name)
            else:
                (root / name).symlink_to(root / target)
        source = ImageFolder(
            path=str(root), **made.settings, size=2, channels=3, depth=None, bits=8, range=None, on_broken="refuse",
            cache=str(folder / "cache"), workers=1, test_fraction=0.2, val_fraction=0.25, split_seed=0,
        )  # type: ignore[arg-type]  # fmt: skip

        def read() -> Mapping[SplitName, Examples]:
            source.check()
            return source.load()

        loaded = read_rightly(read, made.truth is not None, str(root))
        if made.truth is None:
            return
        names = source.spec.class_names
        kinds = {number: kind for found in made.truth.values() for kind, number in found}
        assert names == (tuple(sorted(set(kinds.values()))) if made.settings["labels"] == "folders" else ())
        found: dict[str, set[tuple[str, int]]] = {}
        for part in ("train", "val", "test"):
            data, label = loaded[part]  # type: ignore[index]
            numbers = data[:, 1, 0, 0].tolist()
            assert len(set(numbers)) == len(numbers)
            told = [
                names[each] if names else kinds[number] for each, number in zip(label.tolist(), numbers, strict=True)
            ]
            found[part] = set(zip(told, numbers, strict=True))
        held = [part for part in ("val", "test") if part not in made.truth]  # of train
        assert found["train"].union(*(found[part] for part in held)) == made.truth["train"]
        assert all(found[part] for part in held)
        assert all(found[part] == made.truth[part] for part in ("val", "test") if part in made.truth)


@given(trees())
@several(QUICK["folders"])
def test_some_folders(made: Tree) -> None:
    check_tree(made)


@pytest.mark.slow
@given(trees())
@several(SLOW["folders"])
def test_folders(made: Tree) -> None:
    check_tree(made)


# -------------------------------------------------------------------------------------------------------------- tables


class Made(NamedTuple):
    content: bytes
    suffix: str
    rows: list[tuple[str, str]] | None  # text, label; None: to be refused
    said: str  # in the message


WORDS = st.text(st.sampled_from("ab éß日\"',;.-"), min_size=1, max_size=8).map(lambda text: f"w{text}".strip())


@st.composite
def tables(draw: st.DrawFn) -> Made:
    tabs = draw(st.booleans())
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    labels = draw(st.sampled_from([["10", "9", "-3"], ["b", "a", "C"], ["1", "x", "10"]]))
    texts = draw(
        st.lists(WORDS if tabs else st.one_of(WORDS, st.builds("{}\n{}".format, WORDS, WORDS)), min_size=4, max_size=8)
    )
    texts = [text.replace("\n", end) for text in texts]
    rows = [(text, labels[place % 3]) for place, text in enumerate(texts)]
    quoting = csv.QUOTE_NONE if tabs else draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))

    def line(*cells: str) -> str:
        if tabs:
            return "\t".join(cells) + end
        out = io.StringIO(newline="")
        csv.writer(out, quoting=quoting, lineterminator=end).writerow(cells)
        return out.getvalue()

    lines = [line("id", "text", "label"), *(line(str(n), text, label) for n, (text, label) in enumerate(rows))]
    at = draw(st.integers(1, len(rows)))
    oddity = draw(st.sampled_from(
        ["none", "none", "blank", "long", "mark", "wide", "short", "no label", "no text", "no end", "junk", "zero",
         "latin", "named twice", "one number"]
    ))  # fmt: skip
    meant: list[tuple[str, str]] | None = rows
    said = f"line {1 + len(split_ends(''.join(lines[:at])))}: "
    match oddity:
        case "blank":
            lines.insert(at, draw(st.sampled_from([end, line("", "", ""), line(" ")])))
        case "long":
            lines.insert(at, line("7", "long " * 30_000, labels[0]))
            meant = [*rows[: at - 1], ("long " * 30_000, labels[0]), *rows[at - 1 :]]
        case "wide":
            lines[at], meant = line("7", "a", labels[0], "b"), None
        case "short":
            lines[at], meant = line("7", "a"), None
        case "no label":
            lines[at], meant = line("7", "a", draw(st.sampled_from(["", " "]))), None
        case "no text":
            lines[at] = line("7", "", rows[at - 1][1])
            meant = [*rows[: at - 1], ("", rows[at - 1][1]), *rows[at:]]
        case "no end" if not tabs:
            lines[at], meant = f'7,"a,{labels[0]}{end}', None
        case "junk" if not tabs:
            lines[at], meant = f'7,"a" b,{labels[0]}{end}', None
        case "zero":
            lines[at], meant = line("7", "a\0b", labels[0]), None
        case "latin":
            meant, said = None, "is not UTF-8: byte "
        case "named twice":
            lines[0], meant, said = line("text", "text", "label"), None, "has it 2 times"
        case "one number":
            lines = [lines[0], *(line("7", "a", label) for label in ("1", "01", "2", "3"))]
            meant, said = None, "are the same number"
    content = "".join(lines).encode("utf-8-sig" if oddity == "mark" else "utf-8")
    if oddity == "latin":
        lines[at] = line("7", "caf\xe9", labels[0])
        content = b"".join(each.encode("latin-1" if place == at else "utf-8") for place, each in enumerate(lines))
    return Made(content, ".tsv" if tabs else ".csv", meant, said)


def split_ends(text: str) -> list[str]:
    """The whole lines of a text, whatever ends them."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]


def check_table(made: Made) -> None:
    with place() as folder:
        path = folder / f"own{made.suffix}"
        path.write_bytes(made.content)
        columns: dict[str, int | str] = {"text": "text", "label": "label"}
        source = TextTable(
            path=str(path), val_path=None, test_path=None, text_column="text", label_column="label", sentences="split",
            example="document", length=8, tokens="words", words="marks", vocabulary=50, lowercase=True, tokenizer=None,
            cache=str(folder), test_fraction=0.2, val_fraction=0.2, split_seed=0,
        )  # fmt: skip
        found = read_rightly(
            lambda: (source.spec.class_names, [row.values for row in Table(path, columns).rows()]),
            made.rows is not None, path.name, made.said,
        )  # fmt: skip
        if made.rows is None:
            return
        names, rows = found
        assert [(lined(text), label) for text, label in rows] == [(lined(text), label) for text, label in made.rows]
        labels = {label for _, label in made.rows}
        numbers = all(label.lstrip("-").isdigit() for label in labels)
        assert names == tuple(sorted(labels, key=int if numbers else str))


def lined(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(tables())
@several(QUICK["tables"])
def test_some_tables(made: Made) -> None:
    check_table(made)


@pytest.mark.slow
@given(tables())
@several(SLOW["tables"])
def test_tables(made: Made) -> None:
    check_table(made)


# -------------------------------------------------------------------------------------------------------------- arrays


class Stored(NamedTuple):
    arrays: Mapping[str, Any]
    names: tuple[str, ...] | None  # of the classes; None: to be refused
    test: list[int]  # labels
    said: str


@st.composite
def stored(draw: st.DrawFn) -> Stored:
    n, classes = 20, draw(st.integers(2, 4))
    shape = draw(st.sampled_from([(5, 6), (5, 6, 1), (5, 6, 3), (3, 5, 6)]))
    x = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 256, (n, *shape), dtype=np.uint8)
    numbers = np.arange(n) % classes
    kind = draw(st.sampled_from(["dense", "ids", "from one", "text", "bytes", "numerals", "truth", "wide", "column"]))
    step = draw(st.integers(2, 2**60))
    given_names = tuple(f"c{number}" for number in range(classes))
    names: tuple[str, ...] = ()
    match kind:
        case "dense":
            y = numbers.astype(draw(st.sampled_from(["u1", "i2", ">i4", "u8"])))
        case "ids":
            y, names = numbers * step, tuple(str(number * step) for number in range(classes))
        case "from one":
            y, names = numbers + 1, tuple(str(number + 1) for number in range(classes))
        case "text":
            y, names = np.array(given_names)[numbers], given_names
        case "bytes":
            y, names = np.array([name.encode() for name in given_names])[numbers], given_names
        case "numerals":
            names = tuple(str(8 + number) for number in range(classes))  # "10" after "9"
            y = np.array(names)[numbers]
        case "truth":
            numbers = numbers % 2
            y = numbers.astype(bool)
        case "wide":
            y = numbers + np.int64(0)
        case _:
            y = numbers[:, None].astype(np.uint8)
    arrays: dict[str, Any] = {"x_train": x, "x_test": x[:8], "y_train": y, "y_test": y[:8], "other": np.zeros(3)}
    test = numbers[:8].tolist()
    if draw(st.booleans()) and kind in ("dense", "wide", "column", "text"):
        order = draw(st.permutations(given_names)) if kind == "text" else given_names
        arrays["label_names"] = np.array([*order, "more"])
        names = (*order, "more")
        test = [names.index(given_names[label]) for label in test] if kind == "text" else test
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "no x": ({"x_test": None}, "there is no x_test in it, only "),
        "no y": ({"y_test": None}, "there is no y_test"),
        "floats": ({"y_train": numbers * 1.0}, "y_train is float64"),
        "negative": ({"y_train": numbers - 1}, "y_train goes down to -1"),
        "cast": ({"y_train": np.where(numbers == 0, 2**64 - 1, numbers).astype(np.uint64)}, "y_train goes up to 1844"),
        "scalar": ({"y_train": np.int64(1)}, r"y_train is ()"),
        "short": ({"y_train": y[:-1]}, "y_train is "),
        "one-hot": ({"y_train": np.eye(classes, dtype=int)[np.arange(n) % classes]}, "y.argmax(1)"),
        "objects": ({"y_train": np.array(["a", None] * 10, dtype=object)}, "y_train is object"),
        "empty": ({"y_train": np.array(["a", ""] * 10), "y_test": np.array(["a"] * 8)}, "y_train[1] is empty"),
        "mixed": ({"y_train": np.array(["a", "b"] * 10), "y_test": np.zeros(8, int)}, "strings in one split"),
        "strange": ({"y_train": np.array(["a", "b"] * 10), "y_test": np.array(["A"] * 8)}, "does not have: A"),
        "numbered": ({"y_train": np.arange(n), "y_test": np.arange(8)}, "is unique"),
        "name": ({"label_names": np.array("a,b,c")}, "label_names is of shape ()"),
        "scores": ({"label_names": np.arange(9) / 2}, "label_names is float64"),
        "pixel": ({"x_train": np.uint8(3)}, "x_train is of shape ()"),
        "unit": ({"x_train": x / 255, "x_test": x[:8] / 255}, "images are float32, whose range is not known"),
        "black": ({"x_train": x % 2, "x_test": x[:8] % 2}, "are black"),
        "flat": ({"x_train": x[:, 0, 0], "x_test": x[:8, 0, 0]}, "images are "),
        "nothing": ({"x_train": x[:, :0], "x_test": x[:8, :0]}, "they have no pixels"),
        "dates": ({"y_train": numbers.astype("M8[s]")}, "y_train is datetime64"),
    }  # fmt: skip
    if draw(st.booleans()):
        return Stored(arrays, names, test, "")
    oddity = draw(st.sampled_from(sorted(wrong)))
    change, said = wrong[oddity]
    if oddity in ("strange", "numbered", "empty", "mixed"):
        arrays.pop("label_names", None)
    arrays |= change
    return Stored({name: array for name, array in arrays.items() if array is not None}, None, [], said)


def check_arrays(made: Stored) -> None:
    with place() as folder:
        path = folder / "own.npz"
        np.savez(path, **made.arrays)
        source = Arrays(
            path=str(path), range=None, clip=False, channel_axis=None, test_fraction=0.2, val_fraction=0.2, split_seed=0
        )

        def read() -> tuple[DataSpec, Mapping[SplitName, Examples]]:
            source.check()
            return source.spec, source.load()

        found = read_rightly(read, made.names is not None, str(path), made.said)
        if made.names is None:
            return
        spec, loaded = found
        assert spec.class_names == made.names
        assert loaded["test"].label.tolist() == made.test
        assert spec.classes == len(made.names) or not made.names
        stored = made.arrays["x_test"]
        wanted = (
            stored[:, None] if stored.ndim == 3 else stored if stored.shape[1] == 3 else stored.transpose(0, 3, 1, 2)
        )
        assert np.array_equal(loaded["test"].data.numpy(), wanted)


@pytest.mark.filterwarnings("ignore::UserWarning")  # numpy's, of pickles that are written
@given(stored())
@several(QUICK["arrays"])
def test_some_arrays(made: Stored) -> None:
    check_arrays(made)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@given(stored())
@several(SLOW["arrays"])
def test_arrays(made: Stored) -> None:
    check_arrays(made)


# -------------------------------------------------------------------------------------------------------------- images


class Deep(NamedTuple):
    values: np.ndarray  # (n, 4, 4)
    how: str
    depth: int | None
    read: np.ndarray | None  # (n, 4, 4); None: to be refused


@st.composite
def deep_images(draw: st.DrawFn) -> Deep:
    bits = draw(st.sampled_from([8, 10, 12, 14, 15, 16]))
    depth = draw(st.sampled_from([None, bits, 8, 12, 16]))
    how = draw(st.sampled_from(["16.png", "16.tif", "32.tif", "16.pgm"]))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 2**bits, (10, 4, 4))
    values[0, 0, 0] = 2**bits - 1
    most = 2 ** (depth or 16) - 1
    clear = values.max() <= most if depth else values.max() >= 2**14
    read = np.rint(values * 255 / most) if clear else None
    return Deep(values, how, depth, None if read is not None and read.max() <= 1 else read)


def check_images(made: Deep) -> None:
    with place() as folder:
        (folder / "data").mkdir()
        bits, suffix = made.how.split(".")
        for number, image in enumerate(made.values):
            path = folder / "data" / f"{number}.{suffix}"
            if suffix == "pgm":
                path.write_bytes(b"P5 4 4 65535\n" + image.astype(">u2").tobytes())
            else:
                Image.fromarray(image.astype(np.uint16 if bits == "16" else np.int32)).save(path)
        source = ImageFolder(
            path=str(folder / "data"), labels="none", splits="folders", size=4, channels=1, depth=made.depth,
            bits=8, range=None, on_broken="refuse", cache=str(folder / "cache"), workers=1, test_fraction=0.2,
            val_fraction=0.25, split_seed=0,
        )  # fmt: skip
        loaded = read_rightly(source.load, made.read is not None, str(folder))
        if made.read is None:
            return
        found = np.concatenate([loaded[part].data.numpy()[:, 0] for part in ("train", "val", "test")])  # type: ignore[index]
        assert sorted(map(bytes, found)) == sorted(bytes(each.astype(np.uint8)) for each in made.read)


@given(deep_images())
@several(QUICK["images"])
def test_some_images_of_more_than_8_bits(made: Deep) -> None:
    check_images(made)


@pytest.mark.slow
@given(deep_images())
@several(SLOW["images"])
def test_images_of_more_than_8_bits(made: Deep) -> None:
    check_images(made)
