"""Datasets of two real views: which belong together, by what they hold; and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_runner.data.any.module import DataModule
from ssl_runner.data.images.mnist_5k import MNIST5k
from ssl_runner.data.pairs.captions import Captions
from ssl_runner.data.pairs.halves import Halves
from ssl_runner.data.pairs.illustrations import Illustrations
from ssl_runner.data.pairs.paired_images import PairedImages
from ssl_runner.data.pairs.paired_texts import PairedTexts
from ssl_runner.interfaces import TextSpec

IMAGES = {"size": 4, "channels": 1, "depth": None, "bits": 8, "range": None, "on_broken": "refuse", "workers": 1,
          "test_fraction": 0.2, "val_fraction": 0.2, "split_seed": 0}  # fmt: skip
TEXTS = {"length": 8, "tokens": "words", "vocabulary": 100, "lowercase": True, "tokenizer": None,
         "test_fraction": 0.2, "val_fraction": 0.2, "split_seed": 0}  # fmt: skip
COUNT = 20


def draw(file: Path, value: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, dtype=np.uint8)).save(file)


def folders(place: Path) -> PairedImages:
    """The second view of an image of value v is one of 100 + v; the two folders have other suffixes."""
    for value in range(COUNT):
        draw(place / "one" / "ab"[value % 2] / f"{value}.png", value)
        draw(place / "two" / "ab"[value % 2] / f"{value}.bmp", 100 + value)
    return paired(place)


def paired(place: Path, **changes: object) -> PairedImages:
    given = {"path": str(place / "one"), "other_path": str(place / "two"), "labels": "folders", "splits": "folders"}
    return PairedImages(**given | IMAGES | {"cache": str(place / "cache")} | changes)


def table(place: Path, *lines: str) -> dict[str, object]:
    """Settings of captions: the image of value v is called "image v"."""
    rows = [f"{value}.png,image number {value},{'ab'[value % 2]}" for value in range(COUNT)]
    for value in range(COUNT):
        draw(place / f"{value}.png", value)
    (place / "table.csv").write_text("\n".join(["file,caption,kind", *rows, *lines]) + "\n")
    given = {"path": str(place / "table.csv"), "folder": None, "file_column": "file", "caption_column": "caption",
             "label_column": "kind"}  # fmt: skip
    return given | TEXTS | IMAGES | {"cache": str(place / "cache")}


def test_halves_share_no_pixel_and_belong_together() -> None:
    whole = MNIST5k(test_fraction=0.2, val_fraction=0.1, split_seed=0)
    source, images = Halves(images=whole, kept="left"), whole.load()["val"]
    found = source.load()["val"]
    assert torch.equal(torch.cat((found.data, source.others("val")), dim=3), images.data)
    assert torch.equal(found.label, images.label)
    assert found.data.shape[1:] == source.spec.fake(1).shape[1:] == source.spec.other.fake(1).shape[1:]
    upper = Halves(images=whole, kept="bottom")
    assert torch.equal(torch.cat((upper.load()["val"].data, upper.others("val")), dim=2), images.data.roll(14, dims=2))


def test_two_folders_are_paired_by_their_paths(tmp_path: Path) -> None:
    source = folders(tmp_path)
    found = source.load()
    for split, examples in found.items():
        assert torch.equal(examples.data.long() + 100, source.others(split).long())
        assert torch.equal(examples.data[:, 0, 0, 0] % 2, examples.label)
    assert source.spec.classes == 2
    assert source.spec.other.classes == 0


def test_an_image_without_partner_is_refused(tmp_path: Path) -> None:
    folders(tmp_path)
    (tmp_path / "two" / "a" / "0.bmp").unlink()
    draw(tmp_path / "two" / "b" / "x.png", 0)
    with pytest.raises(ValueError, match=r"2 images of train have no partner \(1 of dataset.path .*a/0, b/x"):
        paired(tmp_path).check()


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    folders(tmp_path)
    draw(tmp_path / "one" / "a" / "0.bmp", 0)
    with pytest.raises(ValueError, match="differ only in their suffix"):
        paired(tmp_path).check()


def test_pairs_are_not_torn(tmp_path: Path) -> None:
    folders(tmp_path)
    with pytest.raises(ValueError, match="on_broken is skip, which would leave the partners"):
        paired(tmp_path, on_broken="skip")
    with pytest.raises(ValueError, match=r"other_path is dataset.path"):
        paired(tmp_path, other_path=str(tmp_path / "one"))
    for value in range(4):
        draw(tmp_path / "one" / "val" / f"{value}.png", value)
    with pytest.raises(ValueError, match=r"no partner|have the same|beside"):
        paired(tmp_path).check()


def test_two_columns_are_pairs_of_texts(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text("a\tb\n" + "".join(f"word{n} said\tsaid word{n}\n" for n in range(COUNT)))
    source = PairedTexts(path=str(file), column="a", other_column="b", **TEXTS)
    found = source.load()
    spec = source.spec
    for split, examples in found.items():
        first, second = examples.data, source.others(split)
        assert first.shape == second.shape
        assert torch.equal(first.sort(1).values, second.sort(1).values)  # the same words
        assert (first[:, 0] == spec.special.cls).all()
        assert ((first == spec.special.sep).sum(1) == 1).all()
    assert isinstance(spec.other, TextSpec)
    assert spec.other.vocabulary == spec.vocabulary
    with pytest.raises(ValueError, match="two different columns"):
        PairedTexts(path=str(file), column="a", other_column="a", **TEXTS)


def test_rows_of_unequal_length_and_empty_texts_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("a,b\none,two\nthree\n")
    with pytest.raises(ValueError, match="line 3"):
        PairedTexts(path=str(file), column="a", other_column="b", **TEXTS).load()
    file.write_text("a,b\none,two\nthree,\n")
    with pytest.raises(ValueError, match="line 3: a text is empty"):
        PairedTexts(path=str(file), column="a", other_column="b", **TEXTS).load()


def test_captions_are_of_their_images_both_ways(tmp_path: Path) -> None:
    given = table(tmp_path)
    source, turned = Captions(**given), Illustrations(**given)
    images, texts = source.load(), turned.load()
    from tokenizers import Tokenizer

    reader = Tokenizer.from_str(source.text_spec.tokenizer)
    for split, examples in images.items():
        for image, row in zip(examples.data, source.others(split).tolist(), strict=True):
            named = [int(word) for word in reader.decode(row).split() if word.isdigit()]
            assert named == [int(image[0, 0, 0])] or 1 in row  # a number that is not in train is unknown
        assert torch.equal(examples.data[:, 0, 0, 0] % 2, examples.label)
        assert torch.equal(texts[split].data, source.others(split))
        assert torch.equal(turned.others(split), examples.data)
        assert torch.equal(texts[split].label, examples.label)
    assert turned.spec.classes == 2


def test_all_captions_of_an_image_are_in_one_split(tmp_path: Path) -> None:
    more = [f"{value}.png,another of {value},{'ab'[value % 2]}" for value in range(COUNT)]
    found = Captions(**table(tmp_path, *more)).load()
    seen = [set(found[split].data[:, 0, 0, 0].tolist()) for split in ("train", "val", "test")]
    assert sum(map(len, seen)) == COUNT
    assert sum(len(found[split].label) for split in ("train", "val", "test")) == 2 * COUNT


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("99.png,no such image,a", "line 22: .*99.png is not an existing file"),
        ("1.png,,a", "line 22: the cell of .*caption"),
    ],
)
def test_a_row_without_image_or_caption_is_refused(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        Captions(**table(tmp_path, line)).check()


def test_batches_hold_both_views_and_the_fingerprint_covers_them(tmp_path: Path) -> None:
    source = folders(tmp_path)
    data = DataModule(source, batch_size=4, seed=0)
    batch = next(iter(data.train_dataloader()))
    assert torch.equal(batch.data.long() + 100, batch.other.long())
    assert data.statistics()[0] != data.statistics(other=True)[0]
    before = data.fingerprint()
    source._others["train"] = source.others("train") + 1
    assert data.fingerprint() != before
