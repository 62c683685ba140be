"""Step by step equal: lightly's losses, heads and moving averages beside ours, on the same encoder, weights and views.

Twenty steps of SGD in float64 of each recipe that lightly has modules for. Both views pass through lightly's modules in
one call, too, so that batch normalization has the same statistics.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec, Objective, Views
from ssl_runner.losses.rules import InfoNCE
from ssl_runner.nn.positives import Augmentation
from ssl_runner.objectives.barlow_twins import BarlowTwins
from ssl_runner.objectives.byol import BYOL
from ssl_runner.objectives.contrastive_views import ContrastiveViews
from ssl_runner.objectives.dino import DINO
from ssl_runner.objectives.moco import MoCo
from ssl_runner.objectives.simsiam import SimSiam
from ssl_runner.objectives.swav import SwAV
from ssl_runner.objectives.vicreg import VICReg

lightly_loss = pytest.importorskip(
    "lightly.loss", reason="lightly is not installed (pip install 'ssl-runner[benchmark]')"
)
heads = pytest.importorskip("lightly.models.modules.heads")
utils = pytest.importorskip("lightly.models.utils")

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")

SPEC = ImageSpec(channels=1, height=8, width=8)
STEPS, COUNT, WIDE, RATE, MOMENTUM = (
    20,
    16,
    16,
    0.01,
    0.9,
)  # a rate at which two runs that differ by rounding stay together


class Given(Views):
    """Views that the test draws."""

    views: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return self.views


class Peer(NamedTuple):
    """Lightly's side of a recipe."""

    loss: Callable[[Tensor, Tensor], Tensor]  # large views (2, B, ...) and small ones -> ()
    parts: list[nn.Module]  # what learns, in the order of ours
    begin: Callable[[], Any] = lambda: None  # before each step


def drawn(views: int, side: int) -> Tensor:
    """(V, B, 1, side, side): shades that differ from image to image, so that no dimension of their features is all but
    constant, which batch normalization would blow up, and rounding with it."""
    coarse = torch.rand(views * COUNT, 1, 2, 2, dtype=torch.float64)
    return F.interpolate(coarse, size=(side, side)).unflatten(0, (views, COUNT))


def flat(module: nn.Module, views: Tensor) -> Tensor:
    """The pooled features of all views in one call."""
    return module(views.flatten(0, 1)).pooled


def same(theirs: nn.Module, ours: nn.Module) -> nn.Module:
    """`theirs` with the weights of `ours`."""
    theirs.load_state_dict(ours.state_dict())
    return theirs.double()


def info_nce(temperature: float) -> InfoNCE:
    return InfoNCE(temperature=temperature, learn_temperature=False, prior=0.0)


def simclr(encoder: ConvNet) -> tuple[Objective, Peer]:
    ours = ContrastiveViews(
        encoder, SPEC, views=Given(), projector=[12, 10], projector_norm="batch", projector_last_norm="affine",
        similarity="cosine", loss=info_nce(0.5), positives=Augmentation(), negatives=None, hardness=0.0, queue=0,
        ranks="own",
    )  # fmt: skip
    net, loss = copy.deepcopy(encoder), lightly_loss.NTXentLoss(temperature=0.5)
    head = same(heads.SimCLRProjectionHead(WIDE, 12, 10), ours.projector)
    return ours, Peer(lambda large, _: loss(*head(flat(net, large)).chunk(2)), [net, head])


def moco(encoder: ConvNet) -> tuple[Objective, Peer]:
    ours = MoCo(
        encoder, SPEC, views=Given(), loss=info_nce(0.125), projector=[12, 10], projector_norm="none",
        projector_last_norm="none", predictor=[], predictor_last_norm="none", symmetric=False, queue=2 * COUNT,
        momentum=MOMENTUM, momentum_schedule="constant",
    )  # fmt: skip
    net, head = copy.deepcopy(encoder), same(heads.MoCoProjectionHead(WIDE, 12, 10), ours.projector)
    keys = copy.deepcopy(net), copy.deepcopy(head)
    loss = lightly_loss.NTXentLoss(temperature=0.125, memory_bank_size=(2 * COUNT, 10))
    assert ours.queue is not None
    loss.memory_bank.bank = ours.queue.keys.double()
    loss.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.long)

    def value(large: Tensor, _: Tensor) -> Tensor:
        with torch.no_grad():
            key = keys[1](keys[0](large[1]).pooled)
        return loss(head(net(large[0]).pooled), key)

    return ours, Peer(value, [net, head], lambda: averaged((net, keys[0]), (head, keys[1])))


