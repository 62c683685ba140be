"""What `interfaces` promises of all views. A module that imports these tests defines the fixtures `views`, and
`shown`: a batch that they read, as input."""

import torch
from torch import Tensor

from ssl_runner.interfaces import Views


def drawn(views: Views, shown: Tensor, seed: int = 3) -> Tensor:
    torch.manual_seed(seed)
    found: Tensor = views(shown)
    return found


def test_views_have_the_promised_shape_and_range(views: Views, shown: Tensor) -> None:
    found = drawn(views, shown)
    assert found.ndim == shown.ndim + 1
    assert found.shape[1] == len(shown)
    if shown.is_floating_point() and shown.ndim > 3:  # images and clips
        assert found.dtype == torch.float32
        assert found.shape[-3] == shown.shape[-3]
        assert -1e-6 <= found.min() <= found.max() <= 1 + 1e-6


def test_views_leave_the_batch_and_repeat_under_a_seed(views: Views, shown: Tensor) -> None:
    before = shown.clone()
    assert torch.equal(drawn(views, shown), drawn(views, shown))
    assert torch.equal(shown, before)


def test_parameters_are_drawn_per_example(views: Views, shown: Tensor) -> None:
    """Of a batch of one example again and again: if anything is random, not all views are alike."""
    same = shown[:1].expand_as(shown).contiguous()
    found = drawn(views, same)
    if not torch.equal(found, drawn(views, same, seed=4)):
        assert not all(torch.equal(each, found[:, 0]) for each in found.transpose(0, 1))
