import pytest
import torch

from ssl_runner.nn.prototypes import Prototypes


def test_scores_are_cosines_whatever_the_lengths() -> None:
    prototypes = Prototypes(3, 4)
    with torch.no_grad():
        prototypes.weight.mul_(torch.tensor([[1.0], [2.0], [0.5], [7.0]]))
    z = torch.randn(2, 5, 3)
    scores = prototypes(z)
    for v in range(2):
        for i in range(5):
            for k in range(4):
                u, w = z[v, i], prototypes.weight[k]
                assert scores[v, i, k].item() == pytest.approx((u @ w / u.norm() / w.norm()).item(), abs=1e-6)


def test_it_is_a_weight_normalized_layer_of_gain_one() -> None:
    prototypes = Prototypes(3, 4)
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 4, bias=False))
    with torch.no_grad():
        layer.parametrizations.weight.original0.fill_(1)
        layer.parametrizations.weight.original1.copy_(prototypes.weight * 3)
    z = torch.nn.functional.normalize(torch.randn(5, 3), dim=1)
    torch.testing.assert_close(prototypes(z), layer(z))


def test_scores_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Prototypes(3, 4)(torch.randn(2, 3).bfloat16()).dtype == torch.float32


def test_one_prototype_is_refused() -> None:
    with pytest.raises(ValueError, match=r"objective\.prototypes is 1"):
        Prototypes(3, 1)
