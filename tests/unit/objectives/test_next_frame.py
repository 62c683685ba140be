"""Next frame: which frames, losses by hand, both predictors, the judge."""

import pytest
import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, ClipEncoder, Features, PredictsFuture, VideoSpec
from ssl_runner.losses.adversarial import judge_loss, maker_loss
from ssl_runner.nn.conv_lstm import ConvLSTM
from ssl_runner.objectives.next_frame import NextFrame

SPEC = VideoSpec(frames=7, channels=2, height=8, width=8)
SETTINGS = {
    "past": 3,
    "ahead": 2,
    "predictor": "recurrent",
    "width": 6,
    "decoder_widths": [8, 4],
    "error": "l2",
    "adversary": 0.0,
    "judge_widths": [4, 8],
    "judge_lr_scale": 0.1,
}


class Strided(ClipEncoder):
    dim = 5

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2, 5, (1, 4, 4), stride=(1, 4, 4))

    def map(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(1, 2))

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        tokens = self.map(x).flatten(2).mT
        return Features(tokens, tokens.mean(1))


def make(**changes: object) -> NextFrame:
    torch.manual_seed(0)
    return NextFrame(Strided(), SPEC, **SETTINGS | changes)


def batch(n: int = 6) -> Batch:
    clips = torch.arange(7.0)[None, :, None, None, None].expand(n, 7, 2, 8, 8) / 10
    return Batch(clips + torch.arange(n)[:, None, None, None, None], torch.zeros(n), torch.arange(n))


def test_y_are_the_frames_that_follow_x() -> None:
    task, starts = make(), set()
    for _ in range(10):
        x, y = task.split(batch())
        assert x.shape == (6, 3, 2, 8, 8)
        assert y.shape == (6, 2, 2, 8, 8)
        frame = torch.cat((x, y), 1)[:, :, 0, 0, 0] - torch.arange(6)[:, None]
        assert torch.allclose(frame.diff(dim=1), torch.tensor(0.1), atol=1e-5)
        starts |= set((frame[:, 0] * 10).round().int().tolist())
    assert starts == {0, 1, 2}


@pytest.mark.parametrize("predictor", ["recurrent", "convolutional"])
@pytest.mark.parametrize("error", ["l1", "l2"])
def test_loss_by_hand(predictor: str, error: str) -> None:
    task = make(predictor=predictor, error=error).eval()
    x, y = torch.rand(4, 3, 2, 8, 8), torch.rand(4, 2, 2, 8, 8)
    found = task.loss(x, y)
    drawn = task._draw(x)
    assert drawn.shape == y.shape
    power = 1 if error == "l1" else 2
    assert found.value.item() == pytest.approx((drawn - y).abs().pow(power).mean().item(), rel=1e-5)
    still = sum((x[:, 2] - y[:, k]).abs().pow(power).mean() for k in range(2)) / 2
    assert found.logs["previous"].item() == pytest.approx(still.item(), rel=1e-5)
    assert torch.equal(task.foresee(x), drawn.clamp(0, 1))
    assert torch.equal(task.predict(x), task.foresee(x))
    assert isinstance(task, PredictsFuture)


def test_changes_add_up_from_the_last_frame() -> None:
    task = make().eval()
    for parameter in task.decoder.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(task.decoder.layers[-1][2].bias, 0.1)
    x = torch.rand(2, 3, 2, 8, 8)
    assert torch.allclose(task._draw(x), torch.stack((x[:, -1] + 0.1, x[:, -1] + 0.2), 1))


def test_a_judge_sees_past_and_future_and_each_player_has_its_own_gradient() -> None:
    task = make(adversary=0.25).eval()
    x, y = torch.rand(4, 3, 2, 8, 8), torch.rand(4, 2, 2, 8, 8)
    found = task.loss(x, y)
    drawn = task._draw(x)
    real, made = (task.judge(torch.cat((x, after), 1).flatten(1, 2)) for after in (y, drawn))
    expected = 0.75 * (drawn - y).square().mean() + 0.25 * maker_loss(made) + judge_loss(real, made)
    assert found.value.item() == pytest.approx(expected.item(), rel=1e-5)
    found.value.backward()
    ours = [p.grad.clone() for p in task.judge.parameters()]
    task.zero_grad()
    drawn = task._draw(x).detach()
    real, made = (task.judge(torch.cat((x, after), 1).flatten(1, 2)) for after in (y, drawn))
    judge_loss(real, made).backward()
    for mine, alone in zip(ours, task.judge.parameters(), strict=True):
        assert torch.allclose(mine, alone.grad, atol=1e-6)
    maker, judge = task.groups()
    assert judge["lr_scale"] == 0.1
    assert len(maker["params"]) + len(judge["params"]) == len(list(task.parameters()))


def test_conv_lstm_on_one_pixel_is_an_lstm() -> None:
    torch.manual_seed(0)
    ours, theirs = ConvLSTM(3, 4), nn.LSTMCell(3, 4)
    weight = ours.gates.weight[:, :, 1, 1].detach()
    order = [0, 1, 3, 2]  # torch: put, keep, new, show
    with torch.no_grad():
        stacked = torch.stack(weight.chunk(4))[order].flatten(0, 1)
        theirs.weight_ih.copy_(stacked[:, :3])
        theirs.weight_hh.copy_(stacked[:, 3:])
        theirs.bias_ih.copy_(torch.stack(ours.gates.bias.chunk(4))[order].flatten())
        theirs.bias_hh.zero_()
    x = torch.randn(2, 5, 3)
    state = other = None
    for step in range(5):
        state = ours(x[:, step, :, None, None], state)
        other = theirs(x[:, step], other)
        for mine, torchs in zip(state, other, strict=True):
            assert torch.allclose(mine[..., 0, 0], torchs, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"past": 0}, r"objective\.past is 0"),
        ({"past": 6}, r"at least 8 frames, and dataset\.frames is 7"),
        ({"predictor": "oracle"}, r"objective\.predictor is 'oracle'"),
        ({"error": "l3"}, r"objective\.error is 'l3'"),
        ({"adversary": 1.0}, r"objective\.adversary is 1"),
        ({"adversary": 0.1, "judge_widths": [4] * 4}, r"objective\.judge_widths"),
        ({"judge_lr_scale": 0.0}, r"objective\.judge_lr_scale is 0"),
    ],
)
def test_refusals(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(**change)
