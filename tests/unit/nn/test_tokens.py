import torch
from special_ids import CLS, PAD, SEP

from ssl_runner.nn.tokens import mean_of_tokens, segments


def test_the_mean_leaves_padding_out():
    x = torch.tensor([[7, 8, PAD], [7, PAD, PAD], [PAD, PAD, PAD]])
    states = torch.arange(18.0).view(3, 3, 2)
    expected = torch.tensor([[1.0, 2.0], [6.0, 7.0], [0.0, 0.0]])  # (0 + 2) / 2, (1 + 3) / 2; the first alone; none
    assert torch.equal(mean_of_tokens(states, x, PAD), expected)


def test_segments_follow_from_the_separators():
    x = torch.tensor([[CLS, 7, SEP, 8, SEP, PAD], [7, 8, 9, 10, 11, 12], [SEP, 7, SEP, 8, SEP, 9]])
    assert segments(x, SEP).tolist() == [[0, 0, 0, 1, 1, 1], [0] * 6, [0, 1, 1, 1, 1, 1]]
