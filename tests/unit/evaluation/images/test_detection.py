"""Detectors over maps of encoders."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from findings import value
from torch import Tensor, nn

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.backbones.vit import ViT
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.evaluation.any.tuning import Recipe
from ssl_runner.evaluation.images import detection as module
from ssl_runner.evaluation.images.average_precision import Precision
from ssl_runner.evaluation.images.detection import Detection, DetectionFineTune, pixels_of
from ssl_runner.evaluation.images.detector import (
    Detector,
    Pyramid,
    anchor_sizes,
    maps_of,
    mirrored,
    moments,
    resized,
)
from ssl_runner.evaluation.images.drawn_boxes import LINE, with_boxes
from ssl_runner.interfaces import Boxes, Encoder, Examples, Features, ImageSpec

SPEC = ImageSpec(channels=3, height=32, width=32, box_names=("bright", "dark"), tag_names=("bright", "dark"))


class Squares:
    """On gray, one bright or dark square of 10 to 14 pixels."""

    def __init__(self) -> None:
        self.spec = SPEC
        self.known: dict[str, tuple[Tensor, Boxes]] = {}
        g = torch.Generator().manual_seed(0)
        for split, n in {"train": 48, "val": 16, "test": 16}.items():
            data = torch.randint(110, 146, (n, 3, 32, 32), generator=g, dtype=torch.uint8)
            side = torch.randint(10, 15, (n,), generator=g)
            corner = (torch.rand(n, 2, generator=g) * (32 - side[:, None])).long()
            label = torch.arange(n) % 2
            drawn = zip(data, corner.tolist(), side.tolist(), label.tolist(), strict=True)
            for image, (left, top), length, kind in drawn:
                image[:, top : top + length, left : left + length] = 40 if kind else 230
            corners = torch.cat([corner, corner + side[:, None]], dim=1) / 32
            self.known[split] = (data, Boxes(torch.arange(n), corners, label, torch.zeros(n, dtype=torch.bool)))

    def examples(self, split: str) -> Examples:
        data = self.known[split][0]
        return Examples(data, torch.full((len(data),), -1))

    def boxes(self, split: str) -> Boxes:
        return self.known[split][1]


def convnet() -> ConvNet:
    torch.manual_seed(0)
    net = ConvNet(SPEC, widths=[8, 16, 16], norm="batch")
    net.normalize.mean.fill_(0.5)
    net.normalize.std.fill_(0.2)
    return net.eval()


def subject(encoder: Encoder) -> FrozenSubject:
    return FrozenSubject(encoder, Squares(), seed=0, device=torch.device("cpu"), batch_size=16)


def evaluator(cls: type[Detection] = Detection, **changes: Any) -> Detection:
    recipe = {
        "epochs": 1,
        "least_steps": 1,
        "batch_size": 8,
        "learning_rate": 0.002,
        "weight_decay": 0.0,
        "layer_decay": 1.0,
    }
    settings = {"detector": "faster_rcnn", "size": None, "levels": 1, "width": 16, "mirror": True, "pictures": 2}
    inner = {name: changes.pop(name) for name in list(changes) if name in recipe}
    return cls(recipe=Recipe(**recipe | inner), **settings | changes)


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["faster_rcnn", "retinanet"])
@pytest.mark.parametrize("cls", [Detection, DetectionFineTune])
def test_a_detector_learns_and_an_untrained_one_finds_nothing(cls, detector):
    pytest.importorskip("pycocotools")
    before = evaluator(cls, detector=detector, learning_rate=1e-12, epochs=1)(subject(convnet()))
    after = evaluator(cls, detector=detector, epochs=40, levels=2)(subject(convnet()))
    assert value(before, "map", iou=0.5) < 0.1
    assert value(after, "map", iou=0.5) > 0.8
    assert value(after, "ap", iou="0.5:0.95", **{"class": "dark"}) > 0.4


def test_what_a_finding_says(monkeypatch):
    """Of a detector that is not trained, without the package that matches boxes."""
    asked: list[int] = []

    def precision(found: list[Any], boxes: Boxes, split: str) -> Precision:
        asked.append(len(found))
        return Precision(0.5, 0.25, {0: (0.6, 0.3), 1: (0.4, 0.2)})

    monkeypatch.setattr(module, "average_precision", precision)
    found = evaluator(DetectionFineTune, detector="retinanet", levels=2, size=40)(subject(convnet()))
    assert asked == [16, 16]
    assert value(found, "map", iou=0.5) == 0.5
    assert value(found, "ap", "val", iou="0.5:0.95", **{"class": "dark"}) == 0.2
    assert found.protocol.terms["method"] == "detector, all weights trained"
    anchors = found.protocol.measured["anchors"]
    assert [len(level) for level in anchors] == [3, 3]
    assert 40 / 32 * 9.9 <= anchors[0][0] < anchors[1][2] <= 40 / 32 * 14.1
    assert found.figures["boxes"].rows["truth"].shape == (2, 320, 320, 3)
    assert found.figures["average precision"].values["overlap 0.5"] == [60, 40]


def test_maps_of_stages_and_of_patches():
    net = convnet()
    x = torch.rand(2, 3, 32, 32)
    one, two, three = maps_of(net, x, 3)
    assert torch.equal(one, net.stages[0](net.normalize(x)))
    assert torch.equal(two, net.stages[1](one))
    assert torch.equal(three, net.map(x))
    assert torch.equal(maps_of(net, x, 1)[0], three)
    assert all(not stage._forward_hooks for stage in net.stages)
    vit = ViT(SPEC, patch=8, dim=16, depth=1, heads=2, mlp_ratio=2.0, pool="mean", drop_path=0.0).eval()
    (grid,) = maps_of(vit, x, 1)
    assert grid.shape == (2, 16, 4, 4)
    assert torch.equal(grid[:, :, 1, 2], vit(x).tokens[:, 6])


def test_levels_that_an_encoder_does_not_have_are_refused():
    asked = evaluator(levels=4)
    with pytest.raises(ValueError, match=r"evaluation.detection.levels is 4; this backbone has 3 stages"):
        asked.check_encoder(convnet(), SPEC)
    evaluator(levels=3).check_encoder(convnet(), SPEC)

    class InHalves(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return x.chunk(2, dim=1)

    class Reversible(ConvNet):
        def map(self, x: Tensor) -> Tensor:
            return self.stages[2](torch.cat(self.stages[1](self.stages[0](x)), dim=1))

    net = Reversible(SPEC, widths=[8, 8, 8], norm="group")
    net.stages[1] = InHalves()
    with pytest.raises(ValueError, match=r"detection.levels is 2; the stages of this backbone give no maps"):
        evaluator(levels=2).check_encoder(net, SPEC)
    evaluator(levels=1).check_encoder(net, SPEC)

    class Pooled(Encoder):
        def forward(self, x: Tensor, *, layers: bool = False) -> Features:
            raise NotImplementedError

    with pytest.raises(ValueError, match="shows the map of its last stage alone: set it to 1"):
        evaluator(levels=2).check_encoder(Pooled(), SPEC)


def test_moments_are_those_of_all_batches():
    net = convnet()
    x = torch.rand(7, 3, 32, 32)
    (found,) = moments(net, iter(x.split(3)), 1)
    with torch.no_grad():
        maps = net.map(x)
    assert torch.allclose(found.mean, maps.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(found.std, maps.std((0, 2, 3), correction=0), atol=1e-5)


def test_a_frozen_encoder_gets_no_gradient_and_another_does():
    net = convnet()
    x = torch.rand(2, 3, 32, 32)
    scaled = moments(net, iter([x]), 2)
    for trained in (False, True):
        pyramid = Pyramid(net, scaled, 8, trained=trained).train()
        assert not pyramid.encoder.training
        sum(each.sum() for each in pyramid(x).values()).backward()
        got = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in pyramid.encoder.stages.parameters()]
        assert any(got) is trained
        assert all(p.grad is not None for p in pyramid.neck.parameters())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    pyramid.eval()
    with torch.no_grad():
        standard = (maps_of(net, x, 1)[0] - scaled[1].mean[:, None, None]) / scaled[1].std[:, None, None]
    assert torch.allclose(standard.mean((0, 2, 3)), torch.zeros(16), atol=1e-5)


def test_images_reach_the_encoder_as_they_are():
    """torchvision's transform neither normalizes nor resizes nor pads them."""
    seen: list[Tensor] = []

    class Spy(nn.Module):
        out_channels = 8

        def forward(self, x: Tensor) -> Any:
            seen.append(x)
            return {"0": torch.zeros(len(x), 8, 4, 4)}

    x = torch.rand(2, 3, 30, 30)
    Detector("retinanet", Spy(), [[8.0, 16.0, 24.0]], 2, 30).eval().find(x)
    assert torch.equal(seen[0], x)


