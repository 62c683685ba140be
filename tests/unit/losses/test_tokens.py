import math

import pytest
import torch
from special_ids import PAD

from ssl_runner.losses.tokens import mean_of_real, token_nll


def test_worked_by_hand():
    logits = torch.tensor([[[0.0, 0.0, math.log(3), 0.0], [1.0, 2.0, 3.0, 4.0]]])  # probabilities 1/6, 1/6, 3/6, 1/6
    target = torch.tensor([[2, PAD]])
    nll = token_nll(logits, target, PAD)
    assert nll.shape == (1, 2)
    assert nll[0, 0].item() == pytest.approx(math.log(2))
    assert nll[0, 1].item() == 0
    assert mean_of_real(nll, target, PAD).item() == pytest.approx(math.log(2))
    assert mean_of_real(nll, torch.full((1, 2), PAD), PAD).item() == 0


def test_half_precision_is_widened():
    assert token_nll(torch.randn(2, 3, 5).bfloat16(), torch.ones(2, 3).long(), PAD).dtype == torch.float32
