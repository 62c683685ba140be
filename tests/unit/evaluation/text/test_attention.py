"""What is drawn of attention is what the network computes."""

import math

import pytest
import torch
from torch import nn

from ssl_runner.backbones.lstm import LSTM
from ssl_runner.backbones.transformer import BERT, GPT
from ssl_runner.evaluation.text.attention import AttentionMaps, attentions, moments, weights_of
from ssl_runner.interfaces import SpecialTokens, TextSpec

SPEC = TextSpec(length=6, vocabulary=20)
SETTINGS = {"dim": 8, "depth": 2, "heads": 2, "mlp_ratio": 2.0, "norm": "layer", "dropout": 0.0, "positions": None}


@pytest.mark.parametrize("kind", [GPT, BERT])
def test_weights_are_those_that_the_blocks_use(kind: type[nn.Module]) -> None:
    """Values weighed by them are the output of the fused kernel; padding is never looked at."""
    torch.manual_seed(0)
    encoder = kind(SPEC, **SETTINGS).eval().requires_grad_(False)
    x = torch.tensor([[2, 7, 8, 9, 10, 11], [2, 12, 13, 0, 0, 0]])
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    for part in attentions(encoder):
        part.register_forward_hook(lambda _, given, found: seen.append((given[0], found)))
    weights = weights_of(encoder, x)
    assert [each.shape for each in weights] == [(2, 2, 6, 6)] * 2
    for part, (given, found), each in zip(attentions(encoder), seen, weights, strict=True):
        v = part.qkv(given).view(2, 6, 3, 2, 4).permute(2, 0, 3, 1, 4)[2]
        expected = part.out((each @ v).transpose(1, 2).flatten(2))
        looks = x != SpecialTokens().pad
        torch.testing.assert_close(found[looks], expected[looks])
        if kind is BERT:
            assert float(each[1, :, :, 3:].sum()) == 0
        else:
            assert float(each.triu(1).sum()) == 0


def test_moments_by_hand() -> None:
    weights = torch.tensor([[[[1.0, 0, 0], [0.5, 0.5, 0], [0, 1, 0]]]])
    looks = torch.tensor([[True, True, True]])
    assert moments(weights, looks).tolist() == pytest.approx([0 + 0.5 + 1, math.log(2), 0 + 0.5 + 1])
    assert moments(weights, looks & torch.tensor([True, False, False])).tolist() == [0, 0, 0]


def test_what_has_no_attention_is_refused() -> None:
    asked = AttentionMaps(text="a b", heads="mean", examples=1)
    with pytest.raises(ValueError, match="without their attention"):
        asked.check_encoder(LSTM(SPEC, layers=1, width=8, dropout=0.0), SPEC)
    with pytest.raises(ValueError, match="heads is two"):
        AttentionMaps(text="a", heads="two", examples=1)