def test_anchors_go_from_the_smallest_boxes_to_the_largest():
    side = torch.linspace(0.1, 0.4, 101)
    zeros = torch.zeros_like(side)
    corners = torch.stack([zeros, zeros, side, side], dim=1)
    boxes = Boxes(torch.arange(101), corners, torch.zeros(101).long(), torch.zeros(101, dtype=torch.bool))
    found = anchor_sizes(boxes, (100, 100), 2)
    low, high = 10 + 30 * 0.02, 10 + 30 * 0.98
    assert found[0][0] == pytest.approx(low, abs=0.06)
    assert found[1][2] == pytest.approx(high, abs=0.06)
    row = np.array(found).flatten()
    assert np.allclose(row[1:] / row[:-1], (high / low) ** (1 / 5), rtol=0.02)
    with pytest.raises(ValueError, match="train has no box that is not ignored"):
        anchor_sizes(boxes._replace(ignored=torch.ones(101, dtype=torch.bool)), (100, 100), 1)


def test_mirrored_boxes_stay_with_their_images():
    x = torch.zeros(40, 1, 8, 8)
    x[:, :, 2:5, 1:4] = 1
    target = (torch.tensor([[1.0, 2.0, 4.0, 5.0]]), torch.tensor([0]))
    torch.manual_seed(0)
    shown, found = mirrored(x, [target] * 40)
    lefts = set()
    for image, (corners, _) in zip(shown, found, strict=True):
        left, top, right, bottom = corners[0].int().tolist()
        lefts.add(left)
        assert image[0, top:bottom, left:right].sum() == image.sum() == 9
    assert lefts == {1, 4}


