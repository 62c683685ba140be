"""Groups of examples: by source, by label, by clusters that are known."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_runner.nn.positives import Augmentation, Label, PseudoLabel


class Width(nn.Module):
    dim = 6


def clusters(n: int, spread: float = 0.05) -> tuple[Tensor, Tensor]:
    """Features (2, n, 6) about three axes, and which."""
    kind = torch.arange(n) % 3
    return F.one_hot(kind, 6).float() + spread * torch.randn(2, n, 6), kind


def test_by_augmentation_every_example_is_alone() -> None:
    group = Augmentation()(torch.zeros(2, 4, 6), torch.tensor([7, 0, 3, 9]), torch.tensor([1, 1, 1, 2]))
    assert len(group.unique()) == 4
    assert (group < 0).all()


def test_by_label_the_unlabeled_are_alone() -> None:
    group = Label()(torch.zeros(2, 5, 6), torch.tensor([7, 0, 3, 9, 2]), torch.tensor([1, 0, -1, 1, -1]))
    assert group[0] == group[3] == 1
    assert group[1] == 0
    assert len(group.unique()) == 4


def pseudo(warmup: float = 0.0, clusters: int = 3) -> PseudoLabel:
    torch.manual_seed(0)
    return PseudoLabel(Width(), clusters=clusters, momentum=0.9, warmup=warmup)


def test_clusters_are_found_and_views_of_one_example_share_theirs() -> None:
    positives = pseudo(clusters=6)  # more centers than clusters: none may hold two kinds
    for _ in range(60):
        positives.update(clusters(48)[0], progress=0.5)
    features, kind = clusters(90)
    group = positives(features, torch.arange(90), torch.full((90,), -1))
    for each in group.unique():
        assert len(kind[group == each].unique()) == 1
    assert (group >= 0).all()


def test_until_the_warm_up_is_over_an_example_is_alone() -> None:
    positives = pseudo(warmup=0.5)
    source, label = torch.arange(6), torch.zeros(6, dtype=torch.long)
    features, _ = clusters(6)
    assert (positives(features, source, label) == -1 - source).all()
    positives.update(features, progress=0.4)
    assert (positives(features, source, label) == -1 - source).all()
    positives.update(features, progress=0.5)
    assert (positives(features, source, label) >= 0).all()


def test_a_center_is_the_forgetting_mean_of_its_members() -> None:
    positives = pseudo(clusters=2)
    far = torch.zeros(1, 4, 6)
    far[0, :2, 0], far[0, 2:, 1] = 1, 1
    positives.sums.copy_(torch.eye(2, 6) / 2)  # a center at each of the two places
    positives.shares.fill_(0.5)
    before = positives.sums / positives.shares[:, None]
    moved = far.clone()
    moved[0, :2, 2] = 1
    positives.update(moved, progress=0.0)
    after = positives.sums / positives.shares[:, None]
    torch.testing.assert_close(after[0], 0.9 * before[0] + 0.1 * F.normalize(moved[0, 0], dim=0))
    torch.testing.assert_close(after[1], before[1])


def test_a_center_that_nobody_joins_starts_again_at_an_example() -> None:
    positives = pseudo(clusters=2)
    features, _ = clusters(30)
    positives.update(features, progress=0.0)
    with torch.no_grad():
        positives.sums[1] = -100
    for _ in range(40):
        positives.update(features, progress=0.0)
    centers = positives.sums / positives.shares[:, None]
    assert centers.abs().max() < 1.1
    assert positives(features, torch.arange(30), torch.arange(30)).unique().numel() == 2


def test_reading_moves_nothing() -> None:
    positives = pseudo()
    state = {name: value.clone() for name, value in positives.state_dict().items()}
    positives(clusters(6)[0], torch.arange(6), torch.arange(6))
    assert all(torch.equal(value, state[name]) for name, value in positives.state_dict().items())


@pytest.mark.parametrize(("key", "value"), [("clusters", 1), ("momentum", 1.0), ("warmup", 1.5)])
def test_what_is_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"objective\.positives\.{key} is {value}"):
        PseudoLabel(Width(), **{"clusters": 3, "momentum": 0.9, "warmup": 0.1} | {key: value})