def averaged(*pairs: tuple[nn.Module, nn.Module]) -> None:
    for source, average in pairs:
        utils.update_momentum(source, average, MOMENTUM)


def byol(encoder: ConvNet) -> tuple[Objective, Peer]:
    """The paper's loss is 4 times lightly's, and 4 more."""
    ours = BYOL(
        encoder, SPEC, views=Given(), projector=[12, 10], projector_norm="batch", projector_last_norm="none",
        predictor=[7], momentum=MOMENTUM, momentum_schedule="constant",
    )  # fmt: skip
    net, loss = copy.deepcopy(encoder), lightly_loss.NegativeCosineSimilarity()
    head = same(heads.BYOLProjectionHead(WIDE, 12, 10), ours.projector)
    predictor = same(heads.BYOLPredictionHead(10, 7, 10), ours.predictor)
    target = copy.deepcopy(net), copy.deepcopy(head)

    def value(large: Tensor, _: Tensor) -> Tensor:
        p0, p1 = predictor(head(flat(net, large))).chunk(2)
        with torch.no_grad():
            z0, z1 = target[1](flat(target[0], large)).chunk(2)
        return 4 + 4 * 0.5 * (loss(p0, z1) + loss(p1, z0))

    begin = lambda: averaged((net, target[0]), (head, target[1]))  # noqa: E731
    return ours, Peer(value, [net, head, predictor], begin)


def simsiam(encoder: ConvNet) -> tuple[Objective, Peer]:
    ours = SimSiam(
        encoder, SPEC, views=Given(), projector=[12, 12, 10], projector_last_norm="batch", predictor=[3],
        predictor_rate="scheduled",
    )  # fmt: skip
    net, loss = copy.deepcopy(encoder), lightly_loss.NegativeCosineSimilarity()
    head = same(heads.SimSiamProjectionHead(WIDE, 12, 10), ours.projector)
    predictor = same(heads.SimSiamPredictionHead(10, 3, 10), ours.predictor)

    def value(large: Tensor, _: Tensor) -> Tensor:
        z = head(flat(net, large))
        (p0, p1), (z0, z1) = predictor(z).chunk(2), z.detach().chunk(2)
        return 0.5 * (loss(z0, p1) + loss(z1, p0))

    return ours, Peer(value, [net, head, predictor])


def barlow_twins(encoder: ConvNet) -> tuple[Objective, Peer]:
    ours = BarlowTwins(encoder, SPEC, views=Given(), projector=[12, 12, 10], projector_norm="batch", off_diagonal=0.005)
    net, loss = copy.deepcopy(encoder), lightly_loss.BarlowTwinsLoss(lambda_param=0.005)
    head = same(heads.BarlowTwinsProjectionHead(WIDE, 12, 10), ours.projector)
    return ours, Peer(lambda large, _: loss(*head(flat(net, large)).chunk(2)), [net, head])


def vicreg(encoder: ConvNet) -> tuple[Objective, Peer]:
    ours = VICReg(
        encoder, SPEC, views=Given(), projector=[12, 12, 10], projector_norm="batch", invariance=25.0, variance=25.0,
        covariance=1.0,
    )  # fmt: skip
    net, loss = copy.deepcopy(encoder), lightly_loss.VICRegLoss()
    head = same(heads.BarlowTwinsProjectionHead(WIDE, 12, 10), ours.projector)  # lightly's examples use it for VICReg
    return ours, Peer(lambda large, _: loss(*head(flat(net, large)).chunk(2)), [net, head])


def swav(encoder: ConvNet) -> tuple[Objective, Peer]:
    ours = SwAV(
        encoder, SPEC, views=Given(), small_views=Given(), projector=[12, 10], prototypes=4, scale_prototypes="step",
        freeze_prototypes=0.0, queue=0, queue_start=0.0, temperature=0.1, epsilon=0.05, iterations=3,
    )  # fmt: skip
    ours.double().prototypes.rescale()  # in float64, as lightly does
    net, head = copy.deepcopy(encoder), same(heads.SwaVProjectionHead(WIDE, 12, 10), ours.projector)
    prototypes = heads.SwaVPrototypes(10, 4).double()
    prototypes.heads[0].weight.data.copy_(ours.prototypes.weight)
    prototypes.heads[0].bias.requires_grad_(False).zero_()  # the paper's have none
    loss = lightly_loss.SwaVLoss(temperature=0.1, sinkhorn_iterations=3, sinkhorn_epsilon=0.05)

    def value(large: Tensor, small: Tensor) -> Tensor:
        z = head(torch.cat((flat(net, large), flat(net, small))))
        scores = prototypes(F.normalize(z, dim=1)).split(COUNT)
        return loss(list(scores[:2]), list(scores[2:]))

    return ours, Peer(value, [net, head, prototypes], prototypes.normalize)


