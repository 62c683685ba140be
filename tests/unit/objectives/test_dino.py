"""DINO: the loss in loops over pairs of crops; teacher, center and temperature that only `after_step` moves."""

import copy
import math
from pathlib import Path

import pytest
import torch
from small_runs import do
from torch import Tensor, nn

from ssl_runner import load_encoder
from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.backbones.vit import ViT
from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Views
from ssl_runner.objectives.dino import DINO
from ssl_runner.runtime import checkpoint_files

SPEC = ImageSpec(channels=1, height=8, width=8)


class Mirrored(Views):
    """The image and its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x, x.flip(3)))


class Corners(Views):
    """Three corners."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x[:, :, :4, :4], x[:, :, 4:, :4], x[:, :, 4:, 4:]))


def objective(encoder: Encoder | None = None, **changed: object) -> DINO:
    torch.manual_seed(0)
    settings = {
        "views": Mirrored(), "small_views": Corners(), "projector": [6, 5], "prototypes": 4,
        "student_temperature": 0.3, "teacher_temperature": (0.1, 0.2), "temperature_warmup": 0.5, "momentum": 0.8,
        "center_momentum": 0.9, "exported": "teacher", "projector_norm": "batch", "activation": "relu",
        "freeze_last": 0.0, "momentum_schedule": "cosine",
    }  # fmt: skip
    return DINO(encoder or ConvNet(SPEC, widths=[4, 8], norm="batch"), SPEC, **settings | changed)


def drawn(model: DINO) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return model.split(Batch(torch.rand(6, 1, 8, 8), torch.arange(6), torch.arange(6)))


