import pytest
import torch

from ssl_runner.nn.frames import motion, seen, take


def test_frames_are_taken_clip_by_clip():
    clips = torch.rand(3, 5, 1, 2, 2)
    places = torch.tensor([[0, 4], [3, 3], [2, 1]])
    expected = torch.stack([torch.stack([clips[b, t] for t in row]) for b, row in enumerate(places.tolist())])
    assert torch.equal(take(clips, places), expected)
    both = take(clips, torch.stack([places, places.flip(1)]))
    assert both.shape == (2, 3, 2, 1, 2, 2)
    assert torch.equal(both[1], expected.flip(1))


def test_motion_is_the_mean_difference_of_successive_frames():
    clips = torch.tensor([[0.0, 1.0, 1.0, 0.5]]).view(1, 4, 1, 1, 1).repeat(1, 1, 1, 2, 2)
    clips[0, 1, 0, 0, 0] = 0
    assert motion(clips)[0].tolist() == [0.75, 0.25, 0.5]


def test_one_frame_is_drawn_evenly_and_shown_all_the_time():
    torch.manual_seed(0)
    clips = torch.arange(4.0).view(1, 4, 1, 1, 1).repeat(4000, 1, 1, 2, 2)
    assert seen(clips, "all") is clips
    one = seen(clips, "one")
    assert one.shape == clips.shape
    assert torch.equal(one, one[:, :1].expand_as(one))
    frequency = one[:, 0, 0, 0, 0].long().bincount() / 4000
    torch.testing.assert_close(frequency, torch.full((4,), 0.25), atol=0.03, rtol=0)


def test_another_word_is_refused():
    with pytest.raises(ValueError, match=r"objective\.frames_seen is 'none'; it must be all or one"):
        seen(torch.rand(1, 2, 1, 2, 2), "none")
