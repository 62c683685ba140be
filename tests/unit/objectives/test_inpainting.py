"""Inpainting: only the hole counts, and both players get the paper's gradients from one backward pass."""

import pytest
import torch

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.backbones.vit import ViT
from ssl_runner.interfaces import Batch, Encoder, ImageSpec
from ssl_runner.objectives.inpainting import Bottleneck, Context, Inpainting

SPEC = ImageSpec(channels=3, height=16, width=24)


def inpainting(encoder: Encoder | None = None, **settings: object) -> Inpainting:
    torch.manual_seed(0)
    given = {
        "hole": "center", "part": 0.25, "blocks": 3, "decoder_widths": [16, 8], "adversary": 0.1,
        "judge_widths": [8, 16], "judge_lr_scale": 0.1, "fooling": "minimax", "clamp": False,
    }  # fmt: skip
    return Inpainting(encoder or ConvNet(SPEC, widths=[8, 16], norm="group"), SPEC, **(given | settings))


def batch() -> Batch:
    data = torch.rand(4, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    return Batch(data, torch.zeros(4), torch.arange(4))


@pytest.mark.parametrize("hole", ["center", "blocks", "free", "top", "bottom", "left", "right"])
def test_only_what_lies_outside_the_hole_is_seen(hole: str) -> None:
    x, y = inpainting(hole=hole).split(batch())
    where = x.hole.expand_as(y)
    assert torch.equal(y, batch().data)
    assert torch.equal(x.image[~where], y[~where])
    assert (x.image[where] == 0.5).all()
    assert 0.1 < x.hole.float().mean() < 0.28  # blocks: whole pixels


def test_without_a_judge_the_loss_is_the_error_in_the_hole() -> None:
    task = inpainting(hole="blocks", adversary=0.0).eval()
    x, y = task.split(batch())
    with torch.no_grad():
        value = task.loss(x, y).value
        filled = task.decoder(task.bottleneck(task.encoder(x.image).tokens))
    errors = [
        (filled[b, c, i, j] - y[b, c, i, j]) ** 2
        for b in range(4) for c in range(3) for i in range(16) for j in range(24) if x.hole[b, 0, i, j]
    ]  # fmt: skip
    assert value.item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-5)
    assert task.judge is None


def test_each_player_has_the_gradient_of_its_own_backward_pass() -> None:
    """min over F, max over D of (1 - w) L_rec + w L_adv, L_adv = E log D(y) + E log(1 - D(F(x))): eq. 1 to 3."""
    task = inpainting().double()
    x, y = task.split(batch())
    x, y = Context(x.image.double(), x.hole), y.double()
    task.loss(x, y).value.backward()

    def drawn() -> torch.Tensor:
        return task.decoder(task.bottleneck(task.encoder(x.image).tokens))

    maker = [p for name, p in task.named_parameters() if not name.startswith("judge")]
    where = x.hole.expand_as(y)
    adversarial = torch.log(1 - task.judge(drawn()).sigmoid()).mean()
    value = 0.9 * (drawn() - y)[where].square().mean() + 0.1 * adversarial
    for p, gradient in zip(maker, torch.autograd.grad(value, maker), strict=True):
        torch.testing.assert_close(p.grad, gradient)

    judge = list(task.judge.parameters())
    adversarial = torch.log(task.judge(y).sigmoid()).mean() + torch.log(1 - task.judge(drawn()).sigmoid()).mean()
    for p, gradient in zip(judge, torch.autograd.grad(adversarial, judge), strict=True):
        torch.testing.assert_close(p.grad, -gradient)  # it ascends


def test_a_maker_that_does_not_saturate_and_a_judge_that_sees_images() -> None:
    task = inpainting(fooling="non_saturating", clamp=True)
    x, y = task.split(batch())
    with torch.no_grad():
        task.decoder.last.bias.fill_(2.0)  # drawn values above 1, as no image has them
        shown = task.decoder(task.bottleneck(task.encoder(x.image).tokens)).clamp(0, 1)
        made = task.judge(shown)
        found = task.loss(x, y).logs
    assert found["fooling"].item() == pytest.approx(-torch.log(made.sigmoid()).mean().item(), rel=1e-4)


def test_one_optimizer_with_two_groups_moves_as_two_optimizers() -> None:
    together, apart = inpainting().double(), inpainting().double()
    x, y = together.split(batch())
    x, y = Context(x.image.double(), x.hole), y.double()
    groups = together.groups()
    assert [group.get("lr_scale", 1.0) for group in groups] == [1.0, 0.1]
    one = torch.optim.Adam([{**group, "lr": 0.01 * group.pop("lr_scale", 1.0)} for group in groups])
    maker, judge = (torch.optim.Adam(g["params"], lr) for g, lr in zip(apart.groups(), (0.01, 0.001), strict=True))
    for _ in range(3):
        one.zero_grad()
        together.loss(x, y).value.backward()
        one.step()

        apart.zero_grad()
        drawn = apart._draw(x)
        where = x.hole.expand_as(y)
        error = (drawn - y)[where].square().mean()
        fooling = torch.log(1 - apart.judge(drawn).sigmoid()).mean()
        (0.9 * error + 0.1 * fooling).backward()
        made = drawn.detach()
        apart.judge.zero_grad()
        scores = apart.judge(torch.cat((y, made)))
        (-torch.log(scores[:4].sigmoid()).mean() - torch.log(1 - scores[4:].sigmoid()).mean()).backward()
        maker.step()
        judge.step()
    for ours, theirs in zip(together.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_the_hole_alone_is_filled() -> None:
    task = inpainting(hole="free").eval()
    x, y = task.split(batch())
    with torch.no_grad():
        filled = task.predict(x)
    where = x.hole.expand_as(y)
    assert torch.equal(filled[~where], y[~where])
    assert (filled[where] != 0.5).any()


def test_the_bottleneck_is_connected_channel_by_channel() -> None:
    torch.manual_seed(0)
    bottleneck, tokens = Bottleneck(6, 3, 5, (2, 2)), torch.randn(4, 6, 3)
    spread = torch.zeros(4, 3, 2, 2)
    for d in range(3):
        for m in range(4):
            spread[:, d, m // 2, m % 2] = sum(tokens[:, n, d] * bottleneck.weight[d, n, m] for n in range(6))
    torch.testing.assert_close(bottleneck(tokens), bottleneck.mix(spread))


def test_patch_encoders_can_fill_holes_too() -> None:
    encoder = ViT(SPEC, dim=16, depth=1, heads=2, patch=4, mlp_ratio=2.0, pool="mean", drop_path=0.0)
    task = inpainting(encoder)
    assert encoder.training
    task.loss(*task.split(batch())).value.backward()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"part": 1.0}, r"objective\.part is 1\.0; it must lie in \(0, 1\)"),
        ({"part": 0.0005}, r"objective\.part is 0\.0005; with objective\.hole=center that is no pixel of"),
        ({"blocks": 0}, r"objective\.blocks is 0; it must be at least 1"),
        ({"adversary": 1.0}, r"objective\.adversary is 1\.0; it must lie in \[0, 1\)"),
        ({"judge_lr_scale": 0.0}, r"objective\.judge_lr_scale is 0\.0; it must be above 0"),
        ({"judge_widths": [8] * 5}, r"16 x 24 pixels cannot be halved 5 times"),
        ({"judge_widths": []}, "the discriminator's widths are"),
        ({"hole": "round"}, r"objective\.hole is 'round'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        inpainting(**settings)