def move(model: DINO) -> None:
    """What an optimizer would do: change every weight that learns."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def student(model: DINO, crop: Tensor) -> Tensor:
    return model.head(model.encoder(crop).pooled)


def teacher(model: DINO, crop: Tensor) -> Tensor:
    return model.teacher_head.module(model.teacher_encoder.module(crop).pooled)


def softmax(scores: list[float]) -> list[float]:
    total = sum(math.exp(each) for each in scores)
    return [math.exp(each) / total for each in scores]


def apart() -> tuple[DINO, Tensor, Tensor]:
    """In eval mode, the teacher other than the student, the center other than 0."""
    model = objective().eval()
    move(model)
    model.center.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0]))
    return model, *drawn(model)


def test_the_loss_is_the_papers_one_pair_at_a_time() -> None:
    model, x, y = apart()
    terms, entropies = [], []
    with torch.no_grad():
        for v, seen in enumerate(y):
            scores = teacher(model, seen)
            for w, crop in enumerate([*y, *x]):
                if v == w:
                    continue
                answers = student(model, crop)
                for i in range(6):
                    target = softmax([(scores[i, k] - model.center[k]).item() / 0.1 for k in range(4)])
                    p = softmax([answers[i, k].item() / 0.3 for k in range(4)])
                    terms.append(-sum(t * math.log(q) for t, q in zip(target, p, strict=True)))
                    entropies.append(-sum(t * math.log(t) for t in target))
        found = model.loss(x, y)
    mean, entropy = sum(terms) / len(terms), sum(entropies) / len(entropies)
    assert len(terms) == 2 * 4 * 6
    assert found.value.item() == pytest.approx(mean, rel=1e-5)
    assert found.logs["teacher_entropy"].item() == pytest.approx(entropy, rel=1e-4)
    assert found.logs["kl"].item() == pytest.approx(mean - entropy, rel=1e-4)


def test_against_lightly() -> None:
    theirs = pytest.importorskip("lightly.loss").DINOLoss(
        output_dim=4, teacher_temp=0.1, student_temp=0.3, center_momentum=0.9
    )
    model, x, y = apart()
    theirs.center.copy_(model.center)
    with torch.no_grad():
        taught = [teacher(model, crop) for crop in y]
        answers = [student(model, crop) for crop in [*y, *x]]
        found = model.loss(x, y)
        expected = theirs(taught, answers, teacher_temp=0.1)
    assert found.value.item() == pytest.approx(expected.item(), rel=1e-5)
    model.after_step([found.carry], 0.0)
    torch.testing.assert_close(model.center, theirs.center.flatten())


def test_the_loss_moves_neither_teacher_nor_center_and_a_step_does() -> None:
    model = objective()
    x, y = drawn(model)
    with torch.no_grad():
        model.eval()
        mean = torch.stack([teacher(model, crop) for crop in y]).mean((0, 1))
    before = copy.deepcopy([*model.teacher_encoder.parameters(), *model.teacher_head.parameters()])
    found = model.loss(x, y)
    assert torch.equal(model.center, torch.zeros(4))
    assert not found.carry.requires_grad
    move(model)
    model.after_step([found.carry], 0.5)
    torch.testing.assert_close(model.center, 0.1 * mean)
    kept = 1 - 0.2 / 2  # half a cosine from 0.8 to 1
    now = [*model.teacher_encoder.parameters(), *model.teacher_head.parameters()]
    learned = [*model.encoder.parameters(), *model.head.parameters()]
    for held, then, source in zip(now, before, learned, strict=True):
        torch.testing.assert_close(held, kept * then + (1 - kept) * source)


@pytest.mark.parametrize(("progress", "temperature"), [(0.0, 0.1), (0.25, 0.15), (0.5, 0.2), (1.0, 0.2)])
def test_the_teachers_temperature_rises_over_the_warm_up(progress: float, temperature: float) -> None:
    model = objective()
    assert model.teacher_temperature.item() == pytest.approx(0.1)
    model.after_step([torch.zeros(4)], progress)
    assert model.teacher_temperature.item() == pytest.approx(temperature)


def test_without_a_warm_up_the_last_temperature_holds_from_the_first_step() -> None:
    model = objective(temperature_warmup=0.0)
    assert model.teacher_temperature.item() == pytest.approx(0.2)
    model.after_step([torch.zeros(4)], 0.0)
    assert model.teacher_temperature.item() == pytest.approx(0.2)


def test_the_center_takes_what_all_images_share_out_of_the_target() -> None:
    """A teacher that says the same of every image, once centered, says nothing."""
    model = objective().eval()
    with torch.no_grad():
        last = model.teacher_head.module[0].layers[-1]
        last.weight.zero_()
        last.bias.fill_(1)
        x, y = drawn(model)
        certain = model.loss(x, y)
        model.center.copy_(certain.carry)
        centered = model.loss(x, y)
    assert certain.logs["teacher_entropy"] < centered.logs["teacher_entropy"] - 0.1
    assert centered.logs["teacher_entropy"].item() == pytest.approx(math.log(4), rel=1e-5)


def test_the_papers_head_on_a_vision_transformer_with_small_crops() -> None:
    torch.manual_seed(0)
    encoder = ViT(SPEC, dim=8, depth=2, heads=2, patch=4, mlp_ratio=2.0, pool="class", drop_path=0.1)
    settings = {"projector_norm": "none", "activation": "gelu", "freeze_last": 0.25, "momentum_schedule": "linear"}
    model = objective(encoder, **settings)
    x, y = drawn(model)
    assert torch.isfinite(model.loss(x, y).value)
    kinds = [type(part) for part in model.head[0].layers]
    assert kinds == [nn.Linear, nn.GELU, nn.Linear]
    assert [len(model.frozen(progress)) for progress in (0.0, 0.24, 0.25)] == [1, 1, 0]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prototypes": 1}, r"objective\.prototypes is 1"),
        ({"student_temperature": 0.0}, r"objective\.student_temperature is 0"),
        ({"teacher_temperature": (0.0, 0.1)}, r"objective\.teacher_temperature is \[0\.0, 0\.1\]"),
        ({"temperature_warmup": 1.5}, r"objective\.temperature_warmup is 1\.5"),
        ({"momentum": 1.0}, r"objective\.momentum is 1"),
        ({"center_momentum": -1.0}, r"objective\.center_momentum is -1"),
        ({"projector": []}, r"objective\.projector is \[\]"),
    ],
)
def test_bad_values_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        objective(**changed)


@pytest.mark.parametrize("chosen", [None, "teacher", "student"])
def test_what_is_exported_is_the_teacher_unless_the_student_is_asked_for(chosen: str | None, tmp_path: Path) -> None:
    words = ["objective=dino", *([f"objective.exported={chosen}"] if chosen else [])]
    folder = do(tmp_path, *words, "budget.amount=3", "objective.projector=[8,4]", "objective.prototypes=8")
    state = torch.load(checkpoint_files.files(folder)[0], weights_only=True)["state_dict"]
    kept = {
        name: value for name, value in load_encoder(folder).encoder.state_dict().items() if value.is_floating_point()
    }
    held = {
        whose: all(torch.equal(state[f"objective.{prefix}.{name}"], value) for name, value in kept.items())
        for whose, prefix in (("teacher", "teacher_encoder.module"), ("student", "encoder"))
    }
    assert held == {"teacher": chosen != "student", "student": chosen == "student"}
