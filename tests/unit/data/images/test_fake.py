import pytest
import torch

from ssl_runner.data.images.fake import FakeImages

SETTINGS = dict(
    examples=200, test_examples=80, classes=4, channels=3, height=16, width=12, noise=0.1, val_fraction=0.1, seed=0
)


def test_splits_are_as_the_spec_says() -> None:
    source = FakeImages(**SETTINGS)
    source.check()
    splits = source.load()
    assert {name: len(part.label) for name, part in splits.items()} == {
        "pretrain": 180,
        "train": 180,
        "val": 20,
        "test": 80,
    }
    for data, label in splits.values():
        assert (data.dtype, data.shape[1:]) == (torch.uint8, (3, 16, 12))
        assert len(set(torch.bincount(label, minlength=4).tolist())) == 1
    assert (source.spec.classes, source.spec.channels, source.spec.height, source.spec.width) == (4, 3, 16, 12)
    assert len(source.spec.class_names) == 4


def test_the_seed_makes_the_images() -> None:
    one, two, other = (FakeImages(**{**SETTINGS, "seed": seed}).load()["train"].data for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("channels", [1, 3])
def test_classes_can_be_learned(channels: int) -> None:
    """The amplitudes of a Fourier transform forget the phase: their nearest class mean should tell."""
    splits = FakeImages(**{**SETTINGS, "channels": channels}).load()
    train, test = (
        (torch.fft.fft2(part.data.double()).abs().flatten(1), part.label) for part in (splits["train"], splits["test"])
    )
    means = torch.stack([train[0][train[1] == k].mean(0) for k in range(4)])
    found = torch.cdist(test[0], means).argmin(1)
    assert (found == test[1]).double().mean() > 0.95


def test_without_classes_images_are_unlabeled_and_not_all_alike() -> None:
    source = FakeImages(**{**SETTINGS, "classes": 0})
    train = source.load()["train"]
    assert (source.spec.classes, source.spec.class_names) == (0, ())
    assert train.label.tolist() == [-1] * 180
    assert train.data.float().std(0).mean() > 20


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("examples", 0),
        ("classes", -1),
        ("noise", -0.1),
        ("noise", float("nan")),
        ("val_fraction", 1.0),
        ("channels", 0),
    ],
)
def test_values_out_of_range_name_their_key(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.{key} is {value}"):
        FakeImages(**{**SETTINGS, key: value})
