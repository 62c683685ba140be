import torch

from ssl_runner.views.mismatch import mismatch


def test_no_two_views_of_an_image_stay_together_and_none_is_lost() -> None:
    torch.manual_seed(0)
    views = torch.arange(3 * 20.0).view(3, 20, 1, 1, 1).expand(3, 20, 1, 2, 2)
    given = mismatch(views)
    assert given.shape == views.shape
    assert torch.equal(given[0], views[0])
    for before, after in zip(views[1:, :, 0, 0, 0], given[1:, :, 0, 0, 0], strict=True):
        assert sorted(after.tolist()) == before.tolist()
        assert not (after == before).any()
    assert not torch.equal(given[1, :, 0, 0, 0] - 20, given[2, :, 0, 0, 0] - 40)  # each view by a draw of its own
