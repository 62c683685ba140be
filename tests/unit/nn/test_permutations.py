"""Permutation sets: the distance that is claimed, by comparing every pair."""

import math

import pytest
import torch

from ssl_runner.nn.permutations import GROUPS, distant_permutations, least_distance


@pytest.mark.parametrize("size", [2, 9, 10, 64, 72, 73, 100, 504, 505, 1000, 1512])
def test_any_two_differ_in_at_least_the_stated_places(size: int) -> None:
    found = distant_permutations(size)
    assert found.shape == (size, 9)
    assert torch.equal(found.sort(dim=1).values, torch.arange(9).expand(size, 9))
    distance = sum((found[:, None, place] != found[None, :, place]).int() for place in range(9))
    assert distance[~torch.eye(size, dtype=torch.bool)].min() == least_distance(size)


def test_no_larger_set_is_as_far_apart() -> None:
    """At most 9! / (d - 1)! permutations can be d apart: the sets for 9, 8 and 7 are of that size, 6 begins above."""
    for size, (distance, _) in GROUPS.items():
        if distance > 6:
            assert size == math.factorial(9) // math.factorial(distance - 1)


@pytest.mark.parametrize("size", GROUPS)
def test_each_tile_is_in_each_place_as_often(size: int) -> None:
    found = distant_permutations(size)
    assert all((torch.bincount(found[:, place], minlength=9) == size // 9).all() for place in range(9))


def test_the_identity_is_first() -> None:
    assert all(distant_permutations(size)[0].tolist() == list(range(9)) for size in (2, 72, 504, 1512))


@pytest.mark.parametrize("size", [1, 1513])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="there must be 2 to 1512"):
        distant_permutations(size)
