import pytest
import torch
from torch.nn import functional as F

from ssl_runner.nn.decoders import ConvDecoder, GridDecoder, PatchDecoder
from ssl_runner.nn.patches import gather_places


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 96, 96), (2, 17, 9), (1, 1, 5)])
@pytest.mark.parametrize("widths", [[8], [16, 8, 4]])
def test_an_image_of_any_size_comes_out_of_one_vector(shape, widths):
    assert ConvDecoder(5, shape, widths=widths)(torch.randn(2, 5)).shape == (2, *shape)


def test_every_pixel_follows_from_the_vector():
    decoder = ConvDecoder(5, (1, 13, 13), widths=[8, 8])
    z = torch.randn(4, 5)
    x = decoder(z)
    assert (x.std(0) > 0).all()


def test_a_decoder_can_learn_images_by_heart():
    torch.manual_seed(0)
    target = torch.rand(4, 1, 10, 10)
    z = torch.eye(4)
    decoder = ConvDecoder(4, (1, 10, 10), widths=[32, 16])
    optimizer = torch.optim.Adam(decoder.parameters(), 0.02)
    for _ in range(150):
        loss = F.mse_loss(decoder(z), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01  # a constant gives 1 / 12


def test_values_start_at_the_scale_of_the_data():
    torch.manual_seed(0)
    x = ConvDecoder(64, (3, 32, 32), widths=[32, 16, 8])(torch.randn(64, 64))
    assert 0.3 < x.std().item() < 3


def test_the_image_of_a_vector_is_drawn_from_a_grid():
    decoder = ConvDecoder(5, (2, 17, 9), widths=[8, 4])
    z = torch.randn(3, 5)
    grid = (z @ decoder.project.weight.T).view(3, 8, 5, 3)
    torch.testing.assert_close(decoder(z), decoder.draw(grid))


def test_a_grid_is_half_as_high_and_wide_once_a_width():
    for shape, widths, grid in [
        ((3, 32, 32), [8, 8, 8], (4, 4)),
        ((1, 28, 17), [8, 8, 8], (4, 3)),
        ((1, 1, 2), [4], (1, 1)),
    ]:
        decoder = GridDecoder(shape, widths=widths)
        assert decoder.grid == grid
        assert decoder(torch.randn(2, widths[0], *grid)).shape == (2, *shape)


@pytest.mark.parametrize("widths", [[], [8, 0]])
def test_impossible_widths_are_refused(widths):
    with pytest.raises(ValueError, match="at least one is needed"):
        ConvDecoder(5, (1, 8, 8), widths=widths)


def decoder() -> PatchDecoder:
    torch.manual_seed(0)
    return PatchDecoder(6, dim=8, depth=2, heads=2, grid=(3, 4), patch_values=5)


def test_all_places_are_predicted_from_a_few():
    tokens = torch.randn(2, 4, 6)
    keep = torch.stack([torch.randperm(12)[:4] for _ in range(2)])
    assert decoder()(tokens, keep).shape == (2, 12, 5)


def test_the_order_in_which_tokens_are_given_does_not_matter():
    tokens, keep = torch.randn(1, 4, 6), torch.tensor([[0, 3, 7, 11]])
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(decoder()(tokens[:, order], keep[:, order]), decoder()(tokens, keep))


def test_where_a_token_lies_matters():
    tokens = torch.randn(1, 2, 6)
    a, b = decoder()(tokens, torch.tensor([[0, 1]])), decoder()(tokens, torch.tensor([[0, 2]]))
    assert (a - b).abs().max() > 1e-5


def test_places_are_filled_as_a_loop_fills_them():
    d = decoder()
    tokens, keep = torch.randn(2, 3, 6), torch.tensor([[5, 0, 2], [1, 11, 4]])
    expected = []
    for b in range(2):
        rows = [d.mask_token] * 12
        for k, place in enumerate(keep[b].tolist()):
            rows[place] = d.embed(tokens[b, k])
        expected.append(d.predict(d.transformer((torch.stack(rows) + d.positions)[None]))[0])
    torch.testing.assert_close(d(tokens, keep), torch.stack(expected))


def test_hidden_places_differ_by_their_position():
    y = decoder()(torch.randn(1, 2, 6), torch.tensor([[0, 1]]))[0, 2:]
    assert (torch.cdist(y, y) + torch.eye(10)).min() > 1e-5


def test_it_runs_in_half_precision():
    d = decoder()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert d(torch.randn(1, 2, 6), torch.tensor([[0, 1]])).dtype == torch.bfloat16


def test_every_weight_of_the_patch_decoder_is_used():
    d = decoder()
    d(torch.randn(2, 3, 6), torch.tensor([[5, 0, 2], [1, 11, 4]])).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in d.parameters())


def test_the_places_asked_for_are_predicted_as_among_all():
    d = decoder()
    tokens, keep = torch.randn(2, 3, 6), torch.tensor([[5, 0, 2], [1, 11, 4]])
    asked = torch.tensor([[3, 1, 7, 0], [0, 2, 11, 10]])
    torch.testing.assert_close(d(tokens, keep, asked), gather_places(d(tokens, keep), asked))
