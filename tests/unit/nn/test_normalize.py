import pytest
import torch

from ssl_runner.nn.normalize import Normalize


def test_it_is_the_identity_until_it_is_fitted():
    x = torch.rand(2, 3, 4, 5)
    assert torch.equal(Normalize(3)(x), x)


def test_each_channel_has_its_own_statistics():
    normalize = Normalize(2)
    normalize.fit(torch.tensor([0.5, 0.25]), torch.tensor([0.5, 0.125]))
    x = torch.tensor([1.0, 0.5]).view(1, 2, 1, 1).expand(3, 2, 2, 2)
    assert torch.equal(normalize(x), torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(3, 2, 2, 2))


def test_the_statistics_of_the_data_give_mean_zero_and_deviation_one():
    x = torch.rand(50, 3, 8, 8) * torch.tensor([0.2, 0.5, 1.0]).view(3, 1, 1)
    normalize = Normalize(3)
    normalize.fit(x.mean((0, 2, 3)), x.std((0, 2, 3)))
    z = normalize(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(3), atol=1e-5, rtol=0)


def test_the_statistics_are_saved():
    fitted, fresh = Normalize(1), Normalize(1)
    fitted.fit(torch.tensor([0.1307]), torch.tensor([0.3081]))
    fresh.load_state_dict(fitted.state_dict())
    assert fresh.mean.item() == pytest.approx(0.1307)
    assert fresh.std.item() == pytest.approx(0.3081)


def test_statistics_that_do_not_fit_are_refused():
    normalize = Normalize(3)
    with pytest.raises(ValueError, match=r"\(1,\) and \(1,\) channels; the encoder reads 3"):
        normalize.fit(torch.zeros(1), torch.ones(1))
    with pytest.raises(ValueError, match="must be above 0"):
        normalize.fit(torch.zeros(3), torch.tensor([1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="must be above 0"):
        normalize.fit(torch.zeros(3), torch.tensor([1.0, float("nan"), 1.0]))


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="the images are of 1 channels; the encoder reads 3"):
        Normalize(3)(torch.rand(2, 1, 4, 4))
