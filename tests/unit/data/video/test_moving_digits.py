import pytest
import torch
from torch import Tensor

from ssl_runner.data.images.mnist_5k import MNIST5k
from ssl_runner.data.video.moving_digits import MovingDigits, reflect


def source(**changes: object) -> MovingDigits:
    settings = {
        "images": MNIST5k(test_fraction=0.2, val_fraction=0.1, split_seed=0),
        "clips": 40, "val_clips": 10, "test_clips": 10, "frames": 8, "side": 32, "digit_side": 16, "digits": 1,
        "dim": 0.5, "overlap": "cover", "label": "digit", "motion": "straight", "speeds": [1.0], "gravity": 0.2,
        "bounce": 0.7, "friction": 0.9, "color": False, "seed": 0,
    }  # fmt: skip
    return MovingDigits(**{**settings, **changes})


def path(start: list[float], velocity: list[float], **changes: object) -> list[list[int]]:
    places: Tensor = source(**changes)._move(torch.tensor([[start]]), torch.tensor([[velocity]]), 10.0)
    return places[0, :, 0].tolist()


def test_straight_motion_bounces() -> None:
    assert path([7.0, 2.0], [2.0, 0.0], frames=5) == [[7, 2], [9, 2], [9, 2], [7, 2], [5, 2]]


def test_gravity_pulls_down_and_friction_slows() -> None:
    assert path([5.0, 0.0], [0.0, 0.0], frames=4, motion="gravity", gravity=1.0) == [[5, 0], [5, 1], [5, 3], [5, 6]]
    # Falls 4 from 8 to 12, which is 8; leaves with half of 4 upwards, less 1 each frame.
    fallen = path([5.0, 8.0], [0.0, 3.0], frames=4, motion="gravity", gravity=1.0, bounce=0.5)
    assert fallen == [[5, 8], [5, 8], [5, 7], [5, 7]]
    assert path([0.0, 0.0], [4.0, 0.0], frames=4, motion="friction", friction=0.5) == [[0, 0], [2, 0], [3, 0], [4, 0]]


def test_reflect_far_outside() -> None:
    assert reflect(torch.tensor([21.0, -13.0]), 10.0)[0].tolist() == [1.0, 7.0]


@pytest.mark.parametrize("frames", [7, 8])
def test_symmetric_clips_are_their_own_reverse(frames: int) -> None:
    data = source(motion="symmetric", frames=frames, color=True, digits=2).load()["train"].data
    assert data.equal(data.flip(1))
    assert not data[:, 0].equal(data[:, 1])


def test_the_seed_says_all() -> None:
    first, again, other = (source(seed=seed).load()["train"].data for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


@pytest.mark.parametrize("color", [False, True])
def test_masks_are_where_the_digit_is(color: bool) -> None:
    made = source(color=color)
    data = made.load()["train"].data
    masks = made.masks("train")
    assert masks.shape == (40, 8, 32, 32)
    # The ground is below 0.3 of full brightness, ink in a mask above half.
    brightest = data.amax(2)
    assert (brightest[masks == 1] > 127).all()
    if not color:
        assert ((data[:, :, 0] > 127) == (masks == 1)).all()


def test_directions_are_those_in_which_digits_set_out() -> None:
    made = source(label="direction", speeds=[2.0], side=200, clips=100)
    label = made.load()["train"].label
    place = made._drawn["train"][1].place[:, :, 0].double()
    way = place[:, -1] - place[:, 0]
    free = ((place > 2) & (place < 182)).all(2).all(1)  # nearer a wall, two pixels a frame may have turned it round
    angle = torch.atan2(way[:, 1], way[:, 0]) / (torch.pi / 4)
    apart = (angle - label + 4).remainder(8) - 4
    assert free.sum() > 70
    # Ends are rounded to pixels: at most sqrt(2) off over a way of 14, 0.102 rad, 0.13 sectors.
    assert (apart[free].abs() < 0.5 + 0.13).all()


def test_speeds() -> None:
    made = source(label="speed", speeds=[0.0, 3.0], side=200)
    label = made.load()["train"].label
    place = made._drawn["train"][1].place[:, :, 0]
    assert (place[:, 0] == place[:, 1]).all(1).equal(label == 0)


def test_places_are_ninths_of_the_way_in_the_middle_frame() -> None:
    made = source(label="place", clips=200)
    label = made.load()["train"].label
    place = made._drawn["train"][1].place[:, made.frames // 2, 0]
    step = (made.side - made.digit_side + 1) / 3
    row, column = label // 3, label % 3
    for which, along in ((column, place[:, 0]), (row, place[:, 1])):
        assert (step * which <= along).all()
        assert (along < step * (which + 1)).all()
    assert set(label.tolist()) == set(range(9))
    assert made.spec.class_names[5] == "right"
