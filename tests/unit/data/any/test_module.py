from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from ssl_runner.data.any.module import DataModule
from ssl_runner.data.images.fake import FakeImages
from ssl_runner.interfaces import DataSource, Examples, ImageSpec, TextSpec


class Given(DataSource):
    """Hands out what it is given, and counts how often."""

    def __init__(self, **splits: Examples) -> None:
        self.splits = splits
        self.loads = 0

    @property
    def spec(self) -> ImageSpec:
        _, channels, height, width = self.splits["pretrain"].data.shape
        return ImageSpec(channels=channels, height=height, width=width, classes=2)

    def check(self) -> None:
        pass

    def contents(self):
        return {}

    def load(self):
        self.loads += 1
        return self.splits


def drawn(n: int, channels: int = 3, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    data = torch.randint(256, (n, channels, 5, 4), generator=generator, dtype=torch.uint8)
    return Examples(data, torch.arange(n) % 2)


def given(n: int = 20, *, channels: int = 3) -> Given:
    train = drawn(n, channels)
    return Given(pretrain=train, train=train, val=drawn(7, channels, 1), test=drawn(4, channels, 2))


def module(source: DataSource, batch_size: int = 6, seed: int = 0) -> DataModule:
    return DataModule(source, batch_size=batch_size, seed=seed)


def test_loads_once_and_says_how_many() -> None:
    source = given()
    data = module(source)
    assert (data.spec.size, source.loads) == (0, 0)
    data.prepare_data()
    data.setup("fit")
    data.setup()
    data.fingerprint()
    assert data.spec == replace(source.spec, size=20)
    assert source.loads == 1
    assert len(data.examples("test").label) == 4


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_numpys(channels: int) -> None:
    source = given(9000, channels=channels)  # more than one chunk
    mean, std = module(source).statistics()
    stored = source.splits["pretrain"].data.numpy() / 255.0
    np.testing.assert_allclose(mean.numpy(), stored.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std.numpy(), stored.std(axis=(0, 2, 3)), rtol=1e-6)
    assert mean.dtype == std.dtype == torch.float32


def test_a_constant_channel_can_be_divided_by() -> None:
    data = torch.tensor([[0, 51], [0, 204]], dtype=torch.uint8).reshape(2, 2, 1, 1)
    mean, std = module(Given(pretrain=Examples(data, torch.tensor([0, 1])))).statistics()
    assert mean.tolist() == pytest.approx([0.0, 0.5])
    assert std.tolist() == pytest.approx([1.0, 0.3])


def test_fingerprint_sees_every_pixel_and_label() -> None:
    marks = {module(given()).fingerprint(), module(given()).fingerprint()}
    assert len(marks) == 1
    assert len(marks.copy().pop()) == 16
    for split, part, place in [("val", 0, (6, 2, 4, 3)), ("test", 1, (3,)), ("pretrain", 0, (0, 0, 0, 0))]:
        source = given()
        source.splits[split][part][place] ^= 1
        marks.add(module(source).fingerprint())
    assert len(marks) == 4


def test_fingerprint_does_not_ask_who_shares_memory() -> None:
    source = given()
    train = source.splits["train"]
    apart = Given(**{**source.splits, "train": Examples(train.data.clone(), train.label.clone())})
    assert module(source).fingerprint() == module(apart).fingerprint()


def test_a_part_to_pretrain_on_is_random_and_nested() -> None:
    """What is trained on with labels, and tested, stays."""
    source = given()
    whole = module(source)

    def part(size: int, seed: int = 0) -> set[bytes]:
        data = DataModule(source, batch_size=2, seed=seed, examples=size)
        examples = data.examples("pretrain")
        assert len(examples.data) == len(examples.label) == data.spec.size == size
        assert torch.equal(data.examples("train").data, whole.examples("train").data)
        return {image.numpy().tobytes() for image in examples.data}

    assert part(5) < part(9) < part(20)
    assert part(5) != part(5, seed=1)
    with pytest.raises(ValueError, match="pretrain_examples is 21; it must be at most 20"):
        DataModule(source, batch_size=2, seed=0, examples=21).setup()


def test_a_part_of_running_text_is_its_beginning() -> None:
    """Windows move within it, and never beyond."""
    text = torch.arange(1 + 4 * 6, dtype=torch.int32)
    windows = Examples(text.as_strided((6, 5), (4, 1)), torch.full((6,), -1))
    source = Given(pretrain=windows, train=windows, val=windows, test=windows)
    source.__class__ = type("Texts", (Given,), {"spec": TextSpec(length=5, vocabulary=100)})
    data = DataModule(source, batch_size=3, seed=0, examples=3)
    assert torch.equal(data.examples("pretrain").data, windows.data[:3])
    data.moving = True
    loader = data.train_dataloader()
    seen = [batch.data for number in range(8) for batch in (loader.sampler.set_epoch(number), *loader)[1:]]
    assert max(int(each.max()) for each in seen) <= int(windows.data[:3].max())


def epoch(data: DataModule, number: int) -> list[list[int]]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return [batch.index.tolist() for batch in loader]


def test_training_batches_follow_seed_and_epoch_and_are_whole() -> None:
    first = epoch(module(given()), 0)
    assert [len(batch) for batch in first] == [6, 6, 6]
    assert epoch(module(given()), 0) == first
    assert epoch(module(given()), 1) != first
    assert epoch(module(given(), seed=1), 0) != first


def test_validation_is_in_order_and_whole_unless_that_leaves_nothing() -> None:
    data = module(given())
    assert [batch.index.tolist() for batch in data.val_dataloader()] == [[0, 1, 2, 3, 4, 5]]
    assert [len(batch.index) for batch in module(given(), batch_size=16).val_dataloader()] == [7]


def test_a_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size is 21; it must be at most 20"):
        module(given(), batch_size=21).train_dataloader()
    with pytest.raises(ValueError, match="batch_size is 0"):
        module(given(), batch_size=0)


class Watch(pl.LightningModule):
    """Notes which examples come in which epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: dict[int, list[int]] = {}

    def training_step(self, batch, index):
        self.seen.setdefault(self.current_epoch, []).extend(batch.index.tolist())
        return self.layer(batch.data.float().mean().reshape(1, 1)).sum()

    def validation_step(self, batch, index):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*is a low value, or the number of training batches")
def test_lightning_sets_the_epoch() -> None:
    watch = Watch()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    source = FakeImages(
        examples=40, test_examples=4, classes=2, channels=1, height=4, width=4, noise=0.0, val_fraction=0.2, seed=0
    )
    data = module(source, batch_size=8)
    pl.Trainer(max_epochs=2, accelerator="cpu", log_every_n_steps=1, **quiet).fit(watch, data)
    expected = [[place for batch in epoch(data, number) for place in batch] for number in (0, 1)]
    assert [watch.seen[0], watch.seen[1]] == expected


@pytest.mark.parametrize(
    ("stored", "ends"), [("uint16", (0, 65535)), ("int16", (-1000, 3000)), ("float32", (-1, 2)), ("uint8", (0, 100))]
)
def test_statistics_of_other_values_are_those_of_the_input(stored: str, ends: tuple[float, float]) -> None:
    """By NumPy, in float64; a constant channel has deviation 1."""
    own = given(20, channels=4)
    values = np.random.default_rng(0).uniform(*ends, (20, 4, 5, 4)).astype(stored)
    values[:, 3] = ends[1]
    data = Examples(torch.from_numpy(values), torch.zeros(20, dtype=torch.int64))
    own.splits |= {"pretrain": data, "train": data}
    spec = ImageSpec(channels=4, height=5, width=4, stored=stored, range=ends)
    own.__class__ = type("Other", (Given,), {"spec": spec})
    mean, deviation = module(own).statistics()
    shares = (values.astype(np.float64) - ends[0]) / (ends[1] - ends[0])
    np.testing.assert_allclose(mean, shares.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(deviation[:3], shares.std((0, 2, 3))[:3], rtol=1e-5)
    assert deviation[3] == 1


def test_the_range_is_part_of_the_fingerprint() -> None:
    def fingerprint(**changes) -> str:
        own = given()
        own.__class__ = type("Other", (Given,), {"spec": replace(own.spec, **changes)})
        return module(own).fingerprint()

    assert fingerprint() == module(given()).fingerprint()
    assert len({fingerprint(), fingerprint(range=(0, 100)), fingerprint(range=(0, 200))}) == 3
