import numpy as np
import torch

from ssl_runner.nn.pictures import pictures


def test_three_channels_come_last_and_others_are_averaged() -> None:
    color = torch.rand(2, 3, 4, 5)
    np.testing.assert_array_equal(pictures(color), color.permute(0, 2, 3, 1).numpy())
    np.testing.assert_array_equal(pictures(color[:, :1]), color[:, 0].numpy())
    np.testing.assert_allclose(pictures(color[:, :2]), color[:, :2].mean(1).numpy())


def test_clips_are_read_frame_by_frame_and_cut_off() -> None:
    clips = torch.full((2, 6, 1, 4, 5), 2.0, requires_grad=True)
    assert pictures(clips).shape == (2, 6, 4, 5)
    assert pictures(clips).max() == 1.0