def test_ignored_boxes_are_not_trained_on():
    boxes = Boxes(
        torch.tensor([0, 0]),
        torch.tensor([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]),
        torch.tensor([1, 0]),
        torch.tensor([True, False]),
    )
    corners, label = pixels_of(boxes, torch.tensor([20.0, 10.0, 20.0, 10.0]))
    assert corners.tolist() == [[10, 5, 20, 10]]
    assert label.tolist() == [0]


def test_boxes_are_outlined():
    drawn = with_boxes(torch.zeros(1, 1, 160, 160), [(torch.tensor([[0.25, 0.5, 0.75, 1.0]]), torch.tensor([1]))])
    assert drawn.shape == (1, 320, 320, 3)
    colored = drawn[0].any(axis=2)
    rows, columns = np.nonzero(colored)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (160, 320, 80, 240)
    assert colored.sum() == 160 * 160 - (160 - 2 * LINE) ** 2


def test_images_are_resized():
    x = torch.rand(2, 3, 10, 10)
    assert resized(x, None) is x
    assert resized(x, 10) is x
    assert resized(x, 20).shape == (2, 3, 20, 20)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"detector": "yolo"}, r"evaluation.detection.detector is 'yolo'; it must be faster_rcnn or retinanet"),
        ({"size": 4}, r"evaluation.detection.size is 4; it must be at least 8"),
        ({"levels": 0}, r"evaluation.detection.levels is 0"),
        ({"width": 12}, r"evaluation.detection.width is 12; it must be a multiple of 8"),
        ({"pictures": 0}, r"evaluation.detection.pictures is 0"),
    ],
)
def test_wrong_settings_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        evaluator(**changes)


def test_it_is_refused_without_the_package(monkeypatch):
    from ssl_runner.evaluation.images import average_precision

    monkeypatch.setattr(average_precision, "find_spec", lambda name: SimpleNamespace() if name == "none" else None)
    with pytest.raises(ValueError, match="evaluation=detection_finetune needs the package pycocotools"):
        evaluator(DetectionFineTune).check(SPEC)
