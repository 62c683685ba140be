import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_runner.nn.patches import gather_places, patchify, tubify, unpatchify, untubify


def test_patches_are_row_major_and_their_values_row_column_channel():
    x = torch.arange(2 * 4 * 6).reshape(1, 2, 4, 6)  # channel 0 is 0 ... 23, channel 1 is 24 ... 47
    patches = patchify(x, 2)
    assert patches.shape == (1, 6, 8)
    assert patches[0, 0].tolist() == [0, 24, 1, 25, 6, 30, 7, 31]
    assert patches[0, 1].tolist() == [2, 26, 3, 27, 8, 32, 9, 33]
    assert patches[0, 3].tolist() == [12, 36, 13, 37, 18, 42, 19, 43]  # the second row of patches


def test_patches_are_what_slicing_gives():
    x = torch.rand(3, 3, 8, 12)
    patches = patchify(x, 4)
    for i in range(6):
        row, column = divmod(i, 3)
        cut = x[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert torch.equal(patches[:, i], cut.permute(0, 2, 3, 1).flatten(1))


@settings(deadline=None, max_examples=30)
@given(
    channels=st.integers(1, 4),
    patch=st.integers(1, 5),
    down=st.integers(1, 4),
    across=st.integers(1, 4),
    batch=st.integers(0, 3),
)
def test_unpatchify_is_the_inverse(channels, patch, down, across, batch):
    x = torch.rand(batch, channels, down * patch, across * patch)
    patches = patchify(x, patch)
    assert patches.shape == (batch, down * across, patch * patch * channels)
    assert torch.equal(unpatchify(patches, patch, (down, across)), x)
    assert torch.equal(patchify(unpatchify(patches, patch, (down, across)), patch), patches)


def test_memory_layout_does_not_matter():
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(patchify(x.to(memory_format=torch.channels_last), 4), patchify(x, 4))


def test_a_patch_that_does_not_fill_the_image_is_refused():
    with pytest.raises(ValueError, match="8 x 9 pixels; patches of 4"):
        patchify(torch.rand(1, 1, 8, 9), 4)


@pytest.mark.parametrize(("n", "values"), [(5, 16), (6, 15)])
def test_patches_that_make_no_image_are_refused(n, values):
    with pytest.raises(ValueError, match=f"{n} patches of {values} values do not make 2 x 3"):
        unpatchify(torch.rand(1, n, values), 4, (2, 3))


def test_places_are_gathered_row_by_row():
    tokens = torch.rand(3, 5, 2)
    places = torch.tensor([[0, 4], [3, 1], [2, 2]])
    expected = torch.stack([torch.stack([tokens[b, i] for i in row]) for b, row in enumerate(places.tolist())])
    assert torch.equal(gather_places(tokens, places), expected)


def test_gradients_go_to_the_places_that_were_gathered():
    tokens = torch.rand(1, 4, 2, requires_grad=True)
    gather_places(tokens, torch.tensor([[1, 1, 3]])).sum().backward()
    assert tokens.grad[0].tolist() == [[0, 0], [2, 2], [0, 0], [1, 1]]


def test_tubes_are_what_slicing_gives_time_first():
    x = torch.rand(2, 4, 3, 6, 8)
    tubes = tubify(x, (2, 3, 4))
    assert tubes.shape == (2, 8, 72)
    for i in range(8):
        time, row, column = i // 4, i // 2 % 2, i % 2
        cut = x[:, 2 * time : 2 * time + 2, :, 3 * row : 3 * row + 3, 4 * column : 4 * column + 4]
        assert torch.equal(tubes[:, i], cut.permute(0, 1, 3, 4, 2).flatten(1))  # frame, row, column, channel


def test_tubes_of_one_frame_are_patches():
    x = torch.rand(2, 3, 1, 4, 6)
    patches = torch.cat([patchify(x[:, t], 2) for t in range(3)], dim=1)
    assert torch.equal(tubify(x, (1, 2, 2)), patches)


def test_untubify_is_the_inverse():
    x = torch.rand(2, 4, 3, 6, 8)
    assert torch.equal(untubify(tubify(x, (2, 3, 4)), (2, 3, 4), (2, 2, 2)), x)


def test_tubes_that_do_not_fill_a_clip_or_make_none_are_refused():
    with pytest.raises(ValueError, match="5 frames of 4 x 4 pixels; tubes of 2 frames of 2 x 2 pixels do not fill it"):
        tubify(torch.rand(1, 5, 1, 4, 4), (2, 2, 2))
    with pytest.raises(ValueError, match="7 tubes of 8 values do not make 2 x 2 x 2 tubes"):
        untubify(torch.rand(1, 7, 8), (2, 2, 2), (2, 2, 2))
