"""Supervision: every view is an example of its label."""

import pytest
import torch
from torch.nn import functional as F

from ssl_runner.assembly import check
from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.config.compose import compose
from ssl_runner.config.schema import typed
from ssl_runner.interfaces import Batch, ImageSpec
from ssl_runner.objectives.supervised import Supervised
from ssl_runner.views.image import ImageViews
from ssl_runner.views.pair import NOTHING

SPEC = ImageSpec(channels=1, height=8, width=8, classes=3)
BATCH = Batch(
    torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1, 0]), torch.arange(5)
)


def supervised(views: ImageViews | None) -> Supervised:
    torch.manual_seed(0)
    return Supervised(ConvNet(SPEC, widths=[4, 8], norm="batch"), SPEC, views=views).eval()


def noisy() -> ImageViews:
    return ImageViews(**NOTHING | {"views": 3, "noise": 0.3})


def test_the_loss_is_the_mean_over_views() -> None:
    task = supervised(noisy())
    x, y = task.split(BATCH)
    assert x.shape == (3, 5, 1, 8, 8)
    assert not torch.equal(x[0], x[1])
    losses, right = [], []
    for view in x:
        for image, label in zip(view, y, strict=True):
            logits = task.head(task.encoder(image[None]).pooled)
            losses.append(F.cross_entropy(logits, label[None]))
            right.append((logits.argmax() == label).float())
    found = task.loss(x, y)
    torch.testing.assert_close(found.value, torch.stack(losses).mean())
    torch.testing.assert_close(found.logs["accuracy"], torch.stack(right).mean())


def test_views_vote() -> None:
    task = supervised(noisy())
    x, _ = task.split(BATCH)
    each = torch.stack([task.head(task.encoder(view).pooled).log_softmax(dim=1) for view in x])
    assert torch.equal(task.predict(x), each.sum(dim=0).argmax(dim=1))


def test_without_views_an_image_is_seen_as_it_is() -> None:
    x, y = supervised(None).split(BATCH)
    assert torch.equal(x, BATCH.data[None])
    assert torch.equal(y, BATCH.label)


@pytest.mark.parametrize(
    ("overrides", "flip"), [([], 0.0), (["objective/views=natural"], 0.5), (["objective.views=null"], None)]
)
def test_views_are_those_that_suit_the_data_or_are_chosen(overrides: list[str], flip: float | None) -> None:
    plain = compose(["objective=supervised", "dataset=mnist_5k", "evaluation=[]", "logger=none", *overrides])
    check.validate(typed(plain))
    views = plain["objective"]["views"]
    assert (views and (views["flip"], views["views"])) == (flip if flip is None else (flip, 2))
