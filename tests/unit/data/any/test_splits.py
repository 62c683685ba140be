from itertools import pairwise

import pytest
import torch

from ssl_runner.data.any.splits import Few, grouped, nested_subsets, stratified


def labels_of(*sizes: int) -> torch.Tensor:
    labels = torch.cat([torch.full((size,), k) for k, size in enumerate(sizes)])
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(9))]


def test_stratified_holds_out_exact_counts_of_each_class() -> None:
    labels = labels_of(50, 30, 20)
    rest, held = stratified(labels, 0.2, seed=0)
    assert torch.bincount(labels[held]).tolist() == [10, 6, 4]
    assert torch.bincount(labels[rest]).tolist() == [40, 24, 16]
    assert torch.equal(torch.cat([rest, held]).sort().values, torch.arange(100))
    assert torch.equal(rest, rest.sort().values)
    assert torch.equal(held, held.sort().values)


def test_stratified_gives_seats_by_webster_where_shares_are_broken() -> None:
    labels = labels_of(7, 5, 3)  # a fifth of each: 1.4, 1.0, 0.6
    rest, held = stratified(labels, 0.2, seed=3)
    assert len(held) == 3
    assert torch.bincount(labels[held]).tolist() == [1, 1, 1]
    assert len(rest) == 12


def test_a_class_of_one_stays_in_the_rest() -> None:
    labels = labels_of(39, 1)
    rest, _ = stratified(labels, 0.25, seed=1)
    assert (labels[rest] == 1).sum() == 1


def test_stratified_is_a_function_of_the_seed() -> None:
    labels = labels_of(50, 50)
    assert torch.equal(stratified(labels, 0.1, seed=4)[1], stratified(labels, 0.1, seed=4)[1])
    assert not torch.equal(stratified(labels, 0.1, seed=4)[1], stratified(labels, 0.1, seed=5)[1])


def test_unlabeled_examples_are_held_out_at_random() -> None:
    rest, held = stratified(torch.full((40,), -1), 0.25, seed=0)
    assert (len(rest), len(held)) == (30, 10)
    assert held.tolist() != list(range(10))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5])
def test_stratified_refuses_fractions_outside_0_1(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        stratified(labels_of(5, 5), fraction, seed=0)


def test_stratified_refuses_an_empty_part() -> None:
    with pytest.raises(ValueError, match="4 kept, 0 held out"):
        stratified(labels_of(2, 2), 0.1, seed=0)


def test_fractions_are_nested_stratified_and_exact() -> None:
    labels = labels_of(*[100] * 10)
    subsets = nested_subsets(labels, fractions=[0.01, 0.1, 0.37, 1.0], per_class=[], seed=0)
    assert [str(few) for few in subsets] == ["1%", "10%", "37%", "100%"]
    assert [few.condition for few in subsets] == [{"labels": fraction} for fraction in (0.01, 0.1, 0.37, 1.0)]
    assert torch.bincount(labels[subsets[Few(labels=0.01)]]).tolist() == [1] * 10
    assert torch.bincount(labels[subsets[Few(labels=0.37)]]).tolist() == [37] * 10
    assert subsets[Few(labels=1.0)].tolist() == list(range(1000))
    sets = [set(index.tolist()) for index in subsets.values()]
    assert all(small < large for small, large in pairwise(sets))


def test_fractions_of_unequal_classes_are_nested_and_leave_no_class_out() -> None:
    labels = labels_of(61, 23, 11, 5)
    fractions = [i / 100 for i in range(1, 101)]
    sets = [set(i.tolist()) for i in nested_subsets(labels, fractions=fractions, per_class=[], seed=2).values()]
    assert all(small <= large for small, large in pairwise(sets))
    for fraction, chosen in zip(fractions, sets, strict=True):
        assert len(chosen) == max(round(100 * fraction), 4)
        counts = torch.bincount(labels[sorted(chosen)], minlength=4)
        assert (counts >= 1).all()
        assert (counts - fraction * torch.tensor([61, 23, 11, 5])).abs().max() < 2.2


def test_per_class_subsets_are_nested_in_each_other_and_in_fractions() -> None:
    labels = labels_of(40, 40, 40)
    subsets = nested_subsets(labels, fractions=[0.25], per_class=[1, 5, 10, 20], seed=0)
    for number in (1, 5, 10, 20):
        assert torch.bincount(labels[subsets[Few(per_class=number)]]).tolist() == [number] * 3
    assert (str(Few(per_class=5)), Few(per_class=5).condition) == ("5 per class", {"per_class": 5})
    assert set(subsets[Few(per_class=5)].tolist()) < set(subsets[Few(per_class=10)].tolist())
    assert subsets[Few(per_class=10)].tolist() == subsets[Few(labels=0.25)].tolist()


def test_subsets_change_with_the_seed_alone() -> None:
    labels = labels_of(40, 40)
    one, two, three = (
        nested_subsets(labels, fractions=[0.1], per_class=[], seed=seed)[Few(labels=0.1)].tolist() for seed in (0, 0, 1)
    )
    assert one == two != three


def test_more_per_class_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="smallest class of this split has 3"):
        nested_subsets(labels_of(9, 3), fractions=[], per_class=[4], seed=0)


def test_subsets_of_unlabeled_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="need labels"):
        nested_subsets(torch.tensor([0, 1, -1]), fractions=[0.5], per_class=[], seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.01])
def test_fractions_of_labels_lie_in_0_1(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        nested_subsets(labels_of(9, 3), fractions=[fraction], per_class=[], seed=0)


@pytest.mark.parametrize("seed", range(10))
def test_groups_are_held_out_whole(seed: int) -> None:
    """Groups of 1 to 9 examples of 3 classes: about the fraction, no group in both, every class in the rest."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 10, (60,), generator=generator)
    groups = torch.arange(60).repeat_interleave(sizes)
    labels = torch.randint(3, (len(groups),), generator=generator)
    groups = groups[torch.randperm(len(groups), generator=generator)]
    rest, held = grouped(labels, groups, 0.2, seed)
    assert sorted([*rest.tolist(), *held.tolist()]) == list(range(len(groups)))
    assert not set(groups[rest].tolist()) & set(groups[held].tolist())
    assert abs(len(held) - 0.2 * len(groups)) <= 5
    assert set(labels[rest].tolist()) == {0, 1, 2}
    again = grouped(labels, groups, 0.2, seed)
    assert torch.equal(again[1], held)


def test_a_group_with_all_examples_of_a_class_stays() -> None:
    labels = torch.tensor([0] * 10 + [1] * 2)
    groups = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 9, 9])
    for seed in range(10):
        rest, _ = grouped(labels, groups, 0.2, seed)
        assert {10, 11} <= set(rest.tolist())


def test_groups_of_which_none_can_be_held_out_are_refused() -> None:
    with pytest.raises(ValueError, match=r"none of 1 groups can be held out for 0\.5 of 8 examples"):
        grouped(torch.zeros(8).long(), torch.zeros(8).long(), 0.5, 0)
