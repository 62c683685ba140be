"""Average precision: worked by hand, and against loops over boxes."""

import pytest
import torch

from ssl_runner.evaluation.images import average_precision as module
from ssl_runner.evaluation.images.average_precision import average_precision, check_backend
from ssl_runner.evaluation.images.detector import Found
from ssl_runner.interfaces import Boxes

OVERLAPS = [0.5 + 0.05 * step for step in range(10)]


def boxes(rows) -> Boxes:
    """Of (image, corners, label, ignored), in the order of images."""
    image, corners, label, ignored = zip(*rows, strict=True)
    return Boxes(torch.tensor(image), torch.tensor(corners), torch.tensor(label), torch.tensor(ignored))


def found(rows) -> Found:
    """Of (corners, label, score)."""
    corners, label, score = zip(*rows, strict=True) if rows else ((), (), ())
    return Found(
        torch.tensor(corners, dtype=torch.float32).view(-1, 4),
        torch.tensor(label, dtype=torch.int64),
        torch.tensor(score, dtype=torch.float32),
    )


def overlap(one, other, ignored: bool) -> float:
    """Intersection over union; of an ignored box, over the found one alone, as COCO has it."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    both = max(wide, 0) * max(high, 0)
    area, its = ((each[2] - each[0]) * (each[3] - each[1]) for each in (one, other))
    return both / (area if ignored else area + its - both)


def slow(images, truth: Boxes, label: int, least: float) -> float:
    """Average precision of a class at an overlap, box by box."""
    judged, there = [], 0
    for place, each in enumerate(images):
        own = truth.of(place)
        mine = [i for i in range(len(own.label)) if own.label[i] == label]
        there += sum(not own.ignored[i] for i in mine)
        of_class = [i for i in range(len(each.label)) if each.label[i] == label]
        order = sorted(of_class, key=lambda i: -each.score[i].item())
        taken = set()
        for i in order:
            best, chosen = least, None
            for ignored in (False, True):  # an ignored box only where no other one is matched
                for j in (j for j in mine if bool(own.ignored[j]) is ignored):
                    shared = overlap(each.corners[i].tolist(), own.corners[j].tolist(), ignored)
                    if (j not in taken or ignored) and shared >= best:
                        best, chosen = shared, j
                if chosen is not None:
                    break
            if chosen is not None:
                taken.add(chosen)
            if chosen is None or not own.ignored[chosen]:
                judged.append((each.score[i].item(), chosen is not None))
    judged.sort(key=lambda one: -one[0])
    points = []
    for count in range(1, len(judged) + 1):
        right = sum(good for _, good in judged[:count])
        points.append((right / there, right / count))
    recalls = torch.linspace(0, 1, 101).tolist()  # as torchmetrics rounds them
    reached = [[precision for recall, precision in points if recall >= least] for least in recalls]
    return sum(max(each, default=0.0) for each in reached) / 101


def test_worked_by_hand():
    """Two boxes of a class. Found: one exactly (0.9), a wrong one (0.8), the other with an overlap of 0.62 (0.7): so
    precision is 1 up to a recall of 0.5, then 2/3; at the seven overlaps above 0.62 it is 1 up to 0.5, then 0."""
    pytest.importorskip("pycocotools")
    truth = boxes([(0, [0.0, 0.0, 0.5, 0.5], 0, False), (1, [0.0, 0.0, 0.5, 1.0], 0, False)])
    images = [
        found([([0.0, 0.0, 0.5, 0.5], 0, 0.9), ([0.6, 0.6, 0.9, 0.9], 0, 0.8)]),
        found([([0.0, 0.0, 0.5, 0.62], 0, 0.7)]),
    ]
    precision = average_precision(images, truth, "test")
    assert precision.at_half == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert precision.mean == pytest.approx((3 * (51 + 50 * 2 / 3) + 7 * 51) / 1010)
    assert precision.by_class == {0: pytest.approx((precision.at_half, precision.mean))}


def test_against_loops():
    pytest.importorskip("pycocotools")
    g = torch.Generator().manual_seed(3)
    rows, images = [], []
    for place in range(12):
        corners = torch.rand(4, 2, generator=g)
        corners = torch.cat([corners * 0.6, corners * 0.6 + 0.15 + 0.2 * torch.rand(4, 2, generator=g)], dim=1)
        label = torch.randint(3, (4,), generator=g)
        ignored = torch.rand(4, generator=g) < 0.2
        rows += [(place, *each) for each in zip(corners.tolist(), label.tolist(), ignored.tolist(), strict=True)]
        near = torch.cat([corners, corners]) + 0.03 * torch.randn(8, 4, generator=g)
        guess = torch.where(torch.rand(8, generator=g) < 0.8, label.repeat(2), torch.randint(3, (8,), generator=g))
        images.append(Found(near, guess, torch.rand(8, generator=g)))
    truth = boxes(rows)
    precision = average_precision(images, truth, "test")
    expected = {label: [slow(images, truth, label, least) for least in OVERLAPS] for label in range(3)}
    for label, values in expected.items():
        assert precision.by_class[label] == pytest.approx((values[0], sum(values) / 10), abs=1e-6), label
    assert precision.at_half == pytest.approx(sum(values[0] for values in expected.values()) / 3, abs=1e-6)
    assert precision.mean == pytest.approx(sum(map(sum, expected.values())) / 30, abs=1e-6)
    assert 0.1 < precision.mean < precision.at_half < 0.9


def test_it_is_torchmetrics_mean():
    pytest.importorskip("pycocotools")
    from torchmetrics.detection import MeanAveragePrecision

    truth = boxes([(0, [0.1, 0.1, 0.5, 0.5], 0, False), (1, [0.2, 0.2, 0.6, 0.8], 1, False)])
    images = [found([([0.1, 0.1, 0.5, 0.45], 0, 0.9)]), found([([0.2, 0.2, 0.6, 0.7], 1, 0.4)])]
    theirs = MeanAveragePrecision(backend="pycocotools")
    theirs.update(
        [{"boxes": 640 * each.corners, "labels": each.label, "scores": each.score} for each in images],
        [{"boxes": 640 * truth.of(i).corners, "labels": truth.of(i).label} for i in range(2)],
    )
    result = theirs.compute()
    ours = average_precision(images, truth, "test")
    assert (ours.at_half, ours.mean) == pytest.approx((result["map_50"].item(), result["map"].item()))


def test_nothing_found_is_zero_and_nothing_there_is_refused():
    pytest.importorskip("pycocotools")
    truth = boxes([(0, [0.0, 0.0, 0.5, 0.5], 1, False)])
    assert average_precision([found([])], truth, "test") == (0, 0, {1: (0, 0)})
    with pytest.raises(ValueError, match="val has no box that is not ignored"):
        average_precision([found([])], boxes([(0, [0.0, 0.0, 0.5, 0.5], 1, True)]), "val")


def test_the_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"=detection needs the package pycocotools: pip install 'ssl-runner"):
        check_backend("evaluation=detection")