def dino(encoder: ConvNet) -> tuple[Objective, Peer]:
    ours = DINO(
        encoder, SPEC, views=Given(), small_views=Given(), projector=[12, 12, 10], projector_norm="batch",
        activation="gelu", prototypes=4, freeze_last=0.0, student_temperature=0.1, teacher_temperature=(0.0625, 0.0625),
        temperature_warmup=0.0, momentum=MOMENTUM, momentum_schedule="constant", center_momentum=0.9,
        exported="student",
    )  # fmt: skip
    net, head = copy.deepcopy(encoder), heads.DINOProjectionHead(WIDE, 12, 10, 4, batch_norm=True).double()
    head.layers.load_state_dict(ours.head[0].layers.state_dict())
    head.last_layer.weight_v.data.copy_(ours.head[1].weight)
    teacher = copy.deepcopy(net), heads.DINOProjectionHead(WIDE, 12, 10, 4, batch_norm=True).double()
    teacher[1].load_state_dict(head.state_dict())
    loss = lightly_loss.DINOLoss(output_dim=4, teacher_temp=0.0625, student_temp=0.1, center_momentum=0.9).double()

    def value(large: Tensor, small: Tensor) -> Tensor:
        answers = head(torch.cat((flat(net, large), flat(net, small)))).split(COUNT)
        with torch.no_grad():
            taught = teacher[1](flat(teacher[0], large)).split(COUNT)
        return loss(list(taught), list(answers), teacher_temp=0.0625)

    return ours, Peer(value, [net, head], lambda: averaged((net, teacher[0]), (head, teacher[1])))


def apart(a: Tensor, b: Tensor, whole: Tensor) -> float:
    """The distance of two gradients, as a fraction of their norm; of those that are zero up to rounding (a bias before
    a normalization), as one of a millionth of the norm of all."""
    return float((a - b).norm() / torch.maximum(b.norm(), 1e-6 * whole))


def learned(*parts: nn.Module) -> list[nn.Parameter]:
    return [p for part in parts for p in part.parameters() if p.requires_grad]


@pytest.mark.parametrize("recipe", [simclr, moco, byol, simsiam, barlow_twins, vicreg, swav, dino])
def test_twenty_steps_are_lightlys(recipe: Callable[[ConvNet], tuple[Objective, Peer]]) -> None:
    torch.manual_seed(0)
    ours, peer = recipe(ConvNet(SPEC, widths=[8, WIDE], norm="none").double())
    ours.double()
    own, theirs = learned(ours), learned(*peer.parts)
    assert [p.shape for p in own] == [p.shape for p in theirs]
    optimizers = torch.optim.SGD(own, RATE), torch.optim.SGD(theirs, RATE)
    for step in range(STEPS):
        large, small = drawn(2, 8), drawn(3, 4)
        for name, views in (("views", large), ("small_views", small)):
            if hasattr(ours, name):
                getattr(ours, name).views = views
        found = ours.loss(*ours.split(Batch(large[0], torch.zeros(COUNT).long(), torch.arange(COUNT))))
        peer.begin()
        expected = peer.loss(large, small).squeeze()
        assert found.value.item() == pytest.approx(expected.item(), rel=1e-5), step
        for optimizer, value in zip(optimizers, (found.value, expected), strict=True):
            optimizer.zero_grad()
            value.backward()
        slopes = [
            (a.grad, b.grad) for a, b in zip(own, theirs, strict=True) if a.grad is not None and b.grad is not None
        ]
        whole = torch.stack([b.norm() for _, b in slopes]).norm()
        assert len(slopes) == len(own)
        assert max(apart(a, b, whole) for a, b in slopes) < 1e-5, step
        for optimizer in optimizers:
            optimizer.step()
        ours.after_step([found.carry], step / STEPS)
