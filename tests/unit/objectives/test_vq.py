"""Discrete codes: the nearest one, moving averages by hand, straight-through gradients, codes without use."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec
from ssl_runner.nn.codebook import Codebook
from ssl_runner.objectives.vq import VQ

SPEC = ImageSpec(channels=1, height=8, width=8)
SETTINGS: dict[str, Any] = {
    "codes": 5, "code_width": 3, "commitment": 0.25, "decay": 0.9, "least": 0.1, "deviation": 0.5,
    "decoder_widths": [4, 4],
}  # fmt: skip


def vq(**changes: Any) -> VQ:
    torch.manual_seed(0)
    return VQ(ConvNet(SPEC, widths=[4, 8], norm="batch"), SPEC, **(SETTINGS | changes)).eval()


def batch(n: int = 6) -> Batch:
    data = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return Batch(data, torch.zeros(n).long(), torch.arange(n))


def test_each_vector_has_its_nearest_code() -> None:
    book = Codebook(7, 3, decay=0.9, least=0.0)
    z = torch.randn(4, 2, 3)
    for i in range(4):
        for j in range(2):
            distance = [(z[i, j] - code).square().sum().item() for code in book.codes]
            assert book.nearest(z)[i, j] == min(range(7), key=distance.__getitem__)


def test_codes_are_moving_averages_of_their_vectors() -> None:
    book = Codebook(2, 1, decay=0.75, least=0.0)
    book.steps.fill_(1)
    book.codes.copy_(torch.tensor([[0.0], [10.0]]))
    book.total.copy_(book.codes / 2)
    z = torch.tensor([[1.0], [3.0], [9.0], [-1.0]])
    book.update(*book.statistics(z, book.nearest(z)), spare=z)
    torch.testing.assert_close(book.share, torch.tensor([0.75 * 0.5 + 0.25 * 0.75, 0.75 * 0.5 + 0.25 * 0.25]))
    first, second = 0.25 * (3 / 4) / (0.375 + 0.1875), (0.75 * 5 + 0.25 * 9 / 4) / (0.375 + 0.0625)
    torch.testing.assert_close(book.codes, torch.tensor([[first], [second]]))


def test_a_code_without_use_begins_again_at_a_vector_of_the_batch() -> None:
    book = Codebook(3, 2, decay=0.0, least=0.1)
    book.steps.fill_(1)
    book.codes.copy_(torch.tensor([[0.0, 0.0], [50.0, 50.0], [90.0, 0.0]]))
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    book.update(*book.statistics(z, book.nearest(z)), spare=z)
    torch.testing.assert_close(book.codes, torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]))


def test_the_loss_by_hand_and_its_gradients() -> None:
    model = vq()
    x, y = model.split(batch())
    z = model._cells(x.image).detach().requires_grad_()
    e = model.codebook.codes[model.codebook.nearest(z)]
    output = model._picture(e).detach()
    error = sum((y[i] - output[i]).square().sum().item() for i in range(6)) / 6
    apart = sum((z[i] - e[i]).square().sum().item() for i in range(6)) / 6
    found = model.loss(x, y)
    assert found.value.item() == pytest.approx(error / 0.5 + 0.25 * apart, rel=1e-4)
    # straight through: the gradient at z is the decoder's at e, and that of the commitment
    at_code = e.detach().requires_grad_()
    (y - model._picture(at_code)).square().flatten(1).sum(dim=1).mean().div(0.5).backward()
    expected = at_code.grad + 0.25 * 2 * (z - e).detach() / 6
    kept: list[Tensor] = []
    model._cells = lambda image: z  # type: ignore[method-assign]
    model.loss(x, y).value.backward()
    kept.append(z.grad)
    torch.testing.assert_close(kept[0], expected, atol=1e-5, rtol=1e-4)


def test_tokens_and_pictures_are_of_one_grid() -> None:
    model = vq()
    tokens = model.tokens(batch().data)
    assert tokens.shape == (6, 2, 2)
    assert tokens.max() < 5
    x, _ = model.split(batch())
    assert torch.equal(model.pictures(tokens), model.predict(x))


def test_codes_come_into_use() -> None:
    model = vq().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    found = []
    for _ in range(40):
        loss = model.loss(*model.split(batch(16)))
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        model.after_step([loss.carry], 0.5)
        found.append(loss.logs)
    assert found[-1]["code_perplexity"] > 2.5
    assert found[-1]["squared_error"] < found[0]["squared_error"]


def test_a_step_in_half_precision_moves_the_codes() -> None:
    model = vq().train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(*model.split(batch()))
    model.after_step([loss.carry], 0.5)
    assert loss.carry.total.dtype == torch.float32
    assert torch.isfinite(model.codebook.codes).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"codes": 1}, r"objective\.codes"),
        ({"code_width": 0}, r"objective\.code_width"),
        ({"commitment": 0.0}, r"objective\.commitment"),
        ({"decay": 1.0}, r"objective\.decay"),
        ({"least": 1.0}, r"objective\.least"),
        ({"deviation": 0.0}, r"objective\.deviation"),
        ({"decoder_widths": []}, "widths"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        vq(**changes)


def test_a_decoder_of_another_grid_is_refused() -> None:
    model = vq(decoder_widths=[4])
    with pytest.raises(ValueError, match=r"2 x 2 cells, and objective\.decoder_widths makes images from 4 x 4"):
        model.loss(*model.split(batch()))
