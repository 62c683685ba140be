"""Features of a run as data: what is read, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_runner.data.vectors.features import FILE, RunFeatures, write
from ssl_runner.interfaces import Examples, SplitName

SIZES: dict[SplitName, int] = {"train": 20, "val": 5, "test": 6}


def written(folder: Path) -> dict[SplitName, Examples]:
    torch.manual_seed(0)
    splits = {split: Examples(3 * torch.randn(n, 4) + 1, torch.arange(n) % 2) for split, n in SIZES.items()}
    place = folder / "export" / "features"
    place.mkdir(parents=True)
    write(place / FILE, splits, ("cat", "dog"))
    return splits


def test_what_was_written_is_read(tmp_path: Path) -> None:
    splits = written(tmp_path)
    source = RunFeatures(run=str(tmp_path), standardize=False)
    assert (source.spec.shape, source.spec.classes, source.spec.class_names) == ((1, 4), 2, ("cat", "dog"))
    assert source.count() == source.spec.size == 20
    found = source.load()
    for split, examples in splits.items():
        assert torch.equal(found[split].data[:, 0], examples.data)
        assert torch.equal(found[split].label, examples.label)
    assert found["pretrain"] is found["train"]
    assert source.contents() == {"run": {FILE: tmp_path / "export" / "features" / FILE}}


def test_numbers_are_standardized_by_train(tmp_path: Path) -> None:
    splits = written(tmp_path)
    found = RunFeatures(run=str(tmp_path / "export" / "features" / FILE), standardize=True).load()
    torch.testing.assert_close(found["train"].data.mean(dim=0), torch.zeros(1, 4), atol=1e-6, rtol=0)
    torch.testing.assert_close(found["train"].data.std(dim=0), torch.ones(1, 4))
    train = splits["train"].data
    torch.testing.assert_close(found["test"].data[:, 0], (splits["test"].data - train.mean(0)) / train.std(0))


def test_features_that_were_not_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ssl-export run=.* format=features"):
        RunFeatures(run=str(tmp_path), standardize=True).check()


@pytest.mark.parametrize("damage", ["cut", "shape", "missing", "nan"])
def test_damaged_features_are_refused(tmp_path: Path, damage: str) -> None:
    written(tmp_path)
    file = tmp_path / "export" / "features" / FILE
    arrays = dict(np.load(file).items())
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:200])
    else:
        arrays["x_val"] = {"shape": arrays["x_val"][None], "nan": np.full((5, 4), np.nan)}.get(damage, arrays["x_val"])
        if damage == "missing":
            del arrays["y_test"]
        np.savez(file, **arrays)
    with pytest.raises(ValueError, match="cannot be read as features"):
        RunFeatures(run=str(tmp_path), standardize=True).check()
