"""Correlated Gaussians against their moments, and the mutual information of those."""

import pytest
import torch

from ssl_runner.data.any.module import DataModule
from ssl_runner.data.vectors.correlated_gaussians import CorrelatedGaussians

SETTINGS = {
    "examples": 20_000,
    "test_examples": 500,
    "width": 3,
    "information": 1.5,
    "val_fraction": 0.1,
    "seed": 0,
}


def test_the_mutual_information_is_what_was_set() -> None:
    """I = 1/2 log(det A det B / det AB) from the covariances of the two and of both."""
    source = CorrelatedGaussians(**SETTINGS)
    data = source.load()["train"].data.double()
    both = torch.cov(data.flatten(1).mT)
    information = (both[:3, :3].logdet() + both[3:, 3:].logdet() - both.logdet()) / 2
    assert information.item() == pytest.approx(1.5, abs=0.03)
    assert source.spec.information == 1.5
    torch.testing.assert_close(both.diagonal(), torch.ones(6, dtype=torch.float64), atol=0.05, rtol=0)
    across = both[:3, 3:]
    assert across.diagonal().std() < 0.02
    assert (across - across.diag().diag()).abs().max() < 0.03
    torch.testing.assert_close(data.mean(dim=0), torch.zeros(2, 3, dtype=torch.float64), atol=0.03, rtol=0)


def test_without_information_the_two_are_independent() -> None:
    data = CorrelatedGaussians(**SETTINGS | {"information": 0.0}).load()["train"].data
    assert torch.corrcoef(data.flatten(1).mT)[:3, 3:].abs().max() < 0.03


def test_splits_seeds_and_statistics() -> None:
    one, same, other = (CorrelatedGaussians(**SETTINGS | {"seed": seed}).load() for seed in (0, 0, 1))
    assert {name: tuple(part.data.shape) for name, part in one.items()} == {
        "pretrain": (18_000, 2, 3),
        "train": (18_000, 2, 3),
        "val": (2000, 2, 3),
        "test": (500, 2, 3),
    }
    assert all((part.label == -1).all() for part in one.values())
    assert torch.equal(one["test"].data, same["test"].data)
    assert not torch.equal(one["test"].data, other["test"].data)
    module = DataModule(CorrelatedGaussians(**SETTINGS), batch_size=8, seed=0)
    mean, std = module.statistics()  # vectors are left as they are
    assert (mean == 0).all()
    assert (std == 1).all()


@pytest.mark.parametrize(
    ("key", "value"), [("examples", 0), ("width", 0), ("information", -1.0), ("information", float("inf")),
                       ("val_fraction", 1.0)],
)  # fmt: skip
def test_what_is_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.{key} is {value}"):
        CorrelatedGaussians(**SETTINGS | {key: value})
